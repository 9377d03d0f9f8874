"""Passwords that are tried first are refused however they are made longer; others are not."""

import time
from collections.abc import Callable
from typing import Final

import pytest
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from shared.errors import InvalidValue
from shared.guessable import LOOKED_AT
from shared.passwords import MAX_CHARACTERS, MIN_CHARACTERS, check_password

COMMON: Final = FREQUENCY_LISTS["passwords"][:3000]
MADE_LONGER: Final[tuple[Callable[[str], str], ...]] = (
    lambda word: (word * 15)[: max(MIN_CHARACTERS, len(word) + 3)],
    lambda word: word + "1234567890123",
    lambda word: word.capitalize() + "!" * 15,
    lambda word: word + "2024" * 4,
    lambda word: word.upper() + "1" * 15,
    lambda word: f"{word} " * 5,
    lambda word: f"{word}-" * 5,
    lambda word: f"{word}1990{word.capitalize()}1990{word}",
    lambda word: f"123456789012345{word}",
    lambda word: word[::-1] * 5,
    lambda word: f"!!!{word}1999!!!1999",
    lambda word: f"Directus{word}Directoire",
)


def refused(password: str, *own: str) -> bool:
    assert len(password) >= MIN_CHARACTERS, "its length alone would do"
    try:
        check_password(password, own)
    except InvalidValue:
        return True
    return False


def test_three_thousand_common_ones_are_refused_however_they_are_made_longer() -> None:
    assert len(COMMON) == 3000
    ways = len(MADE_LONGER)
    longer = [MADE_LONGER[number % ways](word) for number, word in enumerate(COMMON)]
    assert [password for password in longer if not refused(password)] == []


@pytest.mark.parametrize("word", COMMON[:40])
def test_the_first_ones_are_refused_in_every_way(word: str) -> None:
    assert [way(word) for way in MADE_LONGER if not refused(way(word))] == []


@pytest.mark.parametrize(
    "password",
    [
        "P@$$w0rdP@$$w0rd",
        "qwertyuiopasdfgh",
        "abcdefghijklmnopqrstuvwxyz",
        "987654321098765",
        "dragon monkey shadow",
        "iloveyou iloveyou",
        "Directoire-2024-Directoire",
        "letmeinletmeinplease"[:14] + "!",
        "1qaz2wsx3edc4rfv",
        "aaaabbbbccccdddd",
        "PASSWORDpasswordPassword",
        "password" * 100,
    ],
)
def test_what_everybody_tries_is_refused(password: str) -> None:
    assert refused(password)


@pytest.mark.parametrize(
    "password",
    [
        "ada.lovelace@example.com",
        "Ada Lovelace 1815",
        "lovelace-lovelace",
        "adaLOVELACEada2024!",
        "password of ada",
        "ecalevolecalevol",
    ],
)
def test_what_is_known_of_a_user_counts_for_nothing(password: str) -> None:
    assert refused(password, "Ada.Lovelace@example.com", "Ada", "Lovelace")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "a passphrase for operators",
        "four unrelated words here",
        "xK9$mQ2#vL5nP8wRtY",
        "d41d8cd98f00b204e9800998ecf8427e",
        "pferd batterie klammer richtig",
        "лошадь батарея скрепка",
        "馬電池釘書針正確的密碼很長很好用",
        "m7-tq9-wzx-4kf-hj2",
    ],
)
def test_a_good_one_is_taken(password: str) -> None:
    assert not refused(password, "ada@example.com", "Ada", "Lovelace")


@pytest.mark.parametrize(
    "piece", ["1qaz", "a", "!", "password", "x1", "".join(map(chr, range(33, 120)))]
)
def test_no_password_costs_much_to_look_at(piece: str) -> None:
    password = (piece * MAX_CHARACTERS)[:MAX_CHARACTERS]
    begun = time.process_time()
    for _ in range(5):
        refused(password)
    assert time.process_time() - begun < 1, LOOKED_AT
