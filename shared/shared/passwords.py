"""Passwords: Argon2id, at the least that OWASP asks for, in a few threads of their own.

One hash takes some 30 ms of a core and 19 MiB; more at a time than there are cores gains nothing.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import InvalidValue, Unavailable

MIN_CHARACTERS: Final = 15  # the password is the only factor: NIST SP 800-63B-4
MAX_CHARACTERS: Final = 1024
THREADS: Final = 2
MAX_WAITING: Final = 200  # hashes; whoever comes later is asked to come again

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
_waiting = asyncio.Semaphore(MAX_WAITING)


def check_password(password: str) -> None:
    """Raises InvalidValue for a password that is too easy to guess."""
    if len(password) < MIN_CHARACTERS:
        message = f"A password has at least {MIN_CHARACTERS} characters."
        raise InvalidValue(message, field="password")
    if len(password) > MAX_CHARACTERS:
        raise InvalidValue(f"A password has at most {MAX_CHARACTERS} characters.", field="password")
    if len(set(password)) < 5:
        message = "A password of so few different characters is too easy to guess."
        raise InvalidValue(message, field="password")


def hash_password(password: str) -> str:
    """Takes its time: not on the event loop, see ``hash_soon``."""
    return _HASHER.hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    """Whether the hash is of this password; False too for a hash that is none."""
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


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
