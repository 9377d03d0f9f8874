"""Bytes from a file to a socket without passing through this process (sendfile).

The kernel reads the file while it sends, so a thread of the store asks it to: where the store
hangs, it is that thread that stands still. uvloop has no ``loop.sendfile``; what it lacks is done
here on a duplicate of the socket's number.
"""

import asyncio
import os
import socket
from typing import Final

import structlog
from aiohttp import web

from files_service.store.outgoing import Outgoing
from shared.body_socket import writable
from shared.errors import Unavailable

log = structlog.get_logger(__name__)

_BUFFER: Final = 1024 * 1024  # bytes that the kernel holds for a reader
_STALL: Final = 60.0  # seconds a reader may leave what it asked for unread


async def send_by_kernel(
    request: web.Request, response: web.StreamResponse, source: Outgoing
) -> web.StreamResponse:
    """Send a response whose body is a part of a file, and close that."""
    try:
        await response.prepare(request)
        await response.write(source.first)
        if source.ended and len(source.first) == response.content_length:
            await response.write_eof()
        elif request.transport is not None:
            await _emptied(request.transport)
            source.connect(_duplicate(request.transport))
            await _send(source)
    except (OSError, TimeoutError, Unavailable) as error:
        log.warning("a download was cut", reason=str(error))
        if request.transport is not None:
            request.transport.abort()
    finally:
        await source.close()
    return response


async def _emptied(transport: asyncio.Transport) -> None:
    """Wait until what the transport holds back has been written."""
    async with asyncio.timeout(_STALL):
        while transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
            if transport.is_closing():
                raise ConnectionResetError("the reader is gone")


def _duplicate(transport: asyncio.Transport) -> socket.socket:
    wire = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    if wire.family == socket.AF_UNIX:  # it holds little, and unlike TCP's it never grows
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return wire


async def _send(source: Outgoing) -> None:
    if source.ended:
        raise OSError("the file is shorter than its record says")
    while not source.ended:
        if not await source.send():
            async with asyncio.timeout(_STALL):
                await writable(source.fileno())
