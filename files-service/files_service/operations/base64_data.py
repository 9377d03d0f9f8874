"""The ``data`` of a file: a data URI or bare base64, decoded a slice at a time."""

from binascii import Error, a2b_base64
from collections.abc import AsyncIterator
from typing import Final

from shared.errors import InvalidRequest

_SLICE: Final = 256 * 1024  # characters; a multiple of four
# A form turns + into a blank; line breaks are common; some encoders write the URL alphabet.
_REPAIR: Final = str.maketrans({" ": "+", "-": "+", "_": "/", "\r": None, "\n": None, "\t": None})


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


async def decode(text: str) -> AsyncIterator[bytes]:
    """The bytes that base64 stands for. Raises InvalidRequest where it is none."""
    carried = ""
    ended = False
    try:
        for start in range(0, len(text), _SLICE):
            piece = carried + text[start : start + _SLICE].translate(_REPAIR)
            whole = len(piece) - len(piece) % 4
            carried = piece[whole:]
            if whole:
                if ended:
                    raise Error("data goes on after its padding")
                ended = piece[whole - 1] == "="
                yield a2b_base64(piece[:whole], strict_mode=True)
        if carried:
            if ended:
                raise Error("data goes on after its padding")
            yield a2b_base64(carried + "=" * (-len(carried) % 4), strict_mode=True)
    except ValueError as error:  # binascii.Error is one; so is a character that is not ASCII
        raise InvalidRequest(f"data is not valid base64: {error}", field="data") from error
