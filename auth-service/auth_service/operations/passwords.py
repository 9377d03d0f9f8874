"""Checking passwords without standing in anybody's way: a few threads, a short queue."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from shared.errors import Unavailable
from shared.failpoints import is_off
from shared.passwords import hash_password, is_outdated, verify_password

MAX_WAITING: Final = 200  # sign-ins; a core checks some twenty a second


class PasswordChecker:
    """Argon2id in a bounded pool. An address nobody has costs the same work as a wrong password."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="password")
        self._nobody: str | None = None
        self._waiting = 0

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; never for None.

        Raises Unavailable when too many sign-ins wait already.
        """
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many sign-ins at once; try again.", retry_after=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, self._check, password_hash, password
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

    async def warm_up(self) -> None:
        """Hash once, so that the first unknown address takes no longer than the others."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._hash_of_nobody)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _check(self, password_hash: str | None, password: str) -> bool:
        if password_hash is None and is_off("passwords.nobody"):  # `make prove-timing` must notice
            return False
        matches = verify_password(password_hash or self._hash_of_nobody(), password)
        return matches and password_hash is not None

    def _hash_of_nobody(self) -> str:
        if self._nobody is None:
            self._nobody = hash_password("the password of nobody")
        return self._nobody
