"""Imports whose processes die in the middle: all rows or none, and jobs that end all the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import aiohttp
import asyncpg
import pytest
from bulk import ended, upload
from wire import Api

from local_cluster.cluster import Cluster
from shared.testing import eventually

pytestmark = [pytest.mark.xdist_group("acceptance"), pytest.mark.timeout(240)]

ROWS = 12_000
CSV = "title,number\n" + "".join(f"row {n},{n}\n" for n in range(ROWS))
GATE = 7106  # names the advisory lock that a row waits for

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def gated(api: Api, database: Connection, name: str) -> str:
    """A table whose row 9,000 goes in when nobody holds the gate: two batches are stored then."""
    table = await api.make_table(name, title="VARCHAR", number="INT")
    await database.execute(
        f"CREATE FUNCTION wait_{table}() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END'"
    )
    await database.execute(
        f"CREATE TRIGGER wait BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.number = 9000)"
        f" EXECUTE FUNCTION wait_{table}()"
    )
    return table


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncGenerator[Connection]:
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def closed_gate(cluster: Cluster) -> AsyncGenerator[Connection]:
    """Nobody passes while this lasts; yields a connection beside it."""
    async with connected(cluster) as holder, connected(cluster) as database:
        await holder.execute(f"SELECT pg_advisory_lock({GATE})")
        yield database


async def somebody_waits(database: Connection) -> None:
    async def waits() -> bool:
        return await database.fetchval(
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            f" AND objid = {GATE}"
        )

    await eventually(waits, what="an import in the middle of its rows")


async def kill_all(cluster: Cluster, kind: str) -> None:
    """Every replica at once; returns when all are there again."""
    names = [name for name in cluster.processes if name.split("-2")[0] == kind]
    killed = {name: cluster.kill(name) for name in names}
    await asyncio.gather(*(cluster.restarted(name, after=pid) for name, pid in killed.items()))


async def rows_and_entries(database: Connection, table: str) -> tuple[int, int]:
    return (
        await database.fetchval(f"SELECT count(*) FROM {table}"),
        await database.fetchval(
            "SELECT count(*) FROM directus_activity WHERE table_name = $1 AND action = 'ADD'", table
        ),
    )


async def at_rest(database: Connection) -> None:
    """No import goes on in the database: what its dead client began is rolled back."""

    async def rests() -> bool:
        return not await database.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'directoire bulk'"
            " AND datname = current_database() AND state <> 'idle'"
        )

    await eventually(rests, what="the end of all imports in the database")


@pytest.mark.parametrize("victim", ["items-service", "gateway"])
async def test_a_kill_in_the_middle_of_an_import_leaves_all_or_nothing(
    api: Api, cluster: Cluster, unique: str, victim: str
) -> None:
    async with closed_gate(cluster) as database:
        table = await gated(api, database, f"killed_{victim.partition('-')[0]}_{unique}")
        asked = asyncio.create_task(upload(api, table, CSV))
        await somebody_waits(database)
        await kill_all(cluster, victim)
        with suppress(aiohttp.ClientError):
            assert (await asked).status >= 500
    async with connected(cluster) as database:
        await at_rest(database)
        found = await rows_and_entries(database, table)
        # whoever stored the rows is dead: nothing; or lives on, with the whole file: all
        assert found == (0, 0) if victim == "items-service" else found in {(0, 0), (ROWS, ROWS)}
        await database.execute(f"TRUNCATE {table}")
        assert (await upload(api, table, CSV)).status == 200
        assert (await rows_and_entries(database, table))[0] == ROWS


async def test_an_upload_that_breaks_off_stores_nothing(
    api: Api, cluster: Cluster, unique: str
) -> None:
    async with connected(cluster) as database:
        table = await api.make_table(f"broken_{unique}", title="VARCHAR", number="INT")

        halfway, killed = asyncio.Event(), asyncio.Event()

        async def in_two() -> AsyncGenerator[bytes]:
            yield CSV.encode()[: len(CSV) // 2]
            halfway.set()
            await killed.wait()
            yield CSV.encode()[len(CSV) // 2 :]

        asked = asyncio.create_task(upload(api, table, in_two()))
        await halfway.wait()
        await kill_all(cluster, "gateway")
        killed.set()
        with pytest.raises(aiohttp.ClientError):
            await asked
        await at_rest(database)
        assert await rows_and_entries(database, table) == (0, 0)


@pytest.mark.parametrize("victim", ["items-service", "gateway"])
async def test_a_job_is_finished_by_others_and_no_row_is_double(
    api: Api, cluster: Cluster, unique: str, victim: str
) -> None:
    async with closed_gate(cluster) as database:
        table = await gated(api, database, f"job_{victim.partition('-')[0]}_{unique}")
        begun = await upload(api, table, CSV, query="?background=true")
        assert begun.status == 202
        await somebody_waits(database)
        await kill_all(cluster, victim)
        assert (await api.get(begun.headers["Location"])).json["data"]["state"] == "running"
    job = await ended(api, begun.headers["Location"])
    assert (job["state"], job["rows"], job["bytes"]) == ("done", ROWS, len(CSV))
    async with connected(cluster) as database:
        assert await rows_and_entries(database, table) == (ROWS, ROWS)
        left = "SELECT count(*) FROM directoire.job_parts WHERE job_id = $1::text::uuid"
        assert await database.fetchval(left, job["id"]) == 0


async def test_a_job_shows_how_far_it_is_and_can_be_cancelled(
    api: Api, cluster: Cluster, unique: str
) -> None:
    async with closed_gate(cluster) as database:
        table = await gated(api, database, f"cancelled_{unique}")
        begun = await upload(api, table, CSV, query="?background=true")
        address = begun.headers["Location"]
        await somebody_waits(database)

        async def told() -> bool:
            return (await api.get(address)).json["data"]["rows"] >= 5000

        await eventually(told, what="the progress of the job")
        job = (await api.get(address)).json["data"]
        assert job["state"] == "running"
        assert 5000 <= job["rows"] < 9000
        assert 0 < job["bytes"] <= job["size"] == len(CSV)
        assert job["rows_per_second"] > 0
        assert job["seconds_remaining"] >= 0
        assert job["id"] in [one["id"] for one in (await api.get("/utils/jobs")).json["data"]]
        assert (await api.delete(address)).status == 204
        assert (await api.get(address)).json["data"]["state"] == "cancelled"
    async with connected(cluster) as database:
        await at_rest(database)
        assert await rows_and_entries(database, table) == (0, 0)
    assert (await api.get(address)).json["data"]["state"] == "cancelled"
    assert (await api.delete(address)).status == 204
