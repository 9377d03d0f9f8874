"""Stamps and lease against a real Redis; a private one where it is paused or flushed."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from shared.announcements import Announcement
from shared.answer_cache import AnswerCache, Limit
from shared.ports import claimed_port
from shared.redis_pipeline import Away, Pipeline
from shared.stamps import (
    ALL,
    ENTRIES,
    LIFE,
    MARGIN,
    SCHEMA,
    Granter,
    Invalidation,
    LeaseNote,
    Seen,
    Stamps,
    group_topic,
    table_topic,
    topics_of,
    user_topic,
)
from shared.testing import eventually, server

FEED = "feed-1"
ARTICLES = table_topic("articles")
LONGEST = LIFE + MARGIN


class Redis:
    """The stack around one Redis: who writes, who reads, who grants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.prefix = f"test:{uuid4().hex}:"
        self.cache = AnswerCache(url, self.prefix)
        self.granter = Granter(url, self.prefix)
        self.writer = Invalidation(url, self.prefix)
        self.plain = Pipeline(url, timeout=1)

    async def grant(self, position: int = 1, *topics: str) -> str | None:
        clock = await self.granter.clock(FEED)
        return await self.granter.grant(clock, Seen(FEED, position, 1, topics))

    async def raise_(self, *topics: str) -> float:
        """Seconds the writer took."""
        start = time.monotonic()
        await self.writer.raise_(topics, start)
        return time.monotonic() - start

    async def close(self) -> None:
        for client in (self.cache, self.granter, self.writer, self.plain):
            await client.close()


@pytest.fixture
async def redis() -> AsyncGenerator[Redis]:
    redis = Redis(server("REDIS_URL"))
    yield redis
    keys = await redis.plain.command("KEYS", f"{redis.prefix}*")
    if keys:
        await redis.plain.command("DEL", *keys)
    await redis.close()


class PrivateServer:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"redis://127.0.0.1:{port}"

    def pause(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


@asynccontextmanager
async def private_server(port: int = 0) -> AsyncGenerator[PrivateServer]:
    port = port or claimed_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = await asyncio.create_subprocess_exec(
        "redis-server", *options, stdout=asyncio.subprocess.DEVNULL
    )
    private = PrivateServer(process, port)
    probe = Pipeline(private.url, timeout=1)

    async def answers() -> bool:
        try:
            return await probe.command("PING") == b"PONG"
        except Away:
            return False

    try:
        await eventually(answers, what="the private Redis answers")
        await probe.close()
        yield private
    finally:
        private.go_on()
        process.kill()
        await process.wait()


@pytest.fixture
async def private() -> AsyncGenerator[tuple[PrivateServer, Redis]]:
    async with private_server() as process:
        redis = Redis(process.url)
        yield process, redis
        await redis.close()


async def has_lease(redis: Redis) -> bool:
    return (await redis.cache.ask([])).epoch is not None


def test_stamps_travel_in_a_header() -> None:
    stamps = Stamps("e", 7, 1, 2, 3)
    assert Stamps.from_header(stamps.header()) == stamps
    with pytest.raises(ValueError):  # noqa: PT011 - any malformed header
        Stamps.from_header("e 7 1")


@pytest.mark.parametrize(
    ("table", "before", "after", "topics"),
    [
        ("articles", None, {"id": 1}, {"t:articles"}),
        ("two words", None, None, {"t:two%20words"}),
        ("directus_columns", {}, {"id": 1}, {"t:directus_columns", SCHEMA}),
        ("directus_privileges", {}, {"group_id": 2}, {"t:directus_privileges", group_topic(2)}),
        (
            "directus_privileges",
            {"group_id": 3},
            {"group_id": 2},
            {"t:directus_privileges", group_topic(2), group_topic(3)},
        ),
        ("directus_privileges", None, None, {"t:directus_privileges", ALL}),
        ("directus_groups", None, {"id": 4}, {"t:directus_groups", group_topic(4)}),
        ("directus_users", {"id": 5}, None, {"t:directus_users", user_topic(5)}),
        ("directus_users", {}, {}, {"t:directus_users", ALL}),
    ],
)
def test_a_change_raises_what_rests_on_the_row(
    table: str, before: dict[str, object] | None, after: dict[str, object] | None, topics: set[str]
) -> None:
    assert topics_of(table, before, after) == topics | {ENTRIES}


async def test_without_a_grant_nothing_is_trusted(redis: Redis) -> None:
    asked = await redis.cache.ask([ARTICLES], entries=["x"])
    assert (asked.epoch, asked.hit, asked.away) == (None, None, False)
    assert not await redis.cache.store("x", asked, [ARTICLES], b"body", 60)


async def test_an_answer_is_valid_until_one_of_its_topics_is_raised(redis: Redis) -> None:
    epoch = await redis.grant()
    asked = await redis.cache.ask([ARTICLES])
    assert asked.epoch == epoch
    assert await redis.cache.store("group", asked, [SCHEMA, ARTICLES], b"body", 60)

    hit = (await redis.cache.ask([ARTICLES], entries=["group", "user"])).hit
    assert hit is not None
    assert (hit.entry, hit.body) == (0, b"body")
    assert await redis.raise_(table_topic("other")) < 0.5
    assert (await redis.cache.ask([], entries=["other user", "group"])).hit is not None

    assert await redis.raise_(ARTICLES) < 0.5
    again = await redis.cache.ask([ARTICLES, SCHEMA], entries=["group"])
    assert again.hit is None
    assert again.changed == (again.stamp, 0)
    assert await redis.cache.store("group", asked, [ARTICLES], b"old", 60)
    assert (await redis.cache.ask([], entries=["group"])).hit is None


async def test_what_is_announced_is_not_taken_from_memory(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.announcements.LIFE", 60.0)
    await redis.grant()
    asked = await redis.cache.ask([])
    assert await redis.cache.store("x", asked, [ARTICLES], b"body", 60)
    assert await redis.cache.store("y", asked, [table_topic("other")], b"body", 60)
    coming, second = Announcement.of([ARTICLES]), Announcement.of([ARTICLES])
    await redis.writer.announce(coming.arguments())
    await redis.cache.ask([], announced=second)

    async def seen() -> tuple[bool, bool, bool, bool]:
        asked = await redis.cache.ask([ARTICLES], entries=["x"])
        other = await redis.cache.ask([], entries=["y"])
        (changed,) = asked.changed
        return asked.hit is not None, asked.settled, changed <= asked.stamp, other.hit is not None

    assert await seen() == (False, False, False, True)
    await redis.writer.withdraw(coming.over())
    assert await seen() == (False, False, False, True)  # the other one is still coming
    await redis.writer.withdraw(second.over())
    assert await seen() == (True, True, True, True)
    third = Announcement.of([ARTICLES])
    await redis.writer.announce(third.arguments())
    await redis.writer.raise_([ARTICLES], time.monotonic(), third.over())
    assert await seen() == (False, True, True, True)


async def test_announcements_run_out_and_leave_nothing(redis: Redis) -> None:
    await redis.grant()
    asked = await redis.cache.ask([])
    assert await redis.cache.store("x", asked, [ARTICLES], b"body", 60)
    for _ in range(30):
        _life, *rest = Announcement.of([ARTICLES]).arguments()
        await redis.writer.announce([50_000, *rest])
    assert not (await redis.cache.ask([])).settled

    async def over() -> bool:
        return (await redis.cache.ask([], entries=["x"])).hit is not None

    await eventually(over, what="the announcements ran out")
    for name in ("coming", "c:" + ARTICLES):

        async def gone(key: str = f"{redis.prefix}st:{name}") -> bool:
            return await redis.plain.command("EXISTS", key) == 0

        await eventually(gone, what=f"{name} is empty")


async def test_what_a_refused_request_announced_is_withdrawn(redis: Redis) -> None:
    await redis.grant()
    limit = Limit("token:1", rate=1, burst=1)
    assert (await redis.cache.ask([], limits=[limit])).retry_after is None
    announced = Announcement.of([ARTICLES])
    refused = await redis.cache.ask([], limits=[limit], announced=announced)
    assert refused.retry_after is not None
    assert not (await redis.cache.ask([])).settled
    await redis.cache.withdraw(announced)
    assert (await redis.cache.ask([])).settled


async def test_raising_all_voids_everything(redis: Redis) -> None:
    await redis.grant()
    asked = await redis.cache.ask([])
    assert await redis.cache.store("x", asked, [ARTICLES], b"body", 60)
    await redis.raise_(ALL)
    again = await redis.cache.ask([SCHEMA], entries=["x"])
    assert again.hit is None
    assert again.changed == (again.stamp,)


async def test_another_process_fetches_the_body_from_redis(redis: Redis) -> None:
    await redis.grant()
    asked = await redis.cache.ask([])
    await redis.cache.store("x", asked, [ARTICLES], b"first", 60)
    other = AnswerCache(redis.url, redis.prefix)
    for body in (b"first", b"second"):
        await redis.cache.store("x", asked, [ARTICLES], body, 60)
        hit = (await other.ask([], entries=["x"])).hit
        assert hit is not None
        assert hit.body == body
    await other.close()


@pytest.mark.parametrize("depends", [[], ["no topic"], ["t:a b"], [ALL], ["t%3Aarticles"]])
async def test_an_answer_that_cannot_be_raised_is_not_kept(
    redis: Redis, depends: list[str]
) -> None:
    await redis.grant()
    assert not await redis.cache.store("x", await redis.cache.ask([]), depends, b"body", 60)


async def test_a_limit_refuses_and_tells_when_to_come_back(redis: Redis) -> None:
    limit = Limit("token:1", rate=1, burst=3)
    for _ in range(3):
        assert (await redis.cache.ask([], limits=[limit])).retry_after is None
    refused = (await redis.cache.ask([], limits=[limit])).retry_after
    assert refused is not None
    assert 0 < refused <= 1
    assert (await redis.cache.ask([], limits=[Limit("token:2", 1, 1)])).retry_after is None


async def test_the_lease_runs_out_and_writers_wait_no_longer_than_it(redis: Redis) -> None:
    await redis.grant()
    granted = time.monotonic()

    async def over() -> bool:
        return not await has_lease(redis)

    await eventually(over, within=2, what="the lease is over")
    assert time.monotonic() - granted > LIFE / 2
    took = await redis.raise_(ARTICLES)
    assert LIFE <= took < LONGEST + 0.5


@pytest.mark.parametrize(
    ("note", "waits"),
    [
        (LeaseNote(None, LONGEST + 0.1, -1), False),
        (LeaseNote(None, LONGEST - 0.5, -1), True),
        (LeaseNote("a run", 60, -1), True),
        (LeaseNote("a run", 60, LONGEST + 0.1), False),
        (None, True),
    ],
)
async def test_a_writer_without_redis_believes_an_old_note(
    note: LeaseNote | None, *, waits: bool
) -> None:
    async def read() -> LeaseNote | None:
        return note

    writer = Invalidation("redis://127.0.0.1:1", "x:", note=read)
    start = time.monotonic()
    await writer.raise_([ARTICLES], start)
    assert (time.monotonic() - start >= LONGEST) == waits
    await writer.close()


async def test_with_several_servers_only_the_named_one_counts(redis: Redis) -> None:
    run = (await redis.granter.clock(FEED)).run
    notes = [LeaseNote(run, 60, -1), LeaseNote("another", 60, -1), LeaseNote(run, 0.1, -1)]

    async def took(note: LeaseNote) -> float:
        async def read() -> LeaseNote:
            return note

        writer = Invalidation(redis.url, redis.prefix, note=read, several_servers=True)
        await redis.grant()
        start = time.monotonic()
        await writer.raise_([ARTICLES], start)
        await writer.close()
        return time.monotonic() - start

    waited = [await took(note) >= LIFE for note in notes]
    assert waited == [False, True, True]


async def test_without_a_proxy_a_connection_knows_the_run_of_its_server() -> None:
    prefix = f"test:{uuid4().hex}:"
    async with private_server() as first:
        cache = AnswerCache(first.url + "?direct=1", prefix)
        granter, plain = Granter(first.url, prefix, life=60), Pipeline(first.url, timeout=1)
        assert await granter.grant(await granter.clock(FEED), Seen(FEED, 1, 1, ()))
        assert await cache.store("x", await cache.ask([]), [ARTICLES], b"body", 60)
        assert (await cache.ask([], entries=["x"])).hit is not None
        dump = {key: await plain.command("DUMP", key) for key in await plain.command("KEYS", "*")}
        port = int(first.url.rpartition(":")[2])
        await plain.close()
        await granter.close()
    async with private_server(port) as second:
        plain = Pipeline(second.url, timeout=1)
        for key, held in dump.items():
            await plain.command("RESTORE", key, 0, held)

        async def heard() -> bool:
            return not (await cache.ask([])).away

        await eventually(heard, what="the cache reaches the second server")
        asked = await cache.ask([], entries=["x"])
        assert (asked.epoch, asked.hit) == (None, None)
        await plain.close()
        await cache.close()


async def test_a_grant_raises_what_writers_did_not(redis: Redis) -> None:
    await redis.grant(1)
    asked = await redis.cache.ask([])
    await redis.cache.store("x", asked, [ARTICLES], b"body", 60)
    assert (await redis.granter.clock(FEED)).raised == 1
    assert await redis.grant(2, ARTICLES) == asked.epoch
    assert (await redis.cache.ask([], entries=["x"])).hit is None
    assert (await redis.granter.clock(FEED)).raised == 2


async def test_a_grant_raises_the_schema_by_its_version(redis: Redis) -> None:
    await redis.grant()
    before = await redis.cache.ask([SCHEMA])
    clock = await redis.granter.clock(FEED)
    await redis.granter.grant(clock, Seen(FEED, 1, 2, ()))
    after = await redis.cache.ask([SCHEMA])
    assert after.changed > before.changed
    await redis.granter.grant(await redis.granter.clock(FEED), Seen(FEED, 1, 2, ()))
    assert (await redis.cache.ask([SCHEMA])).changed == after.changed


async def test_a_late_grant_is_void(redis: Redis) -> None:
    clock = await redis.granter.clock(FEED)

    async def late() -> bool:
        return (await redis.granter.clock(FEED)).now > clock.now + LIFE * 1e6

    await eventually(late, within=3, what="the clock is older than a lease")
    assert await redis.granter.grant(clock, Seen(FEED, 1, 1, ())) is not None
    assert not await has_lease(redis)


async def test_a_grant_is_refused_when_the_state_went_in_between(redis: Redis) -> None:
    await redis.grant()
    clock = await redis.granter.clock(FEED)
    await redis.plain.command("DEL", f"{redis.prefix}st")
    assert await redis.granter.grant(clock, Seen(FEED, 1, 1, ())) is None


@pytest.mark.parametrize(("feed", "position"), [("feed-2", 9), (FEED, 3)])
async def test_another_past_begins_a_new_epoch(redis: Redis, feed: str, position: int) -> None:
    epoch = await redis.grant(5)
    clock = await redis.granter.clock(feed)
    assert await redis.granter.grant(clock, Seen(feed, position, 1, ())) not in {None, epoch}


async def test_a_flush_begins_a_new_epoch(private: tuple[PrivateServer, Redis]) -> None:
    _, redis = private
    epoch = await redis.grant()
    asked = await redis.cache.ask([])
    await redis.plain.command("FLUSHALL")
    assert not await has_lease(redis)
    assert not await redis.cache.store("x", asked, [ARTICLES], b"body", 60)
    assert await redis.grant() not in {None, epoch}


async def test_a_paused_redis_makes_nobody_wait_but_the_writer(
    private: tuple[PrivateServer, Redis],
) -> None:
    process, redis = private
    await redis.grant()
    asked = await redis.cache.ask([])
    await redis.cache.store("x", asked, [ARTICLES], b"body", 60)
    await redis.raise_(ARTICLES)
    process.pause()
    took: list[float] = []
    for _ in range(10):
        start = time.monotonic()
        assert (await redis.cache.ask([], entries=["x"])).away
        took.append(time.monotonic() - start)
    assert min(took) < 0.025, "only the first waits, for 0.05 s"
    assert LIFE <= await redis.raise_(ARTICLES) < LONGEST + 0.5
    process.go_on()

    async def back() -> bool:
        return not (await redis.cache.ask([])).away

    await eventually(back, what="Redis is found again")
    assert not await has_lease(redis)


async def test_a_script_forgotten_by_redis_is_sent_again(
    private: tuple[PrivateServer, Redis],
) -> None:
    _, redis = private
    assert await redis.grant() is not None
    await redis.plain.command("SCRIPT", "FLUSH")
    assert (await redis.cache.ask([])).epoch is not None


async def test_many_requests_of_one_turn_travel_together(redis: Redis) -> None:
    await redis.grant()
    asked = await redis.cache.ask([])
    await redis.cache.store("x", asked, [ARTICLES], b"body" * 256, 60)
    answers = await asyncio.gather(*(redis.cache.ask([SCHEMA], entries=["x"]) for _ in range(500)))
    assert all(answer.hit is not None for answer in answers)
