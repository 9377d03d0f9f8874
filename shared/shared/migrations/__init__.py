"""The database's schema: ordered revisions in plain SQL, applied once however many start at a time.

Alembic keeps the order and the version table and writes one SQL script from the version the
database has to the newest; asyncpg runs it. So no second driver is needed, and whole files with
many statements are.

Each revision commits on its own: one that was cut off half-way is done again as a whole.
"""

import asyncio
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

_LOG = logging.getLogger(__name__)
_LOCK = 0x6469_7265_6374  # "direct": the advisory lock of whoever migrates this database

logging.getLogger("alembic").setLevel(logging.WARNING)


def migrate(database_url: str) -> None:
    """Bring the database to the newest revision; return when it is there.

    Whoever comes second waits for the first and finds nothing left to do. May be called with or
    without a running event loop. Raises asyncpg errors, after which the database is at the last
    revision that committed.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(_migrate(database_url))).result()


async def _migrate(database_url: str) -> None:
    connection: asyncpg.Connection = await asyncpg.connect(
        database_url, server_settings={"statement_timeout": "0"}
    )
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute("CREATE SCHEMA IF NOT EXISTS directoire")
        present = await _revision(connection)
        script = _script(present)
        if script:
            await connection.execute(script)
            _LOG.info("migrated from %s to %s", present, await _revision(connection))
    finally:
        await connection.close()  # also gives the lock back


async def _revision(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('directoire.alembic_version')") is None:
        return await _revision_in_public(connection)
    revision: str | None = await connection.fetchval(
        "SELECT version_num FROM directoire.alembic_version"
    )
    return revision


async def _revision_in_public(connection: asyncpg.Connection) -> str | None:
    """Where the version was kept at first; it moves to its schema. Others' stay where they are."""
    if await connection.fetchval("SELECT to_regclass('public.alembic_version')") is None:
        return None
    async with connection.transaction():
        revision: str | None = await connection.fetchval(
            "SELECT version_num FROM public.alembic_version"
        )
        known = {
            script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()
        }
        made = await connection.fetchval("SELECT to_regclass('public.directus_groups')")
        if revision not in known or made is None:
            return None
        await connection.execute("ALTER TABLE public.alembic_version SET SCHEMA directoire")
    return revision


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output or io.StringIO())
    config.set_main_option("script_location", str(files(__name__)))
    return config


def _script(present: str | None) -> str:
    """The SQL from this revision to the newest; empty when it is the newest."""
    text = io.StringIO()
    config = _config(text)
    if present == ScriptDirectory.from_config(config).get_current_head():
        return ""
    command.upgrade(config, f"{present}:head" if present else "head", sql=True)
    return text.getvalue()
