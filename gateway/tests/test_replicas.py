"""Several replicas: spread, ejected when they fail, taken back when they are well."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aiohttp import web

from gateway.testing import Cluster, MakeCluster, Service, until
from gateway.upstream import Upstream

ROWS = "/api/1.1/tables/airports/rows"


Pair = tuple[Cluster, Service, Service]


@pytest.fixture
async def pair(make_cluster: MakeCluster) -> AsyncGenerator[Pair]:
    second = Service("items")
    await second.start()
    async with make_cluster(more_items=second) as cluster:
        yield cluster, cluster.items, second
    await second.stop()


async def statuses(cluster: Cluster, count: int, method: str = "GET") -> list[int]:
    found: list[int] = []
    for _ in range(count):
        async with cluster.call(method, ROWS) as response:
            found.append(response.status)
    return found


async def test_requests_are_spread(pair: Pair) -> None:
    cluster, first, second = pair
    assert await statuses(cluster, 20) == [200] * 20
    assert len(first.requests) == len(second.requests) == 10


async def test_the_less_busy_one_gets_the_next(pair: Pair) -> None:
    cluster, first, second = pair
    go = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await go.wait()
        return web.json_response({})

    first.answer = slow
    waiting = [asyncio.create_task(statuses(cluster, 1, "POST")) for _ in range(2)]
    await until(lambda: bool(first.requests))
    await statuses(cluster, 10, "POST")
    assert len(first.requests) <= 2
    go.set()
    await asyncio.gather(*waiting)
    assert len(second.requests) >= 9


async def test_one_that_dies_costs_nobody_a_request_and_comes_back(pair: Pair) -> None:
    cluster, first, _second = pair
    await statuses(cluster, 4)
    await first.stop()
    assert await statuses(cluster, 20) == [200] * 20
    assert await statuses(cluster, 10, "POST") == [200] * 10  # nothing was sent to the dead one
    before = len(first.requests)
    await first.start()

    async def is_asked_again() -> bool:
        assert await statuses(cluster, 2) == [200, 200]
        return len(first.requests) > before

    await until(is_asked_again)


async def test_a_read_that_broke_is_asked_of_the_other(pair: Pair) -> None:
    cluster, first, second = pair

    def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    first.answer = hang_up
    assert await statuses(cluster, 10) == [200] * 10
    assert len(first.requests) <= 3  # then it is ejected
    assert len(second.requests) == 10


async def test_all_away_and_back(cluster: Cluster) -> None:
    items = cluster.items
    await items.stop()
    assert await statuses(cluster, 3) == [503] * 3
    await items.start()

    async def answers() -> bool:
        return await statuses(cluster, 1) == [200]

    await until(answers)


async def test_a_replica_takes_only_so_many(make_cluster: MakeCluster) -> None:
    go = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await go.wait()
        return web.json_response({})

    async with make_cluster(requests_per_replica=2) as cluster:
        await statuses(cluster, 1)
        items = cluster.items
        items.answer = slow
        waiting = [asyncio.create_task(statuses(cluster, 1, "POST")) for _ in range(2)]
        await until(lambda: len(items.requests) == 3)
        assert await statuses(cluster, 1, "POST") == [503]
        go.set()
        assert await asyncio.gather(*waiting) == [[200], [200]]


async def test_a_unix_socket(make_cluster: MakeCluster) -> None:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.json_response({"over": "socket"})

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "items.sock")
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        await web.UnixSite(runner, path).start()
        async with (
            make_cluster(items_urls=f"unix:{path}") as cluster,
            cluster.get(ROWS) as response,
        ):
            assert await response.json() == {"over": "socket"}
        await runner.cleanup()


@pytest.mark.parametrize("url", ["https://x", "http://", "ftp://x", "x:1", "http://x/path"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="items"):
        Upstream("items", [url])


async def test_a_name_stands_for_all_its_addresses() -> None:
    service = Service("items")
    await service.start()
    upstream = Upstream("items", [f"http://{socket.gethostname()}:{service.port}"])
    await upstream.start()
    known = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    addresses = {f"{entry[4][0]}:{service.port}" for entry in known}
    assert {replica.address for replica in upstream.replicas} == addresses
    await upstream.close()
    await service.stop()
