"""``directoire activity`` against real servers."""

import asyncio
import sys
from datetime import UTC, datetime

import pytest

from shared.database import Database
from shared.sql import raw
from shared.testing import server


async def directoire(*words: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of one command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "directoire_cli",
        *words,
        env={"PATH": "", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def months_of(database: Database) -> int:
    return await database.fetchval(
        raw("SELECT count(*) FROM pg_class WHERE relname ~ '^activity_2001'")
    )


async def an_old_month(database: Database) -> None:
    """Entries of January 2001 beside one of today, all with positions."""
    for statement in (
        raw(
            "CREATE TABLE directoire.activity_2001_01 (LIKE public.directus_activity INCLUDING ALL)"
        ),
        raw(
            "ALTER TABLE public.directus_activity ATTACH PARTITION directoire.activity_2001_01"
            " FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00')"
        ),
        raw(
            'WITH old AS (INSERT INTO directus_activity ("datetime", table_name, action, actor)'
            " SELECT '2001-01-05 10:00+00', 'words', 'ADD', '1' FROM generate_series(1, 3)"
            ' RETURNING id, "datetime")'
            " INSERT INTO directoire.outbox SELECT * FROM old"
        ),
        raw("INSERT INTO directus_settings (collection, name, value) VALUES ('x', 'y', 'z')"),
        raw("SELECT directoire.lead('test', 60)"),
        raw("SELECT directoire.take_positions(1, 100)"),
    ):
        await database.execute(statement)


async def test_retention_drops_whole_months_that_the_bus_confirmed(
    database: Database, database_url: str
) -> None:
    await an_old_month(database)
    entries = await database.fetchval(raw("SELECT count(*) FROM directus_activity"))
    status, output = await directoire("activity", "retain", "1y", DATABASE_URL=database_url)
    assert (status, output) == (0, "0 entries dropped\n"), "nothing is confirmed yet"
    assert await months_of(database) > 0
    await database.execute(raw("SELECT directoire.confirm(1000)"))
    status, output = await directoire("activity", "retain", "1y", DATABASE_URL=database_url)
    assert (status, output) == (0, "3 entries dropped\n")
    assert await months_of(database) == 0
    left = await database.fetchval(raw("SELECT count(*) FROM directus_activity"))
    kept = await database.fetchrow(
        raw("SELECT min(position), max(position), count(*) FROM directoire.feed")
    )
    assert left == entries - 3
    assert kept is not None
    assert kept["count"] == kept["max"] - kept["min"] + 1
    status, output = await directoire("activity", "retain", "soon", DATABASE_URL=database_url)
    assert status == 2


async def test_a_table_is_quiet_until_it_is_not(database: Database, database_url: str) -> None:
    quiet = raw("SELECT count(*) FROM directoire.quiet_tables WHERE table_name = 'words'")
    assert await directoire("activity", "quiet", "words", DATABASE_URL=database_url) == (0, "")
    assert await database.fetchval(quiet) == 1
    words = ("activity", "quiet", "words", "--off")
    assert await directoire(*words, DATABASE_URL=database_url) == (0, "")
    assert await database.fetchval(quiet) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("tail", "--no-follow", "--after", "0"),
        ("dead-letters", "list", "nobody"),
        ("dead-letters", "send", "nobody"),
        ("dead-letters", "read", "nobody", "1"),
    ],
)
async def test_what_is_not_there_ends_in_one_line(words: tuple[str, ...]) -> None:
    exchange = f"none.{datetime.now(UTC).timestamp()}"
    status, output = await directoire(
        "activity", *words, AMQP_URL=server("AMQP_URL"), ACTIVITY_EXCHANGE=exchange
    )
    assert status == 1
    assert output.count("\n") == 1
