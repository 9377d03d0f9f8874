"""A bridge from the feed to addresses of your own: a small program outside the cluster.

``python examples/webhook_bridge.py bridge.json`` with

    {"amqp_url": "amqp://…", "name": "bridge", "targets": [
        {"url": "https://example.org/hook", "secret": "…", "tables": ["orders"]}]}

Each event is posted as it is on the bus, signed: ``X-Directoire-Signature: t=<seconds>,v1=<hex>``
holds the HMAC-SHA256, by the target's secret, of ``<seconds>.<body>``; ``X-Directoire-Delivery`` is
the same for each attempt. A target that does not answer 2xx is asked again with growing pauses; the
events behind wait, so that every target gets them in order. After the last attempt the event goes
back to its queue, and in the end to the dead letters of ``name``.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from directoire_consumer import Consumer, Event

PAUSES = (0.5, 2.0, 8.0, 30.0)  # seconds before each further attempt
PATIENCE = 10.0  # seconds for an answer


def signature(secret: str, body: bytes, moment: int) -> str:
    """What the receiver computes too, and compares in constant time."""
    signed = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"t={moment},v1={signed.hexdigest()}"


async def deliver(
    session: aiohttp.ClientSession,
    target: Mapping[str, Any],
    event: Event,
    pauses: tuple[float, ...] = PAUSES,
) -> bool:
    """Whether the target took it, at the first attempt or a later one."""
    body = json.dumps(event.whole, separators=(",", ":")).encode()
    for pause in (*pauses, None):
        headers = {
            "Content-Type": "application/cloudevents+json",
            "X-Directoire-Delivery": f"{event.feed}/{event.position}",
            "X-Directoire-Signature": signature(target["secret"], body, int(time.time())),
        }
        try:
            async with session.post(
                target["url"], data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status // 100 == 2:
                    return True
                why = str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            why = type(error).__name__
        print(f"{target['url']}: {why} for position {event.position}", file=sys.stderr)
        if pause is not None:
            await asyncio.sleep(pause)
    return False


async def run(configuration: Mapping[str, Any], pauses: tuple[float, ...] = PAUSES) -> None:
    """Until it is cancelled."""
    targets = configuration["targets"]
    more = {"exchange": configuration["exchange"]} if "exchange" in configuration else {}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        Consumer(configuration["amqp_url"], configuration["name"], **more) as consumer,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        async for event in consumer.events():
            wanted = [t for t in targets if event.table in t.get("tables", [event.table])]
            taken = [await deliver(session, target, event, pauses) for target in wanted]
            await (event.done() if all(taken) else event.failed())


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
