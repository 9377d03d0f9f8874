"""The bus: one connection to RabbitMQ that is given up at the first doubt.

aio-pika may wait for ever on a connection that is gone (its issue 636), so every step has a
time-out of ours, and reconnecting is ours too: a broker that is away, that blocks its publishers or
that does not confirm in time is the same to us, and what was sent is sent again. Messages are
``mandatory``: one that no queue took is returned, and counts as not sent. So that none is, the
stream that keeps all events for replay is made, and bound, with every connection.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, cast

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity
from aiormq import Channel, spec
from aiormq.abc import ChannelFrame, FrameType
from aiormq.channel import ConfirmationType
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
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
            batch = await _send(channel, self._name, events)
            if is_off("bus.confirms"):  # the checker of the feed must notice
                batch.forget()
                return
            async with asyncio.timeout(CONFIRM):
                await batch.confirmed
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


class _Batch:
    """Stands in a channel's confirmations for each message of a batch: one future for all."""

    def __init__(self, confirmed: "asyncio.Future[None]", messages: int) -> None:
        self.confirmed = confirmed
        self._waiting = messages

    def set_result(self, _frame: object) -> None:
        self._waiting -= 1
        if self._waiting == 0:
            self.confirmed.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        self.confirmed.set_exception(error)

    def done(self) -> bool:
        return self.confirmed.done()

    def cancelled(self) -> bool:
        """Of a batch that failed or was given up, what comes later is of no interest."""
        return self.done()

    def forget(self) -> None:
        self.confirmed.cancel()


async def _send(channel: Channel, exchange: str, events: Sequence[Event]) -> _Batch:
    """Write a batch in one piece.

    Past ``basic_publish``, whose locks, time-outs and writes for each message cost more than
    RabbitMQ's part; it enters a message among the channel's confirmations in the same way.
    """
    batch = _Batch(channel.create_future(), len(events))
    if not events:
        batch.confirmed.set_result(None)
        return batch
    frames: list[FrameType | ContentBody] = []
    for event in events:
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = cast("ConfirmationType", batch)
        channel.message_id_delivery_tag[event.id] = channel.delivery_tag
        frames += _frames(channel, exchange, event)

    def forget_ids(_confirmed: object) -> None:
        for event in events:
            channel.message_id_delivery_tag.pop(event.id, None)

    batch.confirmed.add_done_callback(forget_ids)
    await channel.write_queue.put(
        ChannelFrame.marshall(frames=frames, channel_number=channel.number)
    )
    return batch


def _frames(channel: Channel, exchange: str, event: Event) -> Iterator[FrameType | ContentBody]:
    yield spec.Basic.Publish(exchange=exchange, routing_key=event.routing_key, mandatory=True)
    yield ContentHeader(properties=_properties(event), body_size=len(event.body))
    for start in range(0, len(event.body), channel.max_content_size):
        yield ContentBody(event.body[start : start + channel.max_content_size])


def _properties(event: Event) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=2,  # persistent
        message_id=event.id,
        headers={"position": event.position},
    )
