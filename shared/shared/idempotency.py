"""A request that is sent twice acts once: ``Idempotency-Key``.

Nothing is to be done in a handler: ``shared.service`` runs every write that carries a key through
``Idempotency.act``. From its first write on, all that the handler asks of the database happens in
one transaction, in which its answer is kept too; it commits after the handler has returned.

``Route(…, leased=True)`` is for what takes long before it writes: uploads, imports, jobs. Then no
transaction is open until the first ``Changes.transaction``; a claim row, renewed meanwhile, keeps
a second request with the key away. The body, which may be a stream, is digested as it is read.

An answer that shows a secret names it: ``hide("token")`` anywhere below the handler, and the answer
is kept with these fields null.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from asyncpg import Record

from shared import failpoints
from shared.changes import Changes
from shared.database import Joined
from shared.envelopes import encode
from shared.errors import ApiError, Conflict, InvalidRequest, InvalidValue
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("shared", "idempotency.sql")
LEASE: Final = 15.0  # seconds that a claim outlives its process
LONGEST: Final = 255  # characters of a key

_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)  # numbers stay as they are

_hidden: ContextVar[set[str] | None] = ContextVar("hidden", default=None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request with a key. ``fingerprint``: SHA-256 of what makes it the same request.

    ``body`` digests what the fingerprint leaves out, when it has been read.
    """

    user: int
    group: int
    key: str
    fingerprint: bytes
    scope: str = ""  # of the caller's token
    body: Callable[[], Awaitable[bytes]] | None = None

    async def whole(self) -> bytes:
        """The fingerprint with the body in it."""
        if self.body is None:
            return self.fingerprint
        return sha256(self.fingerprint + await self.body()).digest()


@dataclass(frozen=True, slots=True)
class Success:
    """An answer that may be kept; ``headers`` are those worth repeating."""

    body: bytes
    headers: Mapping[str, str]
    replayed: bool = False


Act = Callable[[], Awaitable[Success | None]]  # None: it did not succeed, nothing is kept


def hide(*fields: str) -> None:
    """These fields of the answer being made are secrets."""
    hidden = _hidden.get()
    if hidden is not None:
        hidden.update(fields)


def checked_key(key: str) -> str:
    """Raises InvalidRequest."""
    if not key.isascii() or not key.isprintable() or not 0 < len(key) <= LONGEST:
        raise InvalidRequest(f"an Idempotency-Key is 1 to {LONGEST} printable ASCII characters")
    return key


class Idempotency:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._database = changes.database

    async def act(self, attempt: Attempt, act: Act, *, leased: bool = False) -> Success | None:
        """Act, or answer what the first one with this key was answered.

        Raises InvalidValue (422) for a key that came with another request, Conflict (409) while the
        first is still running, or where the caller's rights have changed since.
        """
        _hidden.set(set())
        if leased:
            return await self._act_leased(attempt, act)
        success = None
        async with self._database.joined() as joined:
            await joined.begin()
            begun = await self._database.fetchval(
                fixed(QUERIES["begin"], attempt.user, attempt.key)
            )
            if not begun:
                raise _running()
            kept = await self._find(attempt)
            if kept is None:
                success = await act()
                await self._keep(attempt, success, joined, None)
                await self._changes.announce(joined.topics)
        if kept is not None:
            return await self._replay(kept)
        await self._changes.committed(joined)
        return success

    async def _act_leased(self, attempt: Attempt, act: Act) -> Success | None:
        holder = uuid4()
        taken = await self._database.fetchval(
            fixed(QUERIES["lease"], attempt.user, attempt.key, attempt.fingerprint, holder, LEASE)
        )
        if not taken:
            kept = await self._find(attempt)
            if kept is None:
                raise _running()
            return await self._replay(kept)
        try:
            async with self._renewed(holder), self._database.joined() as joined:
                success = await act()
                await joined.begin()
                await self._keep(attempt, success, joined, holder)
                await self._changes.announce(joined.topics)
        except BaseException:
            await self._database.execute(fixed(QUERIES["release"], holder))
            raise
        await self._changes.committed(joined)
        return success

    async def _find(self, attempt: Attempt) -> Record | None:
        """What is kept for the key. Raises InvalidValue, Conflict."""
        found = await self._database.fetchrow(
            fixed(QUERIES["find"], attempt.user, attempt.key, attempt.group, attempt.scope)
        )
        if found is None:
            return None
        running = found["body"] is None
        if found["fingerprint"] != (attempt.fingerprint if running else await attempt.whole()):
            raise InvalidValue("this Idempotency-Key was sent with another request before")
        if running:
            raise _running()
        if not found["same_rights"]:
            raise Conflict(
                "this request has been carried out; your rights have changed since, so that its "
                "answer is not repeated"
            )
        return found

    async def _replay(self, kept: Record) -> Success:
        """The first process may have died before it raised: whoever hears of the change raises."""
        await self._changes.raise_topics(kept["topics"])
        return Success(kept["body"], msgspec.json.decode(kept["headers"]), replayed=True)

    async def _keep(
        self, attempt: Attempt, success: Success | None, joined: Joined, holder: UUID | None
    ) -> None:
        """In the transaction of the change. Raises Conflict: somebody else has taken over."""
        if success is None:
            if holder is not None:
                await self._database.execute(fixed(QUERIES["release"], holder))
            return
        kept = await self._database.fetchval(
            fixed(
                QUERIES["keep"],
                attempt.user,
                attempt.key,
                await attempt.whole(),
                without_secrets(success.body, _hidden.get() or ()),
                msgspec.json.encode(dict(success.headers)).decode(),
                sorted(joined.topics),
                holder,
                attempt.group,
                attempt.scope,
            )
        )
        if not kept:
            raise Conflict("this took too long: another request with the key has taken over")
        await self._database.execute(fixed(QUERIES["clear"]))
        await failpoints.reach("idempotency.kept")

    @asynccontextmanager
    async def _renewed(self, holder: UUID) -> AsyncGenerator[None]:
        """The claim stays alive as long as this process does."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE / 3)
                with suppress(ApiError):  # the next one may get through
                    await self._database.execute(fixed(QUERIES["renew"], holder, LEASE))

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()


def without_secrets(body: bytes, fields: Collection[str]) -> bytes:
    """A JSON body with the values of these fields null, wherever they are."""
    if not fields:
        return body

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: None if name in fields else clean(v) for name, v in value.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return encode(clean(_DECODER.decode(body)))


def _running() -> Conflict:
    return Conflict("the first request with this Idempotency-Key is still running", retry_after=1)
