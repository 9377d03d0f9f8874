"""auth/login, auth/refresh, auth/logout: short access tokens, refresh tokens that change each time.

An access token is a signed JWT, and it is good only while its digest is stored: what ends a session
ends it at every gateway with the reply, and no key that leaks can make one.
A refresh token works once. One that comes back a second time was stolen, or its thief was faster:
the whole family ends. Source: RFC 9700, 4.14.2.
"""

import secrets
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import jwt

from auth_service.operations import sign_in as signing_in
from auth_service.operations.passwords import PasswordChecker
from auth_service.operations.sign_in import SignIn
from auth_service.store import accounts, sessions
from shared.changes import Change, Changes
from shared.context import Context
from shared.errors import Unauthorized
from shared.identity import generate_keys

ISSUER: Final = "directoire-auth"
AUDIENCE: Final = "directoire"


@dataclass(frozen=True, slots=True)
class Lives:
    """Seconds that tokens are good."""

    access: int
    refresh: int


@dataclass(frozen=True, slots=True)
class Session:
    access_token: str
    refresh_token: str
    expires: int  # seconds the access token is good


async def login(
    changes: Changes, passwords: PasswordChecker, sign_in: SignIn, lives: Lives
) -> Session:
    """A new family of tokens. Raises Unauthorized, TooManyRequests."""
    account = await signing_in.check(changes, passwords, sign_in)
    refresh = _secret()
    async with changes.transaction(signing_in.actor_of(account.user, sign_in.request_id)) as change:
        await signing_in.signed_in(change, passwords, account, sign_in, "login")
        session = await sessions.create(change, account.user, _digest(refresh), lives.refresh)
        access = await _access(change, account.user, session, lives.access)
    return Session(access, refresh, lives.access)


async def refresh(changes: Changes, given: str, request_id: str, lives: Lives) -> Session:
    """The next tokens of a family. Raises Unauthorized, and ends the family of a spent token."""
    digest = _digest(given)
    user = await sessions.user_of(changes.database, digest)
    if user is None:
        raise Unauthorized("This refresh token is not good (any more).")
    following = _secret()
    made: str | None = None
    async with changes.transaction(signing_in.actor_of(user, request_id)) as change:
        active = await accounts.lock_user(change, user)
        session = await sessions.turn(change, digest, _digest(following), lives.refresh)
        if active and session is not None:
            made = await _access(change, user, session, lives.access)
        else:
            change.touch(f"u:{user}")
            await sessions.end_family(change, digest)
            await accounts.record(change, user, "UPDATE", {"sign_in": "refresh token reused"})
    if made is None:
        raise Unauthorized("This refresh token is not good (any more).")
    return Session(made, following, lives.access)


async def logout(changes: Changes, context: Context) -> None:
    """End the session of the token in use, and that token; nothing of it is good after."""
    principal = context.principal
    async with changes.transaction(context.actor) as change:
        change.touch(f"u:{principal.user}")
        await sessions.end_of_token(change, principal.token)
        await accounts.record(change, principal.user, "UPDATE", {"sign_in": "logout"})


async def _access(change: Change, user: int, session: int, life: int) -> str:
    key = await sessions.signing_key(change)
    if key is None:
        made = generate_keys()
        key = await sessions.add_signing_key(change, made.key_id, made.private_key)
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user),
        "iat": now,
        "exp": now + life,
        "jti": secrets.token_hex(16),
    }
    token = jwt.encode(claims, key.private_key, algorithm="EdDSA", headers={"kid": key.id})
    await sessions.mint(change, user, session, _digest(token), life)
    return token


def _secret() -> str:
    return secrets.token_urlsafe(32)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
