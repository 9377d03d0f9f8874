"""Whether a list gets slower as its table grows: ``python -m benchmarks.tables [ROWS …]``.

Tables of 10⁴, 10⁶ and 10⁷ narrow rows, loaded by COPY and then adopted by the command for that. The
lists of all tables are asked for in turn, one request at a time, through the gateway and past the
cache: 200 rows in the table's default order, by its key and by a sort column of its own; the 200
first of one user who may see no others; pages by cursor. Figures are milliseconds at the client.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from statistics import median
from typing import Final

import aiohttp
import asyncpg
import psutil

from benchmarks.stage import ROOT, Unusable
from local_cluster.cluster import Cluster
from shared.queries import load_queries
from shared.sql import ident, raw

SIZES: Final = (10**4, 10**6, 10**7)
GOAL: Final = 1.5  # the largest table's p50 beside the smallest's
REQUESTS: Final = 300  # of each kind, to each table
WARM_UP: Final = 20
OWN: Final = 1_000  # rows of each owner, spread over the whole table
WATCHED: Final = ("gateway", "items-service")
QUERIES: Final = load_queries("benchmarks", "tables.sql")
_LINES: Final = 50_000  # in one piece of a COPY
_PRIME: Final = 7_368_787  # places in an order that is not the rows' own

_ENVIRONMENT: Final = {
    "RATE_PER_TOKEN": "1000000",
    "RATE_PER_ADDRESS": "1000000",
}


def name_of(size: int) -> str:
    return f"rows_{size}"


# ── the tables ────────────────────────────────────────────────────────────────────────────────────


async def lines(size: int) -> AsyncIterator[bytes]:
    """As COPY reads them: id, status, place, owner."""
    owners = max(1, size // OWN)
    for first in range(0, size, _LINES):
        yield "".join(
            f"{n + 1}\t{1 if n % 10 else 2}\t{n * _PRIME % size}\t{n % owners + 1}\n"
            for n in range(first, min(first + _LINES, size))
        ).encode()


async def load(cluster: Cluster, size: int) -> None:
    url = cluster.urls["DATABASE_URL"]
    begun = time.perf_counter()
    connection: asyncpg.Connection = await asyncpg.connect(url)
    try:
        columns = raw(" (id integer PRIMARY KEY, active smallint NOT NULL, place int, owner int)")
        text, _ = (raw("CREATE TABLE ") + ident(name_of(size)) + columns).render()
        await connection.execute(text)
        await connection.copy_to_table(name_of(size), source=lines(size), format="text")
        loaded = time.perf_counter()
        await adopt(cluster, name_of(size))
        adopted = time.perf_counter()
        text, _ = (raw("VACUUM ANALYZE ") + ident(name_of(size))).render()
        await connection.execute(text)  # what autovacuum would do within the minute
    finally:
        await connection.close()
    say(f"{size:>10,} rows: loaded in {loaded - begun:.0f} s, adopted in {adopted - loaded:.0f} s")


async def adopt(cluster: Cluster, table: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schema_service.adopt", table,
        env={**os.environ, **cluster.urls}, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode:
        raise Unusable(output.decode())


def say(what: str) -> None:
    print(what, flush=True)


# ── the requests ──────────────────────────────────────────────────────────────────────────────────


class Asking:
    """Lists of tables by one user, each request unlike all before."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str) -> None:
        self._session = session
        self._root = f"{base_url}/api/1.1/"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._number = 0

    async def send(self, method: str, path: str, body: object = None) -> dict[str, object]:
        url = self._root + path
        async with self._session.request(method, url, json=body, headers=self._headers) as response:
            answer = await response.json()
            if response.status != 200 or answer.get("success") is False:
                raise Unusable(f"{method} {path}: {response.status} {answer}")
            return answer

    async def list(self, size: int, query: str = "") -> tuple[float, dict[str, object]]:
        """Milliseconds, and the answer."""
        self._number += 1
        path = f"tables/{name_of(size)}/rows?_={self._number}&{query}"
        begun = time.perf_counter()
        answer = await self.send("GET", path)
        return (time.perf_counter() - begun) * 1000, answer

    async def p50(self, sizes: Sequence[int]) -> dict[int, float]:
        """Of the default list of each table, asked for in turn."""
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for number in range(WARM_UP + REQUESTS):
            for size in sizes:
                milliseconds, answer = await self.list(size)
                rows = answer["data"]
                assert isinstance(rows, list)
                if len(rows) != 200:
                    raise Unusable(f"{len(rows)} rows of {name_of(size)}")
                if number >= WARM_UP:
                    times[size].append(milliseconds)
        return {size: median(of) for size, of in times.items()}

    async def p50_of_pages(self, sizes: Sequence[int]) -> dict[int, float]:
        """Of the pages that cursors lead to, from a place in the middle of each table."""
        times: dict[int, list[float]] = {size: [] for size in sizes}
        queries = {size: f"limit=200&cursor=start&filters[id][gt]={size // 2}" for size in sizes}
        for _ in range(REQUESTS // 10):
            for size in sizes:
                milliseconds, answer = await self.list(size, queries[size])
                times[size].append(milliseconds)
                meta = answer["meta"]
                assert isinstance(meta, dict)
                following = meta["next_cursor"]
                queries[size] = f"limit=200&cursor={following or 'start'}"
        return {size: median(of) for size, of in times.items()}


def show(what: str, found: Mapping[int, float]) -> float:
    sizes = list(found)
    ratio = found[sizes[-1]] / found[sizes[0]]
    figures = ", ".join(f"{size:,}: {found[size]:.2f}" for size in sizes)
    say(f"{what:<34} {figures}; {ratio:.2f} times (goal {GOAL})")
    return ratio


def memory(cluster: Cluster) -> dict[str, float]:
    """MB that belong to each process alone."""
    return {
        name: psutil.Process(pid).memory_full_info().uss / 1_000_000
        for name, pid in cluster.processes.items()
        if name.startswith(WATCHED)
    }


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────


async def settle(asking: Asking, sizes: Sequence[int]) -> None:
    """Until every table is listed in its new order."""
    for size in sizes:
        async with asyncio.timeout(60):
            while True:
                _, answer = await asking.list(size, "columns=place&limit=1&preview=1")
                if answer["data"] == [{"place": 0}] and (await _ordered(asking, size)):
                    break
                await asyncio.sleep(0.05)


async def _ordered(asking: Asking, size: int) -> bool:
    _, answer = await asking.list(size, "columns=place")
    rows = answer["data"]
    assert isinstance(rows, list)
    places = [row["place"] for row in rows]
    return places == sorted(places)


async def own_user(asking: Asking, sizes: Sequence[int]) -> str:
    """The token of one who sees his own rows only."""

    async def made(path: str, body: object) -> dict[str, object]:
        data = (await asking.send("POST", path, body))["data"]
        assert isinstance(data, dict)
        return data

    group = (await made("groups", {"name": "Owners"}))["id"]
    for size in sizes:
        rights = {"table_name": name_of(size), "group_id": group, "allow_view": 1}
        await made(f"privileges/{group}", rights)
    token = "owner-of-some-rows-of-every-table"
    await made("users", {"email": "owner@demo.example", "token": token, "group": group})
    return token


async def compare(cluster: Cluster, sizes: Sequence[int]) -> float:
    """The largest of the ratios."""
    async with aiohttp.ClientSession() as session:
        asking = Asking(session, cluster.base_url, cluster.token)
        idle = memory(cluster)
        ratios = [show("default list, by its key", await asking.p50(sizes))]
        connection: asyncpg.Connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
        try:
            for size in sizes:
                await connection.execute(QUERIES["own_order"], name_of(size))
            owner = Asking(session, cluster.base_url, await own_user(asking, sizes))
        finally:
            await connection.close()
        await settle(asking, sizes)
        ratios.append(show("default list, by its sort column", await asking.p50(sizes)))
        ratios.append(show("default list of one's own rows", await owner.p50(sizes)))
        ratios.append(show("pages by cursor", await asking.p50_of_pages(sizes)))
        after = memory(cluster)
        for name, megabytes in idle.items():
            say(f"memory of {name}: {megabytes:.0f} MB before, {after[name]:.0f} MB after")
    return max(ratios)


async def main(sizes: Sequence[int]) -> int:
    async with Cluster(environment=_ENVIRONMENT) as cluster:
        for size in sizes:
            await load(cluster, size)
        return 0 if await compare(cluster, sizes) <= GOAL else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.tables", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, default=list(SIZES), help="sizes of tables")
    raise SystemExit(asyncio.run(main(sorted(parser.parse_args().rows))))
