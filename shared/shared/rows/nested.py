"""Related rows in bodies: created, changed and detached with the row itself, all or none.

Each row is written as if it were sent by itself: its table's rights, rules and records. What a
client sends back as it was read, and did not change, is not written.
Source: contract 7.3, "Relations in bodies".
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from msgspec import structs

from shared.answers import Answer
from shared.brackets import Query
from shared.catalogue import Column
from shared.changes import Changes
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest
from shared.preconditions import NONE
from shared.rows import change
from shared.rows.access import Path, access, demand_complete, relation_path
from shared.rows.bodies import Body, body_key, rows_of
from shared.rows.sent_files import SentFile, record_sent, sent_files
from shared.rows.writer import DELETED, Stored, writer

MAX_RELATED: Final = 1_000  # objects in the relations of one body
MAX_NESTED: Final = 12  # objects and arrays inside each other


@dataclass(frozen=True, slots=True)
class _Nested:
    """What a body says of one relation."""

    column: Column
    path: Path
    value: Any


_Parts = tuple[dict[str, Any], list[_Nested]]  # a body: its own columns, its relations


async def create_row(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """As change.create_row, with related rows. Raises its errors, of any of the tables."""
    plain, nested = _split(context, table, body)
    if not nested:
        return await change.create_row(changes, context, table, body, query=query)
    async with _with_files(changes, context, [(plain, nested)]) as [part]:
        row = await _save(changes, context, table, part, None)
        return await change.item(changes, context, writer(context, table), row, query)


async def update_row(
    changes: Changes, context: Context, table: str, key: str, body: Body, *, query: Query
) -> Answer:
    """As change.update_row, with related rows."""
    plain, nested = _split(context, table, body)
    if not nested:
        return await change.update_row(changes, context, table, key, body, query=query)
    async with _with_files(changes, context, [(plain, nested)]) as [part]:
        row = await _save(changes, context, table, part, key)
        return await change.item(changes, context, writer(context, table), row, query)


async def create_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """As change.create_rows, with related rows."""
    given = rows_of(body)
    parts = [_split(context, table, row) for row in given]
    if not any(nested for _, nested in parts):
        return await change.create_rows(changes, context, table, body, query=query)
    async with _with_files(changes, context, parts) as parts:
        rows = [await _save(changes, context, table, part, None) for part in parts]
        return await change.collection(changes, context, writer(context, table), rows, query)


async def update_rows(
    changes: Changes, context: Context, table: str, body: Body, *, query: Query
) -> Answer:
    """As change.update_rows, with related rows."""
    to = writer(context, table)
    if "rows" not in body and to.key.name in body:
        body = {"rows": [body]}
    given = rows_of(body)
    parts = [_split(context, table, row) for row in given]
    if not any(nested for _, nested in parts):
        return await change.update_rows(changes, context, table, body, query=query)
    keys = [body_key(to, row) for row in given]
    async with _with_files(changes, context, parts) as parts:
        rows = [
            await _save(changes, context, table, part, str(key))
            for part, key in zip(parts, keys, strict=True)
        ]
        return await change.collection(changes, context, to, rows, query)


@asynccontextmanager
async def _with_files(
    changes: Changes, context: Context, parts: Sequence[_Parts]
) -> AsyncGenerator[list[_Parts]]:
    """All or none of the writes inside; files that the bodies bring are stored before."""
    async with sent_files(context) as files:
        ready = [
            (
                plain,
                [
                    replace(item, value=await files.stored(item.path.rows.table, item.value))
                    for item in nested
                ],
            )
            for plain, nested in parts
        ]
        async with changes.all_or_none():
            yield ready


# ── what a body says of relations ─────────────────────────────────────────────────────────────────


def _split(context: Context, table: str, body: Body) -> tuple[dict[str, Any], list[_Nested]]:
    """The row's own columns, and what is said of its relations.

    Raises Forbidden for a protected relation, InvalidRequest for one that leads nowhere,
    IncompleteRelation.
    """
    known = context.catalogue.table(table)
    plain: dict[str, Any] = {}
    nested: list[_Nested] = []
    for name, value in body.items():
        column = None if known is None else known.columns.get(name)
        if not _is_nested(column, value):
            plain[name] = value
            continue
        assert column is not None
        to = writer(context, table)
        if name in to.rights.write_blacklist:
            raise Forbidden(f'Permission denied: the column "{name}" is protected', field=name)
        key = _key_alone(value) if not column.is_alias else None
        if key is not None or (not column.is_alias and not _inner(value)):
            plain[name] = key
            continue
        where = access(context, table)
        path = relation_path(context, where, column) if where.named(name) is not None else None
        if path is None:
            if column.is_alias and _says_nothing(value):
                continue  # as it is shown of a relation that the caller may not follow
            demand_complete(column)
            raise InvalidRequest(f'the column "{name}" takes no rows in a body', field=name)
        nested.append(_Nested(column, path, value))
    if nested:
        _check_size([item.value for item in nested])
    return plain, nested


def _says_nothing(value: Any) -> bool:
    """``{meta, data: []}`` and its like."""
    if not isinstance(value, Mapping):
        return not value
    return not any(value.get(name) for name in set(value) - {"meta", "junction"})


def _is_nested(column: Column | None, value: Any) -> bool:
    if column is None or column.relationship is None:
        return False
    return bool(value) if column.is_alias else isinstance(value, Mapping)


def _inner(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The related object itself: ``{id: 2, …}`` of 1.0, ``{meta, data: {id: 2, …}}`` of 1.1."""
    inner = value.get("data")
    return inner if isinstance(inner, Mapping) and not set(value) - {"meta", "data"} else value


def _key_alone(value: Mapping[str, Any]) -> Any:
    """``{data: {id: 2}}``: a key, as it is shown of a row that the caller may not view."""
    inner = _inner(value)
    return inner["id"] if set(inner) == {"id"} else None


def _check_size(values: Sequence[Any]) -> None:
    open_ = [(value, 1) for value in values]
    objects = 0
    while open_:
        value, depth = open_.pop()
        inside = value.values() if isinstance(value, Mapping) else value
        if not isinstance(value, Mapping | list):
            continue
        objects += 1
        if objects > MAX_RELATED or depth > MAX_NESTED:
            message = f"a body holds up to {MAX_RELATED} related rows, {MAX_NESTED} levels deep"
            raise InvalidRequest(message)
        open_ += [(item, depth + 1) for item in inside]


def _entries(item: _Nested) -> list[Any]:
    """The entries of a relation to many: an array, ``{rows: […]}``, ``{meta, data: […]}``."""
    value = item.value
    if isinstance(value, Mapping):
        for name in ("rows", "data"):
            if isinstance(value.get(name), list):
                value = value[name]
                break
        else:
            value = list(value.values())  # a form: comments[0][text]=…
    if not isinstance(value, list):
        name = item.column.name
        raise InvalidRequest(f'the column "{name}" takes an array of rows', field=name)
    return value


def _object(item: _Nested, entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        name = item.column.name
        raise InvalidRequest(f'each entry of "{name}" is an object', field=name)
    return entry


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


async def _save(
    changes: Changes,
    context: Context,
    table: str,
    parts: tuple[dict[str, Any], list[_Nested]],
    key: str | None,
) -> Stored:
    """The row as stored, after the rows it points at and before those that point at it."""
    plain, nested = parts
    inside = structs.replace(context, precondition=NONE)  # it speaks of the row itself
    for item in nested:
        if not item.column.is_alias:
            plain[item.column.name] = await _save_one(changes, inside, item)
    to = writer(context, table)
    if key is None:
        row = await change.stored_new(changes, context, to, plain)
    else:
        row = await change.stored_update(changes, context, to, key, plain)
    parent = row.shown[to.key.name]
    for item in nested:
        if item.path.junction is not None:
            await _save_through(changes, inside, item, parent)
        elif item.column.is_alias:
            await _save_many(changes, inside, item, parent)
    return row


async def _save_one(changes: Changes, context: Context, item: _Nested) -> Any:
    """The key of the row that an object stands for: created, or updated if it has its key."""
    return await _put(changes, context, item.path.rows.table.name, _inner(item.value))


async def _put(changes: Changes, context: Context, table: str, body: Mapping[str, Any]) -> Any:
    """Create a row, or change what differs in the one its key names; returns the key."""
    if isinstance(body, SentFile):
        return await record_sent(changes, context, body)
    to = writer(context, table) if not _has_key(context, table, body) else None
    if to is None:
        known = context.catalogue.tables[table]
        key = body[known.primary_key or ""]
        current = await change.current_row(changes.database, context, table, str(key))
        if current is not None:
            differing = _differing(current, body)
            if differing:
                parts = _split(context, table, differing)
                await _save(changes, context, table, parts, str(key))
            return current[known.primary_key or ""]
        to = writer(context, table)
    row = await _save(changes, context, table, _split(context, table, body), None)
    return row.shown[to.key.name]


def _has_key(context: Context, table: str, body: Mapping[str, Any]) -> bool:
    name = context.catalogue.tables[table].primary_key
    return name is not None and body.get(name) not in {None, ""}


def _differing(current: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a body is not so already; relations inside are looked at one by one."""
    return {
        name: value
        for name, value in body.items()
        if name not in current or not _same(current[name], value)
    }


def _same(shown: Any, given: Any) -> bool:
    if isinstance(given, Mapping | list):
        return False
    if shown is None or given is None:
        return shown is None and given in {None, ""}
    return str(shown) == str(given)


async def _save_many(changes: Changes, context: Context, item: _Nested, parent: Any) -> None:
    """Rows that point here: with key updated, without inserted; a deleted one is detached."""
    table, link = item.path.rows.table, item.path.match
    for entry in _entries(item):
        body = dict(_object(item, entry))
        status = table.status_column or "active"
        gone = str(body.get(status, "")) == str(DELETED)
        if gone and _has_key(context, table.name, body):
            key = str(body[table.primary_key or ""])
            if await change.current_row(changes.database, context, table.name, key) is None:
                continue
            await _detach(changes, context, item, key)
            continue
        if gone and table.status_column is None:
            continue
        await _put(changes, context, table.name, {**body, link.name: parent})


async def _detach(changes: Changes, context: Context, item: _Nested, key: str) -> None:
    """Marked as deleted where the table knows that, else cut loose, else deleted."""
    table, link = item.path.rows.table, item.path.match
    to = writer(context, table.name)
    if table.status_column is not None:
        await change.stored_update(changes, context, to, key, {table.status_column: DELETED})
    elif link.nullable:
        await change.stored_update(changes, context, to, key, {link.name: None})
    else:
        await change.delete_row(changes, context, table.name, key, query={})


async def _save_through(changes: Changes, context: Context, item: _Nested, parent: Any) -> None:
    """``{id?, active?, data: {…}}``: rows behind a junction; id and active 0 remove the link."""
    path = item.path
    assert path.junction is not None
    assert path.link is not None
    near = path.junction.table
    for entry in _junction_entries(item):
        given = {**_object(item, entry)}
        data = given.pop("data", None)
        key = given.get(near.primary_key or "")
        status = near.status_column or "active"
        if key not in {None, ""} and str(given.get(status, "")) == str(DELETED):
            await change.delete_row(changes, context, near.name, str(key), query={})
            continue
        row: dict[str, Any] = {**given, path.match.name: parent}
        if isinstance(data, Mapping):
            row[path.link.name] = await _put(changes, context, path.rows.table.name, data)
        elif data is not None and not isinstance(data, list):
            row[path.link.name] = data
        await _put(changes, context, near.name, row)


def _junction_entries(item: _Nested) -> list[Any]:
    """As clients write them, or as 1.1 shows them: ``{data: […], junction: {data: […]}}``."""
    value = item.value
    junction = value.get("junction") if isinstance(value, Mapping) else None
    if not isinstance(junction, Mapping) or not isinstance(junction.get("data"), list):
        return _entries(item)
    data = value.get("data")
    if not isinstance(data, list) or len(data) != len(junction["data"]):
        message = f'"{item.column.name}" takes as many rows as junction rows'
        raise InvalidRequest(message, field=item.column.name)
    return [
        {**_object(item, near), "data": far}
        for near, far in zip(junction["data"], data, strict=True)
    ]
