"""The schema is made once, however many start; a fresh installation has one group and no user."""

import asyncio
import io
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from shared.migrations import migrate
from shared.testing import fresh_database


async def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_three_at_once_on_an_empty_database() -> None:
    async with fresh_database() as url:
        await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(3)))

        assert await rows(url, "SELECT id, name FROM directus_groups") == [(1, "Administrator")]
        assert await rows(url, "SELECT count(*) FROM directoire.alembic_version") == [(1,)]


async def test_a_cut_off_migration_is_done_again_as_a_whole() -> None:
    async with fresh_database() as url:
        blocked = await asyncpg.connect(url)
        await blocked.execute("CREATE TABLE public.directus_activity ()")  # 0002 will fail on it
        with pytest.raises(asyncpg.DuplicateTableError):
            await asyncio.to_thread(migrate, url)
        assert await rows(url, "SELECT version_num FROM directoire.alembic_version") == [("0001",)]

        await blocked.execute("DROP TABLE public.directus_activity")
        await blocked.close()
        await asyncio.to_thread(migrate, url)

        assert await rows(url, "SELECT name FROM directoire.versions ORDER BY 1") == [
            ("rights",),
            ("schema",),
            ("settings",),
        ]


async def test_the_version_moves_to_its_own_schema_and_others_stay(template_database: str) -> None:
    """Instances from before kept it in public, where an application of one's own may keep its."""
    async with fresh_database(template_database) as url:
        before = await rows(url, "SELECT version_num FROM directoire.alembic_version")
        await rows(url, "ALTER TABLE directoire.alembic_version SET SCHEMA public")
        await asyncio.to_thread(migrate, url)
        assert await rows(url, "SELECT version_num FROM directoire.alembic_version") == before
        assert await rows(url, "SELECT to_regclass('public.alembic_version')") == [(None,)]
    async with fresh_database() as url:
        await rows(url, "CREATE TABLE alembic_version AS SELECT 'ae1027a6acf5' AS version_num")
        await asyncio.to_thread(migrate, url)
        assert await rows(url, "SELECT version_num FROM alembic_version") == [("ae1027a6acf5",)]
        assert await rows(url, "SELECT version_num FROM directoire.alembic_version") == before


async def test_counts_are_right_after_they_have_moved_into_the_outbox() -> None:
    """A database of revision 0013, with deltas that nobody has folded yet."""
    text = io.StringIO()
    config = Config(output_buffer=text)
    config.set_main_option("script_location", str(files("shared.migrations")))
    command.upgrade(config, "0013", sql=True)
    counts = "SELECT * FROM directoire.table_counts('item'::regclass) ORDER BY 1"
    async with fresh_database() as url:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE SCHEMA directoire;" + text.getvalue())
        await connection.execute(
            """
            CREATE TABLE item (id int PRIMARY KEY, active smallint, secret text);
            INSERT INTO item VALUES (1, 1, 'a'), (2, 1, 'b');
            SELECT directoire.manage('item', '{secret}');
            INSERT INTO item VALUES (3, 0, 'c');
            UPDATE item SET active = 2 WHERE id = 1;
            """
        )
        assert await rows(url, counts) == [("0", 1), ("1", 1), ("2", 1)]
        await connection.close()
        await asyncio.to_thread(migrate, url)

        assert await rows(url, counts) == [("0", 1), ("1", 1), ("2", 1)]
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO item VALUES (4, 0, 'd'); DELETE FROM item WHERE id = 1"
        )
        assert await connection.fetchval("SELECT directoire.manage('item')") is False
        await connection.close()
        assert await rows(url, counts) == [("0", 2), ("1", 1)]
        assert await rows(
            url, "SELECT after ? 'secret' FROM directus_activity WHERE row_id = '4'"
        ) == [(False,)]


async def test_may_be_called_beside_a_running_loop(database_url: str) -> None:
    migrate(database_url)


async def test_the_command_reads_the_url_from_a_file(database_url: str, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(database_url + "\n")
    environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}

    def run(**more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "shared.migrations"],
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
        )

    done = await asyncio.to_thread(run, DATABASE_URL_FILE=str(secret))
    assert (done.returncode, done.stderr) == (0, "")
    without = await asyncio.to_thread(run)
    assert without.returncode == 1
    assert "DATABASE_URL" in without.stderr


async def test_a_fresh_installation_has_no_user_and_no_credential(database_url: str) -> None:
    assert await rows(database_url, "SELECT id FROM directus_users") == []
    assert await rows(database_url, "SELECT user_id FROM directoire.credentials") == []
    assert await rows(database_url, "SELECT id FROM directoire.tokens") == []
    assert await rows(
        database_url, "INSERT INTO directus_groups (name) VALUES ('b') RETURNING id"
    ) == [(2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO directoire.credentials VALUES (1, 'a password')",
        "INSERT INTO directoire.tokens (user_id, sha256) VALUES (1, 'short')",
        "INSERT INTO directus_users (email) VALUES ('A@example.org')",
        "INSERT INTO directus_privileges (table_name, group_id, allow_view) VALUES ('t', 1, 3)",
        "INSERT INTO directus_privileges (table_name, group_id) VALUES ('t', 1), ('t', 1)",
        "INSERT INTO directus_preferences (table_name, \"user\") VALUES ('t', 1), ('t', 1)",
    ],
)
async def test_the_tables_hold_their_own_rules(database_url: str, sql: str) -> None:
    await rows(database_url, "INSERT INTO directus_users (id, email) VALUES (1, 'a@example.org')")

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await rows(database_url, sql)


async def test_versions_follow_what_they_stand_for(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    async def versions() -> dict[str, int]:
        found = await connection.fetch("SELECT name, version FROM directoire.versions")
        return {row["name"]: row["version"] for row in found}

    async def raised(sql: str) -> set[str]:
        before = await versions()
        await connection.execute(sql)
        after = await versions()
        return {name for name in after if after[name] == before[name] + 1}

    assert await raised("INSERT INTO directus_users (id, email) VALUES (1, 'a'), (2, 'b')") == {
        "rights"
    }
    assert await raised("UPDATE directus_users SET position = 'x'") == set()
    assert await raised('UPDATE directus_users SET "group" = 1') == {"rights"}
    assert await raised("INSERT INTO directus_tables (table_name) VALUES ('t')") == {"schema"}
    assert await raised("UPDATE directus_tables SET hidden = 1") == {"schema"}
    assert await raised(
        "INSERT INTO directus_privileges (table_name, group_id) VALUES ('t', 1)"
    ) == {"rights"}
    assert await raised("INSERT INTO directus_settings (collection, name) VALUES ('a', 'b')") == {
        "settings"
    }
    await connection.close()
