"""A change is announced before its commit, so that nobody sees it and then something older.

Between a commit and its raise, one reader may ask the database and see the new row, and a later one
be given what is remembered. So what is about to change is announced first: what rests on it is not
taken from memory until it has been raised (or for ``LIFE`` seconds, if its writer died). A change
of one row is announced by the gateway, in the round trip that each request makes anyway; what else
a request changes is announced by its service.

This closes the gap as long as the writer reaches Redis. That nothing is stale does not rest on it.
"""

import os
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Self

from shared.redis_pipeline import Part, pack
from shared.stamps import ANNOUNCE, ENTRIES, Topic

LIFE: Final = 3.0  # seconds
_FRESH: Final = 1.0  # seconds; an older one is made again before the commit
HEADER: Final = "X-Directoire-Announced"


@dataclass(slots=True)
class Announcement:
    """What this request has announced and not raised yet; ``at`` of ``time.monotonic()``."""

    id: str
    topics: set[Topic] = field(default_factory=set[Topic])
    at: float = 0.0

    @classmethod
    def of(cls, topics: Iterable[Topic]) -> Self:
        return cls(os.urandom(8).hex(), {*topics, ENTRIES}, time.monotonic())

    @classmethod
    def from_header(cls, header: str) -> Self:
        name, *topics = header.split(" ")
        return cls(name, set(topics), time.monotonic())

    def header(self) -> str:
        return " ".join((self.id, *sorted(self.topics)))

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self.at < _FRESH

    def covers(self, topics: Iterable[Topic]) -> bool:
        return self.fresh and self.topics.issuperset(topics)

    def renew(self, topics: Iterable[Topic]) -> None:
        """These too, from now on."""
        self.id = self.id or os.urandom(8).hex()
        self.topics.update(topics)
        self.at = time.monotonic()

    def arguments(self) -> list[Part]:
        """Of the script."""
        return [round(LIFE * 1_000_000), self.id, *(f"c:{topic}" for topic in sorted(self.topics))]

    def over(self) -> list[Part]:
        """Of the script that raises: the announcement it ends. From now on nothing is announced."""
        ended: list[Part] = [self.id, len(self.topics)]
        ended += (f"c:{topic}" for topic in sorted(self.topics))
        self.topics.clear()
        return ended

    def packed(self, state: str) -> bytes:
        """The call, to travel with another; ``state`` is the key of the stamps."""
        return pack("EVALSHA", ANNOUNCE.sha, 1, state, *self.arguments())


_current: Final[ContextVar[Announcement | None]] = ContextVar("announcement", default=None)


def begin(header: str | None) -> Announcement:
    """A request begins; ``header`` tells what its gateway has announced."""
    announcement = Announcement("") if header is None else Announcement.from_header(header)
    _current.set(announcement)
    return announcement


def current() -> Announcement:
    """That of this request, or of this task."""
    return _current.get() or begin(None)
