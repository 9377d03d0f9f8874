"""Exports that wait for their place in the library."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shared.changes import Change
from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("files_service.store", "exports.sql")


@dataclass(frozen=True, slots=True)
class Waiting:
    id: str
    claim: str
    collection: str
    user: int
    rows: int
    result: Mapping[str, Any]


async def take(database: Database, claim: str) -> Waiting | None:
    row = await database.fetchrow(fixed(QUERIES["take"], claim))
    if row is None:
        return None
    result = msgspec.json.decode(row["result"])
    return Waiting(row["id"], claim, row["collection"], row["user_id"], row["rows"], result)


async def read_parts(database: Database, waiting: Waiting) -> AsyncGenerator[bytes]:
    number = 0
    while (data := await database.fetchval(fixed(QUERIES["part"], waiting.id, number))) is not None:
        if number % 16 == 0:
            await database.execute(fixed(QUERIES["renew"], waiting.id, waiting.claim))
        yield data
        number += 1


async def finish(change: Change, waiting: Waiting, file: int) -> bool:
    """False: another has it, or it was cancelled."""
    finished = fixed(QUERIES["finish"], waiting.id, waiting.claim, file)
    if await change.fetchval(finished) is None:
        return False
    await change.execute(fixed(QUERIES["drop_parts"], waiting.id))
    return True


async def tell(change: Change, waiting: Waiting, subject: str, message: str) -> None:
    await change.fetchval(fixed(QUERIES["tell"], waiting.user, subject, message))
