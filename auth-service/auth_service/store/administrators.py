"""The first administrator, as the bootstrap needs it."""

from dataclasses import dataclass
from typing import Final

from shared.database import Session
from shared.identity import ADMINISTRATORS
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("auth_service.store", "administrators.sql")


@dataclass(frozen=True, slots=True)
class Administrator:
    user: int
    email: str


async def lock(session: Session) -> None:
    await session.execute(fixed(QUERIES["lock"]))


async def find(session: Session) -> Administrator | None:
    row = await session.fetchrow(fixed(QUERIES["administrator"], ADMINISTRATORS))
    return Administrator(row["id"], row["email"]) if row else None


async def create(session: Session, email: str, password_hash: str) -> Administrator:
    """An active administrator; a user who has the address already becomes one."""
    user = await session.fetchval(fixed(QUERIES["user_of"], email))
    if user is None:
        user = await session.fetchval(fixed(QUERIES["create"], email, ADMINISTRATORS))
    else:
        await session.execute(fixed(QUERIES["promote"], user, ADMINISTRATORS))
    await session.execute(fixed(QUERIES["set_password"], user, password_hash))
    return Administrator(user, email)


async def set_token(session: Session, user: int, digest: bytes, name: str) -> bool:
    """Give the user a named token; True when another one of that name had to go."""
    return await session.fetchval(fixed(QUERIES["set_token"], user, digest, name)) > 0
