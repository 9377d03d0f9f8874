"""What a process remembers of the database, and how it knows that this still holds.

With a live lease the gateway's stamps say it; without, ``directoire.versions`` is asked, which
triggers raise in the transaction of every change.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from shared.database import Database, Session
from shared.queries import load_queries
from shared.sql import fixed
from shared.stamps import Stamps

T = TypeVar("T")
Name = Literal["schema", "rights", "settings"]

QUERIES: Final = load_queries("shared", "remembered.sql")


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    value: T
    version: int  # directoire.versions when it was loaded
    epoch: str  # the stamps it was last found right under
    stamp: int


class Remembered(Generic[T]):
    """One value, loaded when it is asked for and found to have changed."""

    def __init__(
        self, name: Name, database: Database, load: Callable[[Session], Awaitable[T]]
    ) -> None:
        """``load`` runs in a snapshot of its own, in which the version is read too."""
        self._name: Name = name
        self._database = database
        self._load = load
        self._held: _Held[T] | None = None
        self._loading = asyncio.Lock()

    async def current(self, stamps: Stamps | None) -> T:
        """The value as of some moment after the request began."""
        held = self._held
        if held is not None and stamps is not None and self._holds(held, stamps):
            return held.value
        return await self._check(stamps)

    def forget(self) -> None:
        self._held = None

    def _holds(self, held: _Held[T], stamps: Stamps) -> bool:
        changed: int = getattr(stamps, self._name)
        return held.epoch == stamps.epoch and changed <= held.stamp

    async def _check(self, stamps: Stamps | None) -> T:
        held = self._held
        if held is not None:
            version = await self._database.fetchval(fixed(QUERIES["version"], self._name))
            if version == held.version:
                return self._keep(held.value, version, stamps)
        async with self._loading:
            held = self._held  # somebody else may have loaded it while this request waited
            if held is not None and stamps is not None and self._holds(held, stamps):
                return held.value
            async with self._database.transaction(
                isolation="repeatable_read", readonly=True
            ) as session:
                version = await session.fetchval(fixed(QUERIES["version"], self._name))
                if held is not None and version == held.version:
                    return self._keep(held.value, version, stamps)
                value = await self._load(session)
            return self._keep(value, version, stamps)

    def _keep(self, value: T, version: int, stamps: Stamps | None) -> T:
        held = self._held
        if stamps is None:
            epoch, stamp = "", 0
        else:
            epoch, stamp = stamps.epoch, stamps.stamp
        if held is None or version >= held.version:
            if held is not None and held.version == version:
                value = held.value  # one object a version: plans are kept by identity
                if held.epoch == epoch:
                    stamp = max(stamp, held.stamp)
            self._held = _Held(value, version, epoch, stamp)
        return value
