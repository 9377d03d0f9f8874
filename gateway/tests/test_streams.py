"""Large bodies pass in both directions without being held."""

import asyncio
import hashlib
import os
import resource
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from gateway.testing import Cluster, MakeCluster, standstill, until

MEGABYTE = 1024 * 1024


async def pieces(count: int) -> AsyncGenerator[bytes]:
    for number in range(count):
        yield bytes([number % 251]) * MEGABYTE


def digest_of(count: int) -> str:
    digest = hashlib.sha256()
    for number in range(count):
        digest.update(bytes([number % 251]) * MEGABYTE)
    return digest.hexdigest()


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each call of the kernel moved."""
    sizes: list[int] = []
    splice = os.splice

    def noted(source: int, sink: int, size: int) -> int:
        sizes.append(splice(source, sink, size))
        return sizes[-1]

    monkeypatch.setattr(os, "splice", noted)
    return sizes


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_20_megabytes_up(cluster: Cluster, moved: list[int], framing: str) -> None:
    seen: list[tuple[str, str | None]] = []

    async def take(request: web.Request) -> web.Response:
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        seen.append((digest.hexdigest(), request.headers.get("Content-Length")))
        return web.json_response({})

    cluster.files.answer = take
    headers = {"Content-Length": str(20 * MEGABYTE)} if framing == "length" else {}
    async with cluster.call(
        "POST", "/api/1.1/upload", data=pieces(20), headers=headers
    ) as response:
        assert response.status == 200
    length = headers.get("Content-Length")
    assert seen == [(digest_of(20), length)]
    assert (sum(moved) > 2 * 15 * MEGABYTE) is (framing == "length")  # in and out of a pipe
    async with cluster.get("/api/1.1/files") as response:  # by the same connection
        assert response.status == 200


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_20_megabytes_down(cluster: Cluster, framing: str) -> None:
    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if framing == "length":
            response.content_length = 20 * MEGABYTE
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        async for piece in pieces(20):
            await response.write(piece)
        return response

    cluster.files.answer = give
    async with cluster.get("/storage/uploads/large.bin", None) as response:
        digest = hashlib.sha256()
        async for piece in response.content.iter_any():
            digest.update(piece)
    assert digest.hexdigest() == digest_of(20)
    async with cluster.get("/storage/uploads/large.bin", None) as response:
        assert response.status == 200


async def test_a_client_that_does_not_read_stops_the_service(cluster: Cluster) -> None:
    written = 0

    async def give(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        response.content_length = 200 * MEGABYTE
        await response.prepare(request)
        async for piece in pieces(200):
            await response.write(piece)
            written += 1
        return response

    cluster.files.answer = give
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port, limit=1024)
    writer.write(b"GET /storage/uploads/x HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readline()
    assert await standstill(lambda: written) < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024
    writer.close()


async def test_a_service_that_does_not_read_stops_the_client(cluster: Cluster) -> None:
    sent, go = 0, asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await go.wait()
        await request.read()
        return web.json_response({})

    async def counted() -> AsyncGenerator[bytes]:
        nonlocal sent
        async for piece in pieces(60):
            sent += 1
            yield piece

    cluster.files.answer = slow
    request = asyncio.create_task(
        cluster.call("POST", "/api/1.1/upload", data=counted()).__aenter__()
    )
    assert await standstill(lambda: sent) < 50
    go.set()
    assert (await request).status == 200
    assert sent == 60


async def test_a_reply_cut_short_ends_the_clients_connection(cluster: Cluster) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10 * MEGABYTE
        await response.prepare(request)
        await response.write(b"x" * MEGABYTE)
        assert request.transport is not None
        request.transport.abort()
        return response

    cluster.files.answer = cut
    head = b"GET /storage/uploads/x HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await cluster.raw(head)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(answer) < 3 * MEGABYTE
    assert b"<silence>" not in answer


@pytest.mark.parametrize("headers", [{}, {"Content-Length": str(3 * MEGABYTE)}])
async def test_a_refusal_in_the_middle_of_an_upload_arrives(
    cluster: Cluster, headers: dict[str, str]
) -> None:
    cluster.files.answer = lambda _request: web.json_response({"no": 1}, status=415)
    async with cluster.call("POST", "/api/1.1/upload", data=pieces(3), headers=headers) as response:
        assert response.status == 415


async def test_a_client_that_leaves_ends_the_work(cluster: Cluster) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def long(request: web.Request) -> web.StreamResponse:
        begun.set()
        await until(lambda: request.transport is None or request.transport.is_closing())
        ended.set()
        return web.Response()

    cluster.items.answer = long
    request = asyncio.create_task(cluster.get("/api/1.1/activity").__aenter__())
    await begun.wait()
    request.cancel()
    async with asyncio.timeout(60):
        await ended.wait()


async def test_expect_100_continue_is_answered(cluster: Cluster) -> None:
    head = (
        b"POST /api/1.1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\n"
        b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
    writer.write(head)
    assert (await reader.readline()).startswith(b"HTTP/1.1 100 ")
    await reader.readline()
    writer.write(b"{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_body_that_does_not_come_is_408(make_cluster: MakeCluster) -> None:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({})

    async with make_cluster(deadline=0.3) as cluster:
        cluster.files.answer = take
        for size in (b"100", b"100000", b"100000", b"100000"):
            head = (
                b"POST /api/1.1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\n"
                b"Content-Length: " + size + b"\r\n\r\nabc"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(head)
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
            writer.close()
        async with cluster.call("POST", "/api/1.1/files", json={}) as response:
            assert response.status == 200, "the service is blamed for its clients"


async def test_head_and_http_1_0(cluster: Cluster) -> None:
    async with cluster.call("HEAD", "/storage/uploads/x", None) as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""
    answer = await cluster.raw(b"GET /storage/uploads/x HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer


async def test_requests_sent_ahead_are_answered_in_order(cluster: Cluster) -> None:
    request = b"GET /storage/uploads/%d HTTP/1.1\r\nHost: x\r\n%b\r\n"
    cluster.files.answer = lambda request: web.Response(text=request.path[-1])
    data = b"".join(request % (number, b"") for number in range(4))
    answer = await cluster.raw(data + request % (4, b"Connection: close\r\n"))
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"0", b"1", b"2", b"3", b"4",
    ]  # fmt: skip
