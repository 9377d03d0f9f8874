"""Rows of the system tables: their own rules, images for the topics, all in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.catalogue import Column
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database
from shared.idempotency import hide
from shared.rows import write
from shared.rows.access import TABLE
from shared.rows.bodies import cast
from shared.rows.may_write import both, conditions, may_add, may_change_at_all
from shared.rows.plain_rows import batch_of, sees
from shared.rows.refusals import any_version, no_record, other_version, refusal
from shared.rows.values import stored
from shared.rows.writer import DELETED, Stored, Writer, as_shown
from shared.sql import EMPTY, Sql, raw
from shared.stamps import topics_of
from shared.system_tables import Prepared


@dataclass(frozen=True, slots=True)
class _Ready:
    """One row of a system table, checked, as its rules want it."""

    prepared: Prepared
    values: Mapping[str, object]
    key: object  # None for a new row without a key of its own
    exists: bool


async def save(
    changes: Changes,
    context: Context,
    to: Writer,
    rows: Sequence[tuple[Mapping[str, Any], object | None]],
) -> list[Stored]:
    """Create or update rows of a system table, with what its rules add: all, or none.

    ``rows`` are bodies with the key of the row to change, None for one to create (or, when its body
    names a key that exists, to update).
    """
    # outside the transaction: hashing a password takes its time
    ready = [await _prepare(changes.database, context, to, *row) for row in rows]
    stored_rows: list[Stored] = []
    async with changes.transaction(to.actor) as change:
        for row in ready:
            record = await _store_system(change, to, row)
            hide(*row.prepared.echo)
            shown = as_shown(to, record)
            stored_rows.append(replace(shown, shown={**shown.shown, **row.prepared.echo}))
    return stored_rows


async def _prepare(
    database: Database,
    context: Context,
    to: Writer,
    given: Mapping[str, Any],
    existing: object | None,
) -> _Ready:
    assert to.system is not None
    key = existing
    if key is None and to.key.name in given:
        key = stored(to.key, given[to.key.name])
    exists = key is not None and await database.fetchval(write.seen(to.table, to.key, [key], EMPTY))
    if existing is not None and not (exists and await _may_know(database, context, to, existing)):
        raise no_record(to, existing)  # before the rules, whose refusals tell that it is there
    if existing is None and exists and not await sees(database, to, [key]):
        exists = False  # a new row for the caller, who meets the key as any duplicate (reading 67)
    prepared = await to.system.prepare(context, dict(given), key if exists else None)
    values = cast(to, {n: v for n, v in prepared.values.items() if n in to.table.columns})
    if not exists:
        may_add(to, values)
        if to.precondition.exists:
            raise other_version()
    elif not to.rights.edit:
        may_change_at_all(to, values)
    return _Ready(prepared, values, key, exists)


async def _may_know(database: Database, context: Context, to: Writer, key: object) -> bool:
    """Whether the caller may see a row that is there, or change it unseen."""
    if context.principal.is_admin or await sees(database, to, [key]):
        return True
    editable = to.rights.edit_condition(to.user, TABLE)
    return to.rights.edit > 0 and await database.fetchval(
        write.seen(to.table, to.key, [key], editable)
    )


async def _store_system(change: Change, to: Writer, row: _Ready) -> Any:
    """The stored row as shown, with its topics touched."""
    key = row.key
    before = await _image(change, to, key) if row.exists else None
    if row.prepared.before is not None:
        await row.prepared.before(change)
    record = await change.fetchrow(_system_statement(to, row.values, key, exists=row.exists))
    if record is None:
        sees = to.rights.view and await change.fetchval(
            write.seen(to.table, to.key, [key], to.visible)
        )
        if not sees:
            raise no_record(to, key)
        raise await refusal(change, to, {key: conditions(any_version(to), row.values)})
    key = record[to.key.name]
    change.touch(*to.topics, *topics_of(to.table.name, before, await _image(change, to, key)))
    if row.prepared.after is not None:
        await row.prepared.after(change, key)
    return await change.fetchrow(write.item(to.table, to.key, key, to.shown, EMPTY, to.version))


def _system_statement(
    to: Writer, values: Mapping[str, object], key: object, *, exists: bool
) -> Sql:
    named = {name: value for name, value in values.items() if name != to.key.name}
    row = {**named, to.key.name: key}
    if exists and named:
        return write.update(batch_of(to, [row]), to.shown, conditions(to, values))
    if exists:
        editable = both(to.rights.edit_condition(to.user, TABLE), to.unchanged)
        return write.item(to.table, to.key, key, to.shown, both(to.visible, editable), to.version)
    if key is None:
        return write.insert(batch_of(to, [named]), to.shown)
    return write.put(batch_of(to, [row]), to.shown, [raw("false")], add=True, edit=False)


async def _image(change: Change, to: Writer, key: object) -> dict[str, object] | None:
    record = await change.fetchrow(write.image(to.table, to.key, key))
    return None if record is None else dict(record)


async def soft_delete(
    changes: Changes, context: Context, to: Writer, keys: Sequence[object], status: Column
) -> list[object]:
    """Their rules hold for this change of status too: the last administrator stays."""
    gone = [key for key in keys if await sees(changes.database, to, [key])]
    deleted = {status.name: DELETED}
    await save(changes, context, to, [(deleted, key) for key in gone])
    return gone


async def delete(
    changes: Changes, context: Context, to: Writer, keys: Sequence[object], allowed: Sequence[Sql]
) -> list[object]:
    assert to.system is not None
    async with changes.transaction(to.actor) as change:
        change.touch(*to.topics)
        for key in keys:
            before = await _image(change, to, key)
            if before is not None:
                change.touch(*topics_of(to.table.name, before, None))
        await to.system.deleting(context, change, keys)
        gone = await change.fetch(write.delete(to.table, to.key, keys, allowed, to.actor))
        left = set(keys) - {record[0] for record in gone}
        if left and await change.fetchval(write.seen(to.table, to.key, [*left], to.visible)):
            raise await refusal(change, to, dict.fromkeys(left, allowed[:-1]))
    return [record[0] for record in gone]
