"""Read the activity feed with nothing but aio-pika.

``AMQP_URL=… python examples/plain_consumer.py NAME`` prints every change. What the client package
(``consumer/``) adds to this: positions are looked at, doubles dropped, gaps filled.
"""

import asyncio
import json
import os
import sys

import aio_pika

EXCHANGE = os.environ.get("ACTIVITY_EXCHANGE", "directoire.activity")


async def main(name: str) -> None:
    connection = await aio_pika.connect_robust(os.environ["AMQP_URL"])
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
        queue = await channel.declare_queue(
            f"{EXCHANGE}.{name}",
            durable=True,
            arguments={"x-queue-type": "quorum", "x-delivery-limit": 5},
        )
        await queue.bind(exchange, "activity.#")
        last = 0
        async with queue.iterator() as messages:
            async for message in messages:
                # left with an error, the message goes back, and comes again five times
                async with message.process(requeue=True):
                    event = json.loads(message.body)
                    position = int(event["sequence"])
                    if position > last:  # at least once: it may have been here before
                        print(position, event["type"], event["subject"], event["data"]["after"])
                        last = position


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
