"""A stored file on its way out. Every call into its folder is in a store's thread."""

import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar

from files_service.store.threads import StoreThreads
from shared import failpoints
from shared.errors import Unavailable

T = TypeVar("T")

_FIRST: Final = 64 * 1024  # bytes that are read when it is opened; a small file has no more
_AT_ONCE: Final = 1024 * 1024  # bytes of one call of the kernel
_TURN: Final = 0.05  # seconds a thread sends for one reader while others wait
_WAIT: Final = 2  # milliseconds it waits for a reader that is about to take more


class Outgoing:
    """A part of a file. ``first``: its first bytes; ``ended``: whether the others went too.

    A thread may hang in the kernel with it: then that thread closes it, when it comes back, for
    until then the numbers of the file and the socket must not become others'.
    """

    def __init__(self, threads: StoreThreads, path: Path, start: int, end: int | None) -> None:
        self.first = b""
        self.ended = False
        self._threads = threads
        self._path = path
        self._at = start
        self._end = end
        self._file: int | None = None
        self._wire: socket.socket | None = None
        self._state = Lock()
        self._busy = self._given_up = False

    async def open(self) -> None:
        """Raises FileNotFoundError, Unavailable when the store does not answer."""
        try:
            await self._threads.do(self._working, self._open)
        except BaseException:
            await self.close()
            raise

    def connect(self, wire: socket.socket) -> None:
        """Take over the socket that the file goes to; it must not block."""
        self._wire = wire

    def fileno(self) -> int:
        """Of the socket, to wait until it takes more."""
        assert self._wire is not None
        return self._wire.fileno()

    async def send(self) -> bool:
        """Have the kernel send a while; whether the reader takes more.

        Raises OSError when the reader is gone or the file shorter, Unavailable.
        """
        return await self._threads.do(self._working, self._send)

    async def read(self, most: int) -> bytes:
        """The next bytes behind ``first``; b"" at the end. Raises Unavailable."""
        return await self._threads.do(self._working, lambda: self._read(most))

    async def close(self) -> None:
        """Now, or once the thread that hangs with it comes back."""
        with self._state:
            self._given_up = True
            if self._busy or (self._file is None and self._wire is None):
                return
        with suppress(Unavailable):  # the thread that closes it hangs
            await self._threads.at_last(self._drop)

    # -- in a thread -------------------------------------------------------------------------------

    def _working(self, work: Callable[[], T]) -> T:
        with self._state:
            if self._given_up:
                raise FileNotFoundError(self._path)
            self._busy = True
        try:
            return work()
        finally:
            with self._state:
                self._busy = False
                over = self._given_up or self.ended
            if over:
                self._drop()

    def _open(self) -> None:
        failpoints.block("store.read")
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self.first = self._read(_FIRST)

    def _read(self, most: int) -> bytes:
        failpoints.block("store.read")
        assert self._file is not None
        left = most if self._end is None else min(most, self._end - self._at)
        data = os.pread(self._file, left, self._at) if left else b""
        self._at += len(data)
        self.ended = not data or self._at == self._end
        return data

    def _send(self) -> bool:
        assert self._file is not None
        assert self._wire is not None
        assert self._end is not None
        wire = self._wire.fileno()
        room = select.poll()
        room.register(wire, select.POLLOUT)
        over = time.monotonic() + _TURN
        while self._at < self._end and time.monotonic() < over:
            failpoints.block("store.read")
            try:
                sent = os.sendfile(wire, self._file, self._at, min(_AT_ONCE, self._end - self._at))
            except BlockingIOError:
                if not room.poll(_WAIT):
                    return False
                continue
            if sent == 0:
                raise OSError("the file is shorter than its record says")
            self._at += sent
        self.ended = self._at == self._end
        return True

    def _drop(self) -> None:
        file, self._file = self._file, None
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        if file is not None:
            os.close(file)
