"""A digest of what streams past, made beside the event loop.

SHA-256 of 256 KB takes a millisecond or more, in which nobody else has a turn; hashlib lets other
threads run meanwhile.
"""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

_WORTH_A_THREAD: Final = 32 * 1024  # bytes; below, handing it over costs as much
_THREADS: Final = ThreadPoolExecutor(2, "digest")


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: Any, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


class StreamDigest:
    """One piece is digested while the next one is on its way; only that one is held."""

    def __init__(self, made: Hash) -> None:
        self._made = made
        self._running: Future[None] | None = None

    async def update(self, piece: bytes) -> None:
        """Returns when all pieces before are digested; this one may still be, beside."""
        await self._settled()
        if len(piece) < _WORTH_A_THREAD:
            self._made.update(piece)
        else:
            self._running = _THREADS.submit(self._made.update, piece)

    async def finished(self) -> Hash:
        """The digest of all that came."""
        await self._settled()
        return self._made

    async def _settled(self) -> None:
        running = self._running
        if running is not None:
            # shielded: a cancelled reader must not take back a piece of somebody's digest
            await asyncio.shield(asyncio.wrap_future(running))
            self._running = None
