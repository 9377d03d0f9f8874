"""Bytes on their way to a record: registered first, stored whole, consumed or cleared away.

A key is registered before its first byte and the registration is consumed by the transaction that
inserts the record. So whatever dies in between, bytes have a record or a registration; and clearing
takes the registration's lock, so it never meets a record in the making. Source: architecture 6.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import uuid4

import structlog
from prometheus_client import Gauge

from files_service.operations.content_types import HEAD
from files_service.store import files
from files_service.store.contents import Contents
from shared import failpoints
from shared.database import Database
from shared.errors import ApiError

log = structlog.get_logger(__name__)

ABANDONED_AFTER: Final = timedelta(hours=1)  # since its writer was last known to live
_HEARTBEAT: Final = 120.0  # seconds
IN_FLIGHT_NAME: Final = "directoire_upload_bytes_in_flight"  # the autoscaler asks for it
IN_FLIGHT: Final = Gauge(
    IN_FLIGHT_NAME,
    "Bytes of unfinished uploads that this process has taken in",
)


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that are stored under a registered key; ``head`` is how they begin (HEAD bytes)."""

    key: str
    size: int
    sha256: str
    head: bytes


@asynccontextmanager
async def upload(
    database: Database, contents: Contents, user: int | None, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[Upload]:
    """Store a user's ``chunks`` under a new key; the body must consume its registration.

    Should anything fail, the bytes are cleared away, unless a record has them.
    """
    key = str(uuid4())
    await files.register(database, key, user)
    heart = asyncio.create_task(_beat(database, key))
    try:
        head = bytearray()
        written = await contents.write(key, _keeping_head(counted(chunks), head))
        await failpoints.reach("files.stored")
        yield Upload(key, written.size, written.sha256, bytes(head))
    except BaseException:
        await _clear_quietly(database, contents, key)
        raise
    finally:
        heart.cancel()


async def counted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks, seen in IN_FLIGHT until the last of them has been taken."""
    passed = 0
    try:
        async for chunk in chunks:
            passed += len(chunk)
            IN_FLIGHT.inc(len(chunk))
            yield chunk
            del chunk
    finally:
        IN_FLIGHT.dec(passed)


async def _beat(database: Database, key: str) -> None:
    """Keep a registration from being taken for a dead writer's."""
    while True:
        await asyncio.sleep(_HEARTBEAT)
        with suppress(ApiError):
            if not await files.touch(database, key):
                return


async def clear(database: Database, contents: Contents, key: str) -> bool:
    """Delete the bytes of a registered key, then the registration; False when it is not free."""
    async with database.transaction() as session:
        if not await files.lock_registration(session, key):
            return False
        await contents.delete(key)
        await files.forget(session, key)
        return True


async def clear_abandoned(
    database: Database, contents: Contents, older_than: timedelta = ABANDONED_AFTER
) -> int:
    """Clear what uploads that died and deleted records have left behind; returns how many."""
    keys = await files.abandoned(database, older_than)
    return sum([await clear(database, contents, key) for key in keys])


async def _keeping_head(chunks: AsyncIterator[bytes], head: bytearray) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if len(head) < HEAD:
            head += chunk[: HEAD - len(head)]
        yield chunk
        del chunk


async def _clear_quietly(database: Database, contents: Contents, key: str) -> None:
    """What cannot be cleared now is found by clear_abandoned later."""
    try:
        await clear(database, contents, key)
    except (ApiError, OSError) as error:
        log.warning("bytes were left for later", key=key, reason=str(error))
