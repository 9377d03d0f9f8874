"""The bus: one connection to RabbitMQ that is given up at the first doubt.

aio-pika may wait for ever on a connection that is gone (its issue 636), so every step has a
time-out of ours, and reconnecting is ours too.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError

from items_service.relay_events import CONTENT_TYPE, Event

CONNECT: Final = 5.0  # seconds to connect, open a channel, declare the exchange
CONFIRM: Final = 10.0  # seconds for a batch to be confirmed
CLOSE: Final = 1.0

_FAULTS: Final = (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.InvalidStateError)


class BusAway(ConnectionError):
    """RabbitMQ cannot be reached or did not confirm in time; what was sent may have arrived."""


class Bus:
    """Publishes to a durable topic exchange, with confirms."""

    def __init__(self, url: str, exchange: str) -> None:
        self._url = url
        self._name = exchange
        self._connection: AbstractConnection | None = None
        self._exchange: AbstractExchange | None = None

    async def publish(self, events: Sequence[Event]) -> None:
        """Send all, in order, and wait until all are confirmed. Raises BusAway."""
        try:
            exchange = self._exchange or await self._connect()
            async with asyncio.timeout(CONFIRM):
                # tasks start in this order, and each writes its frames before it waits
                await asyncio.gather(*(_publish(exchange, event) for event in events))
        except _FAULTS as error:
            await self.close()
            raise BusAway(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        connection, self._connection, self._exchange = self._connection, None, None
        if connection is not None:
            with suppress(*_FAULTS):
                async with asyncio.timeout(CLOSE):
                    await connection.close()

    async def _connect(self) -> AbstractExchange:
        async with asyncio.timeout(CONNECT):
            self._connection = await aio_pika.connect(self._url)
            channel = await self._connection.channel(publisher_confirms=True)
            self._exchange = await channel.declare_exchange(
                self._name, aio_pika.ExchangeType.TOPIC, durable=True
            )
        return self._exchange


async def _publish(exchange: AbstractExchange, event: Event) -> None:
    message = aio_pika.Message(
        event.body,
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=event.id,
        headers={"position": event.position},
    )
    await exchange.publish(message, event.routing_key, mandatory=False)
