"""The rest of a large request body, straight from its socket.

aiohttp copies a body three times on its way to who reads it, 64 KB at a time. Here its transport
stands still meanwhile: what it has read already is taken from it, the rest from a duplicate of the
socket, in pieces as large as the kernel has them, or by the kernel alone (splice). Afterwards
aiohttp goes on with the next request as if it had read the body itself. What is not read to its
end is given back, so that aiohttp can let a client finish before it closes (its lingering).
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler

_WORTH_IT: Final = 256 * 1024  # bytes of a body; below, aiohttp has most of it already


def is_worth_it(request: web.BaseRequest) -> bool:
    """Whether a body is large, comes in one known piece as it is, and from a plain socket."""
    size = request.content_length
    transport = request.transport
    return (
        size is not None
        and size >= _WORTH_IT
        and "Transfer-Encoding" not in request.headers
        and "Content-Encoding" not in request.headers
        and not request.content.is_eof()
        and transport is not None
        and transport.get_extra_info("sslcontext") is None
    )


class BodySocket:
    """The one reader of a body; of no use any more when it is left. ``left``: bytes to come."""

    def __init__(self, request: web.BaseRequest, *, auto_decompress: bool) -> None:
        """``auto_decompress`` is that of the server, for the requests to come."""
        assert request.content_length is not None
        self._content = request.content
        self._size = request.content_length
        self._protocol = request.protocol
        self._auto_decompress = auto_decompress
        self._file: int | None = None
        self._ready: asyncio.Future[None] | None = None  # of who waits
        self._closed = False
        self.left = self._size - self._content.total_bytes
        self._transport().pause_reading()

    def _transport(self) -> asyncio.Transport:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        return transport

    def read_ahead(self) -> bytes:
        """What aiohttp has read; b"" when all of it was taken: the rest is on the socket.

        Raises ConnectionResetError.
        """
        piece = self._content.read_nowait(-1)
        self._transport().pause_reading()  # for taking it may have set it going again
        if self._file is None:
            self.left = self._size - self._content.total_bytes
        if not piece and self.left and self._file is None:
            self._file = os.dup(self._transport().get_extra_info("socket").fileno())
        return piece

    def fileno(self) -> int:
        """The socket, which does not block; to be read ``left`` bytes, not one more."""
        if self._closed:
            raise ConnectionResetError("the body was let go")
        assert self._file is not None, "what aiohttp has read comes first"
        return self._file

    async def read(self, most: int) -> bytes:
        """Up to so many bytes of the rest. Raises ConnectionResetError when it does not come."""
        while True:
            try:
                piece = os.read(self.fileno(), min(most, self.left))
            except BlockingIOError:
                await self.readable()
                continue
            self.took(len(piece))
            return piece

    async def readable(self) -> None:
        """Wait until something can be read, or the end of the connection has come."""
        file = self.fileno()
        loop = asyncio.get_running_loop()
        ready = self._ready = loop.create_future()
        loop.add_reader(file, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            if not self._closed:  # else the number may be another's by now
                loop.remove_reader(file)

    def took(self, size: int) -> None:
        """So many bytes were read. Raises ConnectionResetError for none: no more will come."""
        if size == 0:
            raise ConnectionResetError("the body ended too early")
        self.left -= size

    def close(self) -> None:
        """Give the connection back to aiohttp, at the end of the body or before it."""
        if self._closed:
            return
        self._closed = True
        direct, protocol = self._file is not None, self._protocol
        if self._file is not None:
            asyncio.get_running_loop().remove_reader(self._file)
            os.close(self._file)
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)  # who waits finds it closed
        if protocol.transport is None or protocol.transport.is_closing():
            return
        if direct and not self.left:
            self._ended()
            return
        if direct:
            protocol.set_parser(cast("Any", _Unread(self._content, self.left, self._ended)))
        if not protocol._reading_paused:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            protocol.transport.resume_reading()

    def _ended(self, then: bytes = b"") -> None:
        """The next request may come; it may have begun with these bytes."""
        protocol = self._protocol
        protocol._payload_parser = None  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        protocol._parser = _parser_for(protocol, auto_decompress=self._auto_decompress)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        self._content.feed_eof()  # lets the transport read again
        if then:
            protocol.data_received(then)


class _Unread:
    """The rest of a body that nobody wants, passed by."""

    def __init__(self, content: StreamReader, left: int, ended: Callable[[bytes], None]) -> None:
        self._content = content
        self._left = left
        self._ended = ended

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        rest, then = data[: self._left], data[self._left :]
        self._left -= len(rest)
        self._content.feed_data(rest)
        if self._left == 0:
            self._ended(then)
        return False, b""

    def feed_eof(self) -> None:
        self._content.set_exception(ConnectionResetError("the client is gone"))


def _parser_for(protocol: RequestHandler, *, auto_decompress: bool) -> HttpRequestParser:
    """As aiohttp makes one for each connection."""
    return HttpRequestParser(
        protocol,
        asyncio.get_running_loop(),
        protocol._read_bufsize,  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        max_line_size=protocol.max_line_size,
        max_field_size=protocol.max_field_size,
        max_headers=protocol.max_headers,
        payload_exception=web.RequestPayloadError,
        auto_decompress=auto_decompress,
        max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
    )


async def writable(file: int) -> None:
    """Wait until a socket takes something, or is broken."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(file, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(file)
