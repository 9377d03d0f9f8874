"""The relay: gives committed changes their positions, grants the lease, publishes to the bus.

``python -m items_service.relay``. Any number of them run, one leads: the lead is a row in
PostgreSQL with a token that fences an old leader off. The leader runs five tasks that never wait
for each other: the lead itself, positions, the lease, publishing, and upkeep. A bus that is away
holds up nothing but publishing.

Source: architecture, section 5; the positions' SQL tells what they need.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

import msgspec
import structlog
from aiohttp import web
from asyncpg import PostgresError, Record
from prometheus_client import Counter, Gauge

from items_service.relay_bus import Bus, BusAway
from items_service.relay_events import Event, event_of
from items_service.relay_settings import RelaySettings
from shared import failpoints
from shared.database import Database
from shared.errors import ApiError
from shared.health import Health
from shared.queries import load_queries
from shared.redis_pipeline import Away, Failed
from shared.service import HEALTH, run
from shared.settings import load_settings
from shared.sql import fixed
from shared.stamps import ALL, LIFE, MARGIN, Granter, Seen, Topic, topics_of

QUERIES: Final = load_queries("items_service", "relay.sql")
log = structlog.get_logger(__name__)

PEEK: Final = 0.02  # seconds between looks for committed entries
IDLE_PEEK: Final = 0.04  # the same when there was none for so many seconds: QUIET
QUIET: Final = 1.0
POSITIONS: Final = 1000  # entries that get a position in one transaction
GRANT: Final = 0.2  # seconds between grants
WORTH_A_LOOK: Final = 5000  # more changes than these in one grant raise everything
EVENTS: Final = 200  # of one batch to the bus
CHARACTERS: Final = 8_000_000  # of images in one batch, unless a single one has more
FOLD: Final = 5000  # count deltas of one transaction
UPKEEP: Final = 0.4  # seconds between looks at the schema, and rounds of folding
PARTITIONS: Final = 3600.0  # seconds
BACK_OFF: Final = (0.1, 2.0)  # seconds after a fault: first, most

_FAULTS: Final = (ApiError, PostgresError, OSError, TimeoutError)

LEADS = Gauge("directoire_relay_leads", "1 when this relay leads")
LAG_POSITIONS = Gauge("directoire_relay_lag_positions", "Feed positions not confirmed by the bus")
LAG_SECONDS = Gauge("directoire_relay_lag_seconds", "Age of the oldest entry not confirmed")
TAKEN = Counter("directoire_relay_positions_total", "Positions given")
CONFIRMED = Counter("directoire_relay_confirmed_total", "Events the bus confirmed")
GRANTS = Counter("directoire_relay_grants_total", "Leases asked for", ["outcome"])


class LeadLost(Exception):
    """Somebody else leads, or nobody knows that we do."""


@dataclass(slots=True)
class Relay:
    """One process that leads or stands by."""

    database: Database
    granter: Granter
    bus: Bus
    lead_seconds: float = 1.5
    holder: str = field(
        default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{token_hex(8)}"
    )
    token: int | None = None
    _counted: int | None = None  # the last position, where nothing fences
    _busy_at: float = 0.0  # when there was last an entry without position, time.monotonic()
    _catalogue_mark: str | None = None  # at the last look at the whole schema
    _unpublished: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Lead whenever nobody else does, until cancelled."""
        try:
            while True:
                self.token = await self._ask_to_lead()
                if self.token is None:
                    await asyncio.sleep(self.lead_seconds / 5)
                    continue
                log.info("leading", token=self.token)
                LEADS.set(1)
                try:
                    await self._lead(self.token)
                except* LeadLost:
                    log.info("lead lost", token=self.token)
                finally:
                    LEADS.set(0)
        finally:
            await self._resign()

    async def _ask_to_lead(self) -> int | None:
        if failpoints.is_off("relay.fence"):
            return await self.database.fetchval(fixed(QUERIES["last_token"]))
        try:
            return await self.database.fetchval(
                fixed(QUERIES["lead"], self.holder, self.lead_seconds)
            )
        except _FAULTS as error:
            log.warning("cannot ask for the lead", error=str(error))
            return None

    async def _resign(self) -> None:
        if self.token is None:
            return
        try:
            async with asyncio.timeout(self.lead_seconds):
                await self.database.execute(fixed(QUERIES["resign"], self.token))
        except _FAULTS as error:
            log.warning("cannot resign, the lead will lapse", error=str(error))

    async def _lead(self, token: int) -> None:
        """Raises LeadLost, in a group."""
        self._unpublished.set()
        self._catalogue_mark = None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_lead(token))
            tasks.create_task(
                steadily("positions", lambda: self._take_positions(token), every=PEEK)
            )
            tasks.create_task(steadily("lease", lambda: self._grant(token), every=GRANT))
            tasks.create_task(steadily("publishing", lambda: self._publish(token)))
            tasks.create_task(steadily("upkeep", lambda: self._keep_up(token), every=UPKEEP))
            tasks.create_task(steadily("partitions", self._make_partitions, every=PARTITIONS))

    async def _keep_lead(self, token: int) -> None:
        """Renew the lead in a task of its own: nothing that is slow may cost it."""
        while True:
            await asyncio.sleep(self.lead_seconds / 4)
            try:
                now = await self._ask_again(token)
            except _FAULTS as error:
                log.warning("cannot renew the lead", error=str(error))
                continue  # while the database is away nobody else can take it
            if now != token:
                raise LeadLost

    async def _ask_again(self, token: int) -> int | None:
        if failpoints.is_off("relay.fence"):
            return token
        return await self.database.fetchval(fixed(QUERIES["lead"], self.holder, self.lead_seconds))

    async def _take_positions(self, token: int) -> None:
        if not await self.database.fetchval(fixed(QUERIES["pending"])):
            if time.monotonic() - self._busy_at > QUIET:
                await asyncio.sleep(IDLE_PEEK - PEEK)
            return
        self._busy_at = time.monotonic()
        taken = POSITIONS
        while taken == POSITIONS:
            taken = await self._take(token)
            if taken is None:
                raise LeadLost
            TAKEN.inc(taken)
            self._unpublished.set()
            await failpoints.reach("relay.taken")

    async def _take(self, token: int) -> int | None:
        if not failpoints.is_off("relay.fence"):
            return await self.database.fetchval(fixed(QUERIES["take_positions"], token, POSITIONS))
        # what a leader would be that counts by itself: the checker of the feed must notice
        if self._counted is None:
            self._counted = await self.database.fetchval(fixed(QUERIES["last_position"]))
        row = await self.database.fetchrow(
            fixed(QUERIES["take_unfenced"], self._counted, POSITIONS)
        )
        assert row is not None
        self._counted += row["taken"]
        return row["taken"]

    async def _grant(self, token: int) -> None:
        """Ask Redis' clock, look at the database, grant: in this order."""
        feed: str = await self.database.fetchval(fixed(QUERIES["feed_epoch"]))
        try:
            clock = await self.granter.clock(feed)
        except (Away, Failed):
            GRANTS.labels("away").inc()
            await self.database.execute(fixed(QUERIES["name_nobody"], token))
            return
        row = await self.database.fetchrow(
            fixed(QUERIES["seen"], token, clock.raised, WORTH_A_LOOK + 1)
        )
        if row is None or not row["leads"]:
            return
        if row["run"] != clock.run:
            await self.database.execute(fixed(QUERIES["name_run"], token, clock.run, LIFE + MARGIN))
            log.info("another redis server", run=clock.run)
            return
        if row["noted"] <= LIFE + MARGIN:
            return  # the old server's leases may still be out
        await failpoints.reach("relay.seen")
        try:
            epoch = await self.granter.grant(clock, seen_in(row))
        except (Away, Failed):
            epoch = None
        GRANTS.labels("refused" if epoch is None else "granted").inc()

    async def _publish(self, token: int) -> None:
        """Send all there is, the next batch being read while the last one is confirmed."""
        self._unpublished.clear()
        sending: asyncio.Task[None] | None = None
        sent = 0
        try:
            while entries := await self.database.fetch(
                fixed(QUERIES["events"], token, EVENTS, CHARACTERS, sent)
            ):
                sent = entries[-1]["position"]
                events = [event_of(entry) for entry in entries if entry["table_name"] is not None]
                await _ended(sending)
                sending = asyncio.create_task(self._send(events, sent))
                if entries[-1]["last"]:
                    break
            await _ended(sending)
        finally:
            if sending is not None and not sending.done():
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        await self._unpublished.wait()

    async def _send(self, events: list[Event], until: int) -> None:
        await self.bus.publish(events)
        await failpoints.reach("relay.published")
        await self.database.execute(fixed(QUERIES["confirm"], until))
        CONFIRMED.inc(len(events))

    async def _keep_up(self, token: int) -> None:
        await self._notice_schema(token)
        folded = FOLD
        while folded == FOLD:
            folded = await self.database.fetchval(fixed(QUERIES["fold_counts"], FOLD))
        lag = await self.database.fetchrow(fixed(QUERIES["lag"]))
        if lag is not None:
            LAG_POSITIONS.set(lag["positions"])
            LAG_SECONDS.set(lag["seconds"])

    async def _notice_schema(self, token: int) -> None:
        """Look at the whole catalogue only when rows of it are others than before."""
        mark: str = await self.database.fetchval(fixed(QUERIES["catalogue_mark"]))
        if mark != self._catalogue_mark:
            await self.database.execute(fixed(QUERIES["notice_schema"], token))
            self._catalogue_mark = mark

    async def _make_partitions(self) -> None:
        await self.database.execute(fixed(QUERIES["make_partitions"]))


async def _ended(task: asyncio.Task[None] | None) -> None:
    """Wait for a task. Cancelled, this wait ends at once, whatever the task makes of it."""
    if task is not None:
        await asyncio.wait([task])
        task.result()


def seen_in(row: Record) -> Seen:
    """What a grant must raise; too many changes to look at raise everything."""
    topics: set[Topic] = {ALL} if row["entries"] > WORTH_A_LOOK else set()
    for table, before, after in msgspec.json.decode(row["changes"]):
        topics |= topics_of(table, before, after)
    return Seen(row["feed"], row["position"], row["schema"], topics)


async def steadily(name: str, step: Callable[[], Awaitable[None]], *, every: float = 0.0) -> None:
    """Repeat a step, every so many seconds, and more slowly while it fails."""
    wait = BACK_OFF[0]
    while True:
        try:
            await step()
            wait = BACK_OFF[0]
            await asyncio.sleep(every)
        except (*_FAULTS, BusAway) as error:
            log.warning("failed, will try again", task=name, error=str(error), seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, BACK_OFF[1])


def create_app(settings: RelaySettings) -> web.Application:
    """Health and metrics; the relay runs beside them."""
    database = Database(
        settings.database_url.get_secret_value(), size=6, application="relay", generic_plans=True
    )
    granter = Granter(settings.redis_url.get_secret_value(), settings.redis_prefix)
    bus = Bus(
        settings.amqp_url.get_secret_value(),
        settings.activity_exchange,
        stream_age=settings.activity_stream_age,
    )
    app = web.Application()
    app[HEALTH] = Health({"postgresql": database.ping})
    app.add_routes(app[HEALTH].routes())

    async def relaying(_app: web.Application) -> AsyncGenerator[None]:
        relay = Relay(database, granter, bus, lead_seconds=settings.lead_seconds)
        task = asyncio.create_task(relay.run())
        task.add_done_callback(_end_with)
        yield
        task.remove_done_callback(_end_with)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()
        await granter.close()
        await database.close()

    app.cleanup_ctx.append(relaying)
    return app


def _end_with(task: asyncio.Task[None]) -> None:
    """A relay that fails in an unforeseen way ends its process; a supervisor starts another."""
    log.critical("the relay failed", exc_info=task.exception())
    os._exit(1)


def main() -> None:
    settings = load_settings(RelaySettings)
    run("relay", create_app(settings), settings)


if __name__ == "__main__":
    main()
