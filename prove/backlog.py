"""After a long outage: ``python -m prove.backlog [ENTRIES [SECONDS]]``.

ENTRIES changes are committed while no relay runs. Then one relay starts, a process as deployed:
prints how fast all get their positions, how fast the bus confirms them for SECONDS, and the relay's
memory. Fails when its memory grows with what waits, or when what came has a hole.
Needs the servers of ``local_cluster.throwaway``.
"""

import asyncio
import os
import sys
import time
from typing import Final
from uuid import uuid4

import aio_pika
import asyncpg

from directoire_consumer import replay
from prove.streams import memory
from shared.migrations import migrate
from shared.testing import fresh_database, server

ENTRIES: Final = 1_000_000
SECONDS: Final = 120.0  # to publish, at most
BATCH: Final = 50_000  # rows of one INSERT
GROWTH: Final = 60_000  # kB that a relay's memory may gain, however much waits


async def prove(entries: int, seconds: float) -> list[str]:
    """What is wrong; empty when the promise holds."""
    exchange = f"prove.{uuid4().hex}"
    async with fresh_database() as url:
        await asyncio.to_thread(migrate, url)
        database = await asyncpg.connect(url, command_timeout=600)
        await database.execute(
            "CREATE TABLE many (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text);"
            "SELECT directoire.manage('many')"
        )
        for done in range(0, entries, BATCH):
            rows = min(BATCH, entries - done)
            await database.execute(
                "INSERT INTO many (title) SELECT 'Title ' || n FROM generate_series(1, $1) n", rows
            )
        begun = time.monotonic()
        await database.fetch("SELECT * FROM directoire.table_counts('many'::regclass)")
        print(f"{entries} entries wait; a count takes {time.monotonic() - begun:.2f} s", flush=True)
        environment = os.environ | {
            "DATABASE_URL": url,
            "REDIS_PREFIX": f"{exchange}:",
            "ACTIVITY_EXCHANGE": exchange,
            "PORT": "0",
            "LOG_LEVEL": "WARNING",
        }
        relay = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "items_service.relay", env=environment
        )
        try:
            wrong = await _watch(database, relay.pid, entries, seconds)
        finally:
            relay.kill()
            await relay.wait()
        confirmed = await database.fetchval("SELECT confirmed FROM directoire.relay")
        wrong += await _holes(exchange, confirmed)
        await database.close()
    return wrong


async def _watch(
    database: "asyncpg.Connection[asyncpg.Record]", pid: int, entries: int, seconds: float
) -> list[str]:
    state = "SELECT position, confirmed FROM directoire.relay"
    leads = "SELECT position > 0 FROM directoire.relay"
    while not await database.fetchval(leads):  # noqa: ASYNC110 - the database knows
        await asyncio.sleep(0.05)
    begun, first, most, placed = time.monotonic(), memory(pid), 0, 0.0
    while True:
        now = time.monotonic() - begun
        row = await database.fetchrow(state)
        assert row is not None
        most = max(most, memory(pid))
        if not placed and row["position"] >= entries:
            placed = now
        if now > seconds or row["confirmed"] >= entries:
            break
        await asyncio.sleep(0.2)
    print(
        f"all had positions after {placed:.1f} s ({entries / max(placed, 0.1):.0f}/s);"
        f" {row['confirmed']} confirmed in {now:.0f} s ({row['confirmed'] / now:.0f}/s);"
        f" memory {first / 1000:.0f} MB at first, {most / 1000:.0f} MB at most",
        flush=True,
    )
    wrong = [] if placed else ["positions wait for the bus"]
    if most - first > GROWTH:
        wrong.append(f"memory grew by {(most - first) / 1000:.0f} MB")
    return wrong


async def _holes(exchange: str, confirmed: int) -> list[str]:
    """Every confirmed position is in the stream, in order."""
    url, expected = server("AMQP_URL"), 1
    async for event in replay(url, exchange=exchange):
        if event.position != expected:
            return [f"{event.position} came, not {expected}"]
        expected += 1
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete(f"{exchange}.stream")
        await channel.exchange_delete(exchange)
    return [] if expected > confirmed else [f"{expected - 1} in the stream, {confirmed} confirmed"]


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    wrong = asyncio.run(prove(entries, seconds))
    sys.exit("; ".join(wrong) or 0)


if __name__ == "__main__":
    main()
