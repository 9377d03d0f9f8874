"""Passwords: Argon2id, at the least that OWASP asks for, in a few threads of their own.

One hash takes some 30 ms of a core and 19 MiB; more at a time than there are cores gains nothing.
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import bcrypt
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import InvalidValue, Unavailable
from shared.guessable import guesses
from shared.settings import PasswordSettings

MIN_CHARACTERS: Final = 15  # the password is the only factor: NIST SP 800-63B-4
MAX_CHARACTERS: Final = 1024
MIN_GUESSES: Final = 7.0  # powers of ten; whoever guesses here is slowed to one a minute
THREADS: Final = 2
MAX_WAITING: Final = 200  # hashes; whoever comes later is asked to come again

_EASY: Final = (
    "This password is too easy to guess: it is made of common passwords, of your own address or"
    " name, or of what is repeated. Four words that have nothing to do with each other are good."
)
_BCRYPT: Final = ("$2a$", "$2b$", "$2y$")  # how Directus 6 kept passwords
_DECOY_OF_BCRYPT: Final = f"{'d' * 21}e{'d' * 30}e"  # salt and hash: 16 and 23 bytes
_DECOY_OF_ARGON2: Final = f"${'d' * 21}A${'d' * 42}A"  # 16 and 32 bytes

_hashers: Final = {  # at first the least that OWASP asks for
    "now": PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
}
_waiting = asyncio.Semaphore(MAX_WAITING)


def check_password(password: str, own: Iterable[str] = ()) -> None:
    """Raises InvalidValue for a password that is too easy to guess; takes some half a millisecond.

    ``own`` is what is known of the user: the address, the names.
    """
    if len(password) < MIN_CHARACTERS:
        message = f"A password has at least {MIN_CHARACTERS} characters."
        raise InvalidValue(message, field="password")
    if len(password) > MAX_CHARACTERS:
        raise InvalidValue(f"A password has at most {MAX_CHARACTERS} characters.", field="password")
    if len(set(password)) < 5:
        message = "A password of so few different characters is too easy to guess."
        raise InvalidValue(message, field="password")
    if guesses(password, own) < MIN_GUESSES:
        raise InvalidValue(_EASY, field="password")


def set_cost(settings: PasswordSettings) -> None:
    """What a hash made from now on costs. Older ones stay good."""
    _hashers["now"] = PasswordHasher(
        time_cost=settings.argon2_time,
        memory_cost=settings.argon2_memory,
        parallelism=settings.argon2_lanes,
        type=Type.ID,
    )


def hash_password(password: str) -> str:
    """Takes its time: not on the event loop, see ``hash_soon``."""
    return _hashers["now"].hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    """Whether the hash is of this password; False too for a hash that is none."""
    if password_hash.startswith(_BCRYPT):
        # bcrypt reads 72 bytes; PHP's `$2y$` is what the others call `$2b$`
        stored = password_hash.replace("$2y$", "$2b$", 1).encode()
        try:
            return bcrypt.checkpw(password.encode()[:72], stored)
        except ValueError:
            return False
    try:
        return _hashers["now"].verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def kind_of_now() -> str:
    """The kind of the hashes that are made from now on, see ``decoy_of``."""
    now = _hashers["now"]
    return f"$argon2id$v=19$m={now.memory_cost},t={now.time_cost},p={now.parallelism}"


def decoy_of(kind: str) -> str:
    """A hash of no known password that costs as much to compare with as any of its kind.

    A kind is what stands before the salt: ``$argon2id$v=19$m=19456,t=2,p=1`` or ``$2y$12``. The
    letters of bcrypt cost the same: they have one decoy.
    """
    if kind.startswith(_BCRYPT):
        return f"$2b${kind[4:]}${_DECOY_OF_BCRYPT}"
    return kind + _DECOY_OF_ARGON2


def is_outdated(password_hash: str) -> bool:
    """Whether a hash was made otherwise than one made now would be."""
    if password_hash.startswith(_BCRYPT):
        return True
    return _hashers["now"].check_needs_rehash(password_hash)


async def hash_soon(password: str) -> str:
    """``hash_password`` beside the event loop. Raises Unavailable when too many wait already."""
    if _waiting.locked():
        raise Unavailable("Too many passwords at once; try again.", retry_after=5)
    async with _waiting:
        return await asyncio.get_running_loop().run_in_executor(_pool(), hash_password, password)


@cache
def _pool() -> ThreadPoolExecutor:
    """Made at first use: threads do not survive the fork of a preloaded parent."""
    return ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="password")
