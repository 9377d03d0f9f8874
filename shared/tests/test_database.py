"""Few connections, handed on fairly, and never one in an unknown state."""

import asyncio

import pytest

from shared.database import Database, client_faults
from shared.errors import InvalidValue, NotUnique, TimedOut, Unavailable
from shared.sql import param, raw


async def test_more_requests_than_connections_all_get_their_turn(database_url: str) -> None:
    database = Database(database_url, size=2)
    answers = await asyncio.gather(
        *(database.fetchval(raw("SELECT ") + param(n) + raw("::int")) for n in range(50))
    )
    assert answers == list(range(50))
    backends = await database.fetchval(
        raw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    )
    assert backends == 2
    await database.close()


async def test_when_all_are_busy_the_excess_is_told_soon(database_url: str) -> None:
    database = Database(database_url, size=1, acquire_timeout=0.1)
    busy = asyncio.create_task(database.fetchval(raw("SELECT pg_sleep(1)")))
    await asyncio.wait([busy], timeout=0)
    with pytest.raises(Unavailable) as refusal:
        await database.fetchval(raw("SELECT 1"))
    assert refusal.value.retry_after == 1
    await busy
    assert await database.fetchval(raw("SELECT 1")) == 1
    await database.close()


async def test_a_cancelled_request_gives_its_place_back(database_url: str) -> None:
    database = Database(database_url, size=1)
    for _ in range(5):
        task = asyncio.create_task(database.fetchval(raw("SELECT pg_sleep(60)")))
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await database.fetchval(raw("SELECT 1")) == 1
    await database.close()


async def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    await database.execute(raw("CREATE TABLE t (n int)"))

    async def insert_and_fail() -> None:
        async with database.transaction() as session:
            await session.execute(raw("INSERT INTO t VALUES (1)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await insert_and_fail()
    assert await database.fetchval(raw("SELECT count(*) FROM t")) == 0


async def test_a_broken_connection_is_replaced(database_url: str) -> None:
    database = Database(database_url, size=1)
    with pytest.raises(Unavailable):
        await database.fetchval(raw("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await database.fetchval(raw("SELECT 1")) == 1
    await database.close()


async def test_a_statement_that_takes_too_long_ends(database_url: str) -> None:
    database = Database(database_url, size=1, statement_timeout=0.1)
    with pytest.raises(TimedOut):
        await database.fetchval(raw("SELECT pg_sleep(5)"))
    assert await database.fetchval(raw("SELECT 1")) == 1
    await database.close()


async def test_a_server_that_is_away_is_told() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none", acquire_timeout=1)
    with pytest.raises(Unavailable):
        await database.ping()


async def test_what_a_client_got_wrong_is_the_clients(database: Database) -> None:
    await database.execute(raw("CREATE TABLE u (n smallint NOT NULL UNIQUE)"))
    await database.execute(raw("INSERT INTO u VALUES (1)"))
    with pytest.raises(NotUnique), client_faults():
        await database.execute(raw("INSERT INTO u VALUES (1)"))
    with pytest.raises(InvalidValue) as fault, client_faults():
        await database.execute(raw("INSERT INTO u VALUES (NULL)"))
    assert fault.value.field == "n"
    with pytest.raises(InvalidValue), client_faults():
        await database.execute(raw("INSERT INTO u VALUES (99999)"))
    with pytest.raises(InvalidValue), client_faults():
        await database.execute(raw("INSERT INTO u VALUES (") + param("many") + raw(")"))
