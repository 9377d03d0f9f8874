"""The examples do what they say."""

import asyncio
import hmac
import importlib.util
import json
import sys
from collections.abc import AsyncGenerator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from directoire_consumer import names
from shared.testing import server

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def event(position: int) -> bytes:
    data = {"table": "words", "row_id": "1", "action": "UPDATE", "actor": "1"}
    data |= {"request_id": None, "before": {}, "after": {"id": 1}}
    whole = {"source": "/directoire/feeds/1", "sequence": str(position), "data": data}
    whole |= {"time": "2026-01-01T00:00:00Z", "type": "directoire.activity.update"}
    return json.dumps(whole | {"subject": "words/1"}).encode()


@pytest.fixture
async def bus() -> AsyncGenerator[tuple[str, aio_pika.abc.AbstractExchange]]:
    name = f"test.{uuid4().hex}"
    connection = await aio_pika.connect(server("AMQP_URL"))
    channel = await connection.channel(on_return_raises=True)
    exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
    yield name, exchange
    channel = await connection.channel()
    await channel.queue_delete(names.queue(name, "bridge"))
    await channel.queue_delete(names.dead_queue(name, "bridge"))
    await channel.exchange_delete(name)
    await channel.exchange_delete(names.dead_exchange(name))
    await connection.close()


async def publish(exchange: aio_pika.abc.AbstractExchange, position: int) -> None:
    """Once the reader's queue is there and bound."""
    message = aio_pika.Message(event(position), headers={"position": position})
    async with asyncio.timeout(60):
        while True:
            try:
                await exchange.publish(message, "activity.words.update", mandatory=True)
            except aio_pika.exceptions.PublishError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_the_bridge_signs_and_asks_again(
    bus: tuple[str, aio_pika.abc.AbstractExchange],
) -> None:
    name, exchange = bus
    got: asyncio.Queue[tuple[int, int, bytes]] = asyncio.Queue()
    attempts: dict[str, int] = {}

    async def hook(request: web.Request) -> web.Response:
        body = await request.read()
        moment, _, signed = request.headers["X-Directoire-Signature"].partition(",v1=")
        right = hmac.new(b"key", moment.removeprefix("t=").encode() + b"." + body, sha256)
        assert hmac.compare_digest(right.hexdigest(), signed)
        delivery = request.headers["X-Directoire-Delivery"]
        attempts[delivery] = attempts.get(delivery, 0) + 1
        status = 503 if attempts[delivery] < 3 else 204
        await got.put((int(json.loads(body)["sequence"]), status, body))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with TestServer(app) as receiver:
        targets = [{"url": str(receiver.make_url("/hook")), "secret": "key", "tables": ["words"]}]
        configuration = {"amqp_url": server("AMQP_URL"), "name": "bridge", "exchange": name}
        bridge = asyncio.create_task(
            example("webhook_bridge").run({**configuration, "targets": targets}, (0.01, 0.01))
        )
        await publish(exchange, 1)
        await publish(exchange, 2)
        async with asyncio.timeout(60):
            seen = [(await got.get())[:2] for _ in range(6)]
        bridge.cancel()
        await asyncio.gather(bridge, return_exceptions=True)
    assert seen == [(1, 503), (1, 503), (1, 204), (2, 503), (2, 503), (2, 204)]


async def test_the_plain_consumer_prints_what_happens(
    bus: tuple[str, aio_pika.abc.AbstractExchange],
) -> None:
    name, exchange = bus
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        EXAMPLES / "plain_consumer.py",
        "bridge",
        env={"PATH": "", "AMQP_URL": server("AMQP_URL"), "ACTIVITY_EXCHANGE": name},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        await publish(exchange, 7)
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
    finally:
        process.kill()
        await process.wait()
    assert line == b"7 directoire.activity.update words/1 {'id': 1}\n"
