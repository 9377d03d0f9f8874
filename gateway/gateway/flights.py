"""Answers being computed: those who ask for the same at the same stamp share one computation."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

_MOST_ALONE: Final = 4096


@dataclass(frozen=True, slots=True)
class Computed:
    """The end of a head and a body; ``user`` is None when the whole group may share it."""

    answer: bytes
    user: int | None


class Flights:
    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Future[Computed | None]] = {}
        self._alone: set[Hashable] = set()  # questions whose last answer could not be shared

    async def join(self, question: Hashable, flight: Hashable, user: int) -> bytes | None:
        """The answer somebody else is computing; None: compute it, as the one in front or alone.

        ``flight`` is the question with epoch, stamp and group.
        """
        under_way = self._under_way.get(flight)
        if under_way is None or question in self._alone:
            return None
        computed = await asyncio.shield(under_way)
        if computed is None or computed.user not in {None, user}:
            return None
        return computed.answer

    def lead(self, flight: Hashable) -> "asyncio.Future[Computed | None] | None":
        """Become the one others wait for, unless somebody is. End it with ``land``."""
        if flight in self._under_way:
            return None
        future = self._under_way[flight] = asyncio.get_running_loop().create_future()
        return future

    def land(self, question: Hashable, flight: Hashable, computed: Computed | None) -> None:
        future = self._under_way.pop(flight)
        if not future.done():
            future.set_result(computed)
        if computed is not None:
            self._alone.discard(question)
            return
        if len(self._alone) >= _MOST_ALONE:
            self._alone.clear()
        self._alone.add(question)
