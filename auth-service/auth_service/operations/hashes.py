"""``hash``, ``random`` and the same below ``utils``: for anybody with a token, so bounded."""

import asyncio
import hashlib
import re
import secrets
import string
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt
from argon2 import Type
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import verify_secret

from shared.errors import InvalidRequest, TooManyRequests, Unavailable
from shared.passwords import hash_password

MAX_STRING: Final = 4096  # bytes
MAX_HASH: Final = 512  # characters
MAX_RANDOM: Final = 500  # characters (reading 64)
MAX_WAITING: Final = 50
ALPHABET: Final = string.ascii_letters + string.digits + "_-"

_MOST_USERS: Final = 10_000  # whose allowance is kept
_HASH: Final = re.compile(
    r"\$argon2(id|i|d)\$(?:v=(?:16|19)\$)?m=([0-9]{1,7}),t=([0-9]{1,3}),p=([0-9]{1,3})"
    r"\$[A-Za-z0-9+/]{8,128}\$[A-Za-z0-9+/]{8,256}"
)
_TYPES: Final = {"id": Type.ID, "i": Type.I, "d": Type.D}
_MOST_MEMORY: Final = 256 * 1024  # KiB
_MOST_WORK: Final = 1024 * 1024  # KiB times passes: a second or so
_MOST_LANES: Final = 16

T = TypeVar("T")


DIGESTS: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
HASHERS: Final = ("core", "bcrypt", *DIGESTS)
BCRYPT_COSTS: Final = range(4, 14)  # each doubles the work; 13 takes half a second
BCRYPT_COST: Final = 12
BCRYPT_MOST: Final = 72  # bytes: of more it would see the beginning only


def random_text(length: int, alphabet: str = ALPHABET) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


class Hasher:
    """Hashes of strangers' strings: one thread, apart from the sign-ins, and a rate for each user.

    The allowance is of this process: with several replicas a user has one at each.
    """

    def __init__(self, per_second: float) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hash")
        self._interval = 1 / per_second
        self._burst = 2 * per_second * self._interval  # seconds ahead of its rate
        self._next: dict[int, float] = {}
        self._waiting = 0

    async def generate(self, user: int, text: str) -> str:
        """Argon2id. Raises InvalidRequest, TooManyRequests, Unavailable."""
        _check(text, "string", MAX_STRING)
        return await self._run(user, lambda: hash_password(text))

    async def generate_by(self, user: int, text: str, hasher: str, cost: int | None) -> str:
        """By one of HASHERS: ``core`` is what passwords are kept with (contract 7.13).

        ``cost`` is bcrypt's. Raises as ``generate``.
        """
        _check(text, "string", MAX_STRING)
        if hasher in DIGESTS:
            # plain digests are no way to keep passwords; old clients ask for them all the same
            return hashlib.new(hasher, text.encode(), usedforsecurity=False).hexdigest()
        if hasher == "core":
            return await self._run(user, lambda: hash_password(text))
        if hasher != "bcrypt":
            known = ", ".join(HASHERS)
            raise InvalidRequest(f'"{hasher}" is no hasher here; try {known}', field="hasher")
        rounds = BCRYPT_COST if cost is None else cost
        if rounds not in BCRYPT_COSTS:
            low, high = BCRYPT_COSTS[0], BCRYPT_COSTS[-1]
            raise InvalidRequest(f"The cost of bcrypt is {low} to {high}", field="options")
        data = text.encode()
        if len(data) > BCRYPT_MOST:
            raise InvalidRequest(f"bcrypt takes at most {BCRYPT_MOST} bytes", field="string")
        return await self._run(user, lambda: bcrypt.hashpw(data, bcrypt.gensalt(rounds)).decode())

    async def verify(self, user: int, text: str, hashed: str) -> bool:
        """Whether the hash is of the text, with the parameters that the hash names.

        Raises InvalidRequest for what is no Argon2 hash, or one that costs absurdly much.
        """
        _check(text, "string", MAX_STRING)
        _check(hashed, "hash", MAX_HASH)
        kind = _kind_of(hashed)
        secret, given = text.encode(), hashed.encode()

        def matches() -> bool:
            try:
                return verify_secret(given, secret, kind)
            except InvalidHashError as error:
                raise _malformed() from error
            except Argon2Error:  # no match, or broken beyond what the pattern sees
                return False

        return await self._run(user, matches)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, user: int, work: Callable[[], T]) -> T:
        self._take(user)
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many hashes at once; try again.", retry_after=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def _take(self, user: int) -> None:
        now = time.monotonic()
        ahead = max(self._next.get(user, now), now) + self._interval - now
        if ahead > self._burst:
            raise TooManyRequests("too many hashes; slow down", retry_after=ahead - self._burst)
        if len(self._next) >= _MOST_USERS:
            self._next = {u: t for u, t in self._next.items() if t > now}
        self._next[user] = now + ahead


def _check(text: str, field: str, most: int) -> None:
    if not text:
        raise InvalidRequest(f'"{field}" is required', field=field)
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(f'"{field}" is not valid Unicode', field=field) from error
    if size > most:
        raise InvalidRequest(f'"{field}" is longer than {most} bytes', field=field)


def _kind_of(hashed: str) -> Type:
    match = _HASH.fullmatch(hashed)
    if match is None:
        raise _malformed()
    memory, passes, lanes = int(match[2]), int(match[3]), int(match[4])
    if memory > _MOST_MEMORY or memory * passes > _MOST_WORK or lanes > _MOST_LANES:
        raise InvalidRequest(
            f'"hash" asks for more work than is done here: m={memory}, t={passes}, p={lanes}',
            field="hash",
        )
    return _TYPES[match[1]]


def _malformed() -> InvalidRequest:
    return InvalidRequest('"hash" is no Argon2 hash such as $argon2id$v=19$m=…', field="hash")
