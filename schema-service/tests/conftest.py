"""schema-service over a database of its own."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from schema_service.app import make_app
from schema_service.settings import Settings
from shared.testing import Client, environment, serving


@pytest_asyncio.fixture(loop_scope="session")
async def service(database_url: str, redis_prefix: str) -> AsyncGenerator[Client]:
    settings = Settings.model_validate(environment(database_url, redis_prefix))
    async with serving(make_app(settings)) as client:
        yield client
