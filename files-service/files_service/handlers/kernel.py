"""Bytes from a file to a socket without passing through this process (sendfile).

uvloop has no ``loop.sendfile``; what it lacks is done here on a duplicate of the socket's number.
"""

import asyncio
import os
import socket
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 1024 * 1024  # bytes of one call
_STALL: Final = 60.0  # seconds a reader may leave what it asked for unread


async def send_by_kernel(
    request: web.Request, response: web.StreamResponse, path: Path, start: int, end: int
) -> web.StreamResponse:
    """Send a response whose body is a part of a file. Raises FileNotFoundError before its head."""
    file = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        await response.write(await asyncio.to_thread(os.pread, file, 1, start))  # with the head
        start += 1
        if start == end:
            await response.write_eof()
            return response
        await _emptied(transport)
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as wire:
            if wire.family == socket.AF_UNIX:  # it holds little, and unlike TCP's it never grows
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AT_ONCE)
            await _send(wire.fileno(), file, start, end)
    except (OSError, TimeoutError) as error:
        if not response.prepared:
            raise
        log.warning("a download was cut", reason=str(error))
        if request.transport is not None:
            request.transport.abort()
    finally:
        os.close(file)
    return response


async def _emptied(transport: asyncio.Transport) -> None:
    """Wait until what the transport holds back has been written."""
    async with asyncio.timeout(_STALL):
        while transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
            if transport.is_closing():
                raise ConnectionResetError("the reader is gone")


async def _send(wire: int, file: int, start: int, end: int) -> None:
    while start < end:
        try:
            sent = os.sendfile(wire, file, start, min(_AT_ONCE, end - start))
        except BlockingIOError:
            await _writable(wire)
            continue
        if sent == 0:
            raise OSError("the file is shorter than its record says")
        start += sent
        await asyncio.sleep(0)  # others have a turn


async def _writable(wire: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(wire, lambda: ready.done() or ready.set_result(None))
    try:
        async with asyncio.timeout(_STALL):
            await ready
    finally:
        loop.remove_writer(wire)
