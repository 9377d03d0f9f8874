"""API tokens and the accounts behind them. Only digests of tokens are stored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.changes import Change
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("auth_service.store", "tokens.sql")


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a token stands for; ``addresses`` is the CSV of its group, empty for everywhere."""

    user: int
    group: int
    token: int
    scope: str
    expires_in: float | None  # seconds
    addresses: str
    unnoted: bool  # its use was not noted lately


async def mint(
    change: Change,
    user: int,
    digest: bytes,
    name: str,
    *,
    scope: str = "",
    expires_at: datetime | None = None,
) -> int:
    return await change.fetchval(fixed(QUERIES["mint"], user, digest, name, scope, expires_at))


async def number_of(change: Change, user: int) -> int:
    return await change.fetchval(fixed(QUERIES["number_of"], user))


async def list_of(database: Database, user: int) -> list[dict[str, Any]]:
    """A user's tokens as they may be shown; those of sessions are left out."""
    return [dict(row) for row in await database.fetch(fixed(QUERIES["list_of"], user))]


async def revoke(change: Change, user: int, token: int) -> bool:
    return await change.fetchval(fixed(QUERIES["revoke"], user, token)) is not None


async def drop_unused(change: Change, user: int, name: str, keep: int) -> list[int]:
    """Remove the longest unused tokens past ``keep``; returns their ids."""
    rows = await change.fetch(fixed(QUERIES["drop_unused"], user, name, keep))
    return [row["id"] for row in rows]


async def resolve(database: Database, digest: bytes) -> Resolved | None:
    row = await database.fetchrow(fixed(QUERIES["resolve"], digest))
    if row is None:
        return None
    return Resolved(
        user=row["user"],
        group=row["group"],
        token=row["token"],
        scope=row["scope"],
        expires_in=row["expires_in"],
        addresses=row["addresses"] or "",
        unnoted=row["unnoted"],
    )


async def note_use(database: Database, token: int) -> None:
    await database.execute(fixed(QUERIES["note_use"], token))
