"""Stamps and the lease: how anything remembered outside PostgreSQL is known to be true still.

One Redis hash ``<prefix>st`` holds, under a random *epoch*, a counter ``g`` and for each topic the
counter's value when it was last changed (``c:<topic>``). A writer raises after its commit and
before its reply (``Invalidation``); a reader takes the counter *before* it asks the database; what
it read is true as long as none of its topics was changed since. The relay sees every committed
change, whoever made it, and grants the lease without which nobody may trust the hash (``Granter``).

Source: architecture, section 4; docs/decisions/0003 tells what was tried.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self
from urllib.parse import quote

from shared import failpoints
from shared.database import Database
from shared.queries import load_queries
from shared.redis_pipeline import Away, Failed, Part, Pipeline, Script
from shared.sql import fixed

LIFE: Final = 1.0  # seconds a lease is granted for, from the moment Redis' clock was asked
MARGIN: Final = 0.05  # seconds: what clocks may drift apart within LIFE, many times over
SCHEMA: Final = "schema"  # the catalogue, directus_tables and directus_columns included
ALL: Final = "all"  # raises everything; no answer can *depend* on it

QUERIES: Final = load_queries("shared", "stamps.sql")
RAISE: Final = Script.load("raise")
ANNOUNCE: Final = Script.load("announce")
NOTHING: Final[Sequence[Part]] = ("", 0)  # was announced
CLOCK: Final = Script.load("clock")
GRANT: Final = Script.load("grant")

ENTRIES: Final = "t:directus_activity"  # every recorded change raises it

Topic = str  # ASCII without spaces: names are percent-encoded by the makers below


@lru_cache(maxsize=4096)
def table_topic(name: str) -> Topic:
    """The rows of a table."""
    return "t:" + quote(name, safe="")


def group_topic(group: int) -> Topic:
    """The rights of a group."""
    return f"g:{group}"


def user_topic(user: int) -> Topic:
    """A user's principal: status, group, tokens."""
    return f"u:{user}"


@lru_cache(maxsize=4096)
def depends_header(topics: frozenset[Topic]) -> str:
    """The value of ``X-Directoire-Depends``; topics need no further encoding."""
    return " ".join(sorted(topics))


def parse_depends(header: str) -> frozenset[Topic]:
    return frozenset(header.split())


Image = Mapping[str, object]  # columns of a row; for ``before`` those that changed are enough

_SUBJECTS: Final[Mapping[str, tuple[str, Callable[[int], Topic]]]] = {
    "directus_privileges": ("group_id", group_topic),
    "directus_groups": ("id", group_topic),
    "directus_users": ("id", user_topic),
}


def topics_of(table: str, before: Image | None, after: Image | None) -> set[Topic]:
    """What the change of one row raises; without both images the table was truncated."""
    topics = {table_topic(table), ENTRIES}
    if table in ("directus_tables", "directus_columns"):
        topics.add(SCHEMA)
    elif (subject := _SUBJECTS.get(table)) is not None:
        column, topic = subject
        keys = {image[column] for image in (before, after) if image and column in image}
        numbers = {int(str(key)) for key in keys if key is not None}
        topics.update(map(topic, numbers))
        if not numbers:
            topics.add(ALL)
    return topics


@dataclass(frozen=True, slots=True)
class Stamps:
    """What the gateway tells a service: the counter, and when what services remember changed.

    ``schema``, ``rights`` (of the caller's group) and ``settings`` are values of the same counter.
    """

    epoch: str
    stamp: int
    schema: int
    rights: int
    settings: int

    def header(self) -> str:
        return f"{self.epoch} {self.stamp} {self.schema} {self.rights} {self.settings}"

    @classmethod
    def from_header(cls, header: str) -> Self:
        """Raises ValueError."""
        epoch, *numbers = header.split(" ")
        stamp, schema, rights, settings = map(int, numbers)
        return cls(epoch, stamp, schema, rights, settings)


@dataclass(frozen=True, slots=True)
class LeaseNote:
    """What the relay noted in PostgreSQL about the lease.

    ``run`` names the server that leases, None when the relay cannot reach Redis; ``noted`` is the
    note's age in seconds, ``lapsed`` how long nobody has led (negative: somebody does).
    """

    run: str | None
    noted: float
    lapsed: float

    def none_is_out(self, longest: float) -> bool:
        """No lease can be alive now, and none will be granted without seeing our commit.

        A grant names in its snapshot the run it is for and the leader it comes from, and asks
        Redis' clock before: one older than this note ended LIFE after the note at the latest.
        ``longest`` is LIFE + MARGIN in seconds.
        """
        return self.lapsed > longest or (self.run is None and self.noted > longest)


ReadNote = Callable[[], Awaitable[LeaseNote | None]]


def note_reader(database: Database) -> ReadNote:
    """Reads the note from PostgreSQL: one short statement."""

    async def read() -> LeaseNote | None:
        row = await database.fetchrow(fixed(QUERIES["lease_note"]))
        return None if row is None else LeaseNote(row["run"], row["noted"], row["lapsed"])

    return read


class Invalidation:
    """The writer's side."""

    def __init__(
        self,
        redis_url: str,
        prefix: str,
        *,
        note: ReadNote | None = None,
        several_servers: bool = False,
        timeout: float = 0.25,
        life: float = LIFE,
    ) -> None:
        """Opens nothing yet.

        ``note`` lets a writer reply at once while no lease is out. With ``several_servers``
        (fail-over, a proxy) the server that answered is compared with the one the note names;
        it needs ``note``. ``timeout`` in seconds for the raise, ``life`` as the relay grants.
        """
        if several_servers and note is None:
            raise ValueError("with several servers the note is needed")
        self._redis = Pipeline(redis_url, timeout=timeout, scripts=(RAISE, ANNOUNCE))
        self._key = f"{prefix}st"
        self._note = note
        self._several_servers = several_servers
        self._longest = life + MARGIN

    async def announce(self, arguments: Sequence[Part]) -> None:
        """Before the commit (``shared.announcements``). Without Redis it is left out."""
        if failpoints.is_off("stamps.reach"):
            return
        with suppress(Away, Failed):
            await self._redis.script(ANNOUNCE, (self._key,), arguments)

    async def withdraw(self, announced: Sequence[Part]) -> None:
        """What was announced has not come: ``Announcement.over``."""
        await self._raise((), announced)

    async def raise_(
        self, topics: Collection[Topic], committed_at: float, announced: Sequence[Part] = NOTHING
    ) -> None:
        """Return when no reader that begins now can see anything older than the commit.

        ``announced`` is the announcement that ends with this: ``Announcement.over``.

        ``committed_at`` is ``time.monotonic()`` at, or after, the commit. Waits until LIFE + MARGIN
        after it at most, when no live lease of the server that answered is known. Raises nothing:
        a raise that failed is made up for by that wait, and by the relay.
        """
        if not topics:
            return
        run = await self._raise(topics, announced)
        if run is not None and not self._several_servers:
            return
        note = await self._read_note(committed_at)
        if note is not None:
            if note.none_is_out(self._longest):
                return
            if run is not None and note.run == run and note.noted > self._longest:
                return
        await asyncio.sleep(max(0.0, committed_at + self._longest - time.monotonic()))

    async def close(self) -> None:
        await self._redis.close()

    async def _raise(self, topics: Collection[Topic], announced: Sequence[Part]) -> str | None:
        """The run of the server that raised, if a lease of it is alive."""
        if failpoints.is_off("stamps.reach"):  # as if this process were cut off from Redis
            return None
        try:
            raised = [self._redis.server, *announced, *(f"c:{topic}" for topic in topics)]
            run, alive, _epoch = await self._redis.script(RAISE, (self._key,), raised)
        except (Away, Failed):
            return None
        return run.decode() if alive else None

    async def _read_note(self, committed_at: float) -> LeaseNote | None:
        if self._note is None:
            return None
        left = committed_at + self._longest - time.monotonic()
        try:
            async with asyncio.timeout(left):
                return await self._note()
        except Exception:  # noqa: BLE001 - whatever it is, we know nothing and wait
            return None


@dataclass(frozen=True, slots=True)
class Clock:
    """Redis' answer that a grant starts from; ``now`` in µs of its clock, ``epoch`` '' if none.

    ``raised`` is the feed position up to which this state is raised, ``schema`` the version of the
    schema that it knows of; None where there is none, or where the state is another server's.
    """

    run: str
    now: int
    epoch: str
    raised: int | None
    schema: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the database showed, in one snapshot taken after the clock was asked.

    ``topics`` are those of everything above ``Clock.raised``, without a position yet included;
    ``position`` is the last one of the feed, ``feed`` its epoch, ``schema`` the schema's version.
    """

    feed: str
    position: int
    schema: int
    topics: Collection[Topic]


class Granter:
    """The relay's side. Ask ``clock``, *then* take the database snapshot, then ``grant``."""

    def __init__(
        self, redis_url: str, prefix: str, *, timeout: float = 0.25, life: float = LIFE
    ) -> None:
        self._redis = Pipeline(redis_url, timeout=timeout, scripts=(CLOCK, GRANT))
        self._key = f"{prefix}st"
        self._life = life

    async def clock(self, feed: str) -> Clock:
        """``feed`` is the feed's epoch. Raises Away, Failed."""
        run, now, epoch, of_run, raised, of_feed, schema = (
            part.decode() for part in await self._redis.script(CLOCK, (self._key,), ())
        )
        if epoch and raised and of_run == run and of_feed == feed:
            return Clock(run, int(now), epoch, int(raised), int(schema))
        return Clock(run, int(now), epoch, None, None)

    async def grant(self, clock: Clock, seen: Seen) -> str | None:
        """Raise what was seen and lease until ``clock.now`` + LIFE; the epoch, None when refused.

        A new server, a lost state, another feed or one that went back begin a new epoch.
        Raises Away (it may still be executed: a lease counts from the clock, so it does no harm),
        Failed.
        """
        ends = clock.now + int(self._life * 1_000_000)
        begin = "0" if failpoints.is_off("relay.epoch") else secrets.token_hex(8)
        topics = set(seen.topics)
        if clock.schema is not None and seen.schema > clock.schema:
            topics.add(SCHEMA)
        fields = [f"c:{topic}" for topic in sorted(topics)]
        fixed_part = (clock.run, clock.epoch, ends, begin, seen.feed, seen.position, seen.schema)
        epoch: bytes = await self._redis.script(GRANT, (self._key,), (*fixed_part, *fields))
        return epoch.decode() or None

    async def close(self) -> None:
        await self._redis.close()
