"""Jobs, and the pieces of their files."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from shared.database import Database
from shared.queries import load_queries
from shared.sql import Sql, fixed

QUERIES: Final = load_queries("items_service.store", "jobs.sql")
PART: Final = 1024 * 1024  # bytes
CLAIM: Final = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Job:
    id: str
    claim: str
    kind: str
    collection: str
    user: int
    arguments: Mapping[str, Any]
    size: int | None


class Runner(Protocol):
    """A Database, or a session of it."""

    async def fetchval(self, sql: Sql) -> Any: ...


async def create(
    database: Database, id_: str, kind: str, collection: str, user: int, *, arguments: object,
    state: str,
) -> None:  # fmt: skip
    told = msgspec.json.encode(arguments).decode()
    await database.execute(fixed(QUERIES["create"], id_, kind, collection, user, told, state))


async def write_parts(database: Database, id_: str, chunks: AsyncIterator[bytes]) -> int:
    """Keep a file in pieces; returns its size in bytes."""
    number, size = 0, 0
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        size += len(chunk)
        if len(held) >= PART:
            await database.execute(fixed(QUERIES["add_part"], id_, number, bytes(held)))
            number += 1
            held.clear()
    if held:
        await database.execute(fixed(QUERIES["add_part"], id_, number, bytes(held)))
    return size


async def read_parts(database: Database, id_: str) -> AsyncGenerator[bytes]:
    number = 0
    while (data := await database.fetchval(fixed(QUERIES["part"], id_, number))) is not None:
        yield data
        number += 1


async def drop_parts(database: Database, id_: str) -> None:
    await database.execute(fixed(QUERIES["drop_parts"], id_))


async def uploaded(database: Database, id_: str, size: int) -> None:
    await database.execute(fixed(QUERIES["uploaded"], id_, size))


async def take(database: Database, claim: str) -> Job | None:
    row = await database.fetchrow(fixed(QUERIES["take"], claim, CLAIM))
    if row is None:
        return None
    arguments = msgspec.json.decode(row["arguments"])
    return Job(
        row["id"], claim, row["kind"], row["collection"], row["user_id"], arguments, row["size"]
    )


async def renew(database: Database, job: Job, rows: int, done: int) -> bool:
    renewed = fixed(QUERIES["renew"], job.id, job.claim, CLAIM, rows, done)
    return await database.fetchval(renewed) is not None


async def finish(
    runner: Runner,
    job: Job,
    state: str,
    *,
    rows: int,
    done: int,
    result: object = None,
    message: str | None = None,
    faults: object = None,
) -> bool:
    """False: the claim is lost, or the job was cancelled."""
    finished = fixed(
        QUERIES["finish"], job.id, job.claim, state, rows, done, _json(result), message,
        _json(faults),
    )  # fmt: skip
    return await runner.fetchval(finished) is not None


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


async def release(database: Database, job: Job) -> None:
    await database.execute(fixed(QUERIES["release"], job.id, job.claim))


async def tell(runner: Runner, user: int, subject: str, message: str) -> None:
    await runner.fetchval(fixed(QUERIES["tell"], user, subject, message))


async def cancel(database: Database, id_: str) -> None:
    if await database.fetchval(fixed(QUERIES["cancel"], id_)) is not None:
        await drop_parts(database, id_)


async def clear(database: Database) -> None:
    await database.execute(fixed(QUERIES["clear"]))
    await database.execute(fixed(QUERIES["clear_parts"]))


async def shown(database: Database, id_: str) -> dict[str, Any] | None:
    row = await database.fetchrow(fixed(QUERIES["shown"], id_))
    if row is None:
        return None
    found = dict(row)
    for name in ("result", "faults"):
        found[name] = msgspec.json.decode(found[name]) if found[name] else None
    return found


async def listed(database: Database, user: int) -> list[dict[str, Any]]:
    return [dict(row) for row in await database.fetch(fixed(QUERIES["listed"], user))]


async def group_of(database: Database, user: int) -> int | None:
    """None for a user who is not active any more."""
    row = await database.fetchrow(fixed(QUERIES["user"], user))
    return row["group"] if row is not None and row["active"] == 1 else None
