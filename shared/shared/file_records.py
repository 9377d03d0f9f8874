"""Records of files, made in the transaction that needs them. Source: architecture 6."""

from typing import Final

from shared.changes import Change, Changes
from shared.context import Actor, Context
from shared.database import Database
from shared.errors import Conflict, TooLarge
from shared.new_file import NewFile
from shared.queries import load_queries
from shared.sql import FixedSql, fixed

_QUERIES: Final = load_queries("shared", "file_records.sql")
_TOPIC: Final = "t:directus_files"
_CLEARED: Final = "The upload took too long and was cleared away; send it again."


class OverQuota(TooLarge):
    status, code = 413, "QUOTA_EXCEEDED"


async def add_record(change: Change, context: Context, new: NewFile) -> int:
    """A record for stored bytes, within the quota of the caller's group; returns its id.

    Raises OverQuota, and Conflict when the bytes waited too long for it.
    """
    change.touch(_TOPIC)
    await keep_quota(change, context, new.size)
    key = await record(change, new)
    if key is None:
        raise Conflict(_CLEARED)
    return key


async def add_record_alone(changes: Changes, context: Context, new: NewFile) -> int:
    """The same, in a transaction of its own: one statement, where nothing is to be locked first."""
    simple = new.stem is None and context.settings.quota_of(context.principal.group) is None
    if not simple or context.actor.seen is not None:
        async with changes.transaction(context.actor) as change:
            return await add_record(change, context, new)
    rows = await changes.once(_record(context.actor, new), {_TOPIC})
    if not rows:
        raise Conflict(_CLEARED)
    return rows[0]["id"]


async def record(change: Change, new: NewFile) -> int | None:
    """Insert the record and consume the registration; None when that is gone."""
    if new.stem is not None:
        await lock_names(change)
    return await change.fetchval(_record(change.actor, new))


def _record(actor: Actor, new: NewFile) -> FixedSql:
    return fixed(
        _QUERIES["record"],
        new.storage_key,
        new.stem,
        new.extension,
        new.sha256,
        new.size,
        new.type,
        new.charset,
        new.width,
        new.height,
        new.title,
        new.caption,
        new.tags,
        new.location,
        new.embed_id,
        new.active,
        new.user,
        str(actor.user),
        actor.request_id,
        "t" if actor.quiet else "",
    )


async def lock_names(change: Change) -> None:
    await change.execute(fixed(_QUERIES["lock_names"]))


async def keep_quota(change: Change, context: Context, size: int) -> None:
    """One after the other, in the transaction that adds the bytes. Raises OverQuota."""
    group = context.principal.group
    quota = context.settings.quota_of(group)
    if quota is None:
        return
    await change.execute(fixed(_QUERIES["lock_quota"], group))
    await _check_room(change, group, quota, size)


async def check_quota(database: Database, context: Context, announced: int) -> None:
    """Whether the caller's group has room for this many bytes, as far as anybody knows now."""
    group = context.principal.group
    quota = context.settings.quota_of(group)
    if quota is not None:
        await _check_room(database, group, quota, announced)


async def _check_room(session: Database | Change, group: int, quota: int, size: int) -> None:
    if await session.fetchval(fixed(_QUERIES["bytes_of_group"], group)) + size > quota:
        raise OverQuota(f"the files of your group would be more than its {quota} bytes")
