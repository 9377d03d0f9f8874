"""Families of refresh tokens and the access tokens they made; digests only."""

from dataclasses import dataclass
from typing import Final

from shared.changes import Change
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("auth_service.store", "sessions.sql")


@dataclass(frozen=True, slots=True)
class SigningKey:
    id: str
    private_key: str  # PEM


async def create(change: Change, user: int, refresh: bytes, life: int) -> int:
    """``life`` in seconds. The user's expired families go."""
    await change.execute(fixed(QUERIES["drop_expired"], user))
    return await change.fetchval(fixed(QUERIES["create"], user, refresh, life))


async def user_of(database: Database, refresh: bytes) -> int | None:
    """Whose family a refresh token belongs to, good or spent."""
    return await database.fetchval(fixed(QUERIES["user_of"], refresh))


async def turn(change: Change, refresh: bytes, following: bytes, life: int) -> int | None:
    """Spend a refresh token for the next; None when it is no longer good."""
    session = await change.fetchval(fixed(QUERIES["turn"], refresh, following, life))
    if session is not None:
        await change.execute(fixed(QUERIES["spend"], refresh, session))
    return session


async def end_family(change: Change, refresh: bytes) -> None:
    await change.execute(fixed(QUERIES["end_family"], refresh))


async def end_of_token(change: Change, token: int) -> None:
    await change.execute(fixed(QUERIES["end_session_of"], token))
    await change.execute(fixed(QUERIES["end_signed_in"], token))


async def mint(change: Change, user: int, session: int, digest: bytes, life: int) -> None:
    await change.execute(fixed(QUERIES["mint"], user, session, digest, life))


async def signing_key(change: Change) -> SigningKey | None:
    row = await change.fetchrow(fixed(QUERIES["signing_key"]))
    return None if row is None else SigningKey(row["id"], row["private_key"])


async def add_signing_key(change: Change, key_id: str, private_key: str) -> SigningKey:
    await change.execute(fixed(QUERIES["add_signing_key"], key_id, private_key))
    return SigningKey(key_id, private_key)


async def drop_signing_keys(change: Change) -> None:
    await change.execute(fixed(QUERIES["drop_signing_keys"]))
