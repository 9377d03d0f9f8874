"""A gateway in front of small true services, with Redis and a lease under the test's hand."""

import asyncio
import inspect
import os
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol
from uuid import uuid4

import aiohttp
from aiohttp import web

from gateway.app import running
from gateway.edge import Edge
from gateway.settings import Settings
from shared.announcements import Announcement
from shared.identity import IdentityVerifier, Principal, generate_keys
from shared.ports import claimed_port
from shared.stamps import Granter, Invalidation, Seen

KEYS: Final = generate_keys()
TOKENS: Final = {
    "admin-token": Principal(user=1, group=1, token=1),
    "editor-token": Principal(user=2, group=2, token=2),
    "second-editor-token": Principal(user=3, group=2, token=3),
}
EDITOR: Final = "editor-token"
LEASED: Final = 60.0  # seconds: longer than any test

Answer = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]


async def until(condition: Callable[[], bool | Awaitable[bool]], *, within: float = 25) -> None:
    """Wait for what another process, or the network, brings about. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if (await holds) if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.01)


async def standstill(amount: Callable[[], int]) -> int:
    """The amount at which something that grows has come to rest."""
    last = -1
    while amount() != last or last == 0:
        last = amount()
        await asyncio.sleep(0.3)
    return last


@dataclass
class Service:
    """One upstream that keeps what it got. ``answer`` may be replaced by a test."""

    name: str
    requests: list[web.Request] = field(default_factory=list[web.Request])
    principals: list[Principal | None] = field(default_factory=list[Principal | None])
    seen: list[str] = field(default_factory=list[str])  # "METHOD target"
    answer: Answer | None = None
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 40)
        app.router.add_get("/livez", _live)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("X-Directoire-Identity")
        self.requests.append(request)
        self.seen.append(f"{request.method} {request.path_qs}")
        self.principals.append(IdentityVerifier(KEYS.public_keys).verify(token) if token else None)
        if self.answer is None:
            return web.json_response({"service": self.name, "number": len(self.requests)})
        answer = self.answer(request)
        return await answer if inspect.isawaitable(answer) else answer


async def _live(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _principal(request: web.Request) -> web.StreamResponse:
    """auth-service's internal route."""
    known = {sha256(token.encode()).hexdigest(): who for token, who in TOKENS.items()}
    asked = await request.json()
    principal = known.get(asked["sha256"])
    if request.path != "/internal/principals" or principal is None:
        return web.json_response({}, status=404)
    return web.json_response(
        {"user": principal.user, "group": principal.group, "token": principal.token}
    )


class Lease:
    """The relay's part: the lease is alive from ``grant`` on."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self._granter = Granter(redis_url, prefix, life=LEASED)
        self._invalidation = Invalidation(redis_url, prefix, life=LEASED)

    async def grant(self) -> None:
        clock = await self._granter.clock("feed")
        assert await self._granter.grant(clock, Seen("feed", 1, 1, ()))

    async def changed(self, *topics: str) -> None:
        """A writer's part, between its commit and its reply."""
        await self._invalidation.raise_(topics, time.monotonic())

    async def withdraw(self, header: str) -> None:
        """A writer's part, when nothing came of what the header announced."""
        await self._invalidation.withdraw(Announcement.from_header(header).over())

    async def close(self) -> None:
        await self._granter.close()
        await self._invalidation.close()


Requested = AbstractAsyncContextManager[aiohttp.ClientResponse]


@dataclass
class Cluster:
    url: str
    port: int
    services: dict[str, Service]
    lease: Lease
    client: aiohttp.ClientSession
    settings: Settings
    edge: Edge

    @property
    def items(self) -> Service:
        return self.services["items"]

    @property
    def files(self) -> Service:
        return self.services["files"]

    @property
    def auth(self) -> Service:
        return self.services["auth"]

    def get(self, path: str, token: str | None = EDITOR, **headers: str) -> Requested:
        return self.call("GET", path, token, headers=headers)

    def call(
        self,
        method: str,
        path: str,
        token: str | None = EDITOR,
        *,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Requested:
        given = dict(headers or {})
        if token is not None:
            given.setdefault("Authorization", f"Bearer {token}")
        return self.client.request(method, self.url + path, headers=given, **options)

    async def raw(self, data: bytes, *, wait: float = 5) -> bytes:
        """What the gateway sends on a new connection until it closes it.

        ``<silence>`` at the end: it did not, in ``wait`` seconds.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        received = b""
        try:
            async with asyncio.timeout(wait):
                while piece := await reader.read(65536):
                    received += piece
        except TimeoutError:
            received += b"<silence>"
        except ConnectionResetError:
            pass
        writer.close()
        return received


class MakeCluster(Protocol):
    """A cluster with other settings than usual."""

    def __call__(
        self,
        redis_url: str | None = None,
        *,
        leased: bool = True,
        more_items: Service | None = None,
        **settings: Any,
    ) -> AbstractAsyncContextManager[Cluster]: ...


@asynccontextmanager
async def cluster_of(
    redis_url: str | None = None,
    *,
    leased: bool = True,
    more_items: Service | None = None,
    **settings: Any,
) -> AsyncGenerator[Cluster]:
    """A gateway and five services; ``more_items`` is a second replica of one of them."""
    redis_url = redis_url or os.environ["REDIS_URL"]
    prefix = f"test-{uuid4().hex}:"
    services = {name: Service(name) for name in ("auth", "items", "files", "schema", "settings")}
    services["auth"].answer = _principal
    for service in services.values():
        await service.start()
    urls = {f"{name}_urls": f"http://127.0.0.1:{each.port}" for name, each in services.items()}
    if more_items is not None:
        urls["items_urls"] += f",http://127.0.0.1:{more_items.port}"
    given = Settings.model_validate(
        {
            "redis_url": redis_url,
            "redis_prefix": prefix,
            "identity_private_key": KEYS.private_key,
        }
        | urls
        | settings
    )
    lease = Lease(redis_url, prefix)
    if leased:
        await lease.grant()
    async with running(given) as (runner, edge):
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        await web.SockSite(runner, listening).start()
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            url = f"http://127.0.0.1:{port}"
            yield Cluster(url, port, services, lease, client, given, edge)
    await lease.close()
    for service in services.values():
        await service.stop()


@asynccontextmanager
async def own_process(
    cluster: Cluster,
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, list[int]]]:
    """The gateway as a process of its own in front of a cluster's services: it and its ports."""
    ports = [claimed_port(), claimed_port()]
    given = cluster.settings
    environment = os.environ | {
        "PORT": str(ports[0]),
        "OWN_PORT": str(ports[1]),
        "REDIS_URL": given.redis_url.get_secret_value(),
        "REDIS_PREFIX": given.redis_prefix,
        "IDENTITY_PRIVATE_KEY": KEYS.private_key,
    }
    for name, service in cluster.services.items():
        environment[f"{name.upper()}_URLS"] = f"http://127.0.0.1:{service.port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        line = await process.stderr.readline()
        assert b"serving" in line, line + await process.stderr.read()
        yield process, ports
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
