"""Fifty uploads at once, and a folder that stops answering, over the gateway."""

import asyncio
import io
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import aiohttp
import psutil
import pytest
import pytest_asyncio

from local_cluster.cluster import Cluster
from shared.testing import eventually, server, with_database

pytestmark = pytest.mark.xdist_group("strain")

MEGABYTE = 1024 * 1024
MOST = 100  # megabytes of each process
PATIENCE = 4.0  # seconds, with the folder: more than a busy machine takes for a piece


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the failpoint looks: while it is there, whoever writes a file stands still."""
    return tmp_path_factory.mktemp("stall") / "pipe"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strained(pipe: Path, folder: Path) -> AsyncGenerator[Cluster]:
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"strain_{uuid4().hex}"),
        redis_url=server("REDIS_URL"),
        amqp_url=server("AMQP_URL"),
        environment={
            "STORE_URL": f"{folder.as_uri()}?patience={PATIENCE}",
            "FAILPOINTS": f"store.write=fifo:{pipe}",
            "FAILPOINTS_ALLOWED": "1",
            "RATE_PER_TOKEN": "100000",
            "RATE_PER_ADDRESS": "100000",
        },
    ) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def client(strained: Cluster) -> AsyncGenerator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {strained.token}"}
    async with aiohttp.ClientSession(
        strained.base_url, headers=headers, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        yield session


async def send(client: aiohttp.ClientSession, size: int) -> int:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(b"\xa5" * size), filename="a.bin")
    async with client.post("/api/1.1/files", data=form) as response:
        answer = await response.json()
        if response.status == 200:
            assert answer["data"]["size"] == size
        return response.status


async def test_fifty_uploads_at_once_stay_below_100_megabytes(
    strained: Cluster, client: aiohttp.ClientSession
) -> None:
    """400 MB in all: a process that held bodies would show it. Looked at while they come in."""
    peaks: dict[str, float] = {}

    async def watch() -> None:
        while True:
            for name, process in watched.items():
                used = process.memory_full_info().uss / MEGABYTE
                peaks[name] = max(used, peaks.get(name, 0.0))
            await asyncio.sleep(0.02)

    pids = strained.processes
    watched = {name: psutil.Process(pids[name]) for name in ("gateway", "files-service")}
    watching = asyncio.create_task(watch())
    statuses = await asyncio.gather(*(send(client, 8 * MEGABYTE) for _ in range(50)))
    watching.cancel()
    assert statuses == [200] * 50
    assert peaks.keys() == watched.keys()
    assert all(peak < MOST for peak in peaks.values()), peaks


async def test_a_folder_that_stalls_takes_uploads_away_and_nothing_else(
    strained: Cluster, client: aiohttp.ClientSession, pipe: Path, folder: Path
) -> None:
    ready = f"http://127.0.0.1:{strained.ports['files-service']}/readyz"
    process = psutil.Process(strained.processes["files-service"])

    async def is_ready(part: str = "") -> bool:
        async with client.get(ready + part) as response:
            return response.status == 200

    assert await is_ready("/uploads")
    os.mkfifo(pipe)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(send(client, MEGABYTE) for _ in range(20))) == [503] * 20
        assert await send(client, MEGABYTE) == 503
    assert not await is_ready("/uploads")
    assert await is_ready()
    assert process.num_threads() < 40
    for path in ("/api/1.1/files", "/api/1.1/tables", "/api/1.1/users"):
        async with client.get(path) as response:
            assert response.status == 200, path

    stalled = pipe.with_name("answers again")
    os.rename(pipe, stalled)  # noqa: PTH104 - the other form is said to block

    async def comes_back() -> bool:
        os.close(os.open(stalled, os.O_RDWR | os.O_NONBLOCK))  # lets go whoever waits
        return await is_ready("/uploads")

    await eventually(comes_back, what="the folder answers again")
    assert await send(client, MEGABYTE) == 200

    async def is_tidy() -> bool:
        return not os.listdir(folder / "incoming")  # noqa: PTH208 - the other form is said to block

    await eventually(is_tidy, what="what was refused is cleared")
