"""How hard a password is to guess for whoever tries first what most people choose.

The powers of ten of guesses that it takes, roughly: what is common costs its place in a list of
leaked passwords, by how often each was found; a word of the user's own, a repeated piece and a run
such as 1234 cost nothing; every other character stands for itself. Any case, letters written as
signs, and back to front are the same. Source: the lists of the library zxcvbn; NIST SP 800-63B-4,
3.1.1.2: a block list, and no rules of composition.
"""

import math
import re
from collections.abc import Iterable
from functools import cache
from typing import Final

NAMES: Final = ("directoire", "directus", "password", "passwort", "passphrase")
LOOKED_AT: Final = 256  # characters: enough to be hard, and what a check costs has an end

_LETTER: Final = 1.4  # powers of ten
_OTHER: Final = 0.6  # a digit or a sign: mostly a year, a day, the sign that a rule asks for
_LONGEST: Final = 20  # characters of a piece that is looked up
_SHORTEST: Final = 3
_LIKE_LETTERS: Final = str.maketrans("@43€!10$5+7", "aaeeiiosstt")
_YEAR: Final = re.compile(r"(?:19|20)\d\d")
_YEARS: Final = 1.0
_ENDS: Final = re.compile(r"^[\W\d_]+(?=.*[^\W\d_])|(?<=[^\W\d_])[\W\d_]+$", re.DOTALL)


def guesses(password: str, own: Iterable[str] = ()) -> float:
    """Powers of ten. ``own``: what is known of the user, such as the address."""
    text = password[:LOOKED_AT].casefold()
    words = frozenset(_words(own))
    ways = {text, text[::-1], text.translate(_LIKE_LETTERS)}
    ways |= {_once(way) for way in ways} | {_once(_ENDS.sub("", way)) for way in ways}
    return min(_guesses(way, words) for way in ways)


def _words(own: Iterable[str]) -> Iterable[str]:
    for text in (*NAMES, *own):
        whole = text.casefold()
        yield whole
        for part in re.split(r"[\W_]+", whole):
            if len(part) >= _SHORTEST:
                yield part


def _once(text: str) -> str:
    """What a text repeats, of one that is nothing else; the last time may be cut short."""
    for length in range(_SHORTEST, len(text) - _SHORTEST + 1):
        if text[length:] == text[:-length]:
            return text[:length]
    return text


def _guesses(text: str, words: frozenset[str]) -> float:
    """Of the cheapest way to put it together."""
    costs, pieces = [0.0], [""]  # of the first n characters, and the last piece of them
    for end in range(1, len(text) + 1):
        best, last = costs[-1] + _character(text, end - 1), text[end - 1]
        for begin in range(max(0, end - _LONGEST), end - _SHORTEST + 1):
            cost = _piece(text[begin:end], words)
            if cost is not None and costs[begin] + cost < best:
                best, last = costs[begin] + cost, text[begin:end]
        costs.append(best)
        pieces.append(last)
    return costs[-1] - _repeated(text, pieces, words)


def _repeated(text: str, pieces: list[str], words: frozenset[str]) -> float:
    """What pieces that stood there before cost in vain."""
    seen: set[str] = set()
    saved, end = 0.0, len(text)
    while end:
        piece = pieces[end]
        if piece in seen:
            saved += _piece(piece, words) or 0.0
        seen.add(piece)
        end -= len(piece)
    return saved


def _character(text: str, at: int) -> float:
    """Nothing for one that follows from the last one, as in aaa, abc and 321, or a sign again."""
    character = text[at]
    if at and abs(ord(character) - ord(text[at - 1])) <= 1:
        return 0.0
    if character.isalpha():
        return _LETTER
    return _OTHER if character.isdigit() or text.index(character) == at else 0.0


def _piece(piece: str, words: frozenset[str]) -> float | None:
    if piece in words:
        return 0.0
    return _YEARS if _YEAR.fullmatch(piece) else _common().get(piece)


@cache
def _common() -> dict[str, float]:
    """Leaked passwords and what each costs: its place, in powers of ten.

    Read at the first password that is set: most processes never need the 10 MiB.
    """
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    listed = FREQUENCY_LISTS["passwords"]
    return {
        word: math.log10(place)
        for place, word in enumerate(listed, 1)
        if _SHORTEST <= len(word) <= _LONGEST
    }
