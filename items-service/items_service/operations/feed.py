"""The feed as streams: one task of the process reads on, every listener gets what it may see.

A listener catches up by itself, page by page, then goes live: from there the one task reads each
stretch of positions once for everybody with the same rights, and an idle stream costs nothing but
its memory. Rights, schema and tokens are looked at when an entry is delivered, not when the stream
began. Nothing is kept for a listener that does not read: it is cut, and comes back to where it was.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from asyncpg import PostgresError

from shared.catalogue import Catalogue
from shared.context import Actor, Context
from shared.database import Database
from shared.errors import ApiError, InvalidRequest
from shared.identity import Principal
from shared.knowledge import Knowledge
from shared.queries import load_queries
from shared.rights import Rights
from shared.rows import activity
from shared.rows.entries import fetch_feed
from shared.rows.parse import ListQuery
from shared.sql import fixed
from shared.versions import ApiVersion

QUERIES: Final = load_queries("items_service.operations", "feed.sql")
log = structlog.get_logger(__name__)

POLL: Final = 0.05  # seconds between looks at the feed, while anybody listens
STRETCH: Final = 500  # positions read at a time
BACKLOG: Final = 1_000_000  # bytes that wait for a listener before it is cut
HEARTBEAT: Final = 15.0  # seconds of silence
TOKENS: Final = 5.0  # seconds between looks at the tokens of all listeners
_FAULTS: Final = (ApiError, PostgresError, OSError, TimeoutError)

Chunks = list[tuple[str, bytes]]  # table and event, in order


@dataclass(slots=True, eq=False)
class Listener:
    """One stream. All up to ``position`` was sent, lies in ``queue``, or is not for this reader."""

    principal: Principal
    tables: frozenset[str] | None
    position: int
    cut: Callable[[], None]
    live: bool = False
    ended: str | None = None
    queue: list[bytes] = field(default_factory=list[bytes])
    waiting: int = 0  # bytes in the queue
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, chunks: Chunks, until: int) -> None:
        wanted = [data for table, data in chunks if self.tables is None or table in self.tables]
        self.position = until
        if not wanted:
            return
        self.waiting += sum(map(len, wanted))
        if self.waiting > BACKLOG:
            self.end("slow")
            self.cut()
            return
        self.queue.extend(wanted)
        self.wake.set()

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self.wake.set()


class Feed:
    def __init__(self, database: Database, knowledge: Knowledge) -> None:
        self._database = database
        self._knowledge = knowledge
        self._listeners: set[Listener] = set()
        self._position = 0  # what went out to those who are live
        self._somebody = asyncio.Event()
        self._readers: dict[int, tuple[Catalogue, Rights, dict[str, activity.Reader]]] = {}

    async def run(self) -> None:
        """Read on whenever anybody listens, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._check_tokens())

    def stop(self) -> None:
        """End every stream: their clients come back, to another process."""
        for listener in list(self._listeners):
            listener.end("stop")

    async def listen(
        self,
        principal: Principal,
        *,
        after: int | None,
        tables: frozenset[str] | None,
        cut: Callable[[], None],
    ) -> Listener:
        """Begin after that position, or with what comes. Raises InvalidRequest for one to come."""
        row = await self._database.fetchrow(fixed(QUERIES["head"]))
        assert row is not None
        if after is not None and after > row["head"]:
            message = f"the feed ends at position {row['head']}; it may have been restored"
            raise InvalidRequest(message, field="after")
        if not self._listeners:
            self._position = row["head"]
        start = row["head"] if after is None else after
        listener = Listener(principal, tables, max(start, row["first"] - 1), cut)
        if start < row["first"] - 1:
            gap = {"from": start + 1, "to": row["first"] - 1}
            listener.queue.append(b"event: gap\ndata: %b\n\n" % msgspec.json.encode(gap))
        self._listeners.add(listener)
        self._somebody.set()
        # who was let in before this moment and shut out since is found here, later ones in _follow
        try:
            await self._end_void_tokens([listener])
        except BaseException:
            self.leave(listener)
            raise
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            self._somebody.clear()

    async def events(self, listener: Listener) -> AsyncGenerator[bytes]:
        """What to send, until the listener is ended. Raises ApiError when it cannot catch up."""
        yield b"retry: 1000\nid: %d\n\n" % listener.position
        while listener.ended is None:
            if listener.queue:
                queue, listener.queue, listener.waiting = listener.queue, [], 0
                yield b"".join(queue)
            elif not listener.live:
                listener.queue.extend(await self._catch_up(listener))
            else:
                listener.wake.clear()
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await listener.wake.wait()
                except TimeoutError:
                    yield b"id: %d\n: still here\n\n" % listener.position
        yield b"event: end\ndata: %b\n\n" % listener.ended.encode()

    async def _catch_up(self, listener: Listener) -> list[bytes]:
        """The next page of what was missed; goes live where there is none."""
        if listener.position >= self._position:
            listener.live = True
            return []
        until = min(self._position, listener.position + STRETCH)
        context = await self._context(listener.principal)
        chunks, reached = await self._chunks(context, listener.position, until)
        listener.position = reached
        tables = listener.tables
        return [data for table, data in chunks if tables is None or table in tables]

    # ── the one task ──────────────────────────────────────────────────────────────────────────────

    async def _follow(self) -> None:
        while True:
            await self._somebody.wait()
            try:
                head: int = await self._database.fetchval(fixed(QUERIES["position"]))
                while self._position < head:
                    await self._deliver(min(head, self._position + STRETCH))
            except _FAULTS as error:
                log.warning("the feed cannot be read", error=str(error))
                await asyncio.sleep(1)
            await asyncio.sleep(POLL)

    async def _deliver(self, until: int) -> None:
        after = self._position
        told = await self._database.fetchrow(fixed(QUERIES["told"], after, until))
        assert told is not None
        await self._end_those(set(told["users"]), set(told["groups"]))
        # from here on newcomers catch up to `until` by themselves
        self._position = until
        live = [listener for listener in self._listeners if listener.live]
        made: dict[tuple[int, int | None], Chunks] = {}
        for listener in live:
            if listener.ended is not None:
                continue
            try:
                listener.offer(
                    await self._chunks_for(listener, made, set(told["tables"]), after, until), until
                )
            except _FAULTS as error:
                log.warning("entries cannot be delivered", error=str(error))
                listener.end("failed")  # it comes back to where it was
                listener.cut()

    async def _chunks_for(
        self,
        listener: Listener,
        made: dict[tuple[int, int | None], Chunks],
        tables: set[str],
        after: int,
        until: int,
    ) -> Chunks:
        """The events of a stretch for this listener; made once for all who see the same."""
        group = listener.principal.group
        shared = made.get((group, None))
        if shared is not None:
            return shared
        own = made.get((group, listener.principal.user))
        if own is not None:
            return own
        context = await self._context(listener.principal)
        readers = self._readers_of(context)
        seen = [readers[name] for name in tables if name in readers]
        user = listener.principal.user if any(map(_is_personal, seen)) else None
        # administrators see entries of tables that are no more, too
        nothing = not seen and not context.rights.admin
        chunks: Chunks = []
        while not nothing and after < until:
            more, after = await self._chunks(context, after, until)
            chunks += more
        made[group, user] = chunks
        return chunks

    async def _chunks(self, context: Context, after: int, until: int) -> tuple[Chunks, int]:
        rows, reached = await fetch_feed(
            self._database, context, ListQuery(limit=STRETCH), after, until
        )
        return [(str(row["table_name"]), _event(row)) for row in rows], reached

    def _readers_of(self, context: Context) -> Mapping[str, activity.Reader]:
        group = context.principal.group
        known = self._readers.get(group)
        if known is None or known[0] is not context.catalogue or known[1] is not context.rights:
            known = (context.catalogue, context.rights, activity.readers(context))
            self._readers[group] = known
        return known[2]

    async def _context(self, principal: Principal) -> Context:
        """Schema and rights as of now, by the database's own word."""
        return Context(
            principal=principal,
            version=ApiVersion.V1_1,
            request_id="",
            stamps=None,
            catalogue=await self._knowledge.catalogue(None),
            rights=await self._knowledge.rights(principal.group, None),
            settings=await self._knowledge.settings(None),
            actor=Actor(principal.user, ""),
        )

    # ── who may not listen any longer ─────────────────────────────────────────────────────────────

    async def _end_those(self, users: set[str], groups: set[str]) -> None:
        """Of a user in doubt the streams whose token is not his any more; of a group all.

        An entry may be older than the stream: he is asked for as he is now.
        """
        doubted: list[Listener] = []
        for listener in self._listeners:
            principal = listener.principal
            if str(principal.group) in groups:
                listener.end("token")
            elif str(principal.user) in users:
                doubted.append(listener)
        await self._end_void_tokens(doubted)

    async def _check_tokens(self) -> None:
        """Tokens expire without a change, and the feed may stand still."""
        while True:
            await asyncio.sleep(TOKENS)
            try:
                await self._end_void_tokens(list(self._listeners))
            except _FAULTS as error:
                log.warning("tokens cannot be checked", error=str(error))

    async def _end_void_tokens(self, listeners: list[Listener]) -> None:
        by_token = [listener for listener in listeners if listener.principal.token]
        if not by_token:
            return
        tokens = list({listener.principal.token for listener in by_token})
        rows = await self._database.fetch(fixed(QUERIES["valid_tokens"], tokens))
        valid = {(row["id"], row["user_id"], row["group_id"], row["scope"]) for row in rows}
        for listener in by_token:
            who = listener.principal
            if (who.token, who.user, who.group, who.scope) not in valid:
                listener.end("token")


def _is_personal(reader: activity.Reader) -> bool:
    return not reader.everything


def _event(row: dict[str, Any]) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (row["position"], msgspec.json.encode(row))
