"""Bytes from a client's socket to a service's without passing through this process (splice)."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

from shared.body_socket import BodySocket, writable

CAN: Final = hasattr(os, "splice")  # Linux
_AT_ONCE: Final = 256 * 1024  # bytes a pipe holds; more than 1 MB in all is for root alone


class SinkGone(Exception):
    """The service takes no more; what it said before is still to be read."""


async def splice(
    source: BodySocket, sink: int, waits: Callable[[bool], None]
) -> AsyncIterator[int]:
    """Move what is left of a body to a socket; yields how many bytes went, after each step.

    ``waits`` is told whether it is the client that is waited for. Raises ConnectionResetError when
    the client is gone, SinkGone.
    """
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(PermissionError):  # this user's pipes hold very much already
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _AT_ONCE)
        while source.left:
            try:
                taken = os.splice(source.fileno(), into, min(_AT_ONCE, source.left))
            except BlockingIOError:
                waits(True)
                await source.readable()
                waits(False)
                continue
            source.took(taken)
            await _empty(out, sink, taken)
            yield taken
    finally:
        os.close(out)
        os.close(into)


async def _empty(out: int, sink: int, size: int) -> None:
    while size:
        try:
            size -= os.splice(out, sink, size)
        except BlockingIOError:
            await writable(sink)
        except OSError as error:
            raise SinkGone from error
        else:
            await asyncio.sleep(0)  # others have a turn
