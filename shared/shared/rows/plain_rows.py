"""Rows of tables without rules of Directoire: one statement each, several all or none."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from shared.catalogue import Column
from shared.changes import Changes
from shared.column_types import Kind
from shared.database import Database
from shared.errors import ApiError, Forbidden, NotUnique
from shared.rows import write
from shared.rows.may_write import conditions, may_add
from shared.rows.refusals import (
    any_version,
    demand_version,
    exists_already,
    no_record,
    only_new,
    other_version,
    refusal,
)  # fmt: skip
from shared.rows.values import stored
from shared.rows.write import Batch
from shared.rows.writer import DELETED, Stored, Writer, as_shown
from shared.sql import EMPTY, Sql, raw


def _batches(to: Writer, rows: Sequence[Mapping[str, object]]) -> list[Batch]:
    """Runs of rows that one statement can write: same columns, same new status, no key twice."""
    if len(rows) == 1:
        return [batch_of(to, rows)]

    def shape(row: Mapping[str, object]) -> tuple[object, ...]:
        status = to.status
        return (tuple(row), None if status is None else row.get(status.name))

    batches: list[Batch] = []
    for _, run in groupby(rows, shape):
        taken: list[Mapping[str, object]] = []
        keys: set[object] = set()
        for row in run:
            key = row.get(to.key.name)
            if key is not None and key in keys:
                batches.append(batch_of(to, taken))
                taken, keys = [], set()
            keys.add(key)
            taken.append(row)
        batches.append(batch_of(to, taken))
    return batches


def batch_of(to: Writer, rows: Sequence[Mapping[str, object]]) -> Batch:
    columns = to.table.columns
    return Batch(
        table=to.table,
        key=to.key,
        columns=tuple(columns[name] for name in rows[0]),
        rows=rows,
        automatic=automatic_values(to, created=True),
        automatic_update=automatic_values(to, created=False),
        actor=to.actor,
        version=to.version,
    )


def automatic_values(to: Writer, *, created: bool) -> dict[str, Sql]:
    """What the server fills in: who and when."""
    table = to.table
    users = [table.user_update_column] + [table.user_create_column] * created
    dates = [table.date_update_column] + [table.date_create_column] * created
    values: dict[str, Sql] = {}
    for name in users:
        if name is not None and name in table.columns:
            user = stored(table.columns[name], to.user)
            values[name] = write.bound(table.columns[name], user)
    for name in dates:
        if name is not None and name in table.columns:
            utc = table.columns[name].kind is not Kind.DATETIME_UTC
            values[name] = raw("timezone('utc', now())") if utc else raw("now()")
    return values


async def _run(
    changes: Changes, to: Writer, statements: Sequence[tuple[Batch, Sql]], *, complete: bool
) -> list[Stored]:
    """One statement on its own, several as one transaction. ``complete``: every row must be met."""
    if len(statements) == 1 and (not complete or len(statements[0][0].rows) == 1):
        records = await changes.once(statements[0][1], to.topics)
        return [as_shown(to, record) for record in records]
    rows: list[Stored] = []
    async with changes.transaction(to.actor) as change:
        change.touch(*to.topics)
        for batch, statement in statements:
            records = await change.fetch(statement)
            if complete and len(records) < len(batch.rows):
                raise _Incomplete
            rows.extend(as_shown(to, record) for record in records)
    return rows


class _Incomplete(Exception):
    """Some row of a batch was not there, or not the caller's to change."""


async def put(changes: Changes, to: Writer, rows: Sequence[Mapping[str, object]]) -> list[Stored]:
    """Insert, or update where a key is given and exists (reading 67)."""
    statements = [_put_statement(to, batch) for batch in _batches(to, rows)]
    keys = [row[to.key.name] for row in rows if to.key.name in row]
    complete = to.precondition.exists or not to.rights.add
    stored_rows: list[Stored] = []
    try:
        stored_rows = await _run(changes, to, statements, complete=complete)
    except _Incomplete:
        stored_rows = []
    except NotUnique:
        if keys and await sees(changes.database, to, keys):
            _explain_existing(to)
            if any(conditions(to, row) != [EMPTY, EMPTY, EMPTY] for row in rows):
                raise Forbidden from None
        raise
    if complete and len(stored_rows) < len(rows):
        if not to.precondition.exists:
            raise Forbidden
        there = [await sees(changes.database, to, [key]) for key in keys]
        raise await _refusal(changes.database, to, rows) if all(there) else other_version()
    return stored_rows


def _put_statement(to: Writer, batch: Batch) -> tuple[Batch, Sql]:
    """Raises Forbidden, PreconditionFailed."""
    if to.key.name not in batch.rows[0]:
        if to.precondition.exists:
            raise other_version()
        for row in batch.rows:
            may_add(to, row)
        return batch, write.insert(batch, to.shown)
    add = to.rights.add > 0 and not to.precondition.exists
    edit = to.rights.edit > 0 and not only_new(to)
    if add and to.rights.by_status:
        may_add(to, batch.rows[0])
    if not add and not edit:
        raise Forbidden
    allowed = conditions(to, batch.rows[0])
    return batch, write.put(batch, to.shown, allowed, add=add, edit=edit)


def _explain_existing(to: Writer) -> None:
    """Raises PreconditionFailed, PreconditionRequired where a row was to be a new one."""
    if to.precondition.absent:
        raise exists_already()
    demand_version(to)


async def update(
    changes: Changes, to: Writer, rows: Sequence[Mapping[str, object]]
) -> list[Stored]:
    statements: list[tuple[Batch, Sql]] = []
    for batch in _batches(to, rows):
        statement = write.update if len(batch.columns) > 1 else write.untouched
        allowed = conditions(to, batch.rows[0])
        statements.append((batch, statement(batch, to.shown, allowed)))
    try:
        found = await _run(changes, to, statements, complete=True)
    except _Incomplete:
        found = []
    if len(found) < len(rows):
        keys = [row[to.key.name] for row in rows]
        for key in keys:
            if not await sees(changes.database, to, [key]):
                raise no_record(to, key)
        raise await _refusal(changes.database, to, rows)
    return found


async def _refusal(
    database: Database, to: Writer, rows: Sequence[Mapping[str, object]]
) -> ApiError:
    free = any_version(to)
    allowed = {row[to.key.name]: conditions(free, row) for row in rows}
    return await refusal(database, to, allowed)


async def delete(
    changes: Changes, to: Writer, keys: Sequence[object], allowed: Sequence[Sql]
) -> list[object]:
    """The keys of the rows that went; the last of ``allowed`` speaks of their version."""
    statement = write.delete(to.table, to.key, keys, allowed, to.actor)
    if len(keys) == 1:
        return [record[0] for record in await changes.once(statement, to.topics)]
    return await _delete_all(changes, to, keys, statement, allowed)


async def _delete_all(
    changes: Changes,
    to: Writer,
    keys: Sequence[object],
    statement: Sql,
    allowed: Sequence[Sql],
) -> list[object]:
    async with changes.transaction(to.actor) as change:
        change.touch(*to.topics)
        gone = [record[0] for record in await change.fetch(statement)]
        left = set(keys) - set(gone)
        if left and await change.fetchval(write.seen(to.table, to.key, [*left], to.visible)):
            why = await refusal(change, to, dict.fromkeys(left, allowed[:-1]))
            raise why  # rolls back: all or none
    return gone


async def soft_delete(
    changes: Changes, to: Writer, keys: Sequence[object], status: Column
) -> list[object]:
    rows = [{status.name: stored(status, DELETED), to.key.name: key} for key in keys]
    seen = [key for key in keys if await sees(changes.database, to, [key])]
    if not seen:
        return []
    found = await update(changes, to, [row for row in rows if row[to.key.name] in seen])
    return [row.shown[to.key.name] for row in found]


async def sees(database: Database, to: Writer, keys: Sequence[object]) -> bool:
    if not to.rights.view:
        return False
    return await database.fetchval(write.seen(to.table, to.key, keys, to.visible))


async def unchanged(database: Database, to: Writer, key: object) -> Stored:
    statement = write.item(to.table, to.key, key, to.shown, to.visible, to.version)
    record = await database.fetchrow(statement)
    if record is None or not to.rights.view:
        raise no_record(to, key)
    shown = as_shown(to, record)
    if to.precondition.absent:
        raise exists_already()
    versions = to.precondition.versions
    if versions is not None and shown.version not in versions:
        raise other_version()
    return shown
