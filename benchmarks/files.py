"""Megabytes a second in and out, beside the least that can be: ``python -m benchmarks.files``.

The floor is a bare aiohttp proxy before a bare aiohttp service that streams bodies to a file and
syncs it. Both sides get the same raw clients: multipart bodies in, files out. Shows the memory of
files-service with fifty uploads at once. Beside the rates: processor time of both processes, which
is the figure that holds on a machine with other work.
"""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
import psutil
from aiohttp import web

from benchmarks.stage import answers, program
from local_cluster.cluster import Cluster
from shared.ports import claimed_port

MEGABYTE: Final = 1024 * 1024
PIECE: Final = 256 * 1024
ROUNDS: Final = 3
SESSION: Final = web.AppKey("session", aiohttp.ClientSession)
FOLDER: Final = web.AppKey("folder", Path)
_BOUNDARY: Final = "b" * 32
_HEAD: Final = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="load.bin"\r\n\r\n'
).encode()
_TAIL: Final = f"\r\n--{_BOUNDARY}--\r\n".encode()

Work = Callable[[], Awaitable[None]]


# -- the floor ----------------------------------------------------------------------------------


async def take(request: web.Request) -> web.Response:
    name = uuid.uuid4().hex
    reader = await request.multipart()
    part = await reader.next()
    assert isinstance(part, aiohttp.BodyPartReader)
    with (request.app[FOLDER] / name).open("wb", buffering=0) as file:
        while chunk := await part.read_chunk(PIECE):
            await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(os.fsync, file.fileno())
    return web.json_response({"data": {"url": f"/give/{name}"}})


async def give(request: web.Request) -> web.FileResponse:
    return web.FileResponse(request.app[FOLDER] / request.match_info["name"])


async def forward(request: web.Request) -> web.StreamResponse:
    body = request.content if request.can_read_body else None
    kept = {name: request.headers[name] for name in ("Content-Type", "Content-Length")
            if name in request.headers}  # fmt: skip
    url = sys.argv[3] + request.path
    async with request.app[SESSION].request(request.method, url, data=body, headers=kept) as reply:
        response = web.StreamResponse(status=reply.status)
        response.content_type = reply.content_type
        response.content_length = reply.content_length
        await response.prepare(request)
        async for chunk in reply.content.iter_any():
            await response.write(chunk)
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as client:
        app[SESSION] = client
        yield


def serve_floor(role: str, port: int) -> None:
    app = web.Application(client_max_size=1024**3)
    if role == "service":
        app[FOLDER] = Path(sys.argv[3])
        app.add_routes([web.post("/files", take), web.get("/give/{name}", give)])
    else:
        app.cleanup_ctx.append(session)
        app.router.add_route("*", "/{tail:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


# -- the load -----------------------------------------------------------------------------------


async def pieces(size: int) -> AsyncIterator[bytes]:
    yield _HEAD
    data = b"\xa5" * PIECE
    for start in range(0, size, PIECE):
        yield data[: size - start]
    yield _TAIL


async def send(client: aiohttp.ClientSession, url: str, size: int) -> str:
    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(_HEAD) + size + len(_TAIL)),
    }
    async with client.post(url, data=pieces(size), headers=headers) as response:
        response.raise_for_status()
        return (await response.json())["data"]["url"]


async def fetch(client: aiohttp.ClientSession, url: str, size: int) -> None:
    received = 0
    async with client.get(url) as response:
        response.raise_for_status()
        async for chunk in response.content.iter_any():
            received += len(chunk)
    if received != size:
        raise RuntimeError(f"{received} bytes came, not {size}")


async def megabytes_a_second(work: Work, size: int, times: int, together: int) -> float:
    limit = asyncio.Semaphore(together)

    async def one() -> None:
        async with limit:
            await work()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(times)))
    return size * times / MEGABYTE / (time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared: where it is, and its two processes."""

    base: str
    path: str  # that takes files
    pids: Sequence[int]

    def used(self) -> float:
        """Processor seconds of both so far."""
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.pids)


@dataclass(frozen=True, slots=True)
class Figures:
    rate: float  # MB/s
    work: float  # milliseconds of processor time a MB


async def measured(side: Side, work: Work, size: int, times: int, together: int) -> Figures:
    before = side.used()
    rate = await megabytes_a_second(work, size, times, together)
    return Figures(rate, (side.used() - before) * 1000 / (size * times / MEGABYTE))


async def compare(client: aiohttp.ClientSession, ours: Side, floor: Side) -> None:
    for size, times, together in ((MEGABYTE, 60, 8), (64 * MEGABYTE, 4, 2)):
        ins: list[tuple[Figures, Figures]] = []
        outs: list[tuple[Figures, Figures]] = []
        for _ in range(ROUNDS):
            rates: list[tuple[Figures, Figures]] = []
            for side in (ours, floor):
                url = side.base + await send(client, side.base + side.path, size)

                async def put(to: str = side.base + side.path, size: int = size) -> None:
                    await send(client, to, size)

                async def get(of: str = url, size: int = size) -> None:
                    await fetch(client, of, size)

                rates.append(
                    (
                        await measured(side, put, size, times, together),
                        await measured(side, get, size, times * 2, together),
                    )
                )
            ins.append((rates[0][0], rates[1][0]))
            outs.append((rates[0][1], rates[1][1]))
        show(f"{size // MEGABYTE:>3} MB in", ins)
        show(f"{size // MEGABYTE:>3} MB out", outs)


def show(what: str, figures: Sequence[tuple[Figures, Figures]]) -> None:
    ratio = median(mine.rate / bare.rate for mine, bare in figures)
    mine, bare = (median(one[side].rate for one in figures) for side in (0, 1))
    work, least = (median(one[side].work for one in figures) for side in (0, 1))
    print(
        f"{what:<10} {mine:>6.0f} MB/s, floor {bare:>6.0f}: {ratio:.0%}; "
        f"processor {work:.2f} ms a MB, floor {least:.2f}",
        flush=True,
    )


async def memory(client: aiohttp.ClientSession, base: str, cluster: Cluster) -> None:
    """Peak of each process with fifty uploads of 16 MB at once."""
    peak: dict[str, float] = {}
    names = ("gateway", "files-service")
    work = asyncio.gather(
        *(send(client, f"{base}/api/1.1/files", 16 * MEGABYTE) for _ in range(50))
    )
    while not work.done():
        for name in names:
            used = psutil.Process(cluster.processes[name]).memory_full_info().uss / MEGABYTE
            peak[name] = max(peak.get(name, 0.0), used)
        await asyncio.sleep(0.02)
    await work
    print("fifty uploads at once: " + ", ".join(f"{name} {peak[name]:.0f} MB" for name in names))


async def main() -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        limits = {"RATE_PER_TOKEN": "1000000", "RATE_PER_ADDRESS": "1000000"}
        cluster = await stack.enter_async_context(Cluster(environment=limits))
        service, proxy = claimed_port(), claimed_port()
        upstream = f"http://127.0.0.1:{service}"
        floor = [
            await stack.enter_async_context(
                program("benchmarks.files", "service", service, folder)
            ),
            await stack.enter_async_context(program("benchmarks.files", "proxy", proxy, upstream)),
        ]
        (Path(folder) / "ready").write_bytes(b"ready")
        await answers(f"http://127.0.0.1:{proxy}/give/ready", patience=60)
        headers = {"Authorization": f"Bearer {cluster.token}"}
        client = await stack.enter_async_context(
            aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=64))
        )
        ours = [cluster.processes[name] for name in ("gateway", "files-service")]
        await compare(
            client,
            Side(cluster.base_url, "/api/1.1/files", ours),
            Side(f"http://127.0.0.1:{proxy}", "/files", floor),
        )
        await memory(client, cluster.base_url, cluster)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve_floor(sys.argv[1], int(sys.argv[2]))
    else:
        asyncio.run(main())
