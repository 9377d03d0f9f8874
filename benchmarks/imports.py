"""``python -m benchmarks.imports [ROWS] [--keys]``: a CSV through the gateway, beside ``\\copy``.

``directoire import`` and ``psql \\copy`` load the same file into the same table, with the same
triggers, one after the other; the table is emptied between them. Then the memory of every process:
its peak with all rows less its peak with a tenth of them. With --keys the file names the rows'
keys, which ``\\copy`` takes as they come and an import may have to update. Ends with status 1 below
60 %, or where memory grows with the rows.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import psutil

from benchmarks.stage import Unusable
from local_cluster.cluster import Cluster
from local_cluster.programs import find_postgres
from shared.queries import load_queries

QUERIES: Final = load_queries("benchmarks", "imports.sql")
TABLE: Final = "loaded"
LEAST: Final = 0.60  # of the speed of \copy
MOST_GROWTH: Final = 48.0  # MB a process may need more for ten times the rows
_WORKS: Final = {"postgres", "gateway", "items-service", "redis"}
_COLUMNS: Final = {"title": "VARCHAR", "city": "VARCHAR", "amount": "INT", "body": "TEXT"}
_NO_LIMIT: Final = {"RATE_PER_TOKEN": "1000000", "RATE_PER_ADDRESS": "1000000"}
_MEGABYTE: Final = 1024 * 1024

Work = Callable[[], Awaitable[None]]


def write_rows(path: Path, rows: int, *, keys: bool) -> None:
    """About 100 bytes a row."""
    with path.open("w") as file:
        file.write(("id," if keys else "") + "active,title,city,amount,body\n")
        for number in range(1, rows + 1):
            key = f"{number}," if keys else ""
            text = f"Row {number} was written for a benchmark and says nothing else"
            file.write(f'{key}1,Title {number},"City, {number % 1000}",{number},{text}\n')


async def make_table(cluster: Cluster) -> None:
    headers = {"Authorization": f"Bearer {cluster.token}"}
    root = f"{cluster.base_url}/api/1.1/tables"
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        await session.post(root, json={"name": TABLE})
        for name, kind in _COLUMNS.items():
            body = {"column_name": name, "data_type": kind}
            await session.post(f"{root}/{TABLE}/columns", json=body)


# ── the two roads ─────────────────────────────────────────────────────────────────────────────────


async def run(*words: str, environment: Mapping[str, str], watch: "Watch") -> None:
    process = await asyncio.create_subprocess_exec(
        *words, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
    watch.client = process.pid
    await process.communicate()
    watch.client = None
    if process.returncode:
        raise Unusable(f"{words} ended with {process.returncode}")


async def by_gateway(cluster: Cluster, file: Path, watch: "Watch") -> None:
    environment = {"DIRECTOIRE_URL": cluster.base_url, "DIRECTOIRE_TOKEN": cluster.token}
    words = (sys.executable, "-m", "directoire_cli", "import", TABLE, str(file))
    await run(*words, environment=environment, watch=watch)


async def by_copy(cluster: Cluster, file: Path, watch: "Watch") -> None:
    header = file.open().readline().strip()
    command = f"\\copy {TABLE} ({header}) from '{file}' with (format csv, header)"
    words = (_psql(), cluster.urls["DATABASE_URL"], "-q", "-X", "-c", command)
    await run(*words, environment={}, watch=watch)


def _psql() -> str:
    """Raises SystemExit where there is none."""
    beside = find_postgres(prefer_wheels=False).bin / "psql"
    found = str(beside) if beside.exists() else shutil.which("psql")
    if found is None:
        raise SystemExit(
            "psql is missing: install it (on Debian: apt-get install postgresql-client)"
        )
    return found


# ── memory and processor time ─────────────────────────────────────────────────────────────────────


def own_memory(pid: int) -> float:
    """MB of a process that are nobody else's: of PostgreSQL without the buffers all share."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) / 1024
    return psutil.Process(pid).memory_full_info().uss / _MEGABYTE


class Watch:
    """What a load costs: the most memory of each process, processor time of all."""

    def __init__(self, cluster: Cluster) -> None:
        self.most: dict[str, float] = {}
        self.client: int | None = None
        self._cluster = cluster

    def look(self) -> None:
        for name, pid in self._processes():
            with suppress(psutil.Error, OSError, StopIteration):
                self.most[name] = max(self.most.get(name, 0.0), own_memory(pid))

    def _processes(self) -> list[tuple[str, int]]:
        """Of PostgreSQL all that it has started: the largest counts."""
        found = list(self._cluster.processes.items())
        found += [("client", self.client)] if self.client else []
        with suppress(psutil.Error):
            postgres = psutil.Process(self._cluster.processes["postgres"])
            found += [("postgres", child.pid) for child in postgres.children()]
        return found

    def cpu_seconds(self) -> float:
        """So far, without the relay and its bus, who do the same work for both."""
        total = sum(os.times()[2:4])  # of clients that have ended
        for name, pid in self._cluster.processes.items():
            if name in _WORKS:
                with suppress(psutil.Error):
                    process = psutil.Process(pid)
                    family = [process, *process.children()] if name == "postgres" else [process]
                    total += sum(sum(each.cpu_times()[:4]) for each in family)
        return total

    async def during(self, work: Awaitable[None]) -> tuple[float, float]:
        """Seconds the work took, by the clock and of processors."""
        began, cpu = time.perf_counter(), self.cpu_seconds()
        task = asyncio.ensure_future(work)
        while not task.done():
            self.look()
            await asyncio.wait([task], timeout=0.25)
        await task
        return time.perf_counter() - began, self.cpu_seconds() - cpu


# ── the comparison ────────────────────────────────────────────────────────────────────────────────


async def empty(connection: "asyncpg.Connection[asyncpg.Record]", *, rows: int) -> None:
    """Raises Unusable when not all rows are there. Nobody follows this feed: nothing is sent."""
    if await connection.fetchval(QUERIES["count"]) != rows:
        raise Unusable(f"not {rows} rows are in the table")
    await connection.execute(QUERIES["empty"])
    await connection.execute(QUERIES["forget"])


async def compare(cluster: Cluster, folder: Path, rows: int, *, keys: bool) -> bool:
    """Prints what was found; whether it is good enough."""
    few, many = folder / "few.csv", folder / "many.csv"
    write_rows(few, rows // 10, keys=keys)
    write_rows(many, rows, keys=keys)
    before, after, bare = Watch(cluster), Watch(cluster), Watch(cluster)
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    try:
        await before.during(by_gateway(cluster, few, before))
        await empty(connection, rows=rows // 10)
        ours, our_cpu = await after.during(by_gateway(cluster, many, after))
        await empty(connection, rows=rows)
        copy, copy_cpu = await bare.during(by_copy(cluster, many, bare))
        await empty(connection, rows=rows)
    finally:
        await connection.close()
    print(f"{rows} rows {'with' if keys else 'without'} keys")
    for name, seconds, cpu in (("import", ours, our_cpu), ("\\copy", copy, copy_cpu)):
        each = cpu / rows * 1e6
        print(f"{name:<7} {seconds:>6.1f} s, {rows / seconds:>8,.0f} rows/s, {each:.0f} µs CPU/row")
    print(f"import is {copy / ours:.0%} as fast as \\copy", flush=True)
    flat = True
    for name, most in sorted(after.most.items()):
        more = most - before.most.get(name, most)
        flat = flat and more <= MOST_GROWTH
        print(f"{name:<20} {most:>6.0f} MB at most, {more:>+5.0f} MB for ten times the rows")
    return copy / ours >= LEAST and flat


async def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("rows", nargs="?", type=int, default=1_000_000)
    words.add_argument("--keys", action="store_true")
    told = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        async with Cluster(environment=_NO_LIMIT) as cluster:
            await make_table(cluster)
            if not await compare(cluster, Path(folder), told.rows, keys=told.keys):
                raise SystemExit(f"below {LEAST:.0%}, or memory that grows with the rows")


if __name__ == "__main__":
    asyncio.run(main())
