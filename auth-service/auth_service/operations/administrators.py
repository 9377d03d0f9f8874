"""The first administrator of an instance, and the API token its operator wants to use."""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from auth_service.operations.links import RESET_LIFE
from auth_service.operations.tokens import TOKEN_BYTES
from auth_service.store import administrators
from auth_service.store.administrators import Administrator
from shared.database import Database, Session
from shared.passwords import check_password, hash_password

NAME: Final = "administrator"  # of the operator's token


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """``token`` is None where the administrator was there and no token was asked for.

    ``replaced``: a former token of the operator is no longer good. ``password_token`` sets the
    first password, once; None for an administrator who has one.
    """

    administrator: Administrator
    token: str | None
    replaced: bool
    password_token: str | None


async def ensure_administrator(
    database: Database, email: str, password: str, token: str | None
) -> Bootstrapped:
    """Create an administrator when no active one exists; give him ``token``.

    An administrator who is there keeps his address and password. Without ``token`` a new one is
    made for a new administrator only. With an empty ``password`` one who has none gets a token to
    set it with. Raises InvalidValue for a password that is too easy.
    """
    async with database.transaction() as session:
        await administrators.lock(session)
        found = await administrators.find(session)
        administrator = found or await _create(session, email, password)
        if token is None and found is None:
            token = secrets.token_urlsafe(TOKEN_BYTES)
        replaced = False
        if token is not None:
            digest = sha256(token.encode()).digest()
            replaced = await administrators.set_token(session, administrator.user, digest, NAME)
        password_token = None if password else await _password_token(session, administrator.user)
    return Bootstrapped(administrator, token, replaced, password_token)


async def _create(session: Session, email: str, password: str) -> Administrator:
    if not password:
        return await administrators.create(session, email, None)
    check_password(password, [email])
    return await administrators.create(session, email, hash_password(password))


async def _password_token(session: Session, user: int) -> str | None:
    """In the place of the former one; None for a user who has a password."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    digest = sha256(token.encode()).digest()
    made = await administrators.make_reset(session, user, digest, RESET_LIFE)
    return token if made else None
