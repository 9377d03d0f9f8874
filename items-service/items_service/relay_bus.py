"""The bus: one connection to RabbitMQ that is given up at the first doubt.

aio-pika may wait for ever on a connection that is gone (its issue 636), so every step has a
time-out of ours, and reconnecting is ours too: a broker that is away, that blocks its publishers or
that does not confirm in time is the same to us, and what was sent is sent again. Messages are
``mandatory``: one that no queue took is returned, and counts as not sent. So that none is, the
stream that keeps all events for replay is made, and bound, with every connection.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity
from aiormq import Channel, spec
from prometheus_client import Counter

from items_service.relay_events import CONTENT_TYPE, Event
from shared.failpoints import is_off

log = structlog.get_logger(__name__)

CONNECT: Final = 5.0  # seconds to connect, open a channel, declare what messages go through
CONFIRM: Final = 10.0  # seconds for a batch to be confirmed
CLOSE: Final = 1.0
EVERYTHING: Final = "activity.#"

_FAULTS: Final = (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.InvalidStateError)
AWAY = Counter("directoire_relay_bus_away_total", "Times the bus was given up", ["why"])


class BusAway(ConnectionError):
    """RabbitMQ cannot be reached or did not confirm in time; what was sent may have arrived."""


class Bus:
    """Publishes to a durable topic exchange, with confirms."""

    def __init__(self, url: str, exchange: str, *, stream_age: str = "14D") -> None:
        """``stream_age``: how long the stream keeps events, as RabbitMQ writes it: 12h, 14D, 1Y."""
        self._url = url
        self._name = exchange
        self._stream_age = stream_age
        self._connection: AbstractConnection | None = None
        self._channel: Channel | None = None

    async def publish(self, events: Sequence[Event]) -> None:
        """Send all, in order, and wait until all are confirmed. Raises BusAway."""
        try:
            channel = self._channel or await self._connect()
            if is_off("bus.confirms"):
                await _hope(channel, self._name, events)
                return
            async with asyncio.timeout(CONFIRM):
                # tasks start in this order, and each writes its frames before it waits
                await asyncio.gather(*(_publish(channel, self._name, event) for event in events))
        except _FAULTS as error:
            await self.close()
            AWAY.labels(type(error).__name__).inc()
            raise BusAway(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(*_FAULTS):
                async with asyncio.timeout(CLOSE):
                    await connection.close()

    async def _connect(self) -> Channel:
        async with asyncio.timeout(CONNECT):
            self._connection = await aio_pika.connect(self._url)
            await self._declare_stream(self._connection)
            # unless told to raise, a returned message is as good as a confirmed one
            channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            below = await channel.get_underlay_channel()
            assert isinstance(below, Channel)
            self._channel = below
        return below

    async def _declare_stream(self, connection: AbstractConnection) -> None:
        """Also the exchange. A stream that is there stays as it is: it may be an operator's."""
        name = f"{self._name}.stream"
        channel = await connection.channel()
        exchange = await channel.declare_exchange(
            self._name, aio_pika.ExchangeType.TOPIC, durable=True
        )
        try:
            stream = await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:
            channel = await connection.channel()
            stream = await channel.declare_queue(
                name,
                durable=True,
                arguments={"x-queue-type": "stream", "x-max-age": self._stream_age},
            )
            log.info("stream made", name=name, keeps=self._stream_age)
        await stream.bind(exchange, EVERYTHING)
        await channel.close()


async def _publish(channel: Channel, exchange: str, event: Event) -> None:
    """Past aio-pika's own ``publish``, which waits for each message to leave the socket."""
    await channel.basic_publish(
        event.body,
        exchange=exchange,
        routing_key=event.routing_key,
        properties=_properties(event),
        mandatory=True,
        wait=False,
    )


def _properties(event: Event) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,  # persistent
        message_id=event.id,
        headers={"position": event.position},
    )


async def _hope(channel: Channel, exchange: str, events: Sequence[Event]) -> None:
    """What publishing without confirms is like. The checker of the feed must notice."""
    for event in events:
        task = asyncio.ensure_future(_publish(channel, exchange, event))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.sleep(0)
