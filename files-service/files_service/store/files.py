"""Records of files, and the registrations of bytes that have no record yet."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from shared.changes import Change
from shared.database import Database, Session
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("files_service.store", "files.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A record to be. Without bytes, ``storage_key`` and ``sha256`` are None.

    ``stem`` None: the name is the padded id. ``extension`` begins with a dot or is empty.
    """

    storage_key: str | None
    sha256: str | None
    size: int
    stem: str | None
    extension: str
    type: str | None
    charset: str | None
    width: int | None
    height: int | None
    title: str
    caption: str
    tags: str
    location: str
    embed_id: str | None
    active: int
    user: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    storage_key: str
    name: str
    type: str
    size: int
    sha256: str


async def register(database: Database, key: str, user: int) -> None:
    await database.execute(fixed(QUERIES["register"], key, user))


async def record(change: Change, new: NewFile) -> int | None:
    """Insert the record and consume the registration; None when that is gone."""
    if new.stem is not None:
        await change.execute(fixed(QUERIES["lock_names"]))
    return await change.fetchval(
        fixed(
            QUERIES["record"],
            new.storage_key,
            new.stem,
            new.extension,
            new.sha256,
            new.size,
            new.type,
            new.charset,
            new.width,
            new.height,
            new.title,
            new.caption,
            new.tags,
            new.location,
            new.embed_id,
            new.active,
            new.user,
        )
    )


async def lock_registration(session: Session, key: str) -> bool:
    """Whether the key is registered and nobody is consuming it."""
    return await session.fetchval(fixed(QUERIES["lock_registration"], key)) is not None


async def forget(session: Session, key: str) -> None:
    await session.execute(fixed(QUERIES["forget"], key))


async def abandoned(database: Database, older_than: timedelta) -> list[str]:
    rows = await database.fetch(fixed(QUERIES["abandoned"], older_than))
    return [row["storage_key"] for row in rows]


async def stored_under(database: Database, name: str) -> StoredFile | None:
    row = await database.fetchrow(fixed(QUERIES["stored_under"], name))
    if row is None:
        return None
    return StoredFile(
        storage_key=row["storage_key"],
        name=row["name"],
        type=row["type"] or "application/octet-stream",
        size=row["size"],
        sha256=row["sha256"],
    )
