"""Creating, changing and deleting rows, one or many at once: the operations, without relations."""

from collections.abc import Sequence
from typing import Any

from shared import envelopes
from shared.answers import Answer
from shared.brackets import Query, flag
from shared.changes import Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Forbidden, InvalidRequest
from shared.rows import plain_rows, system_rows, write
from shared.rows.access import TABLE, known_table, primary_key, visible_fields
from shared.rows.bodies import Body, body_key, cast, checked, key_value, rows_of, value_of
from shared.rows.compile import shown_fields
from shared.rows.may_write import may_change_at_all
from shared.rows.plain_rows import sees, unchanged
from shared.rows.read import embed_written
from shared.rows.refusals import demand_version, no_record, refusal
from shared.rows.writer import Stored, Writer, writer

# ── one row ───────────────────────────────────────────────────────────────────────────────────────


async def create_row(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """Store a row, or update the one whose key the body names; answers it as stored.

    Raises Forbidden, InvalidRequest for an empty body, InvalidValue, NotUnique.
    """
    to = writer(context, table)
    row = await stored_new(changes, context, to, body)
    return await item(changes, context, to, row, query)


async def stored_new(changes: Changes, context: Context, to: Writer, body: Body) -> Stored:
    """As create_row, without the answer."""
    values = checked(to, body)
    if not any(name != to.key.name for name in values):
        raise InvalidRequest("the body names no column of this table")
    if to.system is not None:
        (row,) = await system_rows.save(changes, context, to, [(values, None)])
    else:
        (row,) = await plain_rows.put(changes, to, [cast(to, values)])
    return row


async def update_row(
    changes: Changes, context: Context, table: str, key: str, body: Body, *, query: Query
) -> Answer:
    """Change the columns that the body names; an empty body changes nothing (reading 27).

    Raises NotFound for a row that is missing or hidden, Forbidden for one that may not be changed.
    """
    to = writer(context, table)
    row = await stored_update(changes, context, to, key, body)
    return await item(changes, context, to, row, query)


async def stored_update(
    changes: Changes, context: Context, to: Writer, key: str, body: Body
) -> Stored:
    """As update_row, without the answer."""
    may_change_at_all(to, body)
    demand_version(to)
    value = key_value(to, key)
    if value is None:
        raise no_record(to, key)
    values = checked(to, body)
    if values.pop(to.key.name, key) != key and key_value(to, body[to.key.name]) != value:
        raise InvalidRequest("the key of a row cannot be changed", field=to.key.name)
    if to.system is not None and values:
        (row,) = await system_rows.save(changes, context, to, [(values, value)])
    elif values:
        (row,) = await plain_rows.update(changes, to, [{**cast(to, values), to.key.name: value}])
    else:
        row = await unchanged(changes.database, to, value)
    return row


async def current_row(
    database: Database, context: Context, table: str, key: str
) -> dict[str, Any] | None:
    """A row as the caller sees it now; None where there is none, or none for him."""
    known = known_table(context, table)
    rights = context.rights.of(known)
    if not rights.view:
        return None
    column = primary_key(known)
    value = value_of(column, key)
    if value is None:
        return None
    fields = visible_fields(context, known)
    visible = rights.view_condition(context.principal.user, TABLE)
    statement = write.item(known, column, value, shown_fields(known, fields), visible)
    record = await database.fetchrow(statement)
    return None if record is None else dict(zip(fields, record, strict=False))


async def delete_row(
    changes: Changes, context: Context, table: str, key: str, *, query: Query
) -> Answer:
    """Remove a row, or with ``soft=1`` set its status to deleted.

    A missing or hidden row is no success, and no error (reading 66).
    """
    to = writer(context, table)
    if not to.rights.delete:
        raise Forbidden
    demand_version(to)
    value = key_value(to, key)
    gone = [] if value is None else await _delete(changes, context, to, [value], query)
    return Answer(envelopes.deleted(context.version, table, bool(gone)))


# ── many rows ─────────────────────────────────────────────────────────────────────────────────────


async def create_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """``{rows: [...]}``: all are stored, or none."""
    to = writer(context, table)
    bodies = [checked(to, row) for row in rows_of(body)]
    if any(not any(name != to.key.name for name in values) for values in bodies):
        raise InvalidRequest("a row names no column of this table")
    if to.system is not None:
        rows = await system_rows.save(changes, context, to, [(values, None) for values in bodies])
    else:
        rows = await plain_rows.put(changes, to, [cast(to, values) for values in bodies])
    return await collection(changes, context, to, rows, query)


async def update_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """``{rows: [...]}``, each with its key: all are changed, or none."""
    to = writer(context, table)
    if "rows" not in body and to.key.name in body:
        body = {"rows": [body]}
    given = rows_of(body)
    for row in given:
        may_change_at_all(to, row)
    demand_version(to)
    bodies = [checked(to, row) for row in given]
    keys = [body_key(to, row) for row in given]
    for values in bodies:
        values.pop(to.key.name, None)
    pairs = list(zip(bodies, keys, strict=True))
    if to.system is not None:
        rows = await system_rows.save(changes, context, to, pairs)
    else:
        changed = [{**cast(to, values), to.key.name: key} for values, key in pairs]
        rows = await plain_rows.update(changes, to, changed)
    return await collection(changes, context, to, rows, query)


async def delete_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """``{rows: [{id}]}``; without a body an error, and nothing is deleted (reading 26)."""
    to = writer(context, table)
    if not to.rights.delete:
        raise Forbidden
    demand_version(to)
    keys = list(dict.fromkeys(body_key(to, row) for row in rows_of(body)))
    gone = await _delete(changes, context, to, keys, query)
    return Answer(envelopes.deleted_all(context.version, table, gone, bool(gone)))


async def _delete(
    changes: Changes, context: Context, to: Writer, keys: Sequence[object], query: Query
) -> list[object]:
    """The keys of the rows that went; all that are the caller's to see, or none."""
    if flag(query.get("soft")):
        status = to.status
        if status is not None:
            if to.system is not None:
                return await system_rows.soft_delete(changes, context, to, keys, status)
            return await plain_rows.soft_delete(changes, to, keys, status)
        if not to.table.is_system:
            raise InvalidRequest("Cannot soft delete. Table has not status column.")
    allowed = [to.visible, to.rights.delete_condition(to.user, TABLE), to.unchanged]
    if to.system is not None:
        gone = await system_rows.delete(changes, context, to, keys, allowed)
    else:
        gone = await plain_rows.delete(changes, to, keys, allowed)
    if not gone and (allowed[1] or allowed[2]) and await sees(changes.database, to, keys):
        raise await refusal(changes.database, to, dict.fromkeys(keys, allowed[:-1]))
    return gone


# ── answers ───────────────────────────────────────────────────────────────────────────────────────


async def item(changes: Changes, context: Context, to: Writer, row: Stored, query: Query) -> Answer:
    await _embed(changes, context, to, [row], query)
    body = envelopes.item(context.version, to.table.name, row.shown, meta=_meta(query))
    return Answer(body, version=row.version)


async def collection(
    changes: Changes, context: Context, to: Writer, rows: Sequence[Stored], query: Query
) -> Answer:
    await _embed(changes, context, to, rows, query)
    shown = [row.shown for row in rows]
    return Answer(
        envelopes.collection(
            context.version, to.table.name, shown, None, has_status=False, meta=_meta(query)
        )
    )


async def _embed(
    changes: Changes, context: Context, to: Writer, rows: Sequence[Stored], query: Query
) -> None:
    """The related rows of what was written, for the answer."""
    if to.related and to.rights.view:
        shown = [row.shown for row in rows]
        await embed_written(changes.database, context, to.table.name, shown, query)


def _meta(query: Query) -> bool:
    return "meta" not in query or flag(query["meta"])
