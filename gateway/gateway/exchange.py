"""One request as the gateway sees it: what it asks, its body, and the way back to its client."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.streams import StreamReader

from gateway import kernel
from shared.announcements import Announcement
from shared.body_socket import BodySocket, is_worth_it
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
    announced: Announcement | None = None  # what this write was to change, until a service has it

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

    def __init__(self, request: web.BaseRequest, most: int) -> None:
        self.size = request.content_length
        self.waiting = False  # for the client
        self._content = request.content
        self._most = most
        self._socket: BodySocket | None = None
        if kernel.CAN and is_worth_it(request):
            self._socket = BodySocket(request, auto_decompress=False)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What passes through this process; ``rest`` may follow. Raises TooLarge."""
        if self._socket is not None:  # its size is known, and was looked at
            while piece := self._socket.read_ahead():
                yield piece
                del piece
            return
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

    @property
    def has_rest(self) -> bool:
        return self._socket is not None and self._socket.left > 0

    async def rest(self, sink: int) -> AsyncIterator[int]:
        """Have the kernel move what is left to a socket; see ``kernel.splice``."""
        assert self._socket is not None
        async for size in kernel.splice(self._socket, sink, self._waits):
            yield size

    def close(self) -> None:
        """What was not sent is the client's connection's again."""
        if self._socket is not None:
            self._socket.close()

    def _waits(self, whether: bool) -> None:
        self.waiting = whether


async def next_piece(content: StreamReader) -> bytes:
    """The next piece as it came (``readany`` would copy all that is there into one), or b""."""
    while True:
        piece, _ = await content.readchunk()
        if piece or content.at_eof():
            return piece


def too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {most} bytes allowed here")
