"""What a body brings, in the order it comes: fields, and files that stream.

The ``data`` of a JSON object or a form may be gigabytes of base64: it is cut out of the body as it
passes, and the rest is read as any other body. Source: contract 7.7.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from files_service.operations.base64_data import opened
from shared.brackets import parse_brackets
from shared.errors import InvalidRequest, TooLarge

DATA: Final = "data"
_MARK: Final = re.compile(rb'["{}\[\]:,]')
_DEEPER: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_IN_STRING: Final = re.compile(rb'["\\]')
_ESCAPE: Final = re.compile(rb"\\(?:u00([0-9a-fA-F]{2})|(.))", re.DOTALL)
_FORM_MARK: Final = re.compile(rb"[=&]")


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Sending:
    """A file on its way in; its chunks must be taken before what follows it in the body."""

    chunks: AsyncIterator[bytes]
    name: str | None = None
    claimed: str | None = None  # the type the client says


Incoming = AsyncIterator[Field | Sending]


class _Text:
    """A body read a chunk at a time."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._piece = b""
        self._at = 0

    async def fill(self) -> bool:
        """Whether there is something to read."""
        while self._at >= len(self._piece):
            piece = await anext(self._chunks, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True

    def up_to(self, mark: re.Pattern[bytes]) -> tuple[bytes, bytes]:
        """What comes before the next mark, and the mark, if this chunk has one."""
        found = mark.search(self._piece, self._at)
        end = found.start() if found else len(self._piece)
        before = self._piece[self._at : end]
        self._at = end + 1 if found else end
        return before, found[0] if found else b""

    def one(self) -> bytes:
        self._at += 1
        return self._piece[self._at - 1 : self._at]


class _Rest:
    """The body without its data."""

    def __init__(self, most: int) -> None:
        self.text = bytearray()
        self._most = most

    def add(self, text: bytes) -> None:
        self.text += text
        if len(self.text) > self._most:
            raise TooLarge("the body is larger than this service takes")


async def json_body(chunks: AsyncIterator[bytes], most: int) -> Incoming:
    """The members of a JSON object; a text called ``data`` as a file.

    ``most`` bytes may the rest of it have. Raises InvalidRequest, TooLarge.
    """
    text, rest = _Text(chunks), _Rest(most)
    depth = 0
    key, last = b"", b""
    sent = False
    while await text.fill():
        before, mark = text.up_to(_MARK)
        rest.add(before + mark)
        if mark == b'"':
            if depth == 1 and key == b"data" and not sent:
                file = await opened(_quoted(text))
                if file is not None:
                    sent = True
                    yield Sending(file[1], claimed=file[0])
                rest.add(b'"')
            else:
                last = await _string(text, rest)
        elif mark:
            depth += _DEEPER.get(mark, 0)
            key = last if mark == b":" else b""
    for name, value in _object(bytes(rest.text)).items():
        if not (sent and name == DATA):
            yield Field(name, value)


def _object(text: bytes) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object")
    return body


async def _string(text: _Text, rest: _Rest) -> bytes:
    """Read to the end of a string; returns what is in it, as it stands in the JSON."""
    begin = len(rest.text)
    while await text.fill():
        before, mark = text.up_to(_IN_STRING)
        rest.add(before + mark)
        if mark == b'"':
            return bytes(rest.text[begin:-1])
        if mark == b"\\" and await text.fill():
            rest.add(text.one())
    raise InvalidRequest("the body is not valid JSON: it ends in a string")


_QUOTE: Final = re.compile(rb'"')


async def _quoted(text: _Text) -> AsyncIterator[bytes]:
    """The rest of a string that holds base64, without its escapes (PHP writes every / as \\/)."""
    carried = b""
    while await text.fill():
        piece, mark = text.up_to(_QUOTE)
        piece = carried + piece
        carried = b""
        if b"\\" in piece:
            cut = -1 if mark else piece.rfind(b"\\", max(0, len(piece) - 6))
            if cut >= 0:
                piece, carried = piece[:cut], piece[cut:]
            piece = _ESCAPE.sub(_unescaped, piece.replace(b"\\/", b"/"))
        if piece:
            yield piece
        if mark:
            return
    raise InvalidRequest("the body is not valid JSON: it ends in a string")


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found[1] is not None:
        return bytes.fromhex(found[1].decode())
    return b"" if found[2] in b"nrt" else found[2]


async def form_body(chunks: AsyncIterator[bytes], most: int) -> Incoming:
    """The same for ``application/x-www-form-urlencoded``."""
    text, rest = _Text(chunks), _Rest(most)
    name = b""
    sent = False
    while await text.fill():
        before, mark = text.up_to(_FORM_MARK)
        name += before
        if len(name) > most:
            raise TooLarge("the body is larger than this service takes")
        if mark == b"=" and unquote_to_bytes(name) == b"data" and not sent:
            file = await opened(_form_value(text))
            name = b""
            if file is not None:
                sent = True
                yield Sending(file[1], claimed=file[0])
        elif mark:
            rest.add(name + mark)
            name = b""
    rest.add(name)
    try:
        fields = parse_brackets(rest.text.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not valid UTF-8") from error
    for key, value in fields.items():
        yield Field(key, value)


_AMPERSAND: Final = re.compile(rb"&")


async def _form_value(text: _Text) -> AsyncIterator[bytes]:
    carried = b""
    while await text.fill():
        piece, mark = text.up_to(_AMPERSAND)
        piece = carried + piece
        carried = b""
        if b"%" in piece:
            cut = -1 if mark else piece.rfind(b"%", max(0, len(piece) - 2))
            if cut >= 0:
                piece, carried = piece[:cut], piece[cut:]
            piece = unquote_to_bytes(piece)
        if piece:
            yield piece
        if mark:
            return
    if carried:
        yield carried
