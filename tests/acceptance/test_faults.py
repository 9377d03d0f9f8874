"""Killing any one process during writes and reads loses nothing, hides nothing, shows nothing old.

The cluster here has private servers, so that these can die as well.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from wire import Api

from local_cluster.cluster import Cluster
from prove.feed import FOUND_AGAIN
from shared.testing import eventually

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(300)]

ROWS = 6
TARGETS = (
    "items-service", "redis", "gateway", "rabbitmq", "relay", "auth-service", "schema-service",
)  # fmt: skip
EXCHANGE = "directoire.activity"
LAG = "directoire_relay_lag_positions "


@dataclass(frozen=True)
class Stack:
    """A running instance: its processes and how to reach it."""

    api: Api
    cluster: Cluster


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(session: aiohttp.ClientSession) -> AsyncGenerator[Stack]:
    async with Cluster() as cluster:
        yield Stack(Api(session, cluster.base_url, cluster.token), cluster)
        running = cluster.processes
    left = [name for name, pid in running.items() if alive(pid)]
    assert left == [], "the stop left processes behind"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class History:
    """What was acknowledged, and every read that showed something older."""

    acked: dict[int, int] = field(default_factory=dict[int, int])
    writes: int = 0
    reads: int = 0
    undetermined: int = 0
    stale: list[str] = field(default_factory=list[str])


async def write(stack: Stack, path: str, row: int, history: History, stop: asyncio.Event) -> None:
    value = 0
    while not stop.is_set():
        value += 1
        while True:  # until acknowledged: setting the same value again does no harm
            try:
                reply = await stack.api.put(f"{path}/{row}", {"n": value})
            except aiohttp.ClientError:
                history.undetermined += 1
            else:
                if reply.status == 200:
                    break
                assert reply.status in {502, 503, 504}, reply.json
                history.undetermined += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stop.wait()
        history.acked[row] = value
        history.writes += 1


async def read(stack: Stack, path: str, row: int, history: History, stop: asyncio.Event) -> None:
    while not stop.is_set():
        known = history.acked.get(row, 0)
        begun = time.monotonic()
        try:
            reply = await stack.api.get(f"{path}/{row}")
        except aiohttp.ClientError:
            continue
        if reply.status == 200:
            history.reads += 1
            if reply.data["n"] < known:
                history.stale.append(f"row {row}: {reply.data['n']} < {known} at {begun}")
        else:
            assert reply.status in {502, 503, 504}, reply.json


async def kill_each(stack: Stack, path: str) -> None:
    """SIGKILL one after the other; go on when its successor is up and the API answers."""
    for target in TARGETS:

        async def answers() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return (await stack.api.get(path)).status == 200
            return False

        killed = stack.cluster.kill(target)
        await stack.cluster.restarted(target, after=killed)
        await eventually(answers, within=40, what=f"answers after the end of {target}")


async def published(stack: Stack, queue_name: str, until: int) -> list[dict[str, Any]]:
    """Every message of the queue, in order of arrival, up to position ``until``."""
    messages: list[dict[str, Any]] = []
    connection = await aio_pika.connect(stack.cluster.urls["AMQP_URL"])
    async with connection, asyncio.timeout(60):
        channel = await connection.channel()
        queue = await channel.get_queue(queue_name)
        async with queue.iterator() as arriving:
            async for message in arriving:
                await message.ack()
                messages.append(json.loads(message.body))
                if int(messages[-1]["sequence"]) >= until:
                    break
    return messages


async def stream_lasts(stack: Stack) -> None:
    """Wait until the relay's stream is there, and is found again by a RabbitMQ that is killed."""
    connection = await aio_pika.connect(stack.cluster.urls["AMQP_URL"])
    async with connection:

        async def there() -> bool:
            channel = await connection.channel()
            with contextlib.suppress(aio_pika.exceptions.ChannelNotFoundEntity):
                await channel.declare_queue(f"{EXCHANGE}.stream", passive=True)
                return True
            return False

        await eventually(there, within=60, what="the relay has made the stream")
    seen = time.monotonic()

    async def old_enough() -> bool:
        return time.monotonic() - seen > FOUND_AGAIN

    await eventually(old_enough, what="RabbitMQ has written where the stream lies")


async def test_killing_any_one_process_loses_hides_and_ages_nothing(stack: Stack) -> None:
    table = await stack.api.make_table("counters", n="INT")
    path = f"tables/{table}/rows"
    body = {"rows": [{"n": 0, "active": 1}] * ROWS}
    ids = [row["id"] for row in (await stack.api.post(f"{path}/bulk", body)).data]
    database = await asyncpg.connect(stack.cluster.urls["DATABASE_URL"])
    queue_name = "faults"
    connection = await aio_pika.connect(stack.cluster.urls["AMQP_URL"])
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(queue_name, durable=True)
        await queue.bind(exchange, "activity.counters.*")
    await stream_lasts(stack)
    history, stop = History(), asyncio.Event()
    workers = [
        *(asyncio.create_task(write(stack, path, row, history, stop)) for row in ids),
        *(asyncio.create_task(read(stack, path, row, history, stop)) for row in ids),
    ]
    try:
        await kill_each(stack, path)
    finally:
        stop.set()
        await asyncio.gather(*workers)
    assert history.stale == []
    assert history.writes > 100
    assert history.reads > 100
    rows = {row["id"]: row["n"] for row in (await stack.api.get(f"{path}?preview=1")).data}
    assert rows == history.acked, "a committed change is lost, or one was invented"

    recorded = await database.fetch(
        "SELECT id, row_id, (after->>'n')::int AS n FROM directus_activity"
        " WHERE table_name = 'counters' AND action = 'UPDATE' ORDER BY id"
    )

    async def all_have_positions() -> bool:
        return await database.fetchval("SELECT count(*) FROM directoire.outbox") == 0

    await eventually(all_have_positions, within=60, what="positions for all changes")
    positions = await database.fetchrow(
        "SELECT min(position) AS first, max(position) AS last, count(*) AS n FROM directoire.feed"
    )
    assert positions is not None
    assert (positions["first"], positions["last"]) == (1, positions["n"]), "positions have a gap"
    last = await database.fetchval(
        "SELECT max(f.position) FROM directoire.feed f JOIN directus_activity a USING (id)"
        " WHERE a.table_name = 'counters' AND a.action = 'UPDATE'"
    )
    messages = [
        message
        for message in await published(stack, queue_name, last)
        if message["data"]["action"] == "UPDATE"
    ]
    by_position = {int(message["sequence"]): message["data"] for message in messages}
    seen = [(data["row_id"], data["after"]["n"]) for _, data in sorted(by_position.items())]
    assert len(seen) == len(recorded), "a recorded change is not on the bus"
    for row in ids:
        expected = [entry["n"] for entry in recorded if entry["row_id"] == str(row)]
        assert [n for row_id, n in seen if row_id == str(row)] == expected
    await database.close()


async def test_a_broker_that_blocks_its_publishers_is_waited_for(
    stack: Stack, session: aiohttp.ClientSession
) -> None:
    """RabbitMQ's memory alarm: writes go on, the relay's metrics tell, then everything comes."""
    table = await stack.api.make_table("alarmed", n="INT")
    path = f"tables/{table}/rows"
    metrics = f"http://127.0.0.1:{stack.cluster.ports['relay']}/metrics"

    async def lag() -> float:
        async with session.get(metrics) as response:
            lines = (await response.text()).splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(LAG))

    connection = await aio_pika.connect(stack.cluster.urls["AMQP_URL"])
    async with connection:
        channel = await connection.channel()
        arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, f"activity.{table}.*")
        await queue.consume(arrived.put, no_ack=True)
        await stack.cluster.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            for n in range(20):
                assert (await stack.api.post(path, {"n": n})).status == 200

            async def waits() -> bool:
                return await lag() > 0

            await eventually(waits, what="the metrics show what is not confirmed")
        finally:
            await stack.cluster.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "512MB")

        async def caught_up() -> bool:
            return await lag() == 0

        await eventually(caught_up, within=40, what="all is confirmed")
        seen: dict[str, int] = {}
        async with asyncio.timeout(60):
            while len(seen) < 20:
                event = json.loads((await arrived.get()).body)
                seen.setdefault(event["sequence"], event["data"]["after"]["n"])
    assert [seen[key] for key in sorted(seen, key=int)] == list(range(20))
