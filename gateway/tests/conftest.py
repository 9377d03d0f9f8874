"""Fixtures of the gateway's tests; what they are made of is in ``gateway.testing``."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from gateway.testing import Cluster, MakeCluster, cluster_of


@pytest_asyncio.fixture(loop_scope="session")
async def cluster() -> AsyncGenerator[Cluster]:
    async with cluster_of() as cluster:
        yield cluster


@pytest.fixture
def make_cluster() -> MakeCluster:
    return cluster_of
