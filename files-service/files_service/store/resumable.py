"""The state of resumable uploads: any replica continues what another one started."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.changes import Change
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("files_service.store", "resumable.sql")


@dataclass(frozen=True, slots=True)
class State:
    """``length`` is None while the client has not told it; ``file`` is the finished record."""

    length: int | None
    received: int
    metadata: str
    file: int | None
    expires_at: datetime


async def create(
    database: Database, key: str, user: int, *, length: int | None, metadata: str, life: timedelta
) -> None:
    await database.execute(fixed(QUERIES["create"], key, user, length, metadata, life))


async def look(database: Database, key: str, user: int) -> State | None:
    row = await database.fetchrow(fixed(QUERIES["look"], key, user))
    if row is None:
        return None
    return State(row["length"], row["received"], row["metadata"], row["file_id"], row["expires_at"])


async def take(
    database: Database, key: str, user: int, *, offset: int, length: int | None, life: timedelta
) -> tuple[int, int | None] | None:
    """Fence and length; None when the offset is another one, or the upload is over."""
    row = await database.fetchrow(fixed(QUERIES["take"], key, user, offset, length, life))
    return None if row is None else (row["fence"], row["length"])


async def add_part(
    database: Database, key: str, fence: int, *, offset: int, size: int, life: timedelta
) -> int | None:
    """The next fence; None when another writer has taken over."""
    return await database.fetchval(fixed(QUERIES["add_part"], key, fence, offset, size, life))


async def parts(database: Database, key: str) -> list[int]:
    rows = await database.fetch(fixed(QUERIES["parts"], key))
    return [row["fence"] for row in rows]


async def finish(change: Change, key: str, fence: int, file: int) -> bool:
    return await change.fetchval(fixed(QUERIES["finish"], key, fence, file)) is not None


async def forget_parts(database: Database, key: str) -> None:
    await database.execute(fixed(QUERIES["forget_parts"], key))


async def give_up(database: Database, key: str, user: int) -> bool:
    return await database.fetchval(fixed(QUERIES["give_up"], key, user)) is not None


async def fence(database: Database, key: str) -> int:
    return await database.fetchval(fixed(QUERIES["fence"], key)) or 0


async def expired(database: Database) -> list[tuple[str, int]]:
    rows = await database.fetch(fixed(QUERIES["expired"]))
    return [(row["id"], row["fence"]) for row in rows]


async def forget(database: Database, key: str, fence: int) -> None:
    await database.execute(fixed(QUERIES["forget"], key, fence))


async def live_parts(database: Database, keys: Sequence[str]) -> set[str]:
    """Those of these objects, named ``<upload>.<fence>``, that an upload still needs."""
    split = [key.split(".") for key in keys]
    uploads, fences = [one[0] for one in split], [int(one[1]) for one in split]
    rows = await database.fetch(fixed(QUERIES["live_parts"], uploads, fences))
    return {row["key"] for row in rows}
