"""A gateway in front of small true services, with Redis and a lease under the test's hand."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from gateway.app import running
from gateway.settings import Settings
from shared.identity import IdentityVerifier, Principal, generate_keys
from shared.stamps import Granter, Invalidation, Seen

KEYS = generate_keys()
TOKENS = {
    "admin-token": Principal(user=1, group=1, token=1),
    "editor-token": Principal(user=2, group=2, token=2),
    "second-editor-token": Principal(user=3, group=2, token=3),
}


@dataclass
class Service:
    """One upstream that tells what it got. ``answer`` may be replaced by a test."""

    name: str
    requests: list[web.Request] = field(default_factory=list)
    principals: list[Principal | None] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # "METHOD target"
    answer: Callable[[web.Request], object] | None = None
    port: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 40)
        app.router.add_get("/livez", _ok)
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
        verifier = IdentityVerifier(KEYS.public_keys)
        token = request.headers.get("X-Directoire-Identity")
        self.requests.append(request)
        self.seen.append(f"{request.method} {request.path_qs}")
        self.principals.append(verifier.verify(token) if token else None)
        if self.answer is not None:
            answer = self.answer(request)
            if asyncio.iscoroutine(answer):
                answer = await answer
            assert isinstance(answer, web.StreamResponse)
            return answer
        return web.json_response({"service": self.name, "number": len(self.requests)})


async def _ok(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


class Lease:
    """The relay's part: the lease is alive while a test wants it to be."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self.granter = Granter(redis_url, prefix, life=60)
        self.invalidation = Invalidation(redis_url, prefix, life=60)

    async def grant(self, topics: Collection[str] = ()) -> None:
        clock = await self.granter.clock("feed")
        assert await self.granter.grant(clock, Seen("feed", 1, 1, frozenset(topics)))

    async def changed(self, *topics: str) -> None:
        await self.invalidation.raise_(topics, time.monotonic())

    async def close(self) -> None:
        await self.granter.close()
        await self.invalidation.close()


@dataclass
class Cluster:
    url: str
    port: int
    services: dict[str, Service]
    lease: Lease
    client: aiohttp.ClientSession
    settings: Settings

    def get(self, path: str, token: str | None = "editor-token", **headers: str):
        return self.call("GET", path, token, headers=headers)

    def call(self, method: str, path: str, token: str | None = "editor-token", **options):
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token}")
        return self.client.request(method, self.url + path, headers=headers, **options)

    async def raw(self, data: bytes, *, wait: float = 5) -> bytes:
        """What the gateway sends on a new connection, until it closes it or falls silent."""
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


def resolve(request: web.Request, users: dict[str, Principal] | None = None):
    """auth-service's internal route."""

    async def answer() -> web.Response:
        known = {sha256(token.encode()).hexdigest(): who for token, who in TOKENS.items()}
        known |= users or {}
        asked = await request.json()
        principal = known.get(asked["sha256"])
        if principal is None:
            return web.json_response({}, status=404)
        return web.json_response(
            {"user": principal.user, "group": principal.group, "token": principal.token}
        )

    return answer()


@pytest.fixture
def redis_url() -> str:
    return os.environ["REDIS_URL"]


@asynccontextmanager
async def cluster_of(
    redis_url: str, *, leased: bool = True, more_items: Service | None = None, **options
) -> AsyncIterator[Cluster]:
    prefix = f"test-{uuid4().hex}:"
    services = {name: Service(name) for name in ("auth", "items", "files", "schema", "settings")}
    services["auth"].answer = lambda request: (
        resolve(request)
        if request.path == "/internal/principals"
        else web.json_response({"service": "auth", "path": request.path})
    )
    for service in services.values():
        await service.start()
    urls = {
        f"{name}_urls": f"http://127.0.0.1:{service.port}" for name, service in services.items()
    }
    if more_items is not None:
        urls["items_urls"] += f",http://127.0.0.1:{more_items.port}"
    settings = Settings(
        redis_url=redis_url,
        redis_prefix=prefix,
        identity_private_key=KEYS.private_key,
        identity_key_id=KEYS.key_id,
        **(urls | options),
    )
    lease = Lease(redis_url, prefix)
    if leased:
        await lease.grant()
    async with running(settings) as (runner, _health):
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        await web.SockSite(runner, listening).start()
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            url = f"http://127.0.0.1:{port}"
            yield Cluster(url, port, services, lease, client, settings)
    await lease.close()
    for service in services.values():
        await service.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def cluster(redis_url: str) -> AsyncIterator[Cluster]:
    async with cluster_of(redis_url) as cluster:
        yield cluster


@pytest.fixture
def make_cluster(redis_url: str):
    """``make_cluster(**settings)``: a cluster with other settings than usual."""
    return partial(cluster_of, redis_url)


@pytest.fixture
def cluster_of_redis():
    """``cluster_of_redis(redis_url, **settings)``"""
    return cluster_of


@pytest.fixture
def new_service():
    return Service


@pytest.fixture
def own_process():
    """The gateway as a process of its own, beside a cluster: (process, its two ports)."""

    @asynccontextmanager
    async def start(cluster: Cluster):
        ports = [free_port(), free_port()]
        given = cluster.settings
        environment = os.environ | {
            "PORT": str(ports[0]),
            "OWN_PORT": str(ports[1]),
            "REDIS_URL": given.redis_url.get_secret_value(),
            "REDIS_PREFIX": given.redis_prefix,
            "IDENTITY_PRIVATE_KEY": KEYS.private_key,
            "IDENTITY_KEY_ID": KEYS.key_id,
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

    return start


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]
