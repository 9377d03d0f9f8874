"""Creating, changing and deleting rows: what a body may say, then one statement each.

A key that names a write-protected column refuses the whole write; unknown keys are ignored, or
refused under ``Prefer: handling=strict`` (reading 54). Columns that the server fills in by itself
are ignored in a body (reading 56).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from asyncpg import Record

from shared import envelopes
from shared.answers import Answer
from shared.brackets import Query, flag
from shared.catalogue import Catalogue, Column, Table
from shared.changes import Change, Changes
from shared.column_types import Kind
from shared.context import Actor, Context
from shared.database import Database
from shared.errors import (
    ApiError,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotUnique,
    PreconditionFailed,
    PreconditionRequired,
)
from shared.idempotency import hide
from shared.preconditions import Precondition
from shared.rights import Rights, TableRights, owned
from shared.rows import write
from shared.rows.access import TABLE, Field, known_table, primary_key, visible_fields
from shared.rows.compile import shown_fields
from shared.rows.read import embed_written
from shared.rows.values import Unfit, compared, comparison_type, stored
from shared.rows.write import Batch
from shared.sql import EMPTY, Sql, raw
from shared.stamps import ALL, table_topic, topics_of
from shared.system_tables import Prepared, SystemTable, system_table

MAX_BULK: Final = 10_000  # rows of one bulk request

DELETED: Final = 0  # the status of soft-deleted rows

_KEPT: Final = 1024  # writers a process remembers

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Writer:
    """A table the caller may change in some way, and what he may see of it."""

    table: Table
    rights: TableRights
    system: SystemTable | None
    key: Column
    fields: Mapping[str, Field]
    shown: Sql
    user: int
    actor: Actor
    precondition: Precondition
    strict: bool
    related: bool  # has relations

    @property
    def unchanged(self) -> Sql:
        """The row is of a version that the caller has seen."""
        return write.is_version(self.table, self.precondition.versions)

    @property
    def visible(self) -> Sql:
        return self.rights.view_condition(self.user, TABLE)

    @property
    def topics(self) -> set[str]:
        topics = {table_topic(name) for name in self.table.closure | {self.table.name}}
        return topics if self.table.closure_known else topics | {ALL}

    @property
    def status(self) -> Column | None:
        name = self.table.status_column
        return None if name is None else self.table.columns[name]


def writer(context: Context, name: str) -> Writer:
    """Raises Forbidden, NotFound (administrators), InvalidRequest for a table that is read only."""
    key = (name, context.principal.group, context.principal.user)
    known = _writers.get(key)
    if known is not None and known[0] is context.catalogue and known[1] is context.rights:
        return replace(
            known[2],
            actor=_comparing(context.actor),
            precondition=context.precondition,
            strict=context.strict,
        )
    made = _writer(context, name)
    if len(_writers) >= _KEPT:
        del _writers[next(iter(_writers))]  # the oldest: dicts keep their order
    _writers[key] = (context.catalogue, context.rights, made)
    return made


def _writer(context: Context, name: str) -> Writer:
    table = known_table(context, name)
    rights = context.rights.of(table)
    if not (rights.add or rights.edit or rights.delete):
        raise Forbidden
    system = system_table(name, context.principal, rights)
    if not table.writable:
        reason = (
            "its changes are not recorded: adopt it first"
            if table.primary_key is not None
            else "it has no primary key of one column"
        )
        raise InvalidRequest(f'The table "{name}" is read only: {reason}.')
    key = primary_key(table)
    fields = visible_fields(context, table) if rights.view else {key.name: key}
    return Writer(
        table=table,
        rights=rights,
        system=system,
        key=key,
        fields=fields,
        shown=shown_fields(table, fields),
        user=context.principal.user,
        actor=_comparing(context.actor),
        precondition=context.precondition,
        strict=context.strict,
        related=any(column.relationship for column in table.columns.values()),
    )


def _comparing(actor: Actor) -> Actor:
    """The rows' own statements compare what If-Match names."""
    return actor if actor.seen is None else replace(actor, seen=None)


# They hold for these very objects: knowledge is replaced as a whole.
_writers: dict[tuple[str, int, int], tuple[Catalogue, Rights, Writer]] = {}


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as the caller is shown it, and the version of what is stored."""

    shown: dict[str, Any]
    version: str | None


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
    values = _checked(to, body)
    if not any(name != to.key.name for name in values):
        raise InvalidRequest("the body names no column of this table")
    if to.system is not None:
        (row,) = await _write_system(changes, context, to, [(values, None)])
    else:
        (row,) = await _put(changes, to, [_stored(to, values)])
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
    _may_change_at_all(to, body)
    _demand_version(to)
    value = _key_value(to, key)
    if value is None:
        raise _no_record(to, key)
    values = _checked(to, body)
    if values.pop(to.key.name, key) != key and _key_value(to, body[to.key.name]) != value:
        raise InvalidRequest("the key of a row cannot be changed", field=to.key.name)
    if to.system is not None and values:
        (row,) = await _write_system(changes, context, to, [(values, value)])
    elif values:
        (row,) = await _update(changes, to, [{**_stored(to, values), to.key.name: value}])
    else:
        row = await _unchanged(changes.database, to, value)
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
    value = _value_of(column, key)
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
    _demand_version(to)
    value = _key_value(to, key)
    gone = [] if value is None else await _delete(changes, context, to, [value], query)
    return Answer(envelopes.deleted(context.version, table, bool(gone)))


# ── many rows ─────────────────────────────────────────────────────────────────────────────────────


async def create_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """``{rows: [...]}``: all are stored, or none."""
    to = writer(context, table)
    bodies = [_checked(to, row) for row in rows_of(body)]
    if any(not any(name != to.key.name for name in values) for values in bodies):
        raise InvalidRequest("a row names no column of this table")
    if to.system is not None:
        rows = await _write_system(changes, context, to, [(values, None) for values in bodies])
    else:
        rows = await _put(changes, to, [_stored(to, values) for values in bodies])
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
        _may_change_at_all(to, row)
    _demand_version(to)
    bodies = [_checked(to, row) for row in given]
    keys = [body_key(to, row) for row in given]
    for values in bodies:
        values.pop(to.key.name, None)
    pairs = list(zip(bodies, keys, strict=True))
    if to.system is not None:
        rows = await _write_system(changes, context, to, pairs)
    else:
        changed = [{**_stored(to, values), to.key.name: key} for values, key in pairs]
        rows = await _update(changes, to, changed)
    return await collection(changes, context, to, rows, query)


async def delete_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """``{rows: [{id}]}``; without a body an error, and nothing is deleted (reading 26)."""
    to = writer(context, table)
    if not to.rights.delete:
        raise Forbidden
    _demand_version(to)
    keys = list(dict.fromkeys(body_key(to, row) for row in rows_of(body)))
    gone = await _delete(changes, context, to, keys, query)
    return Answer(envelopes.deleted_all(context.version, table, gone, bool(gone)))


async def _embed(
    changes: Changes, context: Context, to: Writer, rows: Sequence[Stored], query: Query
) -> None:
    """The related rows of what was written, for the answer."""
    if to.related and to.rights.view:
        shown = [row.shown for row in rows]
        await embed_written(changes.database, context, to.table.name, shown, query)


def rows_of(body: Body) -> list[Body]:
    rows = body.get("rows")
    if isinstance(rows, dict):  # a form: rows[0][title]=…
        rows = list(rows.values())
    if not rows or not isinstance(rows, list):
        raise InvalidRequest("Rows no specified", field="rows")
    if len(rows) > MAX_BULK:
        raise InvalidRequest(f"rows has more than {MAX_BULK} entries", field="rows")
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidRequest("each of rows is an object", field="rows")
    return rows


def body_key(to: Writer, row: Body) -> object:
    given = row.get(to.key.name)
    if given is None or given == "":
        raise InvalidRequest("Row without primary key field", field=to.key.name)
    value = _key_value(to, given)
    if value is None:
        raise _no_record(to, given)
    return value


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


# ── what a body says ──────────────────────────────────────────────────────────────────────────────


def _checked(to: Writer, body: Body) -> dict[str, Any]:
    """The part of a body that is for this table, not yet cast.

    Raises Forbidden for a write-protected key, InvalidRequest for rows given to a relation and,
    under strict handling, for keys that would be ignored.
    """
    values: dict[str, Any] = {}
    virtual = to.system.virtual if to.system is not None else frozenset[str]()
    computed: Mapping[str, Any] = to.system.computed if to.system is not None else {}
    automatic = to.table.automatic_columns
    for name, value in body.items():
        column = to.table.columns.get(name)
        if name in to.rights.write_blacklist and (column or name in virtual or name in computed):
            raise Forbidden(f'Permission denied: the column "{name}" is protected', field=name)
        if name in virtual:
            values[name] = value
        elif column is None or column.generated or name in automatic:
            if to.strict:
                raise InvalidRequest(f'the body names "{name}", which cannot be set', field=name)
        elif column.is_alias:
            if value:
                message = f'the column "{name}" takes no rows in a body'
                raise InvalidRequest(message, field=name)
        elif name != to.key.name or (value is not None and value != ""):
            values[name] = value
    return values


def _stored(to: Writer, values: Body) -> dict[str, object]:
    return {name: stored(to.table.columns[name], value) for name, value in values.items()}


def _key_value(to: Writer, given: Any) -> object | None:
    """A key as its column holds it; None for what no row can have."""
    return _value_of(to.key, given)


def _value_of(key: Column, given: Any) -> object | None:
    text = given if isinstance(given, str) else str(given)
    try:
        pg_type, value = compared(key, text)
    except Unfit:
        return None
    return value if pg_type == comparison_type(key) else None


def _meta(query: Query) -> bool:
    return "meta" not in query or flag(query["meta"])


def _demand_version(to: Writer) -> None:
    """Raises PreconditionRequired where the table wants changes to say what they change."""
    if to.table.require_if_match and not to.precondition.exists:
        raise PreconditionRequired(
            f'a change of a row of "{to.table.name}" must carry If-Match with the row\'s ETag'
        )


def _only_new(to: Writer) -> bool:
    """Whether a row that exists already may not be met."""
    return to.precondition.absent or (to.table.require_if_match and not to.precondition.exists)


def _other_version() -> PreconditionFailed:
    return PreconditionFailed("the row is not, or not any more, as If-Match says")


def _refusal(to: Writer) -> ApiError:
    """Why a row that the caller sees was not changed."""
    return Forbidden() if to.precondition.versions is None else _other_version()


def _no_record(to: Writer, key: object) -> NotFound:
    return NotFound(f"Unable to find the record in [{to.table.name}] with ID [{key}]")


# ── what the caller may do ────────────────────────────────────────────────────────────────────────


def _may_change_at_all(to: Writer, body: Body) -> None:
    """A change of status to deleted needs the delete right alone; everything else editing."""
    if to.rights.edit:
        return
    status = to.status
    others = [name for name in body if name not in {to.key.name, status.name if status else ""}]
    deletes = status is not None and status.name in body and not others
    if not deletes or not to.rights.delete:
        raise Forbidden


def _may_add(to: Writer, values: Body) -> None:
    """Raises Forbidden; workflow rows ask for the status that the new row will have."""
    status = to.status
    number: int | None = None
    if status is not None:
        given = values.get(status.name, status.default)
        text = str(given) if given is not None else ""
        number = int(text) if text.lstrip("-").isdigit() else None
    if not to.rights.add or not to.rights.level("add", number):
        raise Forbidden


def _allowed(to: Writer, values: Body) -> list[Sql]:
    """Conditions on a row for these values to be written into it."""
    conditions = [to.visible, to.unchanged]
    status = to.status
    changes_status = status is not None and status.name in values
    edit = to.rights.edit_condition(to.user, TABLE)
    if status is None or not changes_status:
        return [*conditions, edit]
    if any(name not in {to.key.name, status.name} for name in values):
        conditions.append(edit)
    new = values[status.name]
    if new in {DELETED, str(DELETED)}:
        allowed = to.rights.delete_condition(to.user, TABLE)
    else:
        allowed = _both(edit, _level_condition(to, new))
    conditions.append(write.status_rule(status, new, allowed, edit))
    return conditions


def _level_condition(to: Writer, status: object) -> Sql:
    """Which rows the caller might edit once they have this status."""
    level = to.rights.level("edit", status if isinstance(status, int) else None)
    if level >= 2:
        return EMPTY
    return owned(to.table, to.user, TABLE) if level == 1 else raw("false")


def _both(first: Sql, second: Sql) -> Sql:
    if not first or not second:
        return first or second
    return raw("(") + first + raw(") AND (") + second + raw(")")


# ── the statements ────────────────────────────────────────────────────────────────────────────────


def _batches(to: Writer, rows: Sequence[Mapping[str, object]]) -> list[Batch]:
    """Runs of rows that one statement can write: same columns, same new status, no key twice."""

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
                batches.append(_batch(to, taken))
                taken, keys = [], set()
            keys.add(key)
            taken.append(row)
        batches.append(_batch(to, taken))
    return batches


def _batch(to: Writer, rows: Sequence[Mapping[str, object]]) -> Batch:
    columns = to.table.columns
    return Batch(
        table=to.table,
        key=to.key,
        columns=tuple(columns[name] for name in rows[0]),
        rows=rows,
        automatic=automatic_values(to, created=True),
        automatic_update=automatic_values(to, created=False),
        actor=to.actor,
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
        return [_shown(to, record) for record in records]
    rows: list[Stored] = []
    async with changes.transaction(to.actor) as change:
        change.touch(*to.topics)
        for batch, statement in statements:
            records = await change.fetch(statement)
            if complete and len(records) < len(batch.rows):
                raise _Incomplete
            rows.extend(_shown(to, record) for record in records)
    return rows


class _Incomplete(Exception):
    """Some row of a batch was not there, or not the caller's to change."""


def _shown(to: Writer, record: Record) -> Stored:
    return Stored(dict(zip(to.fields, record, strict=False)), record["?version"])


async def _put(changes: Changes, to: Writer, rows: Sequence[Mapping[str, object]]) -> list[Stored]:
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
        if keys and await _sees(changes.database, to, keys):
            _explain_existing(to)
            if any(_allowed(to, row) != [EMPTY, EMPTY, EMPTY] for row in rows):
                raise Forbidden from None
        raise
    if complete and len(stored_rows) < len(rows):
        raise _other_version() if to.precondition.exists else Forbidden()
    return stored_rows


def _put_statement(to: Writer, batch: Batch) -> tuple[Batch, Sql]:
    """Raises Forbidden, PreconditionFailed."""
    if to.key.name not in batch.rows[0]:
        if to.precondition.exists:
            raise _other_version()
        for row in batch.rows:
            _may_add(to, row)
        return batch, write.insert(batch, to.shown)
    add = to.rights.add > 0 and not to.precondition.exists
    edit = to.rights.edit > 0 and not _only_new(to)
    if add and to.rights.by_status:
        _may_add(to, batch.rows[0])
    if not add and not edit:
        raise Forbidden
    allowed = _allowed(to, batch.rows[0])
    return batch, write.put(batch, to.shown, allowed, add=add, edit=edit)


def _explain_existing(to: Writer) -> None:
    """Raises PreconditionFailed, PreconditionRequired where a row was to be a new one."""
    if to.precondition.absent:
        raise PreconditionFailed("a row with this key exists")
    _demand_version(to)


async def _update(
    changes: Changes, to: Writer, rows: Sequence[Mapping[str, object]]
) -> list[Stored]:
    statements: list[tuple[Batch, Sql]] = []
    for batch in _batches(to, rows):
        statement = write.update if len(batch.columns) > 1 else write.untouched
        allowed = _allowed(to, batch.rows[0])
        statements.append((batch, statement(batch, to.shown, allowed)))
    try:
        found = await _run(changes, to, statements, complete=True)
    except _Incomplete:
        found = []
    if len(found) < len(rows):
        keys = [row[to.key.name] for row in rows]
        for key in keys:
            if not await _sees(changes.database, to, [key]):
                raise _no_record(to, key)
        raise _refusal(to)
    return found


async def _delete(
    changes: Changes, context: Context, to: Writer, keys: Sequence[object], query: Query
) -> list[object]:
    """The keys of the rows that went; all that are the caller's to see, or none."""
    if flag(query.get("soft")):
        status = to.status
        if status is not None:
            if to.system is not None:
                return await _soft_delete_system(changes, context, to, keys, status)
            return await _soft_delete(changes, to, keys, status)
        if not to.table.is_system:
            raise InvalidRequest("Cannot soft delete. Table has not status column.")
    allowed = [to.visible, to.rights.delete_condition(to.user, TABLE), to.unchanged]
    if to.system is not None:
        gone = await _delete_system(changes, context, to, keys, allowed)
    else:
        statement = write.delete(to.table, to.key, keys, allowed, to.actor)
        if len(keys) == 1:
            gone = [record[0] for record in await changes.once(statement, to.topics)]
        else:
            gone = await _delete_all(changes, to, keys, statement)
    if not gone and (allowed[1] or allowed[2]) and await _sees(changes.database, to, keys):
        raise _refusal(to)
    return gone


async def _delete_all(
    changes: Changes, to: Writer, keys: Sequence[object], statement: Sql
) -> list[object]:
    async with changes.transaction(to.actor) as change:
        change.touch(*to.topics)
        gone = [record[0] for record in await change.fetch(statement)]
        left = set(keys) - set(gone)
        if left and await change.fetchval(write.seen(to.table, to.key, [*left], to.visible)):
            raise _refusal(to)  # rolls back: all or none
    return gone


async def _soft_delete(
    changes: Changes, to: Writer, keys: Sequence[object], status: Column
) -> list[object]:
    rows = [{status.name: stored(status, DELETED), to.key.name: key} for key in keys]
    sees = [key for key in keys if await _sees(changes.database, to, [key])]
    if not sees:
        return []
    found = await _update(changes, to, [row for row in rows if row[to.key.name] in sees])
    return [row.shown[to.key.name] for row in found]


async def _soft_delete_system(
    changes: Changes, context: Context, to: Writer, keys: Sequence[object], status: Column
) -> list[object]:
    """Their rules hold for this change of status too: the last administrator stays."""
    gone = [key for key in keys if await _sees(changes.database, to, [key])]
    deleted = {status.name: DELETED}
    await _write_system(changes, context, to, [(deleted, key) for key in gone])
    return gone


async def _sees(database: Database, to: Writer, keys: Sequence[object]) -> bool:
    if not to.rights.view:
        return False
    return await database.fetchval(write.seen(to.table, to.key, keys, to.visible))


async def _unchanged(database: Database, to: Writer, key: object) -> Stored:
    record = await database.fetchrow(write.item(to.table, to.key, key, to.shown, to.visible))
    if record is None or not to.rights.view:
        raise _no_record(to, key)
    shown = _shown(to, record)
    versions = to.precondition.versions
    if versions is not None and shown.version not in versions:
        raise _other_version()
    return shown


# ── system tables: their own rules, images for the topics, all in one transaction ─────────────────


@dataclass(frozen=True, slots=True)
class _Ready:
    """One row of a system table, checked, as its rules want it."""

    prepared: Prepared
    values: Mapping[str, object]
    key: object  # None for a new row without a key of its own
    exists: bool


async def _write_system(
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
            shown = _shown(to, record)
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
    if existing is not None and not exists:
        raise _no_record(to, existing)
    prepared = await to.system.prepare(context, dict(given), key if exists else None)
    values = _stored(to, {n: v for n, v in prepared.values.items() if n in to.table.columns})
    if not exists:
        _may_add(to, values)
    elif not to.rights.edit:
        _may_change_at_all(to, values)
    return _Ready(prepared, values, key, exists)


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
        raise _refusal(to) if sees else _no_record(to, key)
    key = record[to.key.name]
    change.touch(*to.topics, *topics_of(to.table.name, before, await _image(change, to, key)))
    if row.prepared.after is not None:
        await row.prepared.after(change, key)
    return await change.fetchrow(write.item(to.table, to.key, key, to.shown, EMPTY))


def _system_statement(
    to: Writer, values: Mapping[str, object], key: object, *, exists: bool
) -> Sql:
    named = {name: value for name, value in values.items() if name != to.key.name}
    row = {**named, to.key.name: key}
    if exists and named:
        return write.update(_batch(to, [row]), to.shown, _allowed(to, values))
    if exists:
        editable = _both(to.rights.edit_condition(to.user, TABLE), to.unchanged)
        return write.item(to.table, to.key, key, to.shown, _both(to.visible, editable))
    if key is None:
        return write.insert(_batch(to, [named]), to.shown)
    return write.put(_batch(to, [row]), to.shown, [raw("false")], add=True, edit=False)


async def _image(change: Change, to: Writer, key: object) -> dict[str, object] | None:
    record = await change.fetchrow(write.image(to.table, to.key, key))
    return None if record is None else dict(record)


async def _delete_system(
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
            raise Forbidden
    return [record[0] for record in gone]
