"""The past, from the stream on the bus: from its start, a position or a time."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from directoire_consumer import names
from directoire_consumer.event import BadEvent, Event, event_of

STEP: Final = 10.0  # seconds for one step with the broker
SILENCE: Final = 0.5  # seconds without a message after which the stream is read
PREFETCH: Final = 500


async def replay(
    url: str,
    *,
    exchange: str = names.EXCHANGE,
    first: int = 1,
    last: int | None = None,
    since: datetime | None = None,
    follow: bool = False,
) -> AsyncGenerator[Event]:
    """What the stream has kept, each position once: from ``first``, from ``since``, up to ``last``.

    Ends at the stream's end, unless it is to ``follow``. RabbitMQ finds a time by itself, to the
    chunk; for a position the stream is read from its start. Raises what aio-pika raises.
    """
    connection = await aio_pika.connect(url)
    async with connection:
        async with asyncio.timeout(STEP):
            channel = await connection.channel()
            await channel.set_qos(PREFETCH)
            queue = await channel.get_queue(names.stream(exchange))
            arriving: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            offset = "first" if since is None else since
            await queue.consume(arriving.put, arguments={"x-stream-offset": offset})
        seen: dict[str, int] = {}  # of each feed the last position: publishing may repeat
        while True:
            try:
                async with asyncio.timeout(None if follow else SILENCE if seen else STEP / 5):
                    message = await arriving.get()
            except TimeoutError:
                return
            await message.ack()
            try:
                event = event_of(message.body)
            except BadEvent:
                continue
            known = seen.get(event.feed, 0)
            seen[event.feed] = max(known, event.position)
            if event.position <= known or event.position < first:
                continue
            if since is not None and event.time < since:
                continue
            if last is not None and event.position > last:
                return
            yield event
