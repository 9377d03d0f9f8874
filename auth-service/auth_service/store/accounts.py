"""Accounts as signing in sees them: their hashes, the guesses at them, what is recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from shared.changes import Change, Changes
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed
from shared.stamps import ENTRIES

QUERIES: Final = load_queries("auth_service.store", "accounts.sql")


@dataclass(frozen=True, slots=True)
class Account:
    user: int
    active: bool
    password_hash: str | None
    kind: str | None  # of the hash, as ``shared.passwords.decoy_of`` takes it
    changed_at: datetime | None  # when another password was set
    known_address: bool  # it has signed in from where this request comes from


async def look_up(
    database: Database, email: str, address: str | None
) -> tuple[Account | None, Sequence[str]]:
    """Whose an e-mail address is, and the kinds of all the hashes that are stored."""
    row = await database.fetchrow(fixed(QUERIES["account"], email, address))
    assert row is not None
    kinds = row["kinds"]
    if row["id"] is None:
        return None, kinds
    account = Account(
        row["id"],
        row["active"],
        row["password_hash"],
        row["kind"],
        row["changed_at"],
        row["known"],
    )
    return account, kinds


async def find(database: Database, email: str) -> Account | None:
    return (await look_up(database, email, None))[0]


async def lock_user(change: Change, user: int) -> bool:
    """Whether the user is active, and stays so until the end of the transaction."""
    return await change.fetchval(fixed(QUERIES["lock_user"], user)) is not None


async def lock_account(change: Change, account: Account) -> bool:
    """The same, and his password is still the one that was found, if hashed anew meanwhile."""
    query = fixed(QUERIES["lock_account"], account.user, account.changed_at)
    return await change.fetchval(query) is not None


async def replace_hash(change: Change, user: int, old: str, new: str) -> None:
    await change.execute(fixed(QUERIES["replace_hash"], user, old, new))


async def note_sign_in(change: Change, user: int, address: str | None) -> None:
    await change.execute(fixed(QUERIES["signed_in"], user, address))


async def know_place(change: Change, user: int, place: str) -> None:
    """``place`` as ``shared.places.place_of`` says it."""
    await change.execute(fixed(QUERIES["know_address"], user, place))


async def known_addresses(change: Change, user: int) -> list[str]:
    rows = await change.fetch(fixed(QUERIES["known_addresses"], user))
    return [row["address"] for row in rows]


async def record(change: Change, user: int, action: str, what: Mapping[str, object]) -> None:
    """An entry about a user that no row stands for; never with a secret in it."""
    said = msgspec.json.encode({"id": user, **what}).decode()
    await change.execute(fixed(QUERIES["record"], str(user), action, said))
    change.touch(ENTRIES)


async def record_failure(changes: Changes, user: int | None, request_id: str) -> None:
    """A failed sign-in, of an account or of none: the same statement."""
    await changes.database.execute(
        fixed(QUERIES["record_failure"], None if user is None else str(user), request_id)
    )
    await changes.raise_topics({ENTRIES})


async def record_slowed(
    changes: Changes,
    who: Sequence[bytes],
    user: int | None,
    request_id: str,
    said: Mapping[str, object],
) -> None:
    """An entry of an attempt that was not looked at, the first in a minute of what counted it."""
    what = msgspec.json.encode(said).decode()
    key = None if user is None else str(user)
    told = await changes.database.fetchval(
        fixed(QUERIES["record_slowed"], key, request_id, list(who), what)
    )
    if told:
        await changes.raise_topics({ENTRIES})


async def count_guesses(
    database: Database, who: Sequence[bytes], forget: float
) -> dict[bytes, float]:
    """Add one to each; ``forget`` seconds take one away. Returns the levels."""
    rows = await database.fetch(fixed(QUERIES["count"], sorted(who), forget))
    return {row["who"]: row["level"] for row in rows}


async def take_back(database: Database, who: Sequence[bytes]) -> None:
    await database.execute(fixed(QUERIES["take_back"], list(who)))


async def forgive(change: Change, who: Sequence[bytes]) -> None:
    await change.execute(fixed(QUERIES["forgive"], list(who)))
