"""One running cluster for all tests of a worker; each test makes tables of its own."""

from collections.abc import AsyncGenerator, Generator
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiosmtpd.controller import Controller
from mail_sink import Mailbox
from office import FAULTS, Office
from wire import PROXY, Api

from local_cluster.cluster import Cluster
from local_cluster.demo import load_demo
from shared.ports import claimed_port
from shared.testing import server, with_database


@pytest.fixture
def unique() -> str:
    """Part of a name nobody else uses."""
    return uuid4().hex[:8]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="session")
def custom_port() -> int:
    """Where CUSTOM_ROUTES says that the service ``hello`` is."""
    return claimed_port()


@pytest.fixture(scope="session")
def mailbox() -> Generator[Mailbox]:
    """A mail server that keeps what it gets."""
    mailbox = Mailbox(claimed_port())
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port)
    controller.start()
    yield mailbox
    controller.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(mailbox: Mailbox, custom_port: int) -> AsyncGenerator[Cluster]:
    """A cluster with two gateways and two items-services on the tests' servers."""
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"acceptance_{uuid4().hex}"),
        redis_url=server("REDIS_URL"),
        amqp_url=server("AMQP_URL"),
        replicas={"gateway": 2, "items-service": 2},
        environment={
            "SMTP_URL": mailbox.url,
            "MAIL_INTERVAL": "0.1",
            "TRUSTED_PROXIES": PROXY,
            "CUSTOM_ROUTES": f"hello=http://127.0.0.1:{custom_port}",
        },
    ) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def api(session: aiohttp.ClientSession, cluster: Cluster) -> Api:
    """The administrator, by API 1.1."""
    return Api(session, cluster.base_url, cluster.token)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def office(session: aiohttp.ClientSession) -> AsyncGenerator[Office]:
    """Another cluster, with two of each service and a Redis of its own, which can be stopped."""
    kinds = ("gateway", "items-service", "auth-service", "files-service", "schema-service")
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"office_{uuid4().hex}"),
        amqp_url=server("AMQP_URL"),
        replicas=dict.fromkeys((*kinds, "settings-service"), 2),
        environment={
            "RATE_PER_TOKEN": "100000",
            "RATE_PER_ADDRESS": "100000",
            "PUBLIC_FILES": "0",
            **FAULTS,
        },
    ) as cluster:
        admin = Api(session, cluster.base_url, cluster.token)
        office = Office(admin, cluster.gateway_urls, cluster)
        yield office
        office.lines.close()


def say_nothing(_what: str, _done: int, _of: int) -> None:
    """The progress of the demo, for nobody."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def demo(api: Api) -> Api:
    """The same, with the demo's data loaded."""
    assert api.token is not None
    await load_demo(api.base_url, api.token, say_nothing)
    return api
