"""``directoire activity`` against real servers."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import pytest
import pytest_asyncio

from directoire_consumer import Consumer, names
from shared.database import Database
from shared.sql import raw
from shared.testing import eventually, server


async def directoire(*words: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of one command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "directoire_cli",
        *words,
        env={"PATH": "", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def months_of(database: Database) -> int:
    return await database.fetchval(
        raw("SELECT count(*) FROM pg_class WHERE relname ~ '^activity_2001'")
    )


async def an_old_month(database: Database) -> None:
    """Entries of January 2001 beside one of today, all with positions."""
    for statement in (
        raw(
            "CREATE TABLE directoire.activity_2001_01 (LIKE public.directus_activity INCLUDING ALL)"
        ),
        raw(
            "ALTER TABLE public.directus_activity ATTACH PARTITION directoire.activity_2001_01"
            " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
        ),
        raw(
            'WITH old AS (INSERT INTO directus_activity ("datetime", table_name, action, actor)'
            " SELECT '2001-01-05 10:00+00', 'words', 'ADD', '1' FROM generate_series(1, 3)"
            ' RETURNING id, "datetime")'
            " INSERT INTO directoire.outbox SELECT * FROM old"
        ),
        raw("INSERT INTO directus_settings (collection, name, value) VALUES ('x', 'y', 'z')"),
        raw("SELECT directoire.lead('test', 60)"),
        raw("SELECT directoire.take_positions(1, 100)"),
    ):
        await database.execute(statement)


async def test_retention_drops_whole_months_that_the_bus_confirmed(
    database: Database, database_url: str
) -> None:
    await an_old_month(database)
    entries = await database.fetchval(raw("SELECT count(*) FROM directus_activity"))
    version = raw("SELECT version FROM directoire.versions WHERE name = 'schema'")
    before = await database.fetchval(version)
    status, output = await directoire("activity", "retain", "1y", DATABASE_URL=database_url)
    assert (status, output) == (0, "0 entries dropped\n"), "nothing is confirmed yet"
    assert await database.fetchval(version) == before
    assert await months_of(database) > 0
    await database.execute(raw("SELECT directoire.confirm(1000)"))
    status, output = await directoire("activity", "retain", "1y", DATABASE_URL=database_url)
    assert (status, output) == (0, "3 entries dropped\n")
    assert await database.fetchval(version) == before + 1, "what was remembered is void"
    assert await months_of(database) == 0
    left = await database.fetchval(raw("SELECT count(*) FROM directus_activity"))
    kept = await database.fetchrow(
        raw("SELECT min(position), max(position), count(*) FROM directoire.feed")
    )
    assert left == entries - 3
    assert kept is not None
    assert kept["count"] == kept["max"] - kept["min"] + 1
    status, output = await directoire("activity", "retain", "soon", DATABASE_URL=database_url)
    assert status == 2


async def test_a_table_is_quiet_until_it_is_not(database: Database, database_url: str) -> None:
    quiet = raw("SELECT count(*) FROM directoire.quiet_tables WHERE table_name = 'words'")
    assert await directoire("activity", "quiet", "words", DATABASE_URL=database_url) == (0, "")
    assert await database.fetchval(quiet) == 1
    words = ("activity", "quiet", "words", "--off")
    assert await directoire(*words, DATABASE_URL=database_url) == (0, "")
    assert await database.fetchval(quiet) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("tail", "--no-follow", "--after", "0"),
        ("dead-letters", "list", "nobody"),
        ("dead-letters", "send", "nobody"),
        ("dead-letters", "read", "nobody", "1"),
    ],
)
async def test_what_is_not_there_ends_in_one_line(words: tuple[str, ...]) -> None:
    exchange = f"none.{datetime.now(UTC).timestamp()}"
    status, output = await directoire(
        "activity", *words, AMQP_URL=server("AMQP_URL"), ACTIVITY_EXCHANGE=exchange
    )
    assert status == 1
    assert output.count("\n") == 1


def message(position: int, body: bytes | None = None) -> aio_pika.Message:
    data = {"table": "words", "row_id": str(position), "action": "ADD", "actor": "1"}
    data |= {"request_id": None, "before": None, "after": {"id": position}}
    event = {"source": "/directoire/feeds/1", "sequence": str(position), "data": data}
    event["time"] = f"2026-01-02T03:04:0{position}Z"
    return aio_pika.Message(
        json.dumps(event).encode() if body is None else body,
        message_id=str(position),
        headers={"position": position},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


@pytest_asyncio.fixture(loop_scope="session")
async def exchange() -> AsyncGenerator[aio_pika.abc.AbstractExchange]:
    """An exchange of its own, with the stream that a relay would have made."""
    connection = await aio_pika.connect(server("AMQP_URL"))
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            f"test.{uuid4().hex}", aio_pika.ExchangeType.TOPIC, durable=True
        )
        stream = await channel.declare_queue(
            names.stream(exchange.name), durable=True, arguments={"x-queue-type": "stream"}
        )
        await stream.bind(exchange, names.EVERYTHING)
        yield exchange
        queues = [names.queue(exchange.name, "index"), names.dead_queue(exchange.name, "index")]
        for queue in (stream.name, *queues):
            await channel.queue_delete(queue)
        for name in (exchange.name, names.dead_exchange(exchange.name)):
            await channel.exchange_delete(name)


async def test_tail_prints_what_the_stream_has(exchange: aio_pika.abc.AbstractExchange) -> None:
    for position in (1, 2, 3):
        await exchange.publish(message(position), "activity.words.add")
    bus = {"AMQP_URL": server("AMQP_URL"), "ACTIVITY_EXCHANGE": exchange.name}
    words = ("activity", "tail", "--after", "1", "--no-follow", "--table", "words")
    assert await directoire(*words, **bus) == (
        0,
        "2  2026-01-02 03:04:02  ADD  words/2  by 1\n3  2026-01-02 03:04:03  ADD  words/3  by 1\n",
    )


async def test_dead_letters_are_listed_read_and_sent_again(
    exchange: aio_pika.abc.AbstractExchange,
) -> None:
    bus = {"AMQP_URL": server("AMQP_URL"), "ACTIVITY_EXCHANGE": exchange.name}
    letters = ("activity", "dead-letters")
    async with Consumer(server("AMQP_URL"), "index", exchange=exchange.name) as consumer:
        reading = consumer.events()
        taken = asyncio.create_task(anext(reading))

        async def set_aside() -> bool:
            await exchange.publish(message(7, b"no json"), "activity.words.add")
            _, listed = await directoire(*letters, "list", "index", **bus)
            return listed.startswith("7  7  rejected  activity.words.add\n")

        await eventually(set_aside, what="a dead letter")
        taken.cancel()
        await asyncio.gather(taken, return_exceptions=True)
        await reading.aclose()
    assert await directoire(*letters, "read", "index", "7", **bus) == (0, "no json")
    code, said = await directoire(*letters, "send", "index", "7", **bus)
    assert (code, said.endswith("sent again\n")) == (0, True), said
    assert await directoire(*letters, "list", "index", **bus) == (0, "")
