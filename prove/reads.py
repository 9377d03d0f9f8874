"""Many clients write and read through two gateways while things break: is any read stale?

`python -m prove.reads [READS [MUTATION]]`. Rows, lists, counts, rights and columns are registers
(`prove.history`). Redis is paused, flushed, killed and restarted with an old dump; gateways,
services and the relay are killed, the relay is paused too. With a MUTATION one mechanism is off and
the checker must notice:

lease  gateways trust what is remembered without a lease; writers are cut off from Redis
epoch  a lost state begins again under the same epoch
order  the stamp is taken after the query instead of before it
announcement  nobody is told of a change before its commit; inverted reads must be found then
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import uvloop
from redis.asyncio import Redis

from local_cluster.cluster import Cluster
from prove.client import Answer, Client
from prove.history import Register, Verdict

READS: Final = 1_000_000
TABLES: Final = 3
ROWS: Final = 12  # of a table
READERS: Final = 16
LISTERS: Final = 4
PAUSE: Final = 0.05  # seconds between the writes of a writer of rows
SELDOM: Final = 0.3  # of one whose writes void all that is remembered
REPORT: Final = 60.0  # seconds between two words on how it goes
_SLOW: Final = "rows.read=sleep:0.03"  # between query and answer: widens the window
WIDE: Final = "changes.committed=sleep:0.03"  # between commit and raise
_OFF: Final[Mapping[str, str]] = {
    "": "",
    "lease": "cache.lease=off,stamps.reach=off",
    "epoch": "relay.epoch=off",
    "order": f"cache.order=off,{_SLOW}",
    "announcement": f"changes.announce=off,{WIDE}",
}
_WAITED: Final = frozenset({429, 500, 502, 503, 504})  # a write with this answer is sent again


@dataclass
class Stack:
    cluster: Cluster
    gateways: list[str]
    token: str
    verdict: Verdict = field(default_factory=Verdict)
    reader: str = ""  # the token of a caller of the group whose rights change
    group: int = 0
    registers: dict[str, Register] = field(default_factory=dict[str, Register])
    breaks: str = ""  # what is being broken now

    def client(self) -> Client:
        return Client(self.gateways)

    async def must(self, method: str, path: str, body: object = None) -> Any:
        client = self.client()
        try:
            for turn in range(200):
                answer = await client.send(turn, method, path, self.token, body)
                if answer.status == 200:
                    return answer.json()
                if answer.status not in _WAITED | {0}:
                    raise AssertionError((method, path, answer))
                await asyncio.sleep(0.1)
            raise AssertionError((method, path, "no answer"))
        finally:
            client.close()

    def saw(self, name: str, answer: Answer, seen: int) -> None:
        """One read of one register."""
        told = f"{answer.told}; {self.breaks}"
        self.registers[name].read(answer.begun, answer.ended, seen, told)


Write = Callable[[int], tuple[str, str, object]]  # version → request
Seen = Callable[[Answer], int | None]  # what was seen (``Register.read``); None: tells nothing


@dataclass(frozen=True)
class Watched:
    """One register: how its versions are written, and how they are read."""

    name: str
    write: Write
    path: str
    seen: Seen
    token: str | None = None
    values: int | None = None
    again: frozenset[int] = frozenset()  # answers to a repeated write that say it is done


async def keep_writing(
    stack: Stack, watched: Sequence[Watched], pause: float, stop: asyncio.Event
) -> None:
    """Write one after the other; each again until it is acknowledged."""
    client = stack.client()
    for turn, what in enumerate(itertools.cycle(watched)):
        if stop.is_set():
            client.close()
            return
        register = stack.registers[what.name]
        method, path, body = what.write(register.begin(time.monotonic()))
        for attempt in itertools.count():
            answer = await client.send(turn + attempt, method, path, stack.token, body)
            refused = answer.status == 200 and answer.json().get("success") is False
            if answer.status == 200 and not refused:
                break
            if attempt and (refused or answer.status in what.again):
                break
            if refused or answer.status in what.again:
                told = f"{what.name}: {answer.body[:200]!r}"
                stack.verdict.violated("stale", told, f"a write refused; {stack.breaks}")
                break
            if answer.status not in _WAITED | {0}:
                raise AssertionError((what.name, answer))
            await asyncio.sleep(PAUSE)
        register.end(time.monotonic())
        await asyncio.sleep(pause)


async def keep_reading(
    stack: Stack, watched: list[Watched], turn: int, stop: asyncio.Event
) -> None:
    client = stack.client()
    for number in itertools.count(turn):
        if stop.is_set():
            client.close()
            return
        what = watched[number % len(watched)]
        # the number of the request, not of the thing, or each would have a gateway of its own
        at = number // len(watched)
        answer = await client.send(at, "GET", what.path, what.token or stack.token)
        if answer.status in _WAITED | {0}:
            await asyncio.sleep(0.02)
            continue
        seen = what.seen(answer)
        if seen is not None:
            stack.saw(what.name, answer, seen)


async def prepare(stack: Stack) -> list[Watched]:
    """Tables, a caller with changing rights, and what is watched of them."""
    tables = [f"reads_rows_{number}" for number in range(TABLES)]
    for table in (*tables, "reads_more", "reads_rights", "reads_columns"):
        await stack.must("POST", "tables", {"name": table})
        await stack.must(
            "POST", f"tables/{table}/columns", {"column_name": "n", "data_type": "INT"}
        )
    rows = [{"id": key, "n": 0, "active": 1} for key in range(1, ROWS + 1)]
    for table in tables:
        await stack.must("POST", f"tables/{table}/rows/bulk", {"rows": rows})
    for table in ("reads_rights", "reads_columns"):
        await stack.must("POST", f"tables/{table}/rows", {"id": 1, "n": 0, "active": 1})
    group = await stack.must("POST", "groups", {"name": "Readers of the proof"})
    stack.group = group["data"]["id"]
    stack.reader = "reader-of-the-proof-0123456789abcdef"
    user = {"email": "reader@example.com", "token": stack.reader, "group": stack.group}
    await stack.must("POST", "users", user)
    await stack.must(
        "POST",
        f"privileges/{stack.group}",
        {"group_id": stack.group, "table_name": "reads_rights", "allow_view": 0},
    )
    watched = [_row(table, key) for table in tables for key in range(1, ROWS + 1)]
    return [*watched, _count(), _rights(stack), _columns()]


class _Row(msgspec.Struct):
    id: int
    n: int


class _One(msgspec.Struct):
    data: _Row


class _Many(msgspec.Struct):
    data: list[_Row]


def _row(table: str, key: int) -> Watched:
    path = f"tables/{table}/rows/{key}"

    def seen(answer: Answer) -> int | None:
        return answer.of(_One).data.n if answer.status == 200 else None

    return Watched(f"{table} {key}", lambda n: ("PUT", path, {"n": n}), path, seen)


def _count() -> Watched:
    def seen(answer: Answer) -> int | None:
        return answer.json()["meta"]["total_entries"] if answer.status == 200 else None

    def write(n: int) -> tuple[str, str, object]:
        return "POST", "tables/reads_more/rows", {"id": n, "n": n, "active": 1}

    return Watched("count", write, "tables/reads_more/rows?limit=1", seen)


def _rights(stack: Stack) -> Watched:
    """Odd versions may view, even ones may not."""

    def write(n: int) -> tuple[str, str, object]:
        body = {"group_id": stack.group, "allow_view": 2 * (n % 2)}
        return "PUT", f"privileges/{stack.group}/reads_rights", body

    def seen(answer: Answer) -> int | None:
        return {200: 1, 403: 0}.get(answer.status)

    path = "tables/reads_rights/rows/1"
    return Watched("rights", write, path, seen, token=stack.reader, values=2)


def _columns() -> Watched:
    """Odd versions have one column more."""

    def write(n: int) -> tuple[str, str, object]:
        if n % 2:
            body = {"column_name": "more", "data_type": "INT"}
            return "POST", "tables/reads_columns/columns", body
        return "DELETE", "tables/reads_columns/columns/more", None

    def seen(answer: Answer) -> int | None:
        return int("more" in answer.json()["data"]) if answer.status == 200 else None

    path = "tables/reads_columns/rows/1"
    again = frozenset({404, 409})
    return Watched("columns", write, path, seen, values=2, again=again)


# -- lists: one read tells of many registers ------------------------------------------------------


async def keep_listing(stack: Stack, turn: int, stop: asyncio.Event) -> None:
    client = stack.client()
    for number in itertools.count(turn):
        if stop.is_set():
            client.close()
            return
        table = f"reads_rows_{number % TABLES}"
        path = f"tables/{table}/rows?preview=1"
        answer = await client.send(number // TABLES, "GET", path, stack.token)
        if answer.status != 200:
            await asyncio.sleep(0.02)
            continue
        for row in answer.of(_Many).data:
            stack.saw(f"{table} {row.id}", answer, row.n)


# -- what breaks ----------------------------------------------------------------------------------


async def paused(stack: Stack, name: str, seconds: float) -> None:
    stack.cluster.kill(name, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    stack.cluster.kill(name, signal.SIGCONT)


async def flushed(stack: Stack) -> None:
    async with _redis(stack) as redis:
        await redis.flushall()
    await asyncio.sleep(1)


async def killed(stack: Stack, name: str) -> None:
    pid = stack.cluster.kill(name)
    await stack.cluster.restarted(name, after=pid)


async def restarted_with_an_old_dump(stack: Stack) -> None:
    async with _redis(stack) as redis:
        dump = {key: await redis.dump(key) async for key in redis.scan_iter()}
    await asyncio.sleep(0.5)
    await killed(stack, "redis")
    async with _redis(stack) as redis:
        for key, value in dump.items():
            if value is not None:
                await redis.restore(key, 5_000, value, replace=True)
    await asyncio.sleep(1)


@asynccontextmanager
async def _redis(stack: Stack) -> AsyncGenerator[Any]:
    redis = Redis.from_url(stack.cluster.urls["REDIS_URL"])
    try:
        yield redis
    finally:
        await redis.aclose()


def faults(stack: Stack, mutation: str) -> dict[str, Callable[[], Awaitable[None]]]:
    """By what they are called; for a mutation the one that it is caught by, alone."""
    relay = next(name for name in stack.cluster.processes if name.startswith("relay"))
    relays = [name for name in stack.cluster.processes if name.startswith("relay")]

    async def relays_paused() -> None:
        await asyncio.gather(*(paused(stack, name, 2.5) for name in relays))
        await asyncio.sleep(1)

    async def quiet() -> None:
        await asyncio.sleep(1)

    found: dict[str, Callable[[], Awaitable[None]]] = {
        "nothing": quiet,
        "relays paused": relays_paused,
        "Redis flushed": lambda: flushed(stack),
        "Redis paused": lambda: paused(stack, "redis", 2.0),
        "Redis paused shortly": lambda: paused(stack, "redis", 0.4),
        "Redis with an old dump": lambda: restarted_with_an_old_dump(stack),
        "items-service killed": lambda: killed(stack, "items-service"),
        "a gateway killed": lambda: killed(stack, "gateway-2"),
        "a relay killed": lambda: killed(stack, relay),
        "schema-service killed": lambda: killed(stack, "schema-service"),
        "Redis killed": lambda: killed(stack, "redis"),
    }
    if mutation:
        only = {"lease": "relays paused", "epoch": "Redis flushed"}.get(mutation, "nothing")
        return {only: found[only]}
    return found


async def prove(
    reads: int,
    mutation: str = "",
    *,
    seconds: float = 3600.0,
    enough: int = 0,
    widened: bool = False,
    tell: bool = False,
    database_url: str | None = None,
    amqp_url: str | None = None,
) -> Verdict:
    """Read at least so often, for ``seconds`` at most, or until ``enough`` stale reads are found.

    ``widened``: the moment between commit and raise is made longer.

    Servers whose URL is not given are its own; Redis always is.
    """
    environment = {"RATE_PER_TOKEN": "100000", "RATE_PER_ADDRESS": "100000"}
    failpoints = _OFF[mutation] or (WIDE if widened else "")
    if failpoints:
        environment |= {"FAILPOINTS": failpoints, "FAILPOINTS_ALLOWED": "1"}
    async with Cluster(
        replicas={"gateway": 2, "items-service": 2, "schema-service": 2},
        environment=environment,
        database_url=database_url,
        amqp_url=amqp_url,
    ) as cluster:
        stack = Stack(cluster, cluster.gateway_urls, cluster.token)
        watched = await prepare(stack)
        stack.registers = {
            what.name: Register(what.name, stack.verdict, what.values) for what in watched
        }
        stop = asyncio.Event()
        tasks = [asyncio.create_task(work) for work in clients(stack, watched, stop)]
        until = time.monotonic() + seconds
        said = time.monotonic()
        try:
            for name, breaks in itertools.cycle(faults(stack, mutation).items()):
                stack.breaks = name
                await breaks()
                over = stack.verdict.reads >= reads or time.monotonic() > until
                found = enough and caught(stack.verdict, mutation) >= enough
                if over or found or any(task.done() for task in tasks):
                    break
                if tell and time.monotonic() > said + REPORT:
                    said = time.monotonic()
                    print(str(stack.verdict).partition("\n")[0], flush=True)
        finally:
            stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await asyncio.gather(*tasks)
        return stack.verdict


def caught(verdict: Verdict, mutation: str) -> int:
    """What must be found when this is off, and what must not be otherwise."""
    return verdict.inverted if mutation == "announcement" else verdict.stale


def clients(
    stack: Stack, watched: list[Watched], stop: asyncio.Event
) -> list[Coroutine[None, None, None]]:
    """Writers, each register has one; readers; readers of lists."""
    by_key = [watched[key : TABLES * ROWS : ROWS] for key in range(ROWS)]
    others = watched[TABLES * ROWS :]
    return [
        *(keep_writing(stack, rows, PAUSE, stop) for rows in by_key),
        *(keep_writing(stack, [what], SELDOM, stop) for what in others),
        *(keep_reading(stack, watched, 7 * turn, stop) for turn in range(READERS)),
        *(keep_listing(stack, turn, stop) for turn in range(LISTERS)),
    ]


def main() -> None:
    reads = int(sys.argv[1]) if len(sys.argv) > 1 else READS
    mutation = sys.argv[2] if len(sys.argv) > 2 else ""
    begun = time.monotonic()
    verdict = uvloop.run(prove(reads, mutation, enough=1 if mutation else 0, tell=True))
    print(f"{verdict}\nin {time.monotonic() - begun:.0f} s")
    sys.exit(bool(caught(verdict, mutation)) != bool(mutation))


if __name__ == "__main__":
    main()
