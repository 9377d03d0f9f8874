"""Tokens that mails carry; digests only."""

from typing import Final

from shared.changes import Change
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed
from shared.stamps import ENTRIES

QUERIES: Final = load_queries("auth_service.store", "links.sql")


async def make_reset(change: Change, email: str, digest: bytes, life: int) -> str | None:
    """The address as stored, of an active user; None for nobody. ``life`` in seconds."""
    row = await change.fetchrow(fixed(QUERIES["make_reset"], email, digest, life))
    change.touch(ENTRIES)
    return None if row is None else row["email"]


async def project(change: Change) -> dict[str, str]:
    """What mails call this installation, and where it is."""
    found = await change.fetchrow(fixed(QUERIES["project"]))
    assert found is not None
    return {"project": found["project"] or "Directoire", "url": (found["url"] or "").rstrip("/")}


async def user_of(database: Database, digest: bytes) -> int | None:
    return await database.fetchval(fixed(QUERIES["user_of"], digest))


async def use(change: Change, digest: bytes) -> int | None:
    """Whose token it was; None when it is not good any more."""
    return await change.fetchval(fixed(QUERIES["use"], digest))


async def accept(change: Change, user: int) -> None:
    await change.execute(fixed(QUERIES["accept"], user))
