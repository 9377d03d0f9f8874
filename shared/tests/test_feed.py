"""Positions are 1, 2, 3 … with each row's own order, under two leaders and open transactions."""

import asyncio
import random
from itertools import count

import asyncpg

from shared.testing import eventually

TRANSACTIONS = 30  # of each writer


async def test_one_leads_at_a_time(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    async def lead(holder: str, seconds: float = 30.0) -> int | None:
        return await connection.fetchval("SELECT directoire.lead($1, $2)", holder, seconds)

    async def take(token: int) -> int | None:
        return await connection.fetchval("SELECT directoire.take_positions($1, 10)", token)

    first = await lead("a")
    assert first is not None
    assert await lead("b") is None
    assert await lead("a", 0.0) == first  # renewed for no time: it lapses
    second = await lead("b")
    assert second is not None
    assert second > first
    assert await take(first) is None
    assert await take(second) is not None
    await connection.execute("SELECT directoire.resign($1)", second)
    assert await take(second) is None
    third = await lead("a")
    assert third is not None
    assert third > second

    await connection.execute("SELECT directoire.confirm(5), directoire.confirm(3)")
    assert await connection.fetchval("SELECT confirmed FROM directoire.relay") == 5
    await connection.close()


async def test_positions_under_two_leaders(database_url: str) -> None:
    setup = await asyncpg.connect(database_url)
    await setup.execute(
        """
        CREATE TABLE hot (id int PRIMARY KEY, v int DEFAULT 0);
        INSERT INTO hot SELECT generate_series(1, 12);
        SELECT directoire.manage('hot');
        DELETE FROM directoire.outbox;
        """
    )
    writing = asyncio.Event()

    async def write(seed: int) -> int:
        choose = random.Random(seed)
        own = await asyncpg.connect(database_url, server_settings={"deadlock_timeout": "20ms"})
        committed = 0
        for _ in range(TRANSACTIONS):
            transaction = own.transaction()
            await transaction.start()
            try:
                rows = [choose.randint(1, 12) for _ in range(choose.randint(1, 4))]
                for row in rows:
                    await own.execute("UPDATE hot SET v = v + 1 WHERE id = $1", row)
                    await asyncio.sleep(choose.random() * 0.003)
            except asyncpg.DeadlockDetectedError:
                await transaction.rollback()
                continue
            if choose.random() < 0.1:
                await transaction.rollback()
            else:
                await transaction.commit()
                committed += len(rows)
        await own.close()
        return committed

    async def relay(name: str) -> int:
        """Believes itself the leader whatever happens: it takes the lead by force."""
        own = await asyncpg.connect(database_url)
        taken = turns = 0
        while not writing.is_set() or await own.fetchval("SELECT directoire.pending()"):
            turns += 1
            token = await own.fetchval("SELECT directoire.lead($1, 0)", f"{name}{turns // 5}")
            if token is not None:
                await asyncio.sleep(0.001)
                taken += await own.fetchval("SELECT directoire.take_positions($1, 20)", token) or 0
        await own.close()
        return taken

    relays = [asyncio.create_task(relay(name)) for name in "ab"]
    committed = sum(await asyncio.gather(*(write(seed) for seed in range(5))))
    writing.set()
    taken = sum(await asyncio.gather(*relays))

    entries = await setup.fetch(
        """SELECT f.position, a.row_id, (a.after->>'v')::int AS v
             FROM directoire.feed f JOIN directus_activity a ON a.id = f.id AND a.datetime = f.at
            ORDER BY 1"""
    )
    assert [e["position"] for e in entries] == list(range(1, committed + 1))
    assert taken == committed > 0
    for row in range(1, 13):
        own = [e["v"] for e in entries if e["row_id"] == str(row)]
        assert own == list(range(1, len(own) + 1))
    await setup.close()


async def test_the_floor_rises_but_never_past_an_open_change(database_url: str) -> None:
    """An entry whose transaction is still open must not be passed by the floor."""
    setup = await asyncpg.connect(database_url)
    await setup.execute("CREATE TABLE slow (id int PRIMARY KEY); SELECT directoire.manage('slow');")
    token = await setup.fetchval("SELECT directoire.lead('a', 60)")

    async def step(row: int) -> int:
        await setup.execute("INSERT INTO slow VALUES ($1)", row)
        return await setup.fetchval("SELECT directoire.take_positions($1, 1000)", token)

    opened = await asyncpg.connect(database_url)
    transaction = opened.transaction()
    await transaction.start()
    await opened.execute("INSERT INTO slow VALUES (0)")
    entry = await opened.fetchval("SELECT max(id) FROM directus_activity")
    for row in range(1, 8):
        await step(row)
    assert await setup.fetchval("SELECT floor FROM directoire.relay") < entry
    assert not await setup.fetchval("SELECT directoire.pending()")

    await transaction.commit()
    await opened.close()
    assert await setup.fetchval("SELECT directoire.pending()")
    assert await step(8) == 2

    rows = count(9)

    async def risen() -> bool:
        assert await step(next(rows)) == 1
        return await setup.fetchval("SELECT floor FROM directoire.relay") > entry

    # a moment later when some other database of this server has a change open
    await eventually(risen, what="floor above the entry")
    await setup.close()
