"""API tokens and the accounts behind them. Only digests of tokens are stored."""

from dataclasses import dataclass
from typing import Final

from shared.changes import Change
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("auth_service.store", "tokens.sql")


@dataclass(frozen=True, slots=True)
class Account:
    user: int
    password_hash: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whom a token stands for; ``addresses`` is the CSV of its group, empty for everywhere."""

    user: int
    group: int
    token: int
    addresses: str
    unnoted: bool  # its use was not noted lately


async def find_account(database: Database, email: str) -> Account | None:
    row = await database.fetchrow(fixed(QUERIES["account"], email))
    return Account(row["id"], row["password_hash"]) if row else None


async def lock_user(change: Change, user: int) -> bool:
    """Whether the user is active, and stays so until the end of the transaction."""
    return await change.fetchval(fixed(QUERIES["lock_user"], user)) is not None


async def mint(change: Change, user: int, digest: bytes, name: str) -> int:
    return await change.fetchval(fixed(QUERIES["mint"], user, digest, name))


async def drop_unused(change: Change, user: int, name: str, keep: int) -> list[int]:
    """Remove the longest unused tokens past ``keep``; returns their ids."""
    rows = await change.fetch(fixed(QUERIES["drop_unused"], user, name, keep))
    return [row["id"] for row in rows]


async def note_sign_in(change: Change, user: int, address: str | None) -> None:
    await change.execute(fixed(QUERIES["signed_in"], user, address))


async def resolve(database: Database, digest: bytes) -> Resolved | None:
    row = await database.fetchrow(fixed(QUERIES["resolve"], digest))
    if row is None:
        return None
    return Resolved(
        user=row["user"],
        group=row["group"],
        token=row["token"],
        addresses=row["addresses"] or "",
        unnoted=row["unnoted"],
    )


async def note_use(database: Database, token: int) -> None:
    await database.execute(fixed(QUERIES["note_use"], token))
