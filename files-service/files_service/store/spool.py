"""A part of an upload, gathered on this machine's disk until it is sent to a server.

S3 takes no part below 5 MB: fifty clients that take their time would have 250 MB in memory. On the
disk each may take as long as it likes, and holds nobody up.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from mmap import mmap
from tempfile import SpooledTemporaryFile
from typing import Final

from files_service.store.threads import StoreThreads
from shared.errors import Unavailable

PART: Final = 5 * 1024 * 1024  # bytes; the least that S3 takes
_IN_MEMORY: Final = 64 * 1024  # bytes; more of an upload goes to the disk
_MOST: Final = 96  # uploads with bytes there: 480 MB of the 512 that /tmp of a pod has


class Spool:
    """Up to PART bytes of one upload; one caller at a time."""

    def __init__(self, threads: StoreThreads, on_disk: "set[Spool]") -> None:
        self.size = 0
        self._threads = threads
        self._on_disk = on_disk
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by its Spools

    async def append(self, piece: memoryview) -> None:
        """Raises Unavailable, also when the disk is full."""
        if self.size + len(piece) > _IN_MEMORY and self not in self._on_disk:
            if len(self._on_disk) >= _MOST:
                message = "There are as many uploads as are taken at once."
                raise Unavailable(message, retry_after=5)
            self._on_disk.add(self)
        try:
            await self._threads.do(self._file.write, piece)
        except OSError as error:
            raise Unavailable("There is no room for the upload at the moment.") from error
        self.size += len(piece)

    async def emptied(self) -> bytes | mmap:
        """What was gathered; nothing is left. Raises Unavailable."""
        size, self.size = self.size, 0
        return await self._threads.do(self._empty, size)

    async def close(self) -> None:
        self._on_disk.discard(self)
        await self._threads.at_last(self._file.close)

    def _empty(self, size: int) -> bytes | mmap:
        """Pages of its own go back to the system at once; malloc would keep some in each thread."""
        self._file.seek(0)
        if size > _IN_MEMORY:
            content = mmap(-1, size)
            self._file.readinto(content)
        else:
            content = self._file.read(size)
        self._file.seek(0)
        self._file.truncate()
        return content


class Spools:
    def __init__(self, patience: float) -> None:
        """``patience``: seconds with a disk that does not answer."""
        self._threads = StoreThreads(patience)
        self._on_disk: set[Spool] = set()

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Spool]:
        spool = Spool(self._threads, self._on_disk)
        try:
            yield spool
        finally:
            await spool.close()
