"""``multipart/form-data`` (RFC 7578) as it passes: each part's head, then its bytes.

aiohttp's own reader copies every piece four times on its way to find the next boundary; here a
piece goes on as it came, unless a boundary may begin at its very end.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import content_disposition_filename, parse_content_disposition

from shared.errors import InvalidRequest

_LONGEST_HEAD: Final = 16 * 1024  # bytes of one part's headers
_LONGEST_BOUNDARY: Final = 70  # characters (RFC 2046, 5.1.1)
_LINE_BREAK: Final = b"\r\n"
_HEAD_ENDS: Final = _LINE_BREAK * 2
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Part:
    """One part; its chunks must be taken before the next part is asked for, or they are lost."""

    name: str
    filename: str | None
    type: str | None  # as the client says
    chunks: AsyncIterator[bytes]


async def parts(chunks: AsyncIterator[bytes], boundary: str) -> AsyncIterator[Part]:
    """The parts of a body, in order. Raises InvalidRequest where it is none, or ends too early."""
    if not boundary or len(boundary) > _LONGEST_BOUNDARY or not boundary.isascii():
        raise InvalidRequest("the body is not valid multipart: its boundary is missing or too long")
    mark = _LINE_BREAK + b"--" + boundary.encode()
    body = _Body(chunks)
    async for _preamble in body.until(mark):
        pass
    while (head := await body.head()) is not None:
        part = _part(head, body.until(mark))
        yield part
        async for _unread in part.chunks:
            pass


class _Body:
    """The bytes of the body, and where the reader stands."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    async def until(self, mark: bytes) -> AsyncIterator[bytes]:
        """What comes before ``mark``, which begins with the only CR in it; the mark is passed by.

        A line break stands before what comes, for a mark may begin with it; it is left out.
        """
        data, self._left, skip = _LINE_BREAK + self._left, b"", len(_LINE_BREAK)
        while (at := data.find(mark)) < 0:
            begin = data.rfind(b"\r", max(0, len(data) - len(mark) + 1))
            if begin < 0 or not mark.startswith(data[begin:]):
                begin = len(data)
            if begin > skip:
                yield data[skip:begin]
            if begin:
                skip = 0
            data = data[begin:]
            data += await self._more()
        self._left = data[at + len(mark) :]
        if at > skip:
            yield data[skip:at]

    async def head(self) -> bytes | None:
        """The headers behind a boundary; None behind the last one, whose rest is passed by."""
        while len(self._left) < 2:
            self._left += await self._more()
        if self._left.startswith(b"--"):
            async for _epilogue in self._chunks:
                pass
            return None
        while (at := self._left.find(_HEAD_ENDS)) < 0:
            if len(self._left) > _LONGEST_HEAD:
                raise InvalidRequest("the body is not valid multipart: a part's head is too long")
            self._left += await self._more()
        head, self._left = self._left[:at], self._left[at + len(_HEAD_ENDS) :]
        return head

    async def _more(self) -> bytes:
        piece = await anext(self._chunks, None)
        if piece is None:
            raise InvalidRequest("the body is not valid multipart: it ends too early")
        return piece


def _part(head: bytes, chunks: AsyncIterator[bytes]) -> Part:
    headers = _headers(head)
    kind, params = _disposition(headers.get("content-disposition"))
    if kind is None or kind.lower() != "form-data":
        raise InvalidRequest("the body is not valid multipart: a part has no Content-Disposition")
    claimed = headers.get("content-type")
    if claimed is not None and claimed.lower().startswith("multipart/"):
        raise InvalidRequest("a part of the body is itself multipart")
    filename = content_disposition_filename(params)
    name = content_disposition_filename(params, "name")
    return Part(name or "", filename, claimed, chunks)


def _disposition(header: str | None) -> tuple[str | None, Mapping[str, str]]:
    """aiohttp's parser takes two semicolons within quotes for ends of parameters: it sees none."""
    hidden = _QUOTED.sub(lambda quoted: quoted[0].replace(";", "\0"), header or "")
    kind, params = parse_content_disposition(hidden)
    return kind, {name: value.replace("\0", ";") for name, value in params.items()}


def _headers(head: bytes) -> dict[str, str]:
    """Header lines by their names in lower case; the first line is the end of the boundary's."""
    first, *lines = head.split(_LINE_BREAK)
    if first.strip(b" \t"):
        raise InvalidRequest("the body is not valid multipart: a boundary goes on")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name.strip() or name[:1] in {b" ", b"\t"}:
            raise InvalidRequest("the body is not valid multipart: a part's head is broken")
        text = value.strip().decode("utf-8", "surrogateescape")
        headers[name.strip().decode("latin-1").lower()] = text
    return headers
