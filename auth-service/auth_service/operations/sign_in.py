"""Who signs in: the password checked, guesses slowed, every outcome recorded.

Unknown addresses, inactive users and wrong passwords take the same road: the same statements, the
same hashing (decision 28), the same answer. A guess is counted before it is checked, so that many
at once gain nothing; the right password takes its count back. Source: contract 2, promises S8.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from auth_service.operations.passwords import PasswordChecker, Stored
from auth_service.store import accounts
from auth_service.store.accounts import Account
from shared.changes import Change, Changes
from shared.context import Actor
from shared.errors import TooManyRequests, Unauthorized

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


async def check(changes: Changes, passwords: PasswordChecker, sign_in: SignIn) -> Account:
    """The active account whose password this is. Raises Unauthorized, TooManyRequests."""
    database = changes.database
    account, kinds = await accounts.look_up(database, sign_in.email, sign_in.address)
    counts = _counts(sign_in, known=account is not None and account.known_address)
    await slow_down(changes, counts)
    stored = Stored(None, None, kinds)
    if account is not None and account.active:
        stored = Stored(account.password_hash, account.kind, kinds)
    matches = await passwords.matches(stored, sign_in.password)
    if account is None or not matches:
        await accounts.record_failure(
            changes, account.user if account is not None else None, sign_in.request_id
        )
        raise Unauthorized(FAILED)
    await accounts.take_back(database, list(counts))
    return account


async def slow_down(changes: Changes, counts: dict[bytes, int]) -> None:
    """Count one more attempt. Raises TooManyRequests where there were too many lately."""
    levels = await accounts.count_guesses(changes.database, list(counts), FORGET)
    if any(levels[who] > most for who, most in counts.items()):
        raise TooManyRequests("Too many attempts; wait a minute.", retry_after=FORGET)


def _counts(sign_in: SignIn, *, known: bool) -> dict[bytes, int]:
    """What counts a guess, and how many each may hold.

    From an address the account has signed in from before, a stranger's guesses do not count.
    """
    account = sign_in.email.lower()
    place = f"{account}\0{sign_in.address}" if known else account
    return {
        _who("account", place): GUESSES,
        _who("address", sign_in.address or ""): GUESSES_OF_ADDRESS,
    }


def count_of_mail(email: str, address: str | None) -> dict[bytes, int]:
    """Mails that a stranger can have sent to an address, and from one."""
    return {_who("mail", email.lower()): 5, _who("mails", address or ""): 30}


def who_of_account(email: str) -> bytes:
    """What counts the guesses that strangers make at an account."""
    return _who("account", email.lower())


def _who(kind: str, name: str) -> bytes:
    return sha256(f"{kind}\0{name}".encode()).digest()


async def signed_in(
    change: Change, passwords: PasswordChecker, account: Account, sign_in: SignIn, how: str
) -> None:
    """Note and record a sign-in; a hash made in an older way is replaced.

    Raises Unauthorized where the user was disabled since.
    """
    if not await accounts.lock_user(change, account.user):
        raise Unauthorized(FAILED)
    assert account.password_hash is not None
    renewed = await passwords.renewed(account.password_hash, sign_in.password)
    if renewed is not None:
        await accounts.replace_hash(change, account.user, account.password_hash, renewed)
    await accounts.note_sign_in(change, account.user, sign_in.address)
    await accounts.record(change, account.user, "LOGIN", {"by": how})


def actor_of(user: int, request_id: str) -> Actor:
    return Actor(user=user, request_id=request_id)
