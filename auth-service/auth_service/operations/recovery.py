"""What operators do beside the API: a lost password, a slowed account, keys that sign."""

from typing import Final

from auth_service.operations import sign_in as signing_in
from auth_service.store import accounts, sessions
from shared import system_tables
from shared.changes import Change, Changes
from shared.errors import NotFound
from shared.identity import generate_keys
from shared.passwords import check_password, hash_soon
from shared.places import place_of

_BY: Final = "operator"


async def set_password(changes: Changes, email: str, password: str) -> None:
    """Set a password and end what was signed in with the old one. Raises NotFound, InvalidValue."""
    account = await accounts.find(changes.database, email)
    if account is None:
        raise NotFound(f"Nobody has the address {email}.")
    check_password(password, await system_tables.own_words(changes.database, account.user))
    password_hash = await hash_soon(password)
    async with changes.transaction(signing_in.actor_of(0, _BY)) as change:
        await system_tables.set_password(change, account.user, password_hash)
        await accounts.record(change, account.user, "UPDATE", {"password": _BY})
        await _forgive(change, account.user, email)


async def unlock(changes: Changes, email: str) -> None:
    """Forget the guesses at an account, of strangers and its own. Raises NotFound."""
    account = await accounts.find(changes.database, email)
    if account is None:
        raise NotFound(f"Nobody has the address {email}.")
    async with changes.transaction(signing_in.actor_of(0, _BY)) as change:
        await _forgive(change, account.user, email)
        await accounts.record(change, account.user, "UPDATE", {"sign_in": "unlocked"})


async def _forgive(change: Change, user: int, email: str) -> None:
    addresses = await accounts.known_addresses(change, user)
    places: set[str | None] = {place_of(address) for address in addresses}
    whos = [signing_in.who_of_account(email, place) for place in {None, *places}]
    await accounts.forgive(change, whos)


async def rotate_signing_keys(changes: Changes) -> None:
    """Tokens signed before stay good until they expire: what counts is their stored digest."""
    made = generate_keys()
    async with changes.transaction(signing_in.actor_of(0, _BY)) as change:
        await sessions.drop_signing_keys(change)
        await sessions.add_signing_key(change, made.key_id, made.private_key)
