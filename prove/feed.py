"""The promise of the feed, under fire: every committed change, once seen never lost, replayable.

``python -m prove.feed [SECONDS [SEED [MUTATION]]]`` runs a cluster of its own. Writers change rows
over HTTP and by plain SQL, some of it rolled back; three consumers read (two by the client package,
one over server-sent events); a killer ends or pauses one process after the other, the servers too.
Then: every committed change has one position, positions are 1, 2, 3 …, every consumer saw each of
them, the changes of a row are in their order, and a replay of the stream is each table.

What is committed is known without the feed: each update counts its row's ``v`` up by one, so that
the final rows say how many changes there were, and which values in which order.

MUTATION switches a mechanism off, and the run must then fail: ``confirms`` (the relay takes events
for published that are only sent), ``fence`` (every relay leads and counts by itself), ``trigger``.
"""

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, LiteralString

import aiohttp
import asyncpg
from aio_pika.exceptions import AMQPError

from directoire_consumer import Consumer, Event, Gap, Mirror, replay
from local_cluster.cluster import Cluster

SECONDS: Final = 180.0
TABLES: Final[tuple[LiteralString, ...]] = ("over_http", "by_sql", "come_and_go")
HTTP_WRITERS: Final = 3
SQL_WRITERS: Final = 3
ROWS: Final = 5  # of each writer
PAUSES: Final = (0.2, 2.5)  # seconds a process stands still
BETWEEN: Final = (0.3, 2.0)  # seconds between two blows
# RabbitMQ writes within three seconds where a new stream lies; killed before, it never finds it
FOUND_AGAIN: Final = 4.0
STANDSTILL: Final = 6.0  # seconds after which nothing more will come
SETTLE: Final = 60.0  # seconds that everything may take to arrive after the last blow
MUTATIONS: Final = {"confirms": "bus.confirms=off", "fence": "relay.fence=off", "trigger": ""}
_AWAY: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


@dataclass
class Findings:
    """What a run saw; ``wrong`` holds every broken promise."""

    seed: int
    numbers: dict[str, Any] = field(default_factory=dict[str, Any])
    blows: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)


@dataclass
class Reader:
    """One consumer's memory: position → (table, row, v)."""

    name: str
    seen: dict[int, tuple[str, str | None, int | None]] = field(
        default_factory=dict[int, tuple[str, str | None, int | None]]
    )
    order: list[int] = field(default_factory=list[int])
    gap: str | None = None

    def take(self, position: int, table: str, row: str | None, after: Any) -> None:
        if position not in self.seen:
            self.order.append(position)
        value = after.get("v") if isinstance(after, dict) else None
        self.seen[position] = (table, row, value)


async def prove(seconds: float, seed: int, mutation: str | None = None) -> Findings:
    """One run. The findings' ``wrong`` is empty when the promise held."""
    async with running(seed, mutation) as run:
        await run.work(seconds, mutation)
        await run.judge(SETTLE)
    return run.findings


@asynccontextmanager
async def running(seed: int, mutation: str | None = None) -> AsyncGenerator["Run"]:
    """A cluster to work on, and to judge, more than once if need be."""
    environment = {"FAILPOINTS_ALLOWED": "1"}
    if mutation is not None and MUTATIONS[mutation]:
        environment["FAILPOINTS"] = MUTATIONS[mutation]
    replicas = {"gateway": 2, "items-service": 2, "relay": 2}
    async with Cluster(replicas=replicas, environment=environment) as cluster:
        run = Run(cluster, random.Random(seed), Findings(seed))
        await run.prepare()
        yield run


class Run:
    def __init__(self, cluster: Cluster, dice: random.Random, findings: Findings) -> None:
        self.cluster = cluster
        self.dice = dice
        self.findings = findings
        self.stop = asyncio.Event()
        self.readers = [Reader("queue-1"), Reader("queue-2"), Reader("stream")]
        self.written = Counter[str]()
        self.values: dict[int, dict[int, int]] = {}  # of each writer over HTTP: row → v

    # ── before ────────────────────────────────────────────────────────────────────────────────────

    async def prepare(self) -> None:
        async with self._connected() as database:
            # a throw-away server may forget commits when it is killed; this one must not
            await database.execute(
                "DO $$ BEGIN EXECUTE format("
                "'ALTER DATABASE %I SET synchronous_commit = on', current_database()); END $$"
            )
            await database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
            for table in TABLES:
                await database.execute(
                    f"CREATE TABLE {table} (id integer PRIMARY KEY, v integer NOT NULL, note text)"
                )
                await database.execute(f"SELECT directoire.manage('public.{table}')")
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            path = "tables/over_http/rows"
            while await self._send(session, "GET", path, None) != 200:  # noqa: ASYNC110 - it asks
                await asyncio.sleep(0.1)
        await self._everything()  # there is a stream
        await asyncio.sleep(FOUND_AGAIN)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        async with asyncio.timeout(60):
            while True:
                try:
                    connection = await asyncpg.connect(
                        self.cluster.urls["DATABASE_URL"], timeout=5, command_timeout=10
                    )
                    break
                except _AWAY:
                    await asyncio.sleep(0.2)
        try:
            yield connection
        finally:
            connection.terminate()

    # ── while ─────────────────────────────────────────────────────────────────────────────────────

    async def work(self, seconds: float, mutation: str | None) -> None:
        self.stop.clear()
        self.reading = [
            asyncio.create_task(self._read_queue(self.readers[0])),
            asyncio.create_task(self._read_queue(self.readers[1])),
            asyncio.create_task(self._read_stream(self.readers[2])),
        ]
        writing = [
            *(asyncio.create_task(self._write_http(number)) for number in range(HTTP_WRITERS)),
            *(asyncio.create_task(self._write_sql(number)) for number in range(SQL_WRITERS)),
            asyncio.create_task(self._come_and_go()),
        ]
        striking = asyncio.create_task(self._strike(mutation))
        await asyncio.sleep(seconds)
        self.stop.set()
        await asyncio.gather(*writing, striking)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    async def _strike(self, mutation: str | None) -> None:
        """End or pause one process after the other, at random; the mutation's own enemy first."""
        first = {"confirms": ["rabbitmq"], "fence": []}.get(mutation or "", [])
        if mutation == "trigger":
            await self._without_trigger()
        while not self.stop.is_set():
            await self._pause(self.dice.uniform(*BETWEEN))
            names = sorted(self.cluster.processes.keys() - {"supervisor"})
            if mutation is not None:  # what breaks then shall break for that one reason
                names = ["gateway", "items-service", "relay", "relay-2"]
            name = first.pop() if first else self.dice.choice(names)
            pid = self.cluster.processes.get(name)
            if pid is None or self.stop.is_set():
                continue
            with suppress(ProcessLookupError):
                if self.dice.random() < 0.5 or mutation == "confirms":
                    os.kill(pid, signal.SIGKILL)
                    self.findings.blows[f"end {name}"] += 1
                    if name in {"rabbitmq", "postgres", "redis"}:
                        await self._pause(self.dice.uniform(2, 5))
                else:
                    os.kill(pid, signal.SIGSTOP)
                    self.findings.blows[f"pause {name}"] += 1
                    await asyncio.sleep(self.dice.uniform(*PAUSES))
                    os.kill(pid, signal.SIGCONT)

    async def _without_trigger(self) -> None:
        async with self._connected() as database:
            await database.execute("ALTER TABLE by_sql DISABLE TRIGGER directoire_activity")
            await database.execute(_OF_ONE_ROW, 0, "nobody sees it")
            await database.execute("ALTER TABLE by_sql ENABLE ALWAYS TRIGGER directoire_activity")

    async def _write_http(self, number: int) -> None:
        """Rows of its own: a write that may have been carried out is sent again, as it was."""
        values = self.values.setdefault(number, {number * 100 + row: 0 for row in range(ROWS)})
        dice = random.Random(self.dice.random())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            while not self.stop.is_set():
                row = dice.choice(sorted(values))
                values[row] += 1
                body = {"id": row, "v": values[row], "note": "n" * dice.randrange(300)}
                method, path = "POST", "tables/over_http/rows"
                if values[row] > 1:
                    method, path = "PUT", f"tables/over_http/rows/{row}"
                while await self._send(session, method, path, body) != 200:
                    self.written["HTTP, uncertain"] += 1
                    await asyncio.sleep(0.1)
                self.written["HTTP"] += 1
                await self._pause(dice.uniform(0.0, 0.05))

    async def _send(
        self, session: aiohttp.ClientSession, method: str, path: str, body: object
    ) -> int:
        try:
            async with session.request(
                method,
                f"{self.cluster.base_url.rstrip('/')}/api/1.1/{path}",
                json=body,
                headers={"Authorization": f"Bearer {self.cluster.token}"},
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0

    async def _write_sql(self, number: int) -> None:
        """Several rows in a transaction, some rolled back. Rows are shared: writers cross."""
        dice = random.Random(self.dice.random() + number)
        while not self.stop.is_set():
            with suppress(*_AWAY):
                async with self._connected() as database:
                    while not self.stop.is_set():
                        await self._transaction(database, dice)
                        await self._pause(dice.uniform(0.0, 0.05))

    async def _transaction(
        self, database: "asyncpg.Connection[asyncpg.Record]", dice: random.Random
    ) -> None:
        transaction = database.transaction()
        await transaction.start()
        for row in dice.sample(range(ROWS * 2), dice.randint(1, 4)):
            await database.execute(_OF_ONE_ROW, row, "x" * dice.randrange(300))
            await asyncio.sleep(dice.choice((0, 0, 0.01)))
        if dice.random() < 0.1:
            await transaction.rollback()
            self.written["SQL, rolled back"] += 1
        else:
            await transaction.commit()
            self.written["SQL"] += 1

    async def _come_and_go(self) -> None:
        """Rows that are inserted in bulk, moved to other keys, deleted, and all truncated."""
        dice = random.Random(self.dice.random())
        while not self.stop.is_set():
            with suppress(*_AWAY):
                async with self._connected() as database:
                    while not self.stop.is_set():
                        await database.execute(_OF_ALL_KINDS[dice.randrange(len(_OF_ALL_KINDS))])
                        self.written["SQL, bulk"] += 1
                        await self._pause(dice.uniform(0.1, 0.4))

    async def _read_queue(self, reader: Reader) -> None:
        consumer = Consumer(self.cluster.urls["AMQP_URL"], reader.name, last=0)
        with suppress(asyncio.CancelledError):
            while reader.gap is None:
                try:
                    async for event in consumer.events():
                        reader.take(event.position, event.table, event.row_id, event.after)
                        await event.done()
                except Gap as gap:
                    reader.gap = str(gap)
                except Exception as error:  # noqa: BLE001 - the broker may break off anywhere
                    print(f"{reader.name}: {type(error).__name__}: {error}", file=sys.stderr)
                    await asyncio.sleep(0.5)
        self.findings.numbers[f"{reader.name}: doubles dropped"] = consumer.doubles
        self.findings.numbers[f"{reader.name}: gaps filled"] = consumer.gaps
        await consumer.close()

    async def _read_stream(self, reader: Reader) -> None:
        """As a browser does: comes back with the last id it was told."""
        last, resumed = 0, 0
        timeout = aiohttp.ClientTimeout(total=None, sock_read=20)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with suppress(asyncio.CancelledError):
                while True:
                    with suppress(aiohttp.ClientError, OSError, TimeoutError):
                        async for position, row in self._events(session, last):
                            last = position
                            if row is not None:
                                after = None if row["action"] == "DELETE" else row["data"]
                                key = None if row["row_id"] is None else str(row["row_id"])
                                image = json.loads(after) if after else None
                                reader.take(position, row["table_name"], key, image)
                    resumed += 1
                    await asyncio.sleep(0.2)
        self.findings.numbers["stream: resumed"] = resumed

    async def _events(
        self, session: aiohttp.ClientSession, last: int
    ) -> AsyncGenerator[tuple[int, dict[str, Any] | None]]:
        async with session.get(
            f"{self.cluster.base_url.rstrip('/')}/api/1.1/activity/stream",
            headers={
                "Authorization": f"Bearer {self.cluster.token}",
                "Last-Event-ID": str(last),
            },
        ) as response:
            if response.status != 200:
                return
            position = last
            async for raw_line in response.content:
                line = raw_line.decode().rstrip("\n")
                if line.startswith("id: "):
                    position = int(line[4:])
                elif line.startswith("data: {"):
                    row = json.loads(line[6:])
                    if "position" in row:
                        yield position, row

    # ── after ─────────────────────────────────────────────────────────────────────────────────────

    async def judge(self, settle: float) -> None:
        findings = self.findings
        async with self._connected() as database:
            last = await self._settled(database, settle)
            for task in self.reading:
                task.cancel()
            await asyncio.gather(*self.reading)
            rows = {
                table: await database.fetch(
                    f"SELECT id, v, to_jsonb(t)::text AS row FROM {table} t"
                )
                for table in TABLES
            }
        committed = {
            table: sum(row["v"] for row in rows[table]) for table in ("over_http", "by_sql")
        }
        findings.numbers |= {"writes": dict(self.written), "blows": sum(findings.blows.values())}
        findings.numbers |= {"committed changes": sum(committed.values()), "positions": last}
        for reader in self.readers:
            self._judge_reader(reader, last, committed, rows)
        await self._judge_replay(last, rows)

    async def _settled(self, database: "asyncpg.Connection[asyncpg.Record]", settle: float) -> int:
        """Wait until everything has its position, is confirmed and was read; the last position."""
        begun = time.monotonic()
        state = await database.fetchrow(_STATE)
        moved, arrived = begun, 0
        while time.monotonic() - begun < settle and time.monotonic() - moved < STANDSTILL:
            assert state is not None
            here = sum(len(reader.seen) for reader in self.readers)
            if not state["settled"] or here != arrived:
                moved, arrived = time.monotonic(), here
            if state["settled"] and here >= len(self.readers) * state["position"]:
                break
            await asyncio.sleep(0.2)
            state = await database.fetchrow(_STATE)
        assert state is not None
        self.findings.numbers["seconds to settle"] = round(time.monotonic() - begun, 1)
        self.findings.check(state["settled"], "entries are left without position or unconfirmed")
        self.findings.check(
            state["entries"] == state["position"],
            f"{state['entries']} entries, but {state['position']} positions",
        )
        return state["position"]

    def _judge_reader(
        self,
        reader: Reader,
        last: int,
        committed: dict[str, int],
        rows: dict[str, list[Any]],
    ) -> None:
        check, name = self.findings.check, reader.name
        check(reader.gap is None, f"{name}: {reader.gap}")
        missing = sorted(set(range(1, last + 1)) - reader.seen.keys())
        check(not missing, f"{name}: {len(missing)} positions never came, {missing[:5]} …")
        check(reader.order == sorted(reader.order), f"{name}: positions came in another order")
        for table, expected in committed.items():
            values: dict[str, list[int]] = {}
            for position in sorted(reader.seen):
                at, row, value = reader.seen[position]
                if at == table and row is not None and value is not None:
                    values.setdefault(row, []).append(value)
            # an HTTP write sent twice because its answer was lost leaves an entry without a change
            told = {row: _without_repeats(found) for row, found in values.items()}
            number = sum(len(found) for found in told.values())
            check(number == expected, f"{name}: {number} changes of {table}, not {expected}")
            for row in rows[table]:
                found = told.get(str(row["id"]), [])
                right = list(range(1, row["v"] + 1))
                if found != right:
                    check(False, f"{name}: row {row['id']} of {table}: {_odd(found, right)}")
                    break

    async def _everything(self) -> list[Event]:
        """What the stream holds. The broker may have been the last to be struck."""
        async with asyncio.timeout(60):
            while True:
                with suppress(*_FAULTS):
                    return [event async for event in replay(self.cluster.urls["AMQP_URL"])]
                await asyncio.sleep(1)

    async def _judge_replay(self, last: int, rows: dict[str, list[Any]]) -> None:
        """The whole stream, applied in its order, is every table to the last byte."""
        mirrors = {table: Mirror(table) for table in TABLES}
        positions: list[int] = []
        for event in await self._everything():
            positions.append(event.position)
            for mirror in mirrors.values():
                mirror.apply(event)
        self.findings.check(
            positions == list(range(1, last + 1)), "the stream does not hold 1, 2, 3 … once each"
        )
        for table, mirror in mirrors.items():
            real = _hash([json.loads(row["row"]) for row in rows[table]])
            self.findings.numbers[f"hash of {table}"] = real[:12]
            self.findings.check(
                _hash(list(mirror.rows.values())) == real, f"the replay is another {table}"
            )


_FAULTS: Final = (AMQPError, OSError, TimeoutError, RuntimeError)
_STATE: Final = (
    "SELECT r.position, r.confirmed = r.position"
    " AND NOT EXISTS (SELECT FROM directoire.outbox) AS settled,"
    " (SELECT count(*) FROM directus_activity) AS entries FROM directoire.relay r"
)
_OF_ONE_ROW: Final = (
    "INSERT INTO by_sql VALUES ($1, 1, 'made')"
    " ON CONFLICT (id) DO UPDATE SET v = by_sql.v + 1, note = $2"
)
_INSERT: Final = (
    "INSERT INTO come_and_go SELECT n, 1, 'bulk' FROM generate_series(1, 40) n"
    " ON CONFLICT DO NOTHING"
)
_UPSERT: Final = (
    "INSERT INTO come_and_go SELECT n, 1, repeat('y', n) FROM generate_series(20, 80) n"
    " ON CONFLICT (id) DO UPDATE SET v = come_and_go.v + 1"
)
_OF_ALL_KINDS: Final = (
    *2 * (_INSERT, _UPSERT),
    "UPDATE come_and_go SET v = v + 1, note = note || 'z' WHERE id % 3 = 0",
    "UPDATE come_and_go SET id = id + 1000 WHERE id % 7 = 0",
    "DELETE FROM come_and_go WHERE id % 2 = 0",
    "DELETE FROM come_and_go WHERE id > 1000",
    "TRUNCATE come_and_go",
)


def _without_repeats(values: list[int]) -> list[int]:
    return [value for n, value in enumerate(values) if n == 0 or value != values[n - 1]]


def _odd(found: list[int], right: list[int]) -> str:
    at = next(
        (n for n, (one, other) in enumerate(zip(found, right, strict=False)) if one != other),
        min(len(found), len(right)),
    )
    return f"after {found[max(0, at - 2) : at]} came {found[at : at + 3]}, not {right[at : at + 3]}"


def _hash(rows: list[Any]) -> str:
    text = json.dumps(sorted(rows, key=lambda row: row["id"]), sort_keys=True)
    return sha256(text.encode()).hexdigest()


def main() -> None:
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a broker that is away is the point
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    mutation = sys.argv[3] if len(sys.argv) > 3 else None
    print(f"seed {seed}, {seconds:.0f} s" + (f", without {mutation}" if mutation else ""))
    findings = asyncio.run(prove(seconds, seed, mutation))
    for name, number in findings.numbers.items():
        print(f"{name}: {number}")
    for blow, times in sorted(findings.blows.items()):
        print(f"  {blow}: {times}")
    for wrong in findings.wrong:
        print(f"BROKEN: {wrong}")
    again = f"python -m prove.feed {seconds:.0f} {seed}" + (f" {mutation}" if mutation else "")
    sys.exit(f"{len(findings.wrong)} promises broken; again: {again}" if findings.wrong else 0)


if __name__ == "__main__":
    main()
