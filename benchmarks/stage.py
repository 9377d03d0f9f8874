"""Where it happens: a cluster with a table and an ordinary user, and the floor beside it."""

import asyncio
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import psutil

from benchmarks.cases import BOOK_COUNT, BOOKS, MAKERS, PAGES, ROW_COUNT, TABLE, row_read
from local_cluster.cluster import Cluster
from shared.ports import claimed_port
from shared.queries import load_queries

QUERIES: Final = load_queries("benchmarks", "floor.sql")
SERVERS: Final = frozenset({"postgres", "redis", "rabbitmq"})
ROOT: Final = Path(__file__).parents[1]
_BATCH: Final = 500
_COLUMNS: Final = {
    "title": {"data_type": "VARCHAR", "char_length": "200"},
    "city": {"data_type": "VARCHAR", "char_length": "100"},
    "amount": {"data_type": "INT"},
    "body": {"data_type": "TEXT"},
}
_NO_LIMIT: Final = {"RATE_PER_TOKEN": "1000000", "RATE_PER_ADDRESS": "1000000"}


class Unusable(Exception):
    """The stage cannot be set; the message has the answer that says why."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared. ``processes`` are roots; their children count too."""

    base: str
    headers: Mapping[str, str]
    processes: Callable[[], Iterable[int]]

    def cpu_seconds(self) -> float:
        """Processor time used so far. Children that have ended count with their parents."""
        family = set(self.processes())
        for root in tuple(family):
            with suppress(psutil.NoSuchProcess):
                family |= {child.pid for child in psutil.Process(root).children(recursive=True)}
        return sum(map(_cpu_of, family))


@dataclass(frozen=True, slots=True)
class Stage:
    ours: Side
    floor: Side  # a proxy and a service behind it
    memory: Side  # the service alone, which also answers from memory
    cluster: Cluster


def _cpu_of(pid: int) -> float:
    try:
        return sum(psutil.Process(pid).cpu_times()[:4])  # user, system, and of ended children
    except psutil.NoSuchProcess:
        return 0.0


@asynccontextmanager
async def set_stage(say: Callable[[str], None]) -> AsyncGenerator[Stage]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        say("starting a cluster of its own")
        cluster = await stack.enter_async_context(Cluster(environment=_NO_LIMIT))
        say(f"filling a table with {ROW_COUNT} rows through the API")
        token = await prepare_ours(cluster.base_url, cluster.token)
        say("starting the floor: a bare proxy and a bare service")
        database = cluster.urls["DATABASE_URL"]
        await prepare_floor(database)
        service_port, proxy_port = claimed_port(), claimed_port()
        service = await stack.enter_async_context(
            program("benchmarks.floor_service", service_port, database, str(folder))
        )
        upstream = f"http://127.0.0.1:{service_port}"
        proxy = await stack.enter_async_context(
            program("benchmarks.floor_proxy", proxy_port, upstream)
        )
        await answers(f"{upstream}/memory/row")
        await answers(f"http://127.0.0.1:{proxy_port}/memory/row")

        def cluster_processes() -> list[int]:
            return list(cluster.processes.values())

        def floor_processes() -> list[int]:
            return [service, proxy, cluster.processes["postgres"]]

        yield Stage(
            Side(
                cluster.base_url,
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                cluster_processes,
            ),
            Side(
                f"http://127.0.0.1:{proxy_port}",
                {"Content-Type": "application/json"},
                floor_processes,
            ),
            Side(upstream, {"Content-Type": "application/json"}, lambda: [service]),
            cluster,
        )


async def prepare_ours(base_url: str, token: str) -> str:
    """A table of ROW_COUNT rows and a user who may use it; returns the user's token."""
    root = f"{base_url}/api/1.1/"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def post(path: str, body: object) -> Any:
            async with session.post(root + path, json=body) as response:
                answer = await response.json()
                if response.status != 200 or answer.get("success") is False:
                    raise Unusable(f"POST {path}: {response.status} {answer}")
                return answer.get("data")

        await post("tables", {"name": TABLE})
        for name, kind in _COLUMNS.items():
            await post(f"tables/{TABLE}/columns", {"column_name": name, **kind})
        for first in range(1, ROW_COUNT + 1, _BATCH):
            rows = [row_read(number) for number in range(first, first + _BATCH)]
            await post(f"tables/{TABLE}/rows/bulk", {"rows": rows})
        await relate(post)
        group = (await post("groups", {"name": "Benchmark"}))["id"]
        for table in (TABLE, BOOKS, MAKERS, PAGES, "directus_files"):
            rights = {"allow_view": 2, "allow_add": 1, "allow_edit": 2}
            await post(f"privileges/{group}", {"table_name": table, "group_id": group, **rights})
        of_user = secrets.token_urlsafe(24)
        await post(
            "users",
            {
                "email": "benchmark@demo.example",
                "password": secrets.token_urlsafe(18),
                "token": of_user,
                "group": group,
            },
        )
        return of_user


async def relate(post: Callable[[str, object], Awaitable[Any]]) -> None:
    """Books with a maker each, and pages."""
    for table, column in ((MAKERS, "name"), (BOOKS, "title"), (PAGES, "text")):
        await post("tables", {"name": table})
        declared = {"data_type": "VARCHAR", "char_length": "200"}
        await post(f"tables/{table}/columns", {"column_name": column, **declared})
    for table, name, related in ((BOOKS, "maker", MAKERS), (PAGES, "book", BOOKS)):
        relation = {"data_type": "INT", "ui": "many_to_one", "related_table": related}
        await post(f"tables/{table}/columns", {"column_name": name, **relation})
    relation = {"relationship_type": "ONETOMANY", "related_table": PAGES}
    relation |= {"column_name": "pages", "data_type": "ALIAS", "junction_key_right": "book"}
    await post(f"tables/{BOOKS}/columns", relation)
    rows: dict[str, list[dict[str, object]]] = {
        MAKERS: [{"name": f"Maker {n}", "active": 1} for n in range(100)],
        BOOKS: [
            {"title": f"Book {n}", "maker": n % 100 + 1, "active": 1} for n in range(BOOK_COUNT)
        ],
        PAGES: [
            {"text": "words " * 20, "book": n // 2 + 1, "active": 1} for n in range(2 * BOOK_COUNT)
        ],
    }
    for table, all_ in rows.items():
        for first in range(0, len(all_), _BATCH):
            await post(f"tables/{table}/rows/bulk", {"rows": all_[first : first + _BATCH]})


async def prepare_floor(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(QUERIES["make_table"])
        await connection.execute(QUERIES["make_index"])
        await connection.execute(QUERIES["fill"], ROW_COUNT)
        await connection.execute(QUERIES["analyze"])
    finally:
        await connection.close()


@asynccontextmanager
async def program(module: str, *arguments: object) -> AsyncGenerator[int]:
    """Run one of the floor's programs; gives its pid."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, arguments), cwd=ROOT
    )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answers(url: str, patience: float = 60.0) -> None:
    async with asyncio.timeout(patience), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
