"""Checking passwords without standing in anybody's way: a few threads, a short queue."""

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from shared.errors import Unavailable
from shared.failpoints import is_off
from shared.passwords import (
    decoy_of,
    hash_password,
    is_outdated,
    kind_of_now,
    verify_password,
)

MAX_WAITING: Final = 200  # sign-ins; a core checks some twenty a second


@dataclass(frozen=True, slots=True)
class Stored:
    """What a password is compared with; kinds as ``shared.passwords.decoy_of`` takes them."""

    password_hash: str | None  # None where there is none, or none that counts
    kind: str | None  # of that hash
    kinds_in_use: Collection[str]  # of all hashes that are stored


class PasswordChecker:
    """A bounded pool. A wrong password costs the same work whatever it is compared with.

    Where hashes of several kinds are stored (older parameters, bcrypt), that is one of each kind:
    else the time, the threads' too, would tell who is there and how old his password is.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="password")
        self._waiting = 0

    async def matches(self, stored: Stored, password: str) -> bool:
        """Whether the password is the one that was hashed; never where there is no hash.

        Raises Unavailable when too many sign-ins wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many sign-ins at once; try again.", retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, _check, stored, password
            )
        finally:
            self._waiting -= 1

    async def renewed(self, password_hash: str, password: str) -> str | None:
        """A hash to take the place of one that was made in an older way; None for a good one."""
        if not is_outdated(password_hash):
            return None
        return await self.hashed(password)

    async def hashed(self, password: str) -> str:
        """Raises Unavailable as ``matches`` does."""
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many sign-ins at once; try again.", retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, hash_password, password
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _check(stored: Stored, password: str) -> bool:
    if stored.password_hash is not None and verify_password(stored.password_hash, password):
        return True
    for decoy in _decoys(stored):
        verify_password(decoy, password)
    return False


def _decoys(stored: Stored) -> list[str]:
    """What else a wrong password is compared with: a hash of every other kind."""
    own = None if stored.kind is None else decoy_of(stored.kind)
    kinds = {kind_of_now(), *stored.kinds_in_use}
    if is_off("passwords.kinds"):  # `make prove-timing` must notice this
        kinds = {kind_of_now()} if own is None else set()
    if own is None and is_off("passwords.nobody"):  # and that
        kinds = set()
    return sorted({decoy_of(kind) for kind in kinds} - {own})
