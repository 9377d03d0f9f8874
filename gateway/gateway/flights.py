"""Answers being computed: those who ask for the same at the same stamp share one computation."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

_MOST_ALONE: Final = 4096
_MOST_SEEN: Final = 16_384


@dataclass(frozen=True, slots=True)
class Computed:
    """The end of a head and a body; ``user`` is None when the whole group may share it."""

    answer: bytes
    user: int | None


class Doorkeeper:
    """Tells a question that was asked lately from one that is new.

    Most questions are asked once; to store their answers would cost more than it brings.
    """

    def __init__(self) -> None:
        self._now: set[int] = set()
        self._before: set[int] = set()

    def has_seen(self, question: str) -> bool:
        """Whether the question was asked before; from now on it was."""
        mark = hash(question)
        seen = mark in self._now or mark in self._before
        if len(self._now) >= _MOST_SEEN:
            self._before, self._now = self._now, set()
        self._now.add(mark)
        return seen


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
