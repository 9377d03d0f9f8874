"""``python -m schema_service.adopt [--all | TABLE …]``: takes over tables that are there already.

Each table is adopted in a transaction of its own; writers of it wait while its rows are counted.
Run again, it changes nothing. One line a table says what became of it; the exit status is 1 when
one that was named could not be adopted.
"""

import asyncio
import sys
import uuid
from collections.abc import Sequence

import asyncpg
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schema_service.store import schema
from shared.catalogue import Table, load_catalogue
from shared.changes import Changes
from shared.context import Actor
from shared.database import Database
from shared.errors import ApiError
from shared.secret_settings import ServerUrl
from shared.settings import load_settings
from shared.sql import fixed
from shared.stamps import Invalidation, note_reader, table_topic


class AdoptSettings(BaseSettings):
    """What adopting reads from its environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: ServerUrl
    redis_url: ServerUrl
    redis_prefix: str = "directoire:"
    statement_timeout: float = Field(default=3600.0, gt=0)  # seconds: large tables are counted


def main() -> None:
    names = sys.argv[1:]
    if not names or any(name.startswith("-") and name != "--all" for name in names):
        raise SystemExit(f"{__doc__}")
    settings = load_settings(AdoptSettings)
    raise SystemExit(asyncio.run(adopt(settings, names)))


async def adopt(settings: AdoptSettings, names: Sequence[str]) -> int:
    """The exit status."""
    database = Database(
        settings.database_url.get_secret_value(),
        size=1,
        statement_timeout=settings.statement_timeout,
    )
    invalidation = Invalidation(
        settings.redis_url.get_secret_value(), settings.redis_prefix, note=note_reader(database)
    )
    try:
        tables = (await load_catalogue(database)).tables
        wanted = [n for n in tables if not tables[n].is_system] if "--all" in names else names
        changes = Changes(database, invalidation)
        failed = [name for name in wanted if not await _adopt(changes, name, tables.get(name))]
    finally:
        await invalidation.close()
        await database.close()
    return 1 if failed and "--all" not in names else 0


def _is_open(table: Table) -> bool:
    return not table.is_system and not table.managed


async def _adopt(changes: Changes, name: str, table: Table | None) -> bool:
    if table is None:
        return _told(name, "there is no such table", adopted=False)
    if not _is_open(table):
        return await _index(changes, table)
    if table.primary_key is None:
        return _told(name, "has no primary key of one column: read only", adopted=False)
    try:
        async with changes.transaction(Actor(user=0, request_id=uuid.uuid4().hex)) as change:
            await schema.adopt(change, name)
            change.touch("schema", "t:directus_tables", *map(table_topic, table.closure))
    except (ApiError, asyncpg.PostgresError) as error:
        return _told(name, f"not adopted: {error}", adopted=False)
    return _told(name, "adopted", adopted=True)


async def _index(changes: Changes, table: Table) -> bool:
    """A table adopted by an older version gets the indexes that its lists lack."""
    async with changes.transaction(Actor(user=0, request_id=uuid.uuid4().hex)) as change:
        await change.execute(fixed(schema.QUERIES["index_lists"], table.name))
    return _told(table.name, "is adopted already", adopted=True)


def _told(name: str, what: str, *, adopted: bool) -> bool:
    sys.stdout.write(f"{name}: {what}\n")
    return adopted


if __name__ == "__main__":
    main()
