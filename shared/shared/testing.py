"""Fixtures over real servers: ``DATABASE_URL``, ``REDIS_URL`` and ``AMQP_URL`` name them.

``make test`` starts throw-away ones around pytest. Each test that writes gets a database of its
own, cloned from a template that is migrated once a worker.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from shared.database import Database
from shared.identity import ADMINISTRATORS, IdentitySigner, Principal, generate_keys
from shared.migrations import migrate
from shared.service import IDENTITY_HEADER
from shared.settings import ServiceSettings
from shared.sql import Sql, ident, raw

KEYS = generate_keys()
SIGNER = IdentitySigner(KEYS.private_key)
SLOWEST = 5.0  # how much longer than alone things may take beside the other tests
ADMINISTRATOR = Principal(user=1, group=ADMINISTRATORS)


def server(name: str) -> str:
    """The URL of a test server. Fails with the way to get one."""
    url = os.environ.get(name)
    if not url:
        pytest.fail(f"{name} is not set; run the tests by `make test`, it starts the servers")
    return url


def with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def administer(sql: Sql) -> None:
    """Run one statement on the server's own database, outside a transaction."""
    connection = await asyncpg.connect(server("DATABASE_URL"))
    try:
        await connection.execute(sql.render()[0])
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_database(template: str | None = None) -> AsyncGenerator[str]:
    """A database of its own, dropped afterwards; yields its URL."""
    name = f"test_{uuid4().hex}"
    like = raw(" TEMPLATE ") + ident(template) if template else raw("")
    await administer(raw("CREATE DATABASE ") + ident(name) + like)
    try:
        yield with_database(server("DATABASE_URL"), name)
    finally:
        await administer(raw("DROP DATABASE ") + ident(name) + raw(" WITH (FORCE)"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database() -> AsyncGenerator[str]:
    """The name of a database with the current schema and no data, once a worker."""
    async with fresh_database() as url:
        await asyncio.to_thread(migrate, url)
        yield urlsplit(url).path.removeprefix("/")


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(template_database: str) -> AsyncGenerator[str]:
    """A migrated, empty database for one test. Cloning takes about a tenth of a second."""
    async with fresh_database(template_database) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncGenerator[Database]:
    database = Database(database_url, size=4)
    yield database
    await database.close()


@pytest.fixture
def redis_prefix() -> str:
    """A name space of one test's own on the shared Redis."""
    return f"test:{uuid4().hex}:"


def environment(database_url: str, redis_prefix: str, **more: str) -> dict[str, str]:
    """The settings every service needs, by field name."""
    return {
        "database_url": database_url,
        "redis_url": server("REDIS_URL"),
        "redis_prefix": redis_prefix,
        "identity_public_keys": KEYS.public_keys,
        **more,
    }


class Client:
    """Requests to one service, as its gateway would send them."""

    def __init__(self, client: "TestClient[web.Request, web.Application]") -> None:
        self.http = client
        self.principal = ADMINISTRATOR

    def as_(self, principal: Principal) -> "Client":
        """The same service, asked by somebody else."""
        other = Client(self.http)
        other.principal = principal
        return other

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        data: object = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and decoded JSON of one request; the path is relative to ``/api/1.1/``."""
        full = path if path.startswith("/") else f"/api/1.1/{path}"
        identity = {IDENTITY_HEADER: SIGNER.sign(self.principal)}
        async with self.http.request(
            method, full, json=json, data=data, headers=identity | (headers or {})
        ) as response:
            text = await response.read()
            return response.status, (await response.json()) if text else None

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.send("GET", path)

    async def post(self, path: str, json: object = None) -> tuple[int, Any]:
        return await self.send("POST", path, json=json)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncGenerator[Client]:
    """One service, answering on a free port."""
    async with TestClient(TestServer(app)) as client:
        yield Client(client)


def settings_of(
    kind: type[ServiceSettings], database_url: str, redis_prefix: str, **more: str
) -> ServiceSettings:
    return kind.model_validate(environment(database_url, redis_prefix, **more))


async def eventually(
    holds: Callable[[], Awaitable[bool]], *, within: float = 10.0, what: str = "condition"
) -> None:
    """Wait until ``holds`` does.

    ``within`` is in seconds of a machine that does nothing else; a busy one gets SLOWEST times
    that before the test fails.
    """
    limit = time.monotonic() + within * SLOWEST
    while not await holds():
        if time.monotonic() > limit:
            pytest.fail(f"{what}: not within {within * SLOWEST} s")
        await asyncio.sleep(0.02)
