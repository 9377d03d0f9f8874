"""The ``data`` of a file: a data URI or bare base64, decoded a piece at a time."""

from binascii import Error
from collections.abc import AsyncIterator
from typing import Final

from pybase64 import b64decode

from shared.errors import InvalidRequest

_LONGEST_PREFIX: Final = 1024  # characters of a data URI before its comma
# A form turns + into a blank; line breaks are common; some encoders write the URL alphabet.
_REPAIR: Final = bytes.maketrans(b" -_", b"++/")
_BREAKS: Final = b"\r\n\t"
_ODD: Final = tuple(bytes((character,)) for character in b" -_\r\n\t")


def split_data(data: str) -> tuple[str | None, str]:
    """``data:image/jpeg;base64,AAAA`` → (``image/jpeg``, ``AAAA``); bare base64 has no type.

    Raises InvalidRequest for a data URI that is not base64.
    """
    if data[:5].lower() != "data:":
        return None, data
    head, comma, rest = data.partition(",")
    kind, _, encoding = head[5:].rpartition(";")
    if not comma or encoding.strip().lower() != "base64":
        raise InvalidRequest("data must be base64 or a base64 data URI", field="data")
    return kind or None, rest


async def opened(pieces: AsyncIterator[bytes]) -> tuple[str | None, AsyncIterator[bytes]] | None:
    """The type a data URI names, and the bytes its base64 stands for; None where there is none."""
    head = b""
    async for piece in pieces:
        head += piece
        if len(head) >= 5 and (head[:5].lower() != b"data:" or b"," in head):
            break
        if len(head) > _LONGEST_PREFIX:
            break
    if not head:
        return None
    kind, rest = split_data(head.decode("latin-1"))

    async def all_pieces() -> AsyncIterator[bytes]:
        yield rest.encode("latin-1")
        async for piece in pieces:
            yield piece

    return kind, decode(all_pieces())


async def decode(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The bytes that base64 stands for. Raises InvalidRequest where it is none."""
    carried = b""
    ended = False
    try:
        async for raw in pieces:
            piece = carried + _plain(raw)
            whole = len(piece) - len(piece) % 4
            carried = piece[whole:]
            if whole:
                _not_after_the_end(ended)
                ended = piece[whole - 1 : whole] == b"="
                yield b64decode(piece[:whole], validate=True)
        if carried:
            _not_after_the_end(ended)
            yield b64decode(carried + b"=" * (-len(carried) % 4), validate=True)
    except Error as error:
        raise InvalidRequest(f"data is not valid base64: {error}", field="data") from error


def _plain(text: bytes) -> bytes:
    """In the alphabet of RFC 4648; to look costs a sixth of what to translate does."""
    odd = any(character in text for character in _ODD)
    return text.translate(_REPAIR, _BREAKS) if odd else text


def _not_after_the_end(ended: bool) -> None:
    if ended:
        raise Error("data goes on after its padding")
