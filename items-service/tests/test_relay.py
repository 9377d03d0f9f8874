"""The relay against real servers: positions, lease and bus, with leaders killed and a bus away."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aio_pika
import msgspec
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from prometheus_client import REGISTRY

from items_service import relay as relay_module
from items_service.relay import Relay
from items_service.relay_bus import Bus
from items_service.relay_events import routing_key
from shared.answer_cache import AnswerCache
from shared.database import Database
from shared.fault_proxy import FaultProxy, fault_proxy
from shared.sql import Sql, param, raw
from shared.stamps import SCHEMA, Granter, Invalidation, note_reader, table_topic
from shared.testing import eventually, server

ARTICLES = table_topic("articles")


class Stack:
    """One database with a managed table, an exchange of its own, and who listens there."""

    def __init__(self, database_url: str, prefix: str) -> None:
        self.database_url = database_url
        self.database = Database(database_url, size=6)
        self.prefix = prefix
        self.exchange = f"test.{uuid4().hex}"
        self.cache = AnswerCache(server("REDIS_URL"), prefix)
        self.events: list[dict[str, Any]] = []
        self.keys: list[str] = []

    def relay(self, *, redis_url: str = "", amqp_url: str = "", lead_seconds: float = 1.0) -> Relay:
        return Relay(
            Database(self.database_url, size=6),
            Granter(redis_url or server("REDIS_URL"), self.prefix),
            Bus(amqp_url or server("AMQP_URL"), self.exchange),
            lead_seconds=lead_seconds,
        )

    @asynccontextmanager
    async def running(self, relay: Relay) -> AsyncGenerator[Relay]:
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await relay.bus.close()
            await relay.granter.close()
            await relay.database.close()

    @asynccontextmanager
    async def process(self) -> AsyncGenerator[asyncio.subprocess.Process]:
        """A relay as it is deployed."""
        environment = os.environ | {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": server("REDIS_URL"),
            "REDIS_PREFIX": self.prefix,
            "AMQP_URL": server("AMQP_URL"),
            "ACTIVITY_EXCHANGE": self.exchange,
            "LEAD_SECONDS": "1",
            "PORT": "0",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "items_service.relay", env=environment
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def take(self, message: AbstractIncomingMessage) -> None:
        self.events.append(msgspec.json.decode(message.body))
        self.keys.append(message.routing_key or "")

    async def row(self) -> dict[str, Any]:
        row = await self.database.fetchrow(raw("SELECT * FROM directoire.relay"))
        assert row is not None
        return dict(row)

    async def write(self, sql: Sql) -> None:
        await self.database.execute(sql)

    async def all_published(self, entries: int) -> None:
        async def done() -> bool:
            row = await self.row()
            return row["confirmed"] == entries and self.seen(entries)

        await eventually(done, within=30, what=f"{entries} events published")

    def seen(self, entries: int) -> bool:
        return bool(self.events) and max(position(event) for event in self.events) >= entries

    def first_sightings(self) -> list[int]:
        return list(dict.fromkeys(position(event) for event in self.events))


def position(event: dict[str, Any]) -> int:
    return int(event["sequence"])


@pytest.fixture
async def stack(database_url: str, redis_prefix: str) -> AsyncGenerator[Stack]:
    stack = Stack(database_url, redis_prefix)
    await stack.write(raw("CREATE TABLE articles (id integer PRIMARY KEY, v integer NOT NULL)"))
    await stack.write(raw("SELECT directoire.manage('public.articles')"))
    connection = await aio_pika.connect(server("AMQP_URL"))
    channel = await connection.channel()
    exchange = await channel.declare_exchange(
        stack.exchange, aio_pika.ExchangeType.TOPIC, durable=True
    )
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(exchange, "activity.#")
    await queue.consume(stack.take, no_ack=True)
    yield stack
    with suppress(AMQPError):  # not every test got as far as to make it
        await (await connection.channel()).queue_delete(f"{stack.exchange}.stream")
    await exchange.delete()
    await connection.close()
    await stack.cache.close()
    await stack.database.close()


@asynccontextmanager
async def bus_proxy() -> AsyncGenerator[tuple[FaultProxy, str]]:
    parts = urlsplit(server("AMQP_URL"))
    assert parts.hostname is not None
    async with fault_proxy(parts.hostname, parts.port or 5672) as proxy:
        login = parts.netloc.rpartition("@")[0]
        yield proxy, urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.port}"))


class RolledBack(Exception):
    pass


async def roll_back(stack: Stack, sql: Sql) -> None:
    with suppress(RolledBack):
        async with stack.database.transaction() as session:
            await session.execute(sql)
            raise RolledBack


async def count_up(stack: Stack, row: int, times: int) -> None:
    """``v`` of one row goes 1, 2, 3 …; some transactions are rolled back."""
    await stack.write(raw("INSERT INTO articles VALUES (") + param(row) + raw(", 1)"))
    up = raw("UPDATE articles SET v = v + 1 WHERE id = ") + param(row)
    for number in range(times):
        if number % 7 == 3:
            await roll_back(stack, up)
        await stack.write(up)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("articles", "activity.articles.add"),
        ("my.table", "activity.my%2Etable.add"),
        ("#*", "activity.%23%2A.add"),
        ("ä b", "activity.%C3%A4%20b.add"),
    ],
)
def test_a_table_is_one_word_of_the_routing_key(table: str, key: str) -> None:
    assert routing_key(table, "ADD") == key


async def test_every_committed_change_is_published_in_order(stack: Stack) -> None:
    async with stack.running(stack.relay()):
        await asyncio.gather(*(count_up(stack, row, 20) for row in range(4)))
        entries = 4 * 21
        await stack.all_published(entries)
    assert stack.first_sightings() == list(range(1, entries + 1))
    for row in range(4):
        values = [e["data"]["after"]["v"] for e in stack.events if e["data"]["row_id"] == str(row)]
        assert values == list(range(1, 22))


async def test_an_event_is_a_cloudevent(stack: Stack) -> None:
    async with stack.running(stack.relay()):
        await count_up(stack, 5, 1)
        await stack.all_published(2)
    event = stack.events[-1]
    feed = (await stack.row())["feed_epoch"]
    assert stack.keys == ["activity.articles.add", "activity.articles.update"]
    assert event | {"id": "", "time": ""} == {
        "specversion": "1.0",
        "id": "",
        "source": f"/directoire/feeds/{feed}",
        "type": "directoire.activity.update",
        "subject": "articles/5",
        "time": "",
        "datacontenttype": "application/json",
        "sequence": "2",
        "sequencetype": "Integer",
        "data": {
            "position": 2,
            "table": "articles",
            "row_id": "5",
            "action": "UPDATE",
            "actor": f"db:{urlsplit(stack.database_url).username}",
            "request_id": None,
            "quiet": False,
            "before": {"v": 1},
            "after": {"id": 5, "v": 2},
        },
    }
    assert event["time"].endswith("Z")


async def test_a_successor_goes_on_where_a_killed_leader_stopped(stack: Stack) -> None:
    async with stack.process(), stack.process():
        writing = asyncio.gather(*(count_up(stack, row, 60) for row in range(3)))

        async def some_published() -> bool:
            return (await stack.row())["confirmed"] > 5

        await eventually(some_published, within=30, what="the first relay publishes")
        leader = (await stack.row())["holder"]
        os.kill(int(leader.split(":")[1]), signal.SIGKILL)

        async def somebody_else() -> bool:
            return (await stack.row())["holder"] not in {leader, None}

        await eventually(somebody_else, within=3, what="the second relay leads")
        await writing
        await stack.all_published(3 * 61)
    assert stack.first_sightings() == list(range(1, 3 * 61 + 1))


async def test_a_bus_that_is_away_holds_up_only_publishing(stack: Stack) -> None:
    async with bus_proxy() as (proxy, url), stack.running(stack.relay(amqp_url=url)):
        await count_up(stack, 1, 2)
        await stack.all_published(3)
        proxy.cut()
        await count_up(stack, 2, 300)

        async def positions_and_lease() -> bool:
            leased = (await stack.cache.ask([])).epoch is not None
            return leased and (await stack.row())["position"] == 304

        await eventually(positions_and_lease, within=10, what="positions and lease go on")
        assert (await stack.row())["confirmed"] < 304
        proxy.mend()
        await stack.all_published(304)
    assert stack.first_sightings() == list(range(1, 305))


async def test_an_idle_relay_picks_a_commit_up_within_50_ms(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of nine commits, each at some moment between two looks; a busy machine may try again."""
    monkeypatch.setattr(relay_module, "QUIET", 0.0)
    pending = raw("SELECT directoire.pending()")
    async with stack.running(stack.relay()):
        await count_up(stack, 1, 0)
        await stack.all_published(1)
        quickest = 1.0
        for _ in range(6):
            waits: list[float] = []
            for _ in range(9):
                await asyncio.sleep(random.uniform(0, relay_module.IDLE_PEEK))
                await stack.write(raw("UPDATE articles SET v = v + 1"))
                committed = time.monotonic()
                while await stack.database.fetchval(pending):
                    pass
                waits.append(time.monotonic() - committed)
            quickest = min(quickest, median(waits))
            if quickest < 0.05:
                break
    assert quickest < 0.05


async def test_a_message_that_no_queue_took_is_sent_again(stack: Stack) -> None:
    """Returned as unroutable: it counts as not sent, and the relay makes its stream anew."""
    exchange = f"{stack.exchange}.lonely"

    def returned() -> float:
        why = {"why": "PublishError"}
        return REGISTRY.get_sample_value("directoire_relay_bus_away_total", why) or 0.0

    async def confirmed(entries: int) -> None:
        async def done() -> bool:
            return (await stack.row())["confirmed"] == entries

        await eventually(done, within=20, what=f"{entries} entries confirmed")

    relay = stack.relay()
    relay.bus = Bus(server("AMQP_URL"), exchange)
    connection = await aio_pika.connect(server("AMQP_URL"))
    async with connection, stack.running(relay):
        await count_up(stack, 1, 2)
        await confirmed(3)
        before = returned()
        channel = await connection.channel()
        await channel.queue_delete(f"{exchange}.stream")
        await count_up(stack, 2, 4)
        await confirmed(8)
        assert returned() > before
        await channel.set_qos(100)
        stream = await channel.get_queue(f"{exchange}.stream")
        await stream.consume(stack.take, arguments={"x-stream-offset": "first"})

        async def kept() -> bool:
            return stack.first_sightings() == list(range(4, 9))

        await eventually(kept, what="the events in the new stream")
        await channel.queue_delete(f"{exchange}.stream")
        await channel.exchange_delete(exchange)


async def test_a_change_by_plain_sql_voids_answers(stack: Stack) -> None:
    async with stack.running(stack.relay()):

        async def stored() -> bool:
            asked = await stack.cache.ask([])
            return await stack.cache.store("x", asked, [ARTICLES], b"old", 60)

        await eventually(stored, what="a lease, and an answer stored")
        await count_up(stack, 1, 0)

        async def void() -> bool:
            asked = await stack.cache.ask([], entries=["x"])
            return asked.epoch is not None and asked.hit is None

        await eventually(void, within=1.5, what="the answer is void")


async def test_a_schema_changed_by_plain_sql_is_noticed(stack: Stack) -> None:
    async with stack.running(stack.relay()):

        async def version() -> int:
            return await stack.database.fetchval(
                raw("SELECT version FROM directoire.versions WHERE name = 'schema'")
            )

        async def fingerprinted() -> bool:
            return (await stack.row())["fingerprint"] is not None

        async def leased() -> bool:
            return (await stack.cache.ask([])).epoch is not None

        await eventually(fingerprinted, what="the first look at the schema")
        await eventually(leased, what="a lease")
        before = (await stack.cache.ask([SCHEMA])).changed
        first = await version()
        await stack.write(raw("ALTER TABLE articles ADD COLUMN title text"))

        async def raised() -> bool:
            asked = await stack.cache.ask([SCHEMA])
            return await version() == first + 1 and asked.changed > before

        await eventually(raised, within=3, what="version and stamp of the schema are raised")


async def test_without_redis_the_relay_tells_writers_not_to_wait(stack: Stack) -> None:
    parts = urlsplit(server("REDIS_URL"))
    assert parts.hostname is not None
    async with fault_proxy(parts.hostname, parts.port or 6379) as proxy:
        login = parts.netloc.rpartition("@")[0]
        through = f"{login}@127.0.0.1:{proxy.port}" if login else f"127.0.0.1:{proxy.port}"
        url = urlunsplit(parts._replace(netloc=through))
        writer = Invalidation(url, stack.prefix, note=note_reader(stack.database))
        async with stack.running(stack.relay(redis_url=url)):

            async def leased() -> bool:
                return (await stack.cache.ask([])).epoch is not None

            await eventually(leased, what="a lease")
            proxy.cut()
            note = note_reader(stack.database)

            async def noted() -> bool:
                found = await note()
                return found is not None and found.run is None and found.noted > 1.05

            await eventually(noted, within=5, what="the relay notes that it cannot grant")
            took: list[float] = []
            for _ in range(3):
                start = time.monotonic()
                await writer.raise_([ARTICLES], start)
                took.append(time.monotonic() - start)
            assert min(took) < 0.9, "it waited as long as a lease may live"
            proxy.mend()
            await eventually(leased, what="a lease again")
        await writer.close()


async def test_counts_are_folded(stack: Stack) -> None:
    await count_up(stack, 1, 0)
    async with stack.running(stack.relay()):

        async def folded() -> bool:
            counted = await stack.database.fetchval(
                raw(
                    "SELECT sum(n)::int FROM directoire.counts JOIN directoire.managed"
                    " USING (counter) WHERE tbl = 'articles'::regclass"
                )
            )
            return counted == 1

        await eventually(folded, what="no delta is left")


async def test_a_stopped_leader_hands_over_at_once(stack: Stack) -> None:
    async with stack.running(stack.relay(lead_seconds=30)) as first:

        async def leads() -> bool:
            return first.token is not None and (await stack.row())["holder"] == first.holder

        await eventually(leads, what="the first relay leads")
    async with stack.running(stack.relay()) as second:

        async def leads_now() -> bool:
            return (await stack.row())["holder"] == second.holder

        await eventually(leads_now, within=2, what="the second relay leads")
