"""Records and bytes, compared: what neither a record nor a live registration names is cleared."""

import time
from dataclasses import dataclass
from datetime import timedelta

from files_service.operations import resumable, uploads
from files_service.store import files
from files_service.store import resumable as resumable_state
from files_service.store.contents import Contents, Kept
from shared.database import Database

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Found:
    """``cleared`` is what was taken away first: dead uploads, and objects nothing names."""

    cleared: int
    bytes_without_record: int
    records_without_bytes: tuple[str, ...]


async def reconcile(database: Database, contents: Contents, *, grace: float) -> Found:
    """Compare store and database. What is younger than ``grace`` seconds is let alone.

    Bytes are listed before the database is asked: an upload that ends meanwhile has its record by
    then. Records are listed before their bytes are looked for again.
    """
    cleared = await contents.tidy(grace)
    cleared += await resumable.clear_expired(database, contents)
    while freed := await uploads.clear_abandoned(database, contents, timedelta(seconds=grace)):
        cleared += freed
    limit = time.time() - grace
    stored: set[str] = set()
    without = 0
    batch: list[Kept] = []
    async for kept in contents.everything():
        stored.add(kept.key)
        batch.append(kept)
        if len(batch) == _BATCH:
            without += await _clear_unnamed(database, contents, batch, limit)
            batch = []
    without += await _clear_unnamed(database, contents, batch, limit)
    return Found(cleared, without, tuple(await _without_bytes(database, contents, stored)))


async def _clear_unnamed(
    database: Database, contents: Contents, batch: list[Kept], limit: float
) -> int:
    wholes = [kept.key for kept in batch if "." not in kept.key]
    parts = [kept.key for kept in batch if "." in kept.key]
    named = await files.needed(database, wholes) if wholes else set[str]()
    if parts:
        named |= await resumable_state.live_parts(database, parts)
    unnamed = [kept.key for kept in batch if kept.key not in named and kept.written <= limit]
    for key in unnamed:
        await contents.delete(key)
    return len(unnamed)


async def _without_bytes(database: Database, contents: Contents, stored: set[str]) -> list[str]:
    lost: list[str] = []
    last = ""
    while keys := await files.recorded(database, last):
        last = keys[-1]
        for key in keys:
            if key in stored or await contents.holds(key):
                continue
            lost += await files.needed(database, [key])
    return lost
