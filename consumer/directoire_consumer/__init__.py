"""Reads Directoire's activity feed from RabbitMQ: in order, nothing twice, nothing missing.

    async with Consumer(url, "search-index") as consumer:
        async for event in consumer.events():
            index(event.table, event.row_id, event.after)
            await event.done()

A consumer is a name. Its quorum queue collects events while nobody reads; who comes back under the
same name goes on where it was. An event that is not ``done`` comes again, six times at most, and
is then set aside among the dead letters of that name.
"""

from directoire_consumer.consumer import Consumer, Gap, Missing
from directoire_consumer.dead_letters import DeadLetter, list_dead_letters, send_again
from directoire_consumer.event import BadEvent, Event
from directoire_consumer.replay import replay
from directoire_consumer.table import Mirror

__all__ = [
    "BadEvent",
    "Consumer",
    "DeadLetter",
    "Event",
    "Gap",
    "Mirror",
    "Missing",
    "list_dead_letters",
    "replay",
    "send_again",
]
