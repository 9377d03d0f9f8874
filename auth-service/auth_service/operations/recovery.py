"""What operators do beside the API: a lost password, a slowed account, keys that sign."""

from typing import Final

from auth_service.operations import sign_in as signing_in
from auth_service.store import accounts, sessions
from shared.changes import Changes
from shared.errors import NotFound
from shared.identity import generate_keys
from shared.passwords import check_password, hash_soon
from shared.system_tables import own_words

_BY: Final = "operator"


async def set_password(changes: Changes, email: str, password: str) -> None:
    """Set a password and end what was signed in with the old one. Raises NotFound, InvalidValue."""
    account = await accounts.find(changes.database, email)
    if account is None:
        raise NotFound(f"Nobody has the address {email}.")
    check_password(password, await own_words(changes.database, account.user))
    password_hash = await hash_soon(password)
    async with changes.transaction(signing_in.actor_of(0, _BY)) as change:
        change.touch(f"u:{account.user}")
        await accounts.set_password(change, account.user, password_hash)
        await accounts.end_sign_ins(change, account.user)
        await accounts.record(change, account.user, "UPDATE", {"password": _BY})
    await unlock(changes, email)


async def unlock(changes: Changes, email: str) -> None:
    await accounts.forgive(changes.database, [signing_in.who_of_account(email)])


async def rotate_signing_keys(changes: Changes) -> None:
    """Tokens signed before stay good until they expire: what counts is their stored digest."""
    made = generate_keys()
    async with changes.transaction(signing_in.actor_of(0, _BY)) as change:
        await sessions.drop_signing_keys(change)
        await sessions.add_signing_key(change, made.key_id, made.private_key)
