"""Many clients write and read through two gateways while things break: is any read stale?

`python -m prove.reads [READS [MUTATION]]`. Rows, lists, counts, rights and columns are registers
(`prove.history`). Redis is paused, flushed, killed and restarted with an old dump; gateways,
services and the relay are killed, the relay is paused too. With a MUTATION one mechanism is off and
the checker must notice:

lease  gateways trust what is remembered without a lease; writers are cut off from Redis
epoch  a lost state begins again under the same epoch
order  the stamp is taken after the query instead of before it
"""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis

from local_cluster.cluster import Cluster
from prove.history import Read, Register, Verdict

READS: Final = 1_000_000
ROWS: Final = 12
READERS: Final = 24
PAUSE: Final = 0.05  # seconds between the writes of a writer
_SLOW: Final = "rows.read=sleep:0.03"  # between query and answer: widens the window
_OFF: Final[Mapping[str, str]] = {
    "": "",
    "lease": "cache.lease=off,stamps.reach=off",
    "epoch": "relay.epoch=off",
    "order": f"cache.order=off,{_SLOW}",
}
_WAITED: Final = frozenset({429, 500, 502, 503, 504})  # a write with this answer is sent again


@dataclass
class Stack:
    session: aiohttp.ClientSession
    cluster: Cluster
    gateways: list[str]
    token: str
    reader: str = ""  # the token of a caller of the group whose rights change
    group: int = 0
    registers: dict[str, Register] = field(default_factory=dict[str, Register])
    reads: int = 0
    refused: list[str] = field(default_factory=list[str])  # writes judged by something older

    async def send(
        self, turn: int, method: str, path: str, body: object = None, token: str | None = None
    ) -> tuple[int, Any, str]:
        """Status (0 for a broken connection), JSON and Cache-Status."""
        base = self.gateways[turn % len(self.gateways)]
        headers = {"Authorization": f"Bearer {token or self.token}"}
        try:
            async with self.session.request(
                method, f"{base}/api/1.1/{path}", json=body, headers=headers
            ) as response:
                return (
                    response.status,
                    await response.json(content_type=None),
                    response.headers.get("Cache-Status", ""),
                )
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None, ""

    async def must(self, method: str, path: str, body: object = None) -> Any:
        for turn in range(200):
            status, answer, _ = await self.send(turn, method, path, body)
            if status == 200:
                return answer
            if status not in _WAITED | {0}:
                raise AssertionError((method, path, status, answer))
            await asyncio.sleep(0.1)
        raise AssertionError((method, path, "no answer"))


Write = Callable[[int], tuple[str, str, object]]  # version → request
Seen = Callable[[int, Any], int | None]  # status, JSON → Read.seen; None: tells nothing


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


async def keep_writing(stack: Stack, watched: Watched, stop: asyncio.Event) -> None:
    register = stack.registers[watched.name]
    for turn in itertools.count():
        if stop.is_set():
            return
        method, path, body = watched.write(register.begin(time.monotonic()))
        for attempt in itertools.count():
            status, answer, _ = await stack.send(turn + attempt, method, path, body)
            refused = status == 200 and answer.get("success") is False
            if status == 200 and not refused:
                break
            if attempt and (refused or status in watched.again):
                break
            if refused or status in watched.again:
                stack.refused.append(f"{watched.name}: refused by what was before: {answer}; write")
                break
            if status not in _WAITED | {0}:
                raise AssertionError((watched.name, status, answer))
            await asyncio.sleep(PAUSE)
        register.end(time.monotonic())
        await asyncio.sleep(PAUSE)


async def keep_reading(
    stack: Stack, watched: list[Watched], turn: int, stop: asyncio.Event
) -> None:
    for number in itertools.count(turn):
        if stop.is_set():
            return
        what = watched[number % len(watched)]
        begun = time.monotonic()
        # the number of the request, not of the thing, or each would have a gateway of its own
        status, answer, told = await stack.send(
            number // len(watched), "GET", what.path, token=what.token
        )
        if status in _WAITED | {0}:
            await asyncio.sleep(0.02)
            continue
        seen = what.seen(status, answer)
        if seen is not None:
            stack.reads += 1
            ended = time.monotonic()
            stack.registers[what.name].reads.append(Read(begun, ended, seen, told))


async def prepare(stack: Stack) -> list[Watched]:
    """Tables, a caller with changing rights, and what is watched of them."""
    for table in ("reads_rows", "reads_more", "reads_rights", "reads_columns"):
        await stack.must("POST", "tables", {"name": table})
        await stack.must(
            "POST", f"tables/{table}/columns", {"column_name": "n", "data_type": "INT"}
        )
    rows = [{"id": key, "n": 0, "active": 1} for key in range(1, ROWS + 1)]
    await stack.must("POST", "tables/reads_rows/rows/bulk", {"rows": rows})
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
    watched = [_row(key) for key in range(1, ROWS + 1)]
    return [*watched, _count(), _rights(stack), _columns()]


def _row(key: int) -> Watched:
    path = f"tables/reads_rows/rows/{key}"

    def seen(status: int, answer: Any) -> int | None:
        return answer["data"]["n"] if status == 200 else None

    return Watched(f"row {key}", lambda n: ("PUT", path, {"n": n}), path, seen)


def _count() -> Watched:
    def seen(status: int, answer: Any) -> int | None:
        return answer["meta"]["total_entries"] if status == 200 else None

    def write(n: int) -> tuple[str, str, object]:
        return "POST", "tables/reads_more/rows", {"id": n, "n": n, "active": 1}

    return Watched("count", write, "tables/reads_more/rows?limit=1", seen)


def _rights(stack: Stack) -> Watched:
    """Odd versions may view, even ones may not."""

    def write(n: int) -> tuple[str, str, object]:
        body = {"group_id": stack.group, "allow_view": 2 * (n % 2)}
        return "PUT", f"privileges/{stack.group}/reads_rights", body

    def seen(status: int, _answer: Any) -> int | None:
        return {200: 1, 403: 0}.get(status)

    path = "tables/reads_rights/rows/1"
    return Watched("rights", write, path, seen, token=stack.reader, values=2)


def _columns() -> Watched:
    """Odd versions have one column more."""

    def write(n: int) -> tuple[str, str, object]:
        if n % 2:
            body = {"column_name": "more", "data_type": "INT"}
            return "POST", "tables/reads_columns/columns", body
        return "DELETE", "tables/reads_columns/columns/more", None

    def seen(status: int, answer: Any) -> int | None:
        return int("more" in answer["data"]) if status == 200 else None

    path = "tables/reads_columns/rows/1"
    again = frozenset({404, 409})
    return Watched("columns", write, path, seen, values=2, again=again)


# -- lists: one read tells of many registers ------------------------------------------------------


async def keep_listing(stack: Stack, turn: int, stop: asyncio.Event) -> None:
    for number in itertools.count(turn):
        if stop.is_set():
            return
        begun = time.monotonic()
        status, answer, told = await stack.send(number, "GET", "tables/reads_rows/rows?preview=1")
        if status != 200:
            await asyncio.sleep(0.02)
            continue
        ended = time.monotonic()
        for row in answer["data"]:
            stack.reads += 1
            read = Read(begun, ended, row["n"], f"list {told}")
            stack.registers[f"row {row['id']}"].reads.append(read)


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


def faults(stack: Stack, mutation: str) -> list[Callable[[], Awaitable[None]]]:
    """Those that a mutation is caught by come first and alone."""
    relay = next(name for name in stack.cluster.processes if name.startswith("relay"))
    relays = [name for name in stack.cluster.processes if name.startswith("relay")]

    async def relays_paused() -> None:
        await asyncio.gather(*(paused(stack, name, 2.5) for name in relays))
        await asyncio.sleep(1)

    async def quiet() -> None:
        await asyncio.sleep(1)

    if mutation:
        return [{"lease": relays_paused, "epoch": lambda: flushed(stack), "order": quiet}[mutation]]
    return [
        quiet,
        relays_paused,
        lambda: flushed(stack),
        lambda: paused(stack, "redis", 2.0),
        lambda: restarted_with_an_old_dump(stack),
        lambda: killed(stack, "items-service"),
        lambda: killed(stack, "gateway-2"),
        lambda: killed(stack, relay),
        lambda: killed(stack, "schema-service"),
        lambda: killed(stack, "redis"),
    ]


async def prove(
    reads: int,
    mutation: str = "",
    *,
    seconds: float = 3600.0,
    enough: int = 0,
    database_url: str | None = None,
    amqp_url: str | None = None,
) -> Verdict:
    """Read at least so often, for ``seconds`` at most, or until ``enough`` stale reads are found.

    Servers whose URL is not given are its own; Redis always is.
    """
    environment = {"RATE_PER_TOKEN": "100000", "RATE_PER_ADDRESS": "100000"}
    if _OFF[mutation]:
        environment |= {"FAILPOINTS": _OFF[mutation], "FAILPOINTS_ALLOWED": "1"}
    async with (
        Cluster(
            replicas={"gateway": 2, "items-service": 2, "schema-service": 2},
            environment=environment,
            database_url=database_url,
            amqp_url=amqp_url,
        ) as cluster,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
    ):
        stack = Stack(session, cluster, cluster.gateway_urls, cluster.token)
        watched = await prepare(stack)
        stack.registers = {what.name: Register(values=what.values) for what in watched}
        stop = asyncio.Event()
        tasks = [
            *(asyncio.create_task(keep_writing(stack, what, stop)) for what in watched),
            *(
                asyncio.create_task(keep_reading(stack, watched, turn, stop))
                for turn in range(READERS)
            ),
            *(asyncio.create_task(keep_listing(stack, turn, stop)) for turn in range(4)),
        ]
        until = time.monotonic() + seconds
        verdict = Verdict()
        try:
            for breaks in itertools.cycle(faults(stack, mutation)):
                await breaks()
                verdict = judged(stack)
                ended = [task for task in tasks if task.done()]
                over = stack.reads >= reads or time.monotonic() > until
                if ended or over or (enough and len(verdict.stale) >= enough):
                    break
        finally:
            stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await asyncio.gather(*tasks)
        return judged(stack)


def judged(stack: Stack) -> Verdict:
    verdict = Verdict()
    for name, register in stack.registers.items():
        verdict.add(name, register)
    verdict.stale += stack.refused
    return verdict


def main() -> None:
    reads = int(sys.argv[1]) if len(sys.argv) > 1 else READS
    mutation = sys.argv[2] if len(sys.argv) > 2 else ""
    verdict = asyncio.run(prove(reads, mutation, enough=1 if mutation else 0))
    print(verdict)
    sys.exit(bool(verdict.stale) != bool(mutation))


if __name__ == "__main__":
    main()
