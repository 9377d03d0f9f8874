"""A named consumer: its queue, its place in the feed, and what to do about a hole."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import aio_pika
from aio_pika.abc import (
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aio_pika.exceptions import AMQPError

from directoire_consumer import names
from directoire_consumer.event import BadEvent, Event, Step, event_of
from directoire_consumer.replay import replay

log = logging.getLogger(__name__)

Missing = Callable[[int, int], Awaitable[list[Event]]]
DELIVERIES: Final = 5  # of one message after the first, before it is set aside
PREFETCH: Final = 200
HEARTBEAT: Final = 10  # seconds; a broker that is silent for longer is gone
RETRY: Final = 1.0  # seconds between attempts to connect
STEP: Final = 10.0  # seconds for one step with the broker: aio-pika can wait for ever
_FAULTS: Final = (AMQPError, OSError, TimeoutError, RuntimeError)


class Gap(Exception):
    """Positions that nobody could give: neither the stream nor the caller's own ``missing``."""


class Consumer:
    """Events of the feed, each once, in the order of their positions.

    ``tables``   only these; then positions have holes that mean nothing, and are not filled
    ``last``     the last position taken before, where the caller keeps it: whatever is missing from
                 there on is fetched. Without it the first event of this object begins
    ``missing``  fetches (first, last) when the stream does not have them, as from GET activity
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        exchange: str = names.EXCHANGE,
        tables: Collection[str] | None = None,
        last: int | None = None,
        missing: Missing | None = None,
        prefetch: int = PREFETCH,
    ) -> None:
        self._url = url
        self._exchange = exchange
        self._name = name
        self._queue_name = names.queue(exchange, name)
        self._keys = (
            [names.EVERYTHING] if tables is None else [names.table_key(name) for name in tables]
        )
        self._whole = tables is None
        self._missing = missing
        self._prefetch = prefetch
        self._connection: AbstractConnection | None = None
        self._feed: str | None = None
        self._open: set[int] = set()  # given out, not done
        self._again: set[int] = set()  # dead letters taken since
        self.position = last
        self.doubles = 0
        self.gaps = 0

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_FAULTS):
                async with asyncio.timeout(STEP):
                    await connection.close()

    async def events(self) -> AsyncGenerator[Event]:
        """Goes on until it is closed; comes back by itself when the broker was away.

        Call ``done`` of each event when it was dealt with. Leaving the loop, or an error in it,
        gives what was not done back to the queue. Raises Gap.
        """
        while True:
            try:
                queue = await self._connect()
                async for message in _messages(queue):
                    async for event in self._in_order(message):
                        yield event
            except _FAULTS as error:
                log.info("the bus is away: %s", error)
            await self.close()
            await asyncio.sleep(RETRY)

    async def _in_order(self, message: AbstractIncomingMessage) -> AsyncGenerator[Event]:
        """What there is to deal with now: nothing, this message, or what is missing and then it."""
        try:
            event = event_of(message.body, self._done(message), self._failed(message))
        except BadEvent:
            await message.reject(requeue=False)
            return
        if message.headers.get(names.AGAIN):
            if event.position in self._again:
                await event.done()
            else:
                self._again.add(event.position)
                yield event
            return
        if self._feed is not None and event.feed != self._feed:
            self.position = None  # another count: the database was restored to an earlier time
            self._open.clear()
        self._feed = event.feed
        if self.position is not None and event.position <= self.position:
            if event.position in self._open:
                yield event  # given out before, and not dealt with
            else:
                self.doubles += 1
                await event.done()
            return
        if self._whole and self.position is not None and event.position > self.position + 1:
            self.gaps += 1
            for missed in await self._fetch(self.position + 1, event.position - 1):
                self.position = missed.position
                yield missed
        self.position = event.position
        self._open.add(event.position)
        yield event

    def _done(self, message: AbstractIncomingMessage) -> Step:
        async def done() -> None:
            self._open.discard(_position(message))
            with suppress(*_FAULTS):  # not heard: it comes again, and is dropped then
                await message.ack()

        return done

    def _failed(self, message: AbstractIncomingMessage) -> Step:
        async def failed() -> None:
            self._again.discard(_position(message))
            with suppress(*_FAULTS):
                await message.reject(requeue=True)

        return failed

    async def _fetch(self, first: int, last: int) -> list[Event]:
        """All of these positions, from the stream, else from the caller."""
        found: dict[int, Event] = {}
        async for event in replay(self._url, exchange=self._exchange, first=first, last=last):
            if self._feed in {None, event.feed}:
                found.setdefault(event.position, event)
        if len(found) <= last - first and self._missing is not None:
            for event in await self._missing(first, last):
                found.setdefault(event.position, event)
        lost = [number for number in range(first, last + 1) if number not in found]
        if lost:
            raise Gap(f"positions {lost[0]} to {lost[-1]} are nowhere ({len(lost)} of them)")
        return [found[number] for number in sorted(found)]

    async def _connect(self) -> AbstractQueue:
        """The queue, made and bound if it is not there."""
        async with asyncio.timeout(STEP):
            if self._connection is None or self._connection.is_closed:
                self._connection = await aio_pika.connect(_with_heartbeat(self._url))
            channel = await self._connection.channel()
            await channel.set_qos(self._prefetch)
            exchange = await channel.declare_exchange(
                self._exchange, aio_pika.ExchangeType.TOPIC, durable=True
            )
            dead = await channel.declare_exchange(
                names.dead_exchange(self._exchange), aio_pika.ExchangeType.DIRECT, durable=True
            )
            set_aside = await channel.declare_queue(
                names.dead_queue(self._exchange, self._name),
                durable=True,
                arguments={"x-queue-type": "quorum"},
            )
            await set_aside.bind(dead, self._queue_name)
            queue = await channel.declare_queue(
                self._queue_name,
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-delivery-limit": DELIVERIES,
                    "x-dead-letter-exchange": names.dead_exchange(self._exchange),
                    "x-dead-letter-routing-key": self._queue_name,
                    "x-dead-letter-strategy": "at-least-once",
                    "x-overflow": "reject-publish",
                },
            )
            for key in self._keys:
                await queue.bind(exchange, key)
        return queue


async def _messages(queue: AbstractQueue) -> AsyncGenerator[AbstractIncomingMessage]:
    """Messages as they come, until the channel is gone."""
    arriving: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

    def ended(*_: object) -> None:
        arriving.put_nowait(None)

    queue.channel.close_callbacks.add(ended)
    async with asyncio.timeout(STEP):
        await queue.consume(arriving.put)
    while (message := await arriving.get()) is not None:
        yield message


def _with_heartbeat(url: str) -> str:
    """RabbitMQ's own default of a minute is long for a broker that stands still."""
    return url + ("&" if "?" in url else "?") + f"heartbeat={HEARTBEAT}"


def _position(message: AbstractIncomingMessage) -> int:
    position = message.headers.get("position")
    return position if isinstance(position, int) else 0
