"""The one road of every write: recorded, in one transaction, raised before the reply."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from asyncpg import Record

from shared import announcements, failpoints
from shared.context import Actor
from shared.database import Database, Joined, Session, client_faults
from shared.errors import NotUnique, PreconditionFailed
from shared.preconditions import NONE, Precondition, check_version
from shared.sql import Sql, ident, param, raw
from shared.stamps import ENTRIES, Invalidation


def actor_cte(actor: Actor) -> Sql:
    """``ctx AS (…)``: sets who acts, in the statement that writes.

    The statement must take its rows *from* ctx: PostgreSQL never runs a CTE nobody refers to, and
    the entry would silently say ``db:<role>``.
    """
    return (
        raw("ctx AS (SELECT set_config('directoire.actor', ")
        + param(str(actor.user))
        + raw(", true), set_config('directoire.request', ")
        + param(actor.request_id)
        + raw(", true), set_config('directoire.quiet', ")
        + param("t" if actor.quiet else "")
        + raw(", true))")
    )


class Change:
    """An open transaction that knows who acts. Name what it changes with ``touch``."""

    def __init__(self, session: Session, actor: Actor) -> None:
        self.session = session
        self.actor = actor
        self.topics: set[str] = set()

    async def compare(
        self, given: Precondition, version: Callable[[], Awaitable[str | None]], *, alone: str = ""
    ) -> None:
        """What is no row must be as the caller has seen it, until this transaction ends.

        ``version`` tells what is there now (``state_version``), None for nothing; ``alone`` is the
        table that nobody else writes to meanwhile, where no other lock keeps them away. It is to
        be called first. Raises PreconditionFailed.
        """
        if given == NONE:
            return
        if alone:
            lock = raw("LOCK TABLE public.") + ident(alone)
            await self.session.execute(lock + raw(" IN SHARE ROW EXCLUSIVE MODE"))
        check_version(given, await version())

    def touch(self, *topics: str) -> None:
        """Answers that depend on these topics are void before the reply."""
        self.topics.update(topics)

    async def fetch(self, sql: Sql) -> list[Record]:
        return await self.session.fetch(sql)

    async def fetchrow(self, sql: Sql) -> Record | None:
        return await self.session.fetchrow(sql)

    async def fetchval(self, sql: Sql) -> Any:
        return await self.session.fetchval(sql)

    async def execute(self, sql: Sql) -> str:
        return await self.session.execute(sql)


class Changes:
    """Writes to the database, and the stamps they raise."""

    def __init__(self, database: Database, invalidation: Invalidation) -> None:
        self.database = database
        self._invalidation = invalidation

    @asynccontextmanager
    async def transaction(self, actor: Actor, *, compares: bool = False) -> AsyncGenerator[Change]:
        """A transaction whose entries carry ``actor``; its topics are raised after the commit.

        ``compares``: what If-Match names is looked at inside (``Change.compare``).

        A conflict raises them too: its answer tells of a row whose writer may not have got there.
        Database errors that a client caused come out as ApiErrors.
        """
        if actor.seen is not None and not compares:
            raise PreconditionFailed("this has no version that If-Match could name")
        change: Change | None = None
        joined = self.database.current
        if joined is not None:
            await joined.begin()
        try:
            with client_faults():
                async with self.database.transaction() as session:
                    change = Change(session, actor)
                    await session.execute(raw("WITH ") + actor_cte(actor) + raw(" TABLE ctx"))
                    yield change
                    if joined is None:
                        await self.announce(change.topics)
        except NotUnique:
            if change is not None:
                await self.raise_topics(change.topics)
            raise
        if joined is not None:  # its end raises
            joined.topics |= change.topics
            return
        await self.raise_topics(change.topics)

    async def once(self, sql: Sql, topics: Collection[str]) -> list[Record]:
        """One statement that sets its actor itself (``actor_cte``) and commits on its own."""
        joined = self.database.current
        if joined is not None:
            await joined.begin()
        try:
            with client_faults():
                if joined is not None:
                    async with joined.savepoint() as session:
                        rows = await session.fetch(sql)
                else:
                    await self.announce(topics)
                    rows = await self.database.fetch(sql)
        except NotUnique:
            await self.raise_topics(topics)
            raise
        if joined is not None:  # its end raises
            joined.topics.update(topics)
        else:
            await self.raise_topics(topics)
        return rows

    @asynccontextmanager
    async def all_or_none(self) -> AsyncGenerator[Joined]:
        """One transaction for every write inside; a part of the one that is there already."""
        joined = self.database.current
        if joined is not None:
            await joined.begin()
            with client_faults():
                async with joined.savepoint():
                    yield joined
            return
        with client_faults():
            async with self.database.joined() as joined:
                await joined.begin()
                yield joined
                await self.announce(joined.topics)
        await self.committed(joined)

    async def join(self) -> None:
        """What the database is asked from here on is kept together with the answer, or not at all.

        For what is no ``transaction`` and yet must not be done twice under an Idempotency-Key.
        """
        joined = self.database.current
        if joined is not None:
            await joined.begin()

    async def afterwards(self, act: Callable[[], Awaitable[object]]) -> None:
        """Do something that cannot be taken back, as soon as the change has committed."""
        joined = self.database.current
        if joined is None:
            await act()
        else:
            joined.afterwards.append(act)

    async def committed(self, joined: Joined) -> None:
        """What is left to do when a transaction that was joined has committed."""
        await self.raise_topics(joined.topics)
        for act in joined.afterwards:
            await act()

    async def announce(self, topics: Collection[str]) -> None:
        """To be called before the commit of what changes them (``shared.announcements``)."""
        wanted = {*topics, ENTRIES}
        announced = announcements.current()
        if not topics or announced.covers(wanted) or failpoints.is_off("changes.announce"):
            return
        announced.renew(wanted)
        await self._invalidation.announce(announced.arguments())

    async def withdraw(self) -> None:
        """The request is over: what it announced and did not raise has not come."""
        announced = announcements.current()
        if announced.topics:
            await self._invalidation.withdraw(announced.over())

    async def raise_topics(self, topics: Collection[str]) -> None:
        """To be called after the commit of what changed them, and before anybody is told of it."""
        committed_at = time.monotonic()
        await failpoints.reach("changes.committed")
        if topics and not failpoints.is_off("changes.raise"):
            over = announcements.current().over()
            await self._invalidation.raise_({*topics, ENTRIES}, committed_at, over)
