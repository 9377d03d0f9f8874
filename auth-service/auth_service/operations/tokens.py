"""Signing in by e-mail and password for an API token. Source: contract 2, reading 60."""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from auth_service.operations.passwords import PasswordChecker
from auth_service.store import tokens
from shared.changes import Change, Changes
from shared.context import Actor
from shared.errors import Unauthorized

NAME: Final = "request-token"  # of the tokens made here; only they count against the cap
TOKEN_BYTES: Final = 32  # of randomness
_FAILED: Final = "Incorrect email or password"


@dataclass(frozen=True, slots=True)
class SignIn:
    """What somebody sent to sign in, and from where."""

    email: str
    password: str
    address: str | None
    request_id: str


async def request_token(
    changes: Changes, passwords: PasswordChecker, sign_in: SignIn, *, keep: int
) -> str:
    """A new token of the user, who keeps the ``keep`` newest used ones.

    Unknown addresses, inactive users and wrong passwords cost the same work and get the same
    answer. Raises Unauthorized.
    """
    account = await tokens.find_account(changes.database, sign_in.email)
    matches = await passwords.matches(account.password_hash if account else None, sign_in.password)
    if account is None or not matches:
        raise Unauthorized(_FAILED)
    actor = Actor(user=account.user, request_id=sign_in.request_id)
    async with changes.transaction(actor) as change:
        if not await tokens.lock_user(change, account.user):
            raise Unauthorized(_FAILED)
        token = await mint(change, account.user, NAME)
        if await tokens.drop_unused(change, account.user, NAME, keep):
            change.touch(f"u:{account.user}")
        await tokens.note_sign_in(change, account.user, sign_in.address)
    return token


async def mint(change: Change, user: int, name: str) -> str:
    """Make a token and keep its digest only; nobody can read it again."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await tokens.mint(change, user, sha256(token.encode()).digest(), name)
    return token
