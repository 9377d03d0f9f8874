"""Large bodies past aiohttp: whole, no byte too many, and the connection goes on."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web

from shared import body_socket
from shared.bodies import body_of, let_go

BODY = random.Random(7).randbytes(3_000_000)
HEAD = b"POST /%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


async def whole(request: web.Request) -> web.Response:
    digest = sha256()
    async for piece in body_of(request).pieces():
        digest.update(piece)
    return web.Response(text=digest.hexdigest())


async def first_piece(request: web.Request) -> web.Response:
    async for _ in body_of(request).pieces():
        break
    let_go(request)
    return web.Response(status=413)


async def following(_request: web.Request) -> web.Response:
    return web.Response(text="next")


class Cut:
    """Notes what a reader of a body that breaks off gets."""

    def __init__(self) -> None:
        self.fault: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()

    async def read(self, request: web.Request) -> web.Response:
        try:
            async for _ in body_of(request).pieces():
                self.begun.set()
        except ConnectionError as error:
            self.fault.set_result(error)
        let_go(request)
        return web.Response()


@asynccontextmanager
async def connected(
    *routes: web.RouteDef,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    app = web.Application()
    app.add_routes([*routes, web.get("/next", following)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        await runner.cleanup()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(60):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        return int(head.split()[1]), await reader.readexactly(int(lines[b"Content-Length"]))


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each read past aiohttp brought."""
    sizes: list[int] = []
    took = body_socket.BodySocket.took

    def noted(self: body_socket.BodySocket, size: int) -> None:
        sizes.append(size)
        took(self, size)

    monkeypatch.setattr(body_socket.BodySocket, "took", noted)
    return sizes


async def test_the_body_comes_whole_and_the_next_request_too(used: list[int]) -> None:
    async with connected(web.post("/whole", whole)) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD % (b"whole", len(BODY)) + BODY + NEXT)  # sent ahead, in one go
            assert await answer(reader) == (200, sha256(BODY).hexdigest().encode())
            assert await answer(reader) == (200, b"next")
    assert sum(used) > len(BODY)


async def test_what_is_not_read_is_passed_by(used: list[int]) -> None:
    async with connected(web.post("/first", first_piece)) as (reader, writer):
        writer.write(HEAD % (b"first", len(BODY)) + BODY[:1_000_000])
        assert (await answer(reader))[0] == 413
        writer.write(BODY[1_000_000:] + NEXT)
        assert await answer(reader) == (200, b"next")
    assert sum(used) < len(BODY)


async def test_a_body_that_breaks_off_is_noticed() -> None:
    cut = Cut()
    async with connected(web.post("/cut", cut.read)) as (_, writer):
        writer.write(HEAD % (b"cut", len(BODY)) + BODY[:1_000_000])
        await cut.begun.wait()
        writer.close()
        async with asyncio.timeout(60):
            assert isinstance(await cut.fault, ConnectionError)


async def test_who_waits_for_a_body_that_is_closed_does_not_touch_whose_number_is_next() -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def close_under_a_reader(request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        body = body_socket.BodySocket(request, auto_decompress=True)
        while body.read_ahead():
            pass
        waiting = asyncio.create_task(body.read(1000))
        await asyncio.sleep(0)
        number = body.fileno()
        body.close()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            os.dup2(ours.fileno(), number)  # as any new connection may get it
            came = asyncio.Event()
            loop.add_reader(number, came.set)
            with pytest.raises(ConnectionResetError, match="let go"):
                await waiting
            theirs.send(b"for the next")
            try:
                async with asyncio.timeout(10):
                    await came.wait()
                outcome.set_result("came")
            except TimeoutError:
                outcome.set_result("lost")
            loop.remove_reader(number)
            os.close(number)
        return web.Response()

    async with connected(web.post("/closed", close_under_a_reader)) as (_, writer):
        writer.write(HEAD % (b"closed", len(BODY)))
        async with asyncio.timeout(60):
            assert await outcome == "came"


async def test_aiohttp_has_what_is_used_of_it_though_it_is_not_public() -> None:
    """Where a new version of aiohttp fails here, ``shared.body_socket`` is to be looked at."""
    looked: dict[str, bool] = {}

    async def look(request: web.Request) -> web.Response:
        protocol: Any = request.protocol
        slots = {name for kind in type(protocol).__mro__ for name in getattr(kind, "__slots__", ())}
        for name in ("_reading_paused", "_payload_parser", "_parser", "_read_bufsize"):
            looked[name] = name in slots and hasattr(protocol, name)
        made = body_socket._parser_for(protocol, auto_decompress=True)  # pyright: ignore[reportPrivateUsage]
        looked["its kind of parser"] = type(made) is type(protocol._parser)
        looked["takes it"] = made.feed_data(NEXT)[0][0][0].path == "/next"
        return web.Response(text="next")

    async with connected(web.get("/look", look)) as (reader, writer):
        writer.write(b"GET /look HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
    assert len(looked) == 6
    assert [name for name in looked if not looked[name]] == []


@pytest.mark.parametrize("line", [b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"])
async def test_a_body_in_an_encoding_is_left_to_aiohttp(used: list[int], line: bytes) -> None:
    head = HEAD % (b"whole", len(BODY))
    async with connected(web.post("/whole", whole)) as (reader, writer):
        if b"chunked" in line:
            head = head.replace(b"Content-Length: %d" % len(BODY), line)
            writer.write(head + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n")
            assert await answer(reader) == (200, sha256(BODY).hexdigest().encode())
        else:
            writer.write(head.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n") + BODY)
            assert (await answer(reader))[0] >= 400
    assert used == []
