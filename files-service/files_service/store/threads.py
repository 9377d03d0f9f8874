"""Threads for work that blocks on a folder, which may be on a server that stops answering.

A call into such a folder cannot be taken back: its thread stays in the kernel until the server
answers. So there are few of these threads, they are for nothing else, and when too many of them are
overdue the folder counts as stalled: what waits for a thread and what comes is refused at once.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

MOST: Final = 6  # threads; a disk is not faster with more


class _Work:
    """What a thread is to do; knows when one began with it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._began: float | None = None

    def __call__(self) -> Any:
        self._began = time.monotonic()
        return self._work()

    def left(self, patience: float) -> float:
        """Seconds that it still has; all of them while it waits for a thread."""
        return patience if self._began is None else self._began + patience - time.monotonic()


class StoreThreads:
    def __init__(self, patience: float, *, bearable: int = 0) -> None:
        """``patience``: seconds with one call into the folder, from when a thread begins with it;
        ``bearable``: calls that may be overdue while others are still begun.
        """
        self._patience = patience
        self._bearable = bearable
        self._pool = ThreadPoolExecutor(MOST, "store")
        self._pending: set[Future[Any]] = set()
        self._overdue: set[Future[Any]] = set()

    @property
    def stalled(self) -> bool:
        return len(self._overdue) > self._bearable

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a thread. Raises Unavailable when the folder stalls.

        Never leaves before the work has ended, cancelled or not, unless that is overdue: whoever
        leaves closes his file next, and its number may then be another file's.
        """
        if self.stalled:
            raise _stalled()
        timed = _Work(lambda: work(*args, **kwargs))
        future = self._pool.submit(timed)
        self._pending.add(future)
        awaited = asyncio.wrap_future(future)
        try:
            await self._ended(timed, awaited)
        except asyncio.CancelledError:
            if not future.cancel():  # it has begun
                while not awaited.done() and timed.left(self._patience) > 0:
                    with suppress(asyncio.CancelledError):
                        await self._ended(timed, awaited)
            raise
        finally:
            self._pending.discard(future)
            self._note(future)
            awaited.add_done_callback(_seen)
        if not awaited.done() or awaited.cancelled():
            raise _stalled()
        return awaited.result()

    async def at_last(self, work: Callable[[], object]) -> None:
        """Run ``work`` now, or whenever the folder answers again."""
        if self.stalled:
            self._pool.submit(work)
        else:
            await self.do(work)

    async def _ended(self, work: _Work, awaited: "asyncio.Future[Any]") -> None:
        """Wait until it has ended, was called off, or is overdue."""
        left = self._patience
        while left > 0 and not awaited.done():
            await asyncio.wait((awaited,), timeout=left)
            left = work.left(self._patience)

    def _note(self, future: Future[Any]) -> None:
        if future.done():
            return
        self._overdue.add(future)
        future.add_done_callback(self._overdue.discard)
        if self.stalled:
            for waiting in self._pending:
                waiting.cancel()  # unless it has begun


def _seen(ended: "asyncio.Future[Any]") -> None:
    """Nobody is there any more for what an overdue call raises; asyncio would complain of it."""
    if not ended.cancelled():
        ended.exception()


def _stalled() -> Unavailable:
    return Unavailable("The store does not answer at the moment.", retry_after=5)
