"""Who signs in: the password checked, guesses slowed, every outcome recorded.

Unknown addresses, inactive users and wrong passwords take the same road: the same statements, the
same hashing (decision 28), the same answer. A guess is counted before it is checked, so that many
at once gain nothing; the right password takes its count back. Source: contract 2, promises S8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from auth_service.operations.passwords import PasswordChecker, Stored
from auth_service.store import accounts
from auth_service.store.accounts import Account
from shared.changes import Change, Changes
from shared.context import Actor
from shared.errors import TooManyRequests, Unauthorized
from shared.places import place_of

FAILED: Final = "Incorrect email or password"
GUESSES: Final = 15  # at once, of one account from strange addresses, or from one that it knows
GUESSES_OF_ADDRESS: Final = 60  # at once, of one address against any accounts
FORGET: Final = 60.0  # seconds until one guess is forgotten


@dataclass(frozen=True, slots=True)
class SignIn:
    """What somebody sent to sign in, and from where."""

    email: str
    password: str
    address: str | None
    request_id: str

    @property
    def place(self) -> str | None:
        """What counts as one client."""
        return None if self.address is None else place_of(self.address)


async def check(changes: Changes, passwords: PasswordChecker, sign_in: SignIn) -> Account:
    """The active account whose password this is. Raises Unauthorized, TooManyRequests."""
    database = changes.database
    account, kinds = await accounts.look_up(database, sign_in.email, sign_in.place)
    counts = _counts(sign_in, known=account is not None and account.known_address)
    user = account.user if account is not None else None
    slowed = {"failed": True, "slowed": True}
    await slow_down(changes, counts, user, sign_in.request_id, slowed)
    stored = Stored(None, None, kinds)
    if account is not None and account.active:
        stored = Stored(account.password_hash, account.kind, kinds)
    matches = await passwords.matches(stored, sign_in.password)
    if account is None or not matches:
        await accounts.record_failure(changes, user, sign_in.request_id)
        raise Unauthorized(FAILED)
    await accounts.take_back(database, list(counts))
    return account


async def slow_down(
    changes: Changes,
    counts: dict[bytes, int],
    user: int | None,
    request_id: str,
    said: Mapping[str, object],
) -> None:
    """Count one more attempt. Raises TooManyRequests where there were too many lately.

    That is recorded (``said``), once a minute for each count, however many attempts follow.
    """
    levels = await accounts.count_guesses(changes.database, list(counts), FORGET)
    over = [who for who, most in counts.items() if levels[who] > most]
    if over:
        await accounts.record_slowed(changes, over, user, request_id, said)
        raise TooManyRequests("Too many attempts; wait a minute.", retry_after=FORGET)


def _counts(sign_in: SignIn, *, known: bool) -> dict[bytes, int]:
    """What counts a guess, and how many each may hold.

    From a place the account has signed in from before, a stranger's guesses do not count.
    """
    return {
        who_of_account(sign_in.email, sign_in.place if known else None): GUESSES,
        _who("address", sign_in.place or ""): GUESSES_OF_ADDRESS,
    }


def count_of_mail(sign_in: SignIn) -> dict[bytes, int]:
    """Mails that a stranger can have sent to an address, and from one."""
    return {_who("mail", sign_in.email.lower()): 5, _who("mails", sign_in.place or ""): 30}


def who_of_account(email: str, place: str | None = None) -> bytes:
    """What counts guesses at an account: those of strangers, or from a place that it knows."""
    account = email.lower()
    return _who("account", account if place is None else f"{account}\0{place}")


def _who(kind: str, name: str) -> bytes:
    return sha256(f"{kind}\0{name}".encode()).digest()


async def signed_in(
    change: Change, passwords: PasswordChecker, account: Account, sign_in: SignIn, how: str
) -> None:
    """Note and record a sign-in; a hash made in an older way is replaced.

    Raises Unauthorized where the user was disabled, or his password changed, since.
    """
    if not await accounts.lock_account(change, account):
        raise Unauthorized(FAILED)
    assert account.password_hash is not None
    renewed = await passwords.renewed(account.password_hash, sign_in.password)
    if renewed is not None:
        await accounts.replace_hash(change, account.user, account.password_hash, renewed)
    await accounts.note_sign_in(change, account.user, sign_in.address)
    if sign_in.place is not None:
        await accounts.know_place(change, account.user, sign_in.place)
    await accounts.record(change, account.user, "LOGIN", {"by": how})


def actor_of(user: int, request_id: str) -> Actor:
    return Actor(user=user, request_id=request_id)
