"""Records of files, and the registrations of bytes that have no record yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from asyncpg import Record

from shared import file_records
from shared.changes import Change
from shared.database import Database, Session
from shared.new_file import NewFile
from shared.queries import load_queries
from shared.sql import Sql, fixed, param, raw

QUERIES: Final = load_queries("files_service.store", "files.sql")


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: int
    storage_key: str
    name: str
    type: str
    size: int
    sha256: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class KeptThumbnail:
    storage_key: str
    type: str
    size: int
    sha256: str


async def register(database: Database, key: str, user: int | None) -> None:
    await database.execute(fixed(QUERIES["register"], key, user))


async def replace(change: Change, key: int, new: NewFile) -> bool:
    """Give a record other bytes; False when their registration is gone."""
    await file_records.lock_names(change)
    replaced = await change.fetchval(
        fixed(
            QUERIES["replace"],
            key,
            new.storage_key,
            new.sha256,
            new.size,
            new.type,
            new.charset,
            new.width,
            new.extension,
            new.height,
        )
    )
    return replaced is not None


async def lock_editable(change: Change, key: int, visible: Sql, editable: Sql) -> bool | None:
    """Lock a file's row: whether it may be changed, None when it is missing or hidden.

    The conditions are of the alias ``t``; an empty one holds.
    """
    return await change.fetchval(
        raw("SELECT coalesce(")
        + (editable or raw("true"))
        + raw(", false) FROM public.directus_files AS t WHERE t.id = ")
        + param(key)
        + raw("::int4 AND (")
        + (visible or raw("true"))
        + raw(") FOR UPDATE")
    )


async def touch(database: Database, key: str) -> bool:
    """Tell that a registration's writer is alive; False when it was cleared."""
    return await database.fetchval(fixed(QUERIES["touch"], key)) is not None


async def keep_info(database: Database, key: str, info: str) -> None:
    await database.execute(fixed(QUERIES["keep_info"], key, info))


async def info(database: Database, key: str, user: int) -> str | None:
    """What is known of bytes that this user sent ahead, as JSON."""
    return await database.fetchval(fixed(QUERIES["info"], key, user))


async def is_registered(database: Database, key: str, user: int) -> bool:
    """Whether bytes of this user wait for a record under the key."""
    return await database.fetchval(fixed(QUERIES["is_registered"], key, user)) is not None


async def lock_registration(session: Session, key: str) -> bool:
    """Whether the key is registered and nobody is consuming it."""
    return await session.fetchval(fixed(QUERIES["lock_registration"], key)) is not None


async def forget(session: Session, key: str) -> None:
    await session.execute(fixed(QUERIES["forget"], key))


async def abandoned(database: Database, older_than: timedelta) -> list[str]:
    rows = await database.fetch(fixed(QUERIES["abandoned"], older_than))
    return [row["storage_key"] for row in rows]


async def stored_under(database: Database, name: str) -> StoredFile | None:
    return _stored_file(await database.fetchrow(fixed(QUERIES["stored_under"], name)))


async def stored_as(database: Database, key: int) -> StoredFile | None:
    return _stored_file(await database.fetchrow(fixed(QUERIES["stored_as"], key)))


async def is_visible(database: Database, key: int, visible: Sql) -> bool:
    """Whether a file's row holds a condition of the alias ``t``; an empty one holds."""
    return await database.fetchval(
        raw("SELECT EXISTS (SELECT FROM public.directus_files AS t WHERE t.id = ")
        + param(key)
        + raw("::int4 AND (")
        + (visible or raw("true"))
        + raw("))")
    )


async def address_key(database: Database) -> bytes:
    """What addresses of private files are signed with."""
    return await database.fetchval(fixed(QUERIES["address_key"]))


async def kept_thumbnail(database: Database, source: str, variant: str) -> KeptThumbnail | None:
    row = await database.fetchrow(fixed(QUERIES["kept_thumbnail"], source, variant))
    if row is None:
        return None
    return KeptThumbnail(row["storage_key"], row["type"], row["size"], row["sha256"])


async def keep_thumbnail(
    database: Database, source: str, variant: str, made: KeptThumbnail
) -> bool:
    """Consume the registration of a thumbnail; False when its picture is gone, or has one."""
    kept = await database.fetchval(
        fixed(
            QUERIES["keep_thumbnail"],
            source,
            variant,
            made.storage_key,
            made.type,
            made.size,
            made.sha256,
        )
    )
    return kept is not None


async def needed(database: Database, keys: Sequence[str]) -> set[str]:
    """Those of these keys that a record, a thumbnail or a registration names."""
    rows = await database.fetch(fixed(QUERIES["needed"], list(keys)))
    return {row["key"] for row in rows}


async def recorded(database: Database, after: str) -> list[str]:
    """A thousand keys that records and thumbnails name, in order, behind the last one seen."""
    rows = await database.fetch(fixed(QUERIES["recorded"], after))
    return [row["key"] for row in rows]


def _stored_file(row: Record | None) -> StoredFile | None:
    if row is None:
        return None
    return StoredFile(
        id=row["id"],
        storage_key=row["storage_key"],
        name=row["name"],
        type=row["type"] or "application/octet-stream",
        size=row["size"],
        sha256=row["sha256"],
        modified=row["modified"],
    )
