"""The gateway's one round trip: rate limits, lease, changed topics, and a remembered answer.

An answer lies in two keys: a small record (epoch, stamp, nonce, topics) that the script checks, and
the body, which begins with the same nonce and is fetched by a plain GET of the same pipeline, or
held in this process under its nonce: a body through Lua costs 1.3 µs a KB.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from shared import failpoints
from shared.announcements import Announcement
from shared.redis_pipeline import Away, Call, Failed, Pipeline, Script, pack
from shared.stamps import ANNOUNCE, RAISE, Topic

READ: Final = Script.load("read")
STORE: Final = Script.load("store")
_LEASELESS: Final = Script.of(READ.text.replace("tonumber(state[3]) <= now", "false"))  # for tests
NONCE_BYTES: Final = 12  # characters; 72 random bits
LARGEST: Final = 1024 * 1024  # bytes of a body that is stored
_FORMS: Final = 4096  # questions that are kept ready for the wire
MOST_TOPICS: Final = 200  # of one answer; more are not stored

_TOPIC: Final = re.compile(r"schema|[tgu]:[A-Za-z0-9_.~%-]+")


class Limit(msgspec.Struct, frozen=True):
    """A rate limit (GCRA): ``rate`` requests a second, ``burst`` of them at once."""

    key: str  # such as "token:7" or "address:203.0.113.9"
    rate: float
    burst: int


class Hit(msgspec.Struct, frozen=True):
    """A valid answer: which of the asked entries (0, 1 …) it is, and its body as stored."""

    entry: int
    body: memoryview


class Asked(msgspec.Struct, frozen=True):
    """What one round trip told.

    ``epoch`` is None when no lease is alive (or Redis is away): then nothing remembered may be
    trusted and nothing stored. ``stamp`` is the counter now, ``changed`` when each asked topic last
    changed, in their order. ``retry_after`` in seconds when a limit refused the request.
    ``outdated``: there was an answer, of before a change. ``settled``: no change is announced.
    """

    epoch: str | None = None
    stamp: int = 0
    changed: tuple[int, ...] = ()
    hit: Hit | None = None
    retry_after: float | None = None
    away: bool = False
    outdated: bool = False
    settled: bool = True


class _Form(msgspec.Struct, frozen=True):
    """What the same question of the same caller sends each time."""

    names: tuple[str, ...]
    call: Call
    gets: tuple[bytes, ...]


NOTHING: Final = Asked()
AWAY: Final = Asked(away=True)


class AnswerCache:
    """Answers to reads, kept in Redis. Never raises and never waits for a Redis that is away.

    ``timeout`` in seconds for a round trip; ``memory`` in bytes of bodies held in this process.
    """

    def __init__(
        self,
        redis_url: str,
        prefix: str,
        *,
        timeout: float = 0.05,
        memory: int = 16 * 1024 * 1024,
    ) -> None:
        """Opens nothing yet."""
        self._redis = Pipeline(redis_url, timeout=timeout, scripts=(READ, STORE, RAISE, ANNOUNCE))
        self._state = f"{prefix}st"
        self._records = f"{prefix}a:"
        self._bodies = f"{prefix}b:"
        self._buckets = f"{prefix}r:"
        self._memory = _Memory(memory)
        self._form_of = lru_cache(maxsize=_FORMS)(self._make_form)

    async def ask(
        self,
        topics: Sequence[Topic],
        *,
        limits: Sequence[Limit] = (),
        entries: Sequence[str] = (),
        announced: Announcement | None = None,
    ) -> Asked:
        """One round trip (a second one if a body held here has been replaced in Redis).

        A change can be announced with it; ``withdraw`` takes that back.

        ``entries`` are keys of answers, looked up in order: the group's, then the user's. A hit
        counts only together with ``changed`` of the topics that the caller's principal rests on.
        """
        script = _LEASELESS if failpoints.is_off("cache.lease") else READ
        server = self._redis.server
        form = self._form_of(script, server, tuple(topics), tuple(limits), tuple(entries))
        names = form.names
        gets = () if any(name in self._memory for name in names) else form.gets
        if announced is not None:
            gets = (*gets, announced.packed(self._state))
        try:
            reply, *bodies = await self._redis.call_and(form.call, gets)
            if reply[0] > 0:
                return Asked(retry_after=reply[0] / 1_000_000)
            if len(reply) == 1:
                return NOTHING
            _, epoch, stamp, number, nonce, coming, *changed = reply
            hit = None
            if number > 0:
                body = await self._body(names[number - 1], nonce, bodies and bodies[number - 1])
                hit = None if body is None else Hit(number - 1, body)
            return Asked(
                epoch.decode(), stamp, tuple(changed), hit, outdated=number < 0, settled=not coming
            )
        except (Away, Failed):
            return AWAY

    async def withdraw(self, announced: Announcement) -> None:
        """Nothing came of what was announced. Without Redis it runs out by itself."""
        with suppress(Away, Failed):
            over = (self._redis.server, *announced.over())
            await self._redis.script(RAISE, (self._state,), over)

    def _make_form(
        self,
        script: Script,
        server: str,
        topics: tuple[Topic, ...],
        limits: tuple[Limit, ...],
        entries: tuple[str, ...],
    ) -> "_Form":
        names = tuple(map(_digest, entries))
        keys = [self._state]
        keys += [self._records + name for name in names]
        keys += [self._buckets + limit.key for limit in limits]
        arguments: list[str | int] = [len(names), len(topics), server]
        arguments += ["c:" + topic for topic in topics]
        for limit in limits:
            interval = 1_000_000 / limit.rate
            arguments += (round(interval), round(interval * limit.burst))
        return _Form(
            names,
            Call.of(script, keys, arguments),
            tuple(pack("GET", self._bodies + name) for name in names),
        )

    async def store(
        self, entry: str, asked: Asked, depends: Collection[Topic], body: bytes, life: float
    ) -> bool:
        """Remember ``body`` for ``life`` seconds; False when that was not possible.

        ``asked`` must have been taken *before* the answer was computed. ``depends`` are all topics
        the answer rests on; the caller adds ``schema`` and the group's.
        """
        if asked.epoch is None or not storable(depends, body):
            return False
        name, nonce = _digest(entry), secrets.token_urlsafe(NONCE_BYTES)[:NONCE_BYTES]
        fields = " ".join("c:" + topic for topic in sorted(depends))
        record = f"{asked.epoch} {asked.stamp} {nonce} {fields}"
        milliseconds = max(1, round(life * 1000))
        held = nonce.encode() + body
        keys = (self._state, self._records + name)
        arguments = (asked.epoch, record, milliseconds)
        put = pack("SET", self._bodies + name, held, "PX", milliseconds)
        try:
            stored, kept = await self._redis.call_and(Call.of(STORE, keys, arguments), (put,))
        except (Away, Failed):
            return False
        if not stored or kept != b"OK":
            return False
        self._memory.put(name, held)
        return True

    @property
    def away(self) -> bool:
        """Whether Redis is away as far as is known; before the first question too."""
        return not self._redis.connected

    async def close(self) -> None:
        await self._redis.close()

    async def _body(self, name: str, nonce: bytes, fetched: object) -> memoryview | None:
        """What begins with ``nonce``: from here, from the pipeline, else asked for. No copy."""
        held = self._memory.get(name)
        if held is None or not held.startswith(nonce):
            if not isinstance(fetched, bytes):
                fetched = await self._redis.command("GET", self._bodies + name)
            if not isinstance(fetched, bytes) or not fetched.startswith(nonce):
                return None
            held = fetched
            self._memory.put(name, held)
        return memoryview(held)[NONCE_BYTES:]


def storable(depends: Collection[Topic], body: bytes) -> bool:
    """Whether this can be kept: topics that can be raised, and a body of a sensible size."""
    return (
        0 < len(depends) <= MOST_TOPICS
        and len(body) <= LARGEST
        and all(_TOPIC.fullmatch(topic) for topic in depends)
    )


@lru_cache(maxsize=4096)
def _digest(entry: str) -> str:
    return blake2b(entry.encode(), digest_size=20).hexdigest()


class _Memory:
    """Bodies by name, the longest unused thrown out first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._held: OrderedDict[str, bytes] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def get(self, name: str) -> bytes | None:
        held = self._held.get(name)
        if held is not None:
            self._held.move_to_end(name)
        return held

    def put(self, name: str, held: bytes) -> None:
        if (old := self._held.pop(name, None)) is not None:
            self._size -= len(old)
        if len(held) > self._most:
            return
        self._held[name] = held
        self._size += len(held)
        while self._size > self._most:
            _, thrown = self._held.popitem(last=False)
            self._size -= len(thrown)
