"""The client against a real broker; events are published as the relay does."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import PublishError

from directoire_consumer import (
    Consumer,
    Event,
    Gap,
    Mirror,
    list_dead_letters,
    names,
    replay,
    send_again,
)
from directoire_consumer.event import event_of
from shared.testing import server

FEED = "/directoire/feeds/1"
MORNING = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Bus:
    def __init__(self, channel: AbstractChannel, exchange: str, url: str) -> None:
        self.channel = channel
        self.exchange = exchange
        self.url = url

    async def publish(self, *positions: int, **more: Any) -> None:
        exchange = await self.channel.get_exchange(self.exchange)
        for position in positions:
            event = whole(position, **more)
            key = names.table_key(event["data"]["table"]).replace("*", "update")
            await exchange.publish(message(json.dumps(event).encode(), position), key)

    def consumer(self, **more: Any) -> Consumer:
        return Consumer(self.url, "index", exchange=self.exchange, **more)


def message(body: bytes, position: int) -> aio_pika.Message:
    return aio_pika.Message(
        body,
        message_id=str(position),
        headers={"position": position},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def whole(position: int, *, feed: str = FEED, table: str = "words", **data: Any) -> dict[str, Any]:
    entry = {"before": {}, "after": {"id": position}, "row_id": str(position), "action": "UPDATE"}
    return {
        "source": feed,
        "sequence": str(position),
        "time": MORNING.isoformat(),
        "data": {"table": table, "actor": "1", "request_id": None, **entry, **data},
    }


@pytest_asyncio.fixture(loop_scope="session")
async def bus() -> AsyncGenerator[Bus]:
    exchange_name = f"test.{uuid4().hex}"
    connection = await aio_pika.connect(server("AMQP_URL"))
    channel = await connection.channel()
    exchange = await channel.declare_exchange(
        exchange_name, aio_pika.ExchangeType.TOPIC, durable=True
    )
    stream = await channel.declare_queue(
        names.stream(exchange_name), durable=True, arguments={"x-queue-type": "stream"}
    )
    await stream.bind(exchange, names.EVERYTHING)
    yield Bus(channel, exchange_name, server("AMQP_URL"))
    channel = await connection.channel()
    for queue in (
        names.stream(exchange_name),
        names.queue(exchange_name, "index"),
        names.dead_queue(exchange_name, "index"),
    ):
        await channel.queue_delete(queue)
    await channel.exchange_delete(exchange_name)
    await channel.exchange_delete(names.dead_exchange(exchange_name))
    await connection.close()


async def take(consumer: Consumer, number: int) -> list[Event]:
    """So many events, each done."""
    found: list[Event] = []
    async with asyncio.timeout(60):
        async for event in consumer.events():
            found.append(event)
            await event.done()
            if len(found) == number:
                break
    return found


def positions(events: list[Event]) -> list[int]:
    return [event.position for event in events]


async def test_a_consumer_reads_by_name_and_goes_on_where_it_was(bus: Bus) -> None:
    async with bus.consumer() as consumer:
        await bus.publish(1, 2, 3)
        assert positions(await take(consumer, 2)) == [1, 2]
    await bus.publish(4)
    async with bus.consumer() as consumer:
        assert positions(await take(consumer, 2)) == [3, 4]


async def test_doubles_are_dropped(bus: Bus) -> None:
    async with bus.consumer() as consumer:
        await bus.publish(1, 2, 1, 2, 2, 3)
        assert positions(await take(consumer, 3)) == [1, 2, 3]
        assert consumer.doubles == 3


async def test_what_is_missing_is_fetched_from_the_stream(bus: Bus) -> None:
    await bus.publish(1, 2, 3)  # before its queue was there
    async with bus.consumer(last=1) as consumer:
        await bus.publish(4)
        assert positions(await take(consumer, 3)) == [2, 3, 4]
        assert consumer.gaps == 1


async def test_what_the_stream_has_not_is_asked_of_the_caller(bus: Bus) -> None:
    asked: list[tuple[int, int]] = []

    async def missing(first: int, last: int) -> list[Event]:
        asked.append((first, last))
        return []

    async with bus.consumer(last=1, missing=missing) as consumer:
        await bus.publish(5)
        with pytest.raises(Gap, match="2 to 4"):
            await take(consumer, 1)
    assert asked == [(2, 4)]


async def test_of_some_tables_positions_have_holes_that_mean_nothing(bus: Bus) -> None:
    async with bus.consumer(tables=["words", "my.table"]) as consumer:
        await bus.publish(1)
        await bus.publish(2, table="others")
        await bus.publish(3, table="my.table")
        assert [event.table for event in await take(consumer, 2)] == ["words", "my.table"]


async def test_another_feed_counts_anew(bus: Bus) -> None:
    async with bus.consumer() as consumer:
        await bus.publish(7, 8)
        await bus.publish(1, feed="/directoire/feeds/2")
        assert positions(await take(consumer, 3)) == [7, 8, 1]


async def test_poison_is_set_aside_and_can_be_sent_again(bus: Bus) -> None:
    exchange = await bus.channel.get_exchange(bus.exchange)
    async with bus.consumer() as consumer:
        await exchange.publish(message(b"no json", 0), "activity.words.update")
        await bus.publish(1, 2)
        tries = 0
        async with asyncio.timeout(60):
            async for event in consumer.events():
                if event.position == 1:
                    tries += 1
                    await event.failed()
                else:
                    await event.done()
                if tries == 6:
                    break

    async def set_aside(number: int) -> list[Any]:
        async with asyncio.timeout(60):
            while True:
                letters = await list_dead_letters(bus.url, "index", exchange=bus.exchange)
                if len(letters) == number:
                    return sorted(letters, key=lambda letter: letter.position)

    broken, poison = await set_aside(2)
    assert broken.body == b"no json"
    assert (poison.position, poison.reason) == (1, "delivery_limit")
    assert await send_again(bus.url, "index", exchange=bus.exchange, ids=["1"]) == 1
    async with bus.consumer(last=2) as consumer:
        assert positions(await take(consumer, 1)) == [1]
    assert [letter.id for letter in await set_aside(1)] == ["0"]


async def test_a_letter_to_a_consumer_without_queue_stays(bus: Bus) -> None:
    async with bus.consumer() as consumer:
        await bus.publish(1)
        await take(consumer, 1)
    dead = await bus.channel.get_exchange(names.dead_exchange(bus.exchange))
    await dead.publish(message(b"old", 1), names.queue(bus.exchange, "index"))
    await bus.channel.queue_delete(names.queue(bus.exchange, "index"))
    with pytest.raises(PublishError):
        await send_again(bus.url, "index", exchange=bus.exchange)
    (letter,) = await list_dead_letters(bus.url, "index", exchange=bus.exchange)
    assert letter.body == b"old"


async def test_a_consumer_comes_back_when_its_connection_is_gone(bus: Bus) -> None:
    consumer = bus.consumer()
    async with consumer:
        await bus.publish(1)
        events = consumer.events()
        async with asyncio.timeout(60):
            event = await anext(events)
            await event.done()
            await consumer.close()
            await bus.publish(2)
            event = await anext(events)
            assert event.position == 2
            await event.done()
        await events.aclose()


async def test_replay_from_a_position_or_a_time(bus: Bus) -> None:
    await bus.publish(1, 2, 2, 3)

    async def read(**more: Any) -> list[int]:
        return [e.position async for e in replay(bus.url, exchange=bus.exchange, **more)]

    assert await read() == [1, 2, 3]
    assert await read(first=2) == [2, 3]
    assert await read(first=2, last=2) == [2]
    assert await read(since=MORNING - timedelta(days=1)) == [1, 2, 3]
    assert await read(since=MORNING + timedelta(seconds=1)) == []


def event(position: int, **data: Any) -> Event:
    return event_of(json.dumps(whole(position, **data)).encode())


def test_a_mirror_is_the_table() -> None:
    mirror = Mirror("words")
    mirror.apply(event(1, row_id="1", action="ADD", before=None, after={"id": 1, "w": "a"}))
    mirror.apply(event(2, row_id="2", action="ADD", before=None, after={"id": 2, "w": "b"}))
    mirror.apply(event(3, row_id="1", before={"w": "a"}, after={"id": 1, "w": "c"}))
    mirror.apply(event(4, table="others", row_id="9", action="ADD", after={"id": 9}))
    assert mirror.rows == {"1": {"id": 1, "w": "c"}, "2": {"id": 2, "w": "b"}}
    # id = id + 1, row by row
    mirror.apply(event(5, row_id="2", before={"id": 1}, after={"id": 2, "w": "c"}))
    mirror.apply(event(6, row_id="3", before={"id": 2}, after={"id": 3, "w": "b"}))
    assert mirror.rows == {"2": {"id": 2, "w": "c"}, "3": {"id": 3, "w": "b"}}
    mirror.apply(event(7, row_id="2", action="DELETE", after=None))
    assert list(mirror.rows) == ["3"]
    mirror.apply(event(8, row_id=None, action="TRUNCATE", after=None))
    assert mirror.rows == {}
