"""No read that begins after a writer's reply shows anything older: tried at random, with faults.

A model of the database (atomic commits and snapshots in memory), four readers, two writers and a
relay against a real Redis, with pauses at each step. Writers and relay go through a proxy that cuts
them off now and then, while the readers are left alone: pausing Redis for all hides most faults.
The same harness must catch the design with a part switched off, or it proves nothing.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import msgspec
import pytest

from shared import answer_cache
from shared.answer_cache import AnswerCache
from shared.fault_proxy import FaultProxy, fault_proxy
from shared.redis_pipeline import Away, Failed, Pipeline, Script
from shared.stamps import MARGIN, Granter, Invalidation, Seen, Topic, table_topic
from shared.testing import server

LIFE = 0.3  # seconds: a short lease gives more events
TABLES = ("a", "b", "c")
SECONDS = 6.0  # the whole design is tried for so long, a broken one until it is caught
CAUGHT_WITHIN = 25.0


@dataclass
class Database:
    """Versions of tables; a commit and a snapshot are single steps of the event loop."""

    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    feed: list[str] = field(default_factory=list)

    def commit(self, table: str) -> int:
        self.versions[table] += 1
        self.feed.append(table)
        return self.versions[table]


@dataclass
class Trial:
    """The design, or a broken one: ``stamp_first`` off takes the stamp after the query."""

    cache: AnswerCache
    writer: Invalidation
    granter: Granter
    proxy: FaultProxy
    chance: random.Random
    stamp_first: bool = True
    writers_wait: bool = True
    database: Database = field(default_factory=Database)
    replied: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    reads: int = 0
    hits: int = 0
    stale: int = 0

    async def pause(self, most: float) -> None:
        await asyncio.sleep(self.chance.random() ** 3 * most)

    async def read(self) -> None:
        tables = self.chance.sample(TABLES, self.chance.choice((1, 1, 2)))
        entry = " ".join(tables)
        floor = {table: self.replied[table] for table in tables}
        asked = await self.cache.ask([], entries=[entry])
        if asked.hit is not None:
            self.hits += 1
            shown: dict[str, int] = msgspec.json.decode(asked.hit.body)
        else:
            await self.pause(0.02)
            shown = {table: self.database.versions[table] for table in tables}
            await self.pause(0.05)
            if not self.stamp_first:
                asked = await self.cache.ask([])
            depends: Sequence[Topic] = [table_topic(table) for table in tables]
            await self.cache.store(entry, asked, depends, msgspec.json.encode(shown), 60)
        self.reads += 1
        self.stale += any(shown[table] < floor[table] for table in tables)

    async def write(self) -> None:
        table = self.chance.choice(TABLES)
        version = self.database.commit(table)
        committed_at = time.monotonic()
        if self.chance.random() < 0.05:
            return  # plain SQL, or a writer that died: nobody is told, nothing is promised
        await self.pause(0.02)
        raising = self.writer.raise_([table_topic(table)], committed_at)
        if self.writers_wait:
            await raising
        else:
            await asyncio.wait([asyncio.ensure_future(raising)], timeout=0.03)
        self.replied[table] = max(self.replied[table], version)
        await self.pause(0.1)

    async def grant(self) -> None:
        try:
            clock = await self.granter.clock("feed")
            await self.pause(0.03)
            feed = self.database.feed
            topics = {table_topic(table) for table in feed[clock.raised or 0 :]}
            seen = Seen("feed", len(feed), 1, topics)
            await self.pause(0.05)
            await self.granter.grant(clock, seen)
        except (Away, Failed):
            pass
        await asyncio.sleep(0.05)

    async def interfere(self) -> None:
        await self.pause(1.0)
        self.chance.choice((self.proxy.cut, self.proxy.stall))()
        await asyncio.sleep(self.chance.random() * 2 * LIFE)
        self.proxy.mend()

    async def run(self, seconds: float, *, until_stale: bool) -> None:
        end = time.monotonic() + seconds

        async def repeat(step: Callable[[], object]) -> None:
            while time.monotonic() < end and not (until_stale and self.stale):
                made = step()
                assert asyncio.iscoroutine(made)
                await made
                await self.pause(0.004)

        steps = [self.read] * 4 + [self.write] * 2 + [self.grant, self.interfere]
        await asyncio.gather(*map(repeat, steps))


@asynccontextmanager
async def trial(
    seed: int, *, stamp_first: bool = True, writers_wait: bool = True
) -> AsyncGenerator[Trial]:
    url, prefix = server("REDIS_URL"), f"test:{uuid4().hex}:"
    parts = urlsplit(url)
    assert parts.hostname is not None
    async with fault_proxy(parts.hostname, parts.port or 6379) as proxy:
        login = parts.netloc.rpartition("@")
        through = urlunsplit(parts._replace(netloc=f"{login[0]}{login[1]}127.0.0.1:{proxy.port}"))
        made = Trial(
            AnswerCache(url, prefix),
            Invalidation(through, prefix, timeout=0.1, life=LIFE),
            Granter(through, prefix, timeout=0.1, life=LIFE),
            proxy,
            random.Random(seed),
            stamp_first=stamp_first,
            writers_wait=writers_wait,
        )
        yield made
        for client in (made.cache, made.writer, made.granter):
            await client.close()
    plain = Pipeline(url, timeout=1)
    if keys := await plain.command("KEYS", f"{prefix}*"):
        await plain.command("DEL", *keys)
    await plain.close()


def without(script: Script, condition: str, instead: str) -> Script:
    assert condition in script.text
    return Script.of(script.text.replace(condition, instead))


async def test_no_read_shows_less_than_was_replied_before_it() -> None:
    assert MARGIN < LIFE
    async with trial(seed=1) as whole:
        await whole.run(SECONDS, until_stale=False)
    assert whole.stale == 0
    assert whole.hits > whole.reads / 20  # else nothing was tried


async def test_the_harness_catches_a_stamp_taken_after_the_query() -> None:
    async with trial(seed=2, stamp_first=False) as broken:
        await broken.run(CAUGHT_WITHIN, until_stale=True)
    assert broken.stale > 0


async def test_the_harness_catches_writers_that_do_not_wait() -> None:
    async with trial(seed=3, writers_wait=False) as broken:
        await broken.run(CAUGHT_WITHIN, until_stale=True)
    assert broken.stale > 0


async def test_the_harness_catches_readers_without_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    script = without(answer_cache.READ, "tonumber(state[3]) <= now", "false")
    monkeypatch.setattr(answer_cache, "READ", script)
    async with trial(seed=4) as broken:
        await broken.run(CAUGHT_WITHIN, until_stale=True)
    assert broken.stale > 0
