"""One request as the gateway sees it: what it asks, its body, and the way back to its client."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.streams import StreamReader

from shared.announcements import Announcement
from shared.errors import TooLarge

_WORTH_TWO_PIECES: Final = 16 * 1024  # bytes; below, copying is cheaper than a list of buffers
_STALL: Final = 60.0  # seconds a client may leave what it asked for unread


@dataclass(slots=True)
class Exchange:
    """One request as the gateway sees it."""

    request: web.BaseRequest
    method: str
    raw_path: str
    query: str  # without access_token
    query_token: str | None
    request_id: str
    address: str  # of the client
    cors: bytes  # header lines, or none
    path: str = ""  # normalized, once a route is found
    allowed: str = ""  # the methods of a path that is not for this one
    status: int = 0
    head_sent: bool = False
    if_none_match: str | None = None  # compared here, for the services do not see it
    announced: Announcement | None = None  # what this write is about to change

    def write(self, data: bytes) -> None:
        transport = self.request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        transport.write(data)

    def write_both(self, head: bytes, rest: bytes | memoryview) -> None:
        """Write a small and a possibly large piece in one go."""
        transport = self.request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        if len(rest) < _WORTH_TWO_PIECES:
            transport.write(b"".join((head, rest)))
        else:
            transport.writelines((head, rest))

    async def drain(self) -> None:
        """Wait for a client that reads slower than we write."""
        protocol = self.request.protocol
        if protocol.writing_paused:
            try:
                async with asyncio.timeout(_STALL):
                    await protocol._drain_helper()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            except TimeoutError as error:
                raise ConnectionResetError("the client does not read") from error


class IncomingBody:
    """A request body that streams to a service; counts what passes."""

    def __init__(self, content: StreamReader, size: int | None, most: int) -> None:
        self.size = size
        self.waiting = False  # for the client
        self._content = content
        self._most = most

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises TooLarge."""
        passed = 0
        while True:
            self.waiting = True
            piece = await next_piece(self._content)
            self.waiting = False
            if not piece:
                return
            passed += len(piece)
            if passed > self._most:
                raise too_large(self._most)
            yield piece
            del piece  # not kept until the next has come


async def next_piece(content: StreamReader) -> bytes:
    """The next piece as it came (``readany`` would copy all that is there into one), or b""."""
    while True:
        piece, _ = await content.readchunk()
        if piece or content.at_eof():
            return piece


def too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {most} bytes allowed here")
