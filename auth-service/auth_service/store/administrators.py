"""The first administrator, as the bootstrap needs it."""

from dataclasses import dataclass
from typing import Final

from shared.database import Session
from shared.identity import ADMINISTRATORS
from shared.queries import load_queries
from shared.sql import fixed
from shared.system_tables import end_sign_ins

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


async def create(session: Session, email: str, password_hash: str | None) -> Administrator:
    """An active administrator; a user who has the address already becomes one, without a password
    and sign-ins that he had before.
    """
    user = await session.fetchval(fixed(QUERIES["user_of"], email))
    if user is None:
        user = await session.fetchval(fixed(QUERIES["create"], email, ADMINISTRATORS))
    else:
        await session.execute(fixed(QUERIES["promote"], user, ADMINISTRATORS))
    await session.execute(fixed(QUERIES["forget_password"], user))
    await end_sign_ins(session, user)
    if password_hash is not None:
        await session.execute(fixed(QUERIES["set_password"], user, password_hash))
    return Administrator(user, email)


async def make_reset(session: Session, user: int, digest: bytes, life: int) -> bool:
    """Whether the user has no password: then the token sets one within ``life`` seconds."""
    await session.execute(fixed(QUERIES["forget_resets"], user))
    return await session.fetchval(fixed(QUERIES["make_reset"], user, digest, life)) is not None


async def set_token(session: Session, user: int, digest: bytes, name: str) -> bool:
    """Give the user a named token; True when another one of that name had to go."""
    return await session.fetchval(fixed(QUERIES["set_token"], user, digest, name)) > 0
