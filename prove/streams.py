"""Thousands of idle streams cost little: ``python -m prove.streams [STREAMS [SECONDS]]``.

A cluster of its own with one gateway and one items-service, STREAMS readers of
``GET activity/stream`` through the gateway, nothing written for SECONDS. Prints memory and CPU time
of both processes per stream; then one row is written, and how long it takes until every reader has
it. Fails when one has not, or when a stream costs more than LIMIT_MEMORY, LIMIT_CPU
and LIMIT_CPU_EACH allow.
"""

import asyncio
import os
import resource
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp

from local_cluster.cluster import Cluster

STREAMS: Final = 2000
SECONDS: Final = 60.0  # more than two heartbeats
AT_ONCE: Final = 50  # streams opened beside each other
LIMIT_MEMORY: Final = 100.0  # kB a stream, gateway and service together
LIMIT_CPU: Final = 0.15  # of a core, however few there are: the feed is looked at all the same
LIMIT_CPU_EACH: Final = 20e-6  # of a core, a stream
TICKS: Final = os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> int:
    """Resident kilobytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def prove(streams: int, seconds: float) -> list[str]:
    """What is wrong; empty when the promise holds."""
    async with Cluster(replicas={"gateway": 1, "items-service": 1}) as cluster:
        return await measure(cluster, streams, seconds, "streamed")


async def measure(cluster: Cluster, streams: int, seconds: float, table: str) -> list[str]:
    """The same on a cluster that runs; ``table`` is made."""
    kinds = ("gateway", "items-service")
    pids = [
        [pid for name, pid in cluster.processes.items() if name.startswith(kind)] for kind in kinds
    ]
    url = f"{cluster.base_url.rstrip('/')}/api/1.1"
    session = aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {cluster.token}"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    )
    async with session, AsyncExitStack() as open_streams:
        for path, body in (
            ("tables", {"name": table}),
            (f"tables/{table}/columns", {"column_name": "title", "data_type": "TEXT"}),
        ):
            async with session.post(f"{url}/{path}", json=body) as made:
                made.raise_for_status()
        before = [sum(map(memory, own)) for own in pids]
        readers = await _open(session, open_streams, f"{url}/activity/stream", streams)
        used, begun = [sum(map(cpu, own)) for own in pids], time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - begun
        costs = [sum(map(cpu, own)) - was for own, was in zip(pids, used, strict=True)]
        kilobytes = [sum(map(memory, own)) - was for own, was in zip(pids, before, strict=True)]
        waiting = [asyncio.create_task(_until(reader, b"the one")) for reader in readers]
        written = time.monotonic()
        async with session.post(f"{url}/tables/{table}/rows", json={"title": "the one"}):
            pass
        done, late = await asyncio.wait(waiting, timeout=60)
        reached = time.monotonic() - written
        for task in late:
            task.cancel()
        got = sum(task.exception() is None for task in done)
    print(
        f"{streams} idle streams: gateway {kilobytes[0] / streams:.1f} kB a stream and"
        f" {costs[0] / took:.1%} of a core, items-service {kilobytes[1] / streams:.1f} kB and"
        f" {costs[1] / took:.1%}; a row written reached {got} of them in {reached:.2f} s"
    )
    wrong: list[str] = []
    if got != streams:
        wrong.append(f"{streams - got} readers did not get the row")
    if sum(kilobytes) > streams * LIMIT_MEMORY:
        wrong.append(f"{sum(kilobytes) / streams:.0f} kB a stream")
    if sum(costs) / took > LIMIT_CPU + streams * LIMIT_CPU_EACH:
        wrong.append(f"{sum(costs) / took:.1%} of a core for streams that say nothing")
    return wrong


async def _open(
    session: aiohttp.ClientSession, stack: AsyncExitStack, url: str, streams: int
) -> list[aiohttp.ClientResponse]:
    readers: list[aiohttp.ClientResponse] = []
    while len(readers) < streams:
        few = min(AT_ONCE, streams - len(readers))
        opened = await asyncio.gather(*(session.get(url) for _ in range(few)))
        for reader in opened:
            stack.callback(reader.close)
            reader.raise_for_status()
        readers += opened
    return readers


async def _until(reader: aiohttp.ClientResponse, word: bytes) -> None:
    async for line in reader.content:
        if word in line:
            return
    raise ConnectionError("the stream ended")


def main() -> None:
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * streams + 1000), most))
    wrong = asyncio.run(prove(streams, seconds))
    sys.exit("; ".join(wrong) or 0)


if __name__ == "__main__":
    main()
