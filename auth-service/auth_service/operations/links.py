"""Tokens that mails carry: to set a forgotten password, or an invited user's first one.

A request changes nothing: the old password is good until the token is used. An address nobody has
takes the same statements as another and gets the same answer, after the same time: what a mail
costs is hidden by waiting for longer than it takes. Source: promises A.3, S8.
"""

import asyncio
import secrets
from hashlib import sha256
from typing import Final

from auth_service.operations import sign_in as signing_in
from auth_service.operations.passwords import PasswordChecker
from auth_service.operations.sign_in import SignIn
from auth_service.store import accounts, links
from shared import system_tables
from shared.changes import Changes
from shared.errors import InvalidRequest
from shared.failpoints import is_off
from shared.mail import queue_mail, render
from shared.passwords import check_password

RESET_LIFE: Final = 3600  # seconds
ANSWERED_AFTER: Final = 0.1  # seconds; what is done meanwhile takes some five milliseconds


async def forgot_password(changes: Changes, sign_in: SignIn) -> None:
    """Send a token to the address if it is somebody's. Raises TooManyRequests."""
    counts = signing_in.count_of_mail(sign_in)
    await signing_in.slow_down(changes, counts, None, sign_in.request_id, {"reset": "slowed"})
    clock = asyncio.get_running_loop().time
    answer_at = clock() + ANSWERED_AFTER
    token = secrets.token_urlsafe(32)
    async with changes.transaction(signing_in.actor_of(0, sign_in.request_id)) as change:
        email = await links.make_reset(change, sign_in.email, _digest(token), RESET_LIFE)
        told = await links.project(change)
        text = render("auth_service", "reset.txt", token=token, **told)
        if email is not None:
            await queue_mail(change, email, f"[{told['project']}] A new password", text)
    if not is_off("links.wait"):  # `make prove-timing` must notice
        await asyncio.sleep(answer_at - clock())


async def set_password(
    changes: Changes, passwords: PasswordChecker, token: str, password: str, request_id: str
) -> None:
    """Use a token up. Sign-ins made with the old password end.

    Raises InvalidRequest for a token that is not good, InvalidValue for a password that is too
    easy.
    """
    found = await links.user_of(changes.database, _digest(token))
    if found is None:
        raise InvalidRequest("This token is not good (any more).", field="token")
    check_password(password, await system_tables.own_words(changes.database, found))
    password_hash = await passwords.hashed(password)
    async with changes.transaction(signing_in.actor_of(found, request_id)) as change:
        used = await links.use(change, _digest(token))
        if used is not None:
            change.touch("t:directus_users")
            await links.accept(change, used)
            await system_tables.set_password(change, used, password_hash)
            await accounts.record(change, used, "UPDATE", {"password": "reset"})
    if used is None:
        raise InvalidRequest("This token is not good (any more).", field="token")


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
