"""Who is behind a token: asked of auth-service, remembered as long as nothing it rests on changed.

A principal is remembered with the epoch and the stamp taken *before* it was asked for; it holds
while its user and its group were not changed after. Without a live lease nothing can tell that, so
auth-service is asked for each request: a revoked token is refused at once, with or without Redis.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from gateway.upstream import Upstream, UpstreamError
from shared import failpoints
from shared.answer_cache import Asked
from shared.errors import Unauthorized, Unavailable
from shared.identity import GATEWAY, IdentitySigner, Principal
from shared.stamps import SCHEMA, Topic, group_topic, table_topic, user_topic

_MOST: Final = 20_000  # principals remembered
_SETTINGS: Final = table_topic("directus_settings")

Key = TypeVar("Key")
Value = TypeVar("Value")

Caller = tuple[str, str]  # SHA-256 of the token, in hex, and the client's address


@dataclass(frozen=True, slots=True)
class Remembered:
    principal: Principal
    topics: tuple[Topic, Topic, Topic, Topic]  # schema, rights, settings, user: asked every time
    epoch: str | None
    stamp: int
    until: float  # time.monotonic() at which the token expires

    def holds(self, asked: Asked) -> bool:
        """``asked`` must have asked for ``topics``."""
        if asked.epoch is None or asked.epoch != self.epoch or time.monotonic() >= self.until:
            return False
        _schema, rights, _settings, user = asked.changed
        if failpoints.is_off("principals.holds"):  # `make prove-rights` must notice
            return True
        return rights <= self.stamp and user <= self.stamp


@dataclass(frozen=True, slots=True)
class Resolved:
    principal: Principal
    until: float = math.inf


class _Answer(Principal, frozen=True):
    """As auth-service answers; ``expires_in`` seconds the token is no longer good."""

    expires_in: float | None = None


def remember(resolved: Resolved, asked: Asked) -> Remembered:
    principal = resolved.principal
    topics = (SCHEMA, group_topic(principal.group), _SETTINGS, user_topic(principal.user))
    return Remembered(principal, topics, asked.epoch, asked.stamp, resolved.until)


class Principals:
    def __init__(self, auth: Upstream, signer: IdentitySigner, patience: float) -> None:
        self._auth = auth
        self._signer = signer
        self._patience = patience
        self._known: dict[Caller, Remembered] = {}
        self._shared = Shared[Caller, Resolved](self._ask)

    def known(self, caller: Caller) -> Remembered | None:
        return self._known.get(caller)

    async def resolve(self, caller: Caller, asked: Asked) -> Remembered:
        """Ask auth-service; ``asked`` must have been taken before.

        Raises Unauthorized for an unknown token, Unavailable when auth-service cannot tell.
        """
        try:
            resolved = await self._shared.get(caller)
        except Unauthorized:
            self._known.pop(caller, None)
            raise
        remembered = remember(resolved, asked)
        if asked.epoch is not None:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[caller] = remembered
        return remembered

    async def _ask(self, caller: Caller) -> Resolved:
        digest, address = caller
        begun = time.monotonic()
        head = (
            "POST /internal/principals HTTP/1.1\r\nHost: auth\r\n"
            "Content-Type: application/json\r\n"
            f"X-Directoire-Identity: {self._signer.sign(GATEWAY)}\r\n"
        )
        body = msgspec.json.encode({"sha256": digest, "address": address})
        try:
            async with asyncio.timeout(self._patience):
                status, data = await self._exchange(head.encode(), body)
        except (UpstreamError, TimeoutError) as error:
            raise Unavailable("Tokens cannot be checked at the moment", retry_after=1) from error
        if status in {403, 404}:
            raise Unauthorized
        if status != 200:
            raise Unavailable("Tokens cannot be checked at the moment", retry_after=1)
        answer = msgspec.json.decode(data, type=_Answer)
        principal = Principal(answer.user, answer.group, answer.token, scope=answer.scope)
        left = math.inf if answer.expires_in is None else answer.expires_in
        return Resolved(principal, begun + left)

    async def _exchange(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        reply = await self._auth.send("POST", head, body, patience=self._patience)
        try:
            return reply.message.code, await reply.body.read()
        finally:
            reply.close()


class Shared(Generic[Key, Value]):
    """One computation for all who ask for the same before it begins.

    Who comes while one runs waits for the next: the running one may have begun too early for him.
    """

    def __init__(self, compute: Callable[[Key], Awaitable[Value]]) -> None:
        self._compute = compute
        self._running: dict[Key, asyncio.Task[Value]] = {}
        self._next: dict[Key, asyncio.Task[Value]] = {}

    async def get(self, key: Key) -> Value:
        running = self._running.get(key)
        if running is None:
            task = self._running[key] = self._begin(self._run(key))
        else:
            task = self._next.get(key)
            if task is None:
                task = self._next[key] = self._begin(self._run_after(running, key))
        return await asyncio.shield(task)

    def _begin(self, work: Coroutine[None, None, Value]) -> "asyncio.Task[Value]":
        task = asyncio.create_task(work)
        task.add_done_callback(_seen)
        return task

    async def _run(self, key: Key) -> Value:
        try:
            return await self._compute(key)
        finally:
            # the next one, if somebody waits for it, takes the place at once
            following = self._next.pop(key, None)
            if following is None:
                del self._running[key]
            else:
                self._running[key] = following

    async def _run_after(self, running: "asyncio.Task[Value]", key: Key) -> Value:
        await asyncio.wait([running])
        return await self._run(key)


def _seen(task: "asyncio.Task[Value]") -> None:
    """Everybody who waited may have left: a failure then is nobody's."""
    if not task.cancelled():
        task.exception()
