"""What a consumer did not take: to look at, and to send again."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import QueueEmpty

from directoire_consumer import names

STEP: Final = 10.0  # seconds for one step with the broker
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """``id`` is the event's; ``reason`` as RabbitMQ says it: delivery_limit, rejected."""

    id: str
    position: int | None
    routing_key: str
    reason: str
    body: bytes


async def list_dead_letters(
    url: str, name: str, *, exchange: str = names.EXCHANGE, most: int = MOST
) -> list[DeadLetter]:
    """The dead letters of a consumer, the oldest first; they stay where they are."""
    connection = await aio_pika.connect(url)
    async with connection:  # its end gives every message back
        return [_letter(message) for message in await _take(connection, exchange, name, most)]


async def send_again(
    url: str, name: str, *, exchange: str = names.EXCHANGE, ids: Collection[str] | None = None
) -> int:
    """Put dead letters (all, or these) back into their consumer's queue; returns how many.

    Each leaves its place only when the queue has it. The consumer takes it whatever its position;
    one sent twice, because this broke off and was run again, it drops. Raises PublishError when the
    consumer has no queue (any more).
    """
    connection = await aio_pika.connect(url)
    sent = 0
    async with connection:
        # raises when there is no such queue; else the letter would leave its place for nowhere
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        for message in await _take(connection, exchange, name, MOST):
            if ids is not None and (message.message_id or "") not in ids:
                continue
            again = aio_pika.Message(
                message.body,
                content_type=message.content_type,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=message.message_id,
                headers={"position": message.headers.get("position"), names.AGAIN: True},
            )
            async with asyncio.timeout(STEP):
                await channel.default_exchange.publish(again, names.queue(exchange, name))
            await message.ack()
            sent += 1
    return sent


async def _take(
    connection: Any, exchange: str, name: str, most: int
) -> list[AbstractIncomingMessage]:
    """Messages taken but not acknowledged: they come back when the connection ends."""
    async with asyncio.timeout(STEP):
        channel = await connection.channel()
        queue = await channel.get_queue(names.dead_queue(exchange, name))
    taken: list[AbstractIncomingMessage] = []
    while len(taken) < most:
        try:
            taken.append(await queue.get(timeout=STEP))
        except QueueEmpty:
            break
    return taken


def _letter(message: AbstractIncomingMessage) -> DeadLetter:
    deaths: Any = message.headers.get("x-death") or [{}]
    position = message.headers.get("position")
    return DeadLetter(
        id=message.message_id or "",
        position=position if isinstance(position, int) else None,
        routing_key=str((deaths[0].get("routing-keys") or [""])[0]),
        reason=str(deaths[0].get("reason", "")),
        body=message.body,
    )
