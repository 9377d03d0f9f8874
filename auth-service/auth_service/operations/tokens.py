"""API tokens: made by signing in (contract 2, reading 60) or by name, scoped and for a time."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from auth_service.operations import sign_in as signing_in
from auth_service.operations.passwords import PasswordChecker
from auth_service.operations.sign_in import SignIn
from auth_service.store import accounts, tokens
from shared.changes import Change, Changes
from shared.context import Context
from shared.errors import Forbidden, InvalidValue, NotFound
from shared.idempotency import hide
from shared.rights import scope_of

NAME: Final = "request-token"  # of the tokens made there; only they count against the cap
TOKEN_BYTES: Final = 32  # of randomness
MOST_NAMED: Final = 100  # tokens a user may have by name
MOST_DAYS: Final = 3660
_TAKEN: Final = frozenset({NAME, "access", "static", "administrator"})


async def request_token(
    changes: Changes, passwords: PasswordChecker, sign_in: SignIn, *, keep: int
) -> str:
    """A new token of the user, who keeps the ``keep`` newest used ones.

    Raises Unauthorized, TooManyRequests.
    """
    account = await signing_in.check(changes, passwords, sign_in)
    actor = signing_in.actor_of(account.user, sign_in.request_id)
    async with changes.transaction(actor) as change:
        await signing_in.signed_in(change, passwords, account, sign_in, NAME)
        token = await mint(change, account.user, NAME)
        if await tokens.drop_unused(change, account.user, NAME, keep):
            change.touch(f"u:{account.user}")
    return token


async def mint(change: Change, user: int, name: str) -> str:
    """Make a token and keep its digest only; nobody can read it again."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await tokens.mint(change, user, sha256(token.encode()).digest(), name)
    return token


# ── by name ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Wanted:
    name: str
    scope: str
    expires_at: datetime | None


def wanted(body: Mapping[str, Any]) -> Wanted:
    """``name``, ``scope`` (``read``, ``table:<name>`` …) and ``expires_in`` seconds of a body.

    Raises InvalidValue.
    """
    name, scope, expires_in = (body.get(k) for k in ("name", "scope", "expires_in"))
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 100 or "\0" in name:
        raise InvalidValue("A token needs a name of at most 100 characters.", field="name")
    if name.strip() in _TAKEN:
        raise InvalidValue(f'The name "{name.strip()}" is taken.', field="name")
    if scope not in (None, ""):
        try:
            scope_of(str(scope))
        except ValueError as error:
            message = "A scope is empty, or words read and table:<name>."
            raise InvalidValue(message, field="scope") from error
    return Wanted(name.strip(), " ".join(str(scope or "").split()), _end(expires_in))


def _end(seconds: object) -> datetime | None:
    if seconds in (None, ""):
        return None
    text = str(seconds)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= MOST_DAYS * 86_400:
        message = "expires_in is a number of seconds, ten years at most."
        raise InvalidValue(message, field="expires_in")
    return datetime.now(UTC) + timedelta(seconds=int(text))


def _may(context: Context, user: int) -> None:
    """Tokens are a way into an account: the user's own business, and the administrators'."""
    if user != context.principal.user and not context.principal.is_admin:
        raise Forbidden
    if context.principal.scope:
        raise Forbidden("A scoped token makes, shows and ends no tokens.")


async def list_tokens(changes: Changes, context: Context, user: int) -> list[dict[str, Any]]:
    """Without the tokens themselves. Raises Forbidden."""
    _may(context, user)
    return await tokens.list_of(changes.database, user)


async def create_token(
    changes: Changes, context: Context, user: int, body: Mapping[str, Any]
) -> dict[str, Any]:
    """The new token, shown this once. Raises Forbidden, InvalidValue, NotFound."""
    _may(context, user)
    what = wanted(body)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    async with changes.transaction(context.actor) as change:
        if not await accounts.lock_user(change, user):
            raise NotFound(f"Unable to find the record in [directus_users] with ID [{user}]")
        if await tokens.number_of(change, user) >= MOST_NAMED:
            raise InvalidValue(f"A user has at most {MOST_NAMED} tokens.")
        digest = sha256(token.encode()).digest()
        made = await tokens.mint(
            change, user, digest, what.name, scope=what.scope, expires_at=what.expires_at
        )
        await accounts.record(
            change, user, "UPDATE", {"token": made, "name": what.name, "scope": what.scope}
        )
    hide("token")
    shown = next(t for t in await tokens.list_of(changes.database, user) if t["id"] == made)
    return shown | {"token": token}


async def revoke_token(changes: Changes, context: Context, user: int, token: int) -> bool:
    """Whether there was such a token; refused everywhere from the reply on. Raises Forbidden."""
    _may(context, user)
    async with changes.transaction(context.actor) as change:
        change.touch(f"u:{user}")
        return await tokens.revoke(change, user, token)
