"""One S3 server for all tests of a worker; it is started by the first that asks for it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from files_service.store.contents import Contents, open_contents
from local_cluster.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    with ObjectStore() as server:
        yield server


@pytest.fixture
def s3_url(object_store: ObjectStore) -> str:
    """STORE_URL of a folder nobody else uses."""
    return object_store.store_url.replace("/files?", f"/{uuid4().hex}?")


@pytest.fixture
def s3_contents(s3_url: str) -> Contents:
    return open_contents(s3_url, ACCESS_KEY, SECRET_KEY)
