"""Threads for work that blocks on a folder, which may be on a server that stops answering.

A call into such a folder cannot be taken back: its thread stays in the kernel until the server
answers. So there are few of these threads, they are for nothing else, and as long as one of them is
overdue nothing new is begun: it is refused at once.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_MOST: Final = 6  # threads; a disk is not faster with more


class StoreThreads:
    def __init__(self, patience: float) -> None:
        """``patience`` in seconds, with one call into the folder."""
        self._patience = patience
        self._pool = ThreadPoolExecutor(_MOST, "store")
        self._overdue: set[Future[Any]] = set()

    @property
    def stalled(self) -> bool:
        return bool(self._overdue)

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a thread. Raises Unavailable when the folder stalls.

        Never leaves before the work has ended, cancelled or not, unless that is overdue: whoever
        leaves closes his file next, and its number may then be another file's.
        """
        if self._overdue:
            raise _stalled()
        future = self._pool.submit(work, *args, **kwargs)
        awaited = asyncio.wrap_future(future)
        try:
            await asyncio.wait((awaited,), timeout=self._patience)
        except asyncio.CancelledError:
            with suppress(asyncio.CancelledError):
                await asyncio.wait((awaited,), timeout=self._patience)
            self._note(future)
            raise
        self._note(future)
        if not awaited.done():
            raise _stalled()
        return awaited.result()

    async def at_last(self, work: Callable[[], object]) -> None:
        """Run ``work`` now, or whenever the folder answers again."""
        if self._overdue:
            self._pool.submit(work)
        else:
            await self.do(work)

    def _note(self, future: Future[Any]) -> None:
        if not future.done() and not future.cancel():  # it has begun
            self._overdue.add(future)
            future.add_done_callback(self._overdue.discard)


def _stalled() -> Unavailable:
    return Unavailable("The store does not answer at the moment.", retry_after=5)
