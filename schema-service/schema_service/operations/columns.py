"""Columns: list, describe, create, change, drop. Source: contract 7.2, list (b)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from schema_service.operations import versions
from schema_service.operations.alterable import alterable
from schema_service.operations.answers import of_the_schema, wrapped
from schema_service.operations.describe import describe_column, describe_columns
from schema_service.operations.names import new_column_name
from schema_service.operations.truth import truth
from schema_service.store import schema
from schema_service.store.schema import QUERIES, schema_change
from shared.answers import Answer
from shared.catalogue import NEW_COLUMN_SORT, Column, Table, load_catalogue
from shared.changes import Change, Changes
from shared.column_types import BadType, ColumnType, declare, default_ui, is_alias
from shared.context import Context
from shared.errors import Conflict, Forbidden, InvalidRequest, Missing, NotFound, Taken
from shared.sql import fixed
from shared.stamps import group_topic, table_topic
from shared.versions import ApiVersion

_TO_ONE: Final = ("single_file", "many_to_one", "many_to_one_typeahead")
_RELATIONSHIPS: Final = ("MANYTOONE", "ONETOMANY", "MANYTOMANY")
_KEYS: Final = ("related_table", "junction_table", "junction_key_left", "junction_key_right")
_FLAGS: Final = ("hidden_input", "hidden_list", "required")
MAX_UI: Final = 64  # characters, as the column


def list_columns(context: Context, name: str) -> Answer:
    """Raises Forbidden for a hidden or missing table, NotFound for administrators."""
    table = _viewable(context, name)
    described = describe_columns(table, context.rights.of(table), context.version)
    meta = {"table": "directus_columns", "type": "collection", "total": len(described)}
    return of_the_schema(context, wrapped(context, described, meta))


def get_column(context: Context, name: str, column_name: str) -> Answer:
    """Raises Missing; Forbidden and NotFound for the table."""
    table = _viewable(context, name)
    column = context.rights.of(table).readable().get(column_name)
    if column is None:
        raise Missing(f"Unable to find the column [{column_name}]")
    body = _described(context, table, column)
    return of_the_schema(context, body, versions.column_version(column))


def _described(context: Context, table: Table, column: Column) -> bytes:
    described = describe_column(table, column, context.version)
    return wrapped(context, described, {"table": "directus_columns", "type": "item"})


def _viewable(context: Context, name: str) -> Table:
    table = context.catalogue.table(name)
    if table is None and context.principal.is_admin:
        raise NotFound(f'Unable to find the table "{name}"')
    if table is None or not context.rights.of(table).view:
        raise Forbidden
    return table


# ── create ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column to be: ``declared`` is None for one that is metadata only."""

    name: str
    declared: ColumnType | None
    default: str | None
    metadata: Mapping[str, Any]


async def create_column(
    changes: Changes, context: Context, name: str, body: Mapping[str, Any]
) -> Answer:
    """Raises Forbidden, InvalidRequest, Refused for a name that is taken, Conflict for a type that
    cannot be.
    """
    table = alterable(context, name)
    new = new_column(body)
    if new.name in table.columns:
        raise Taken(f"The column [{new.name}] already exists")
    async with schema_change(changes, context, versions.nothing) as change:
        await add(change, name, body)
        if table.managed:
            await change.execute(fixed(QUERIES["manage"], name))  # it may be the status
        change.touch(*map(table_topic, table.closure))
        catalogue = await load_catalogue(change)
    return _answered(context, catalogue.tables[name], new.name)


def _answered(context: Context, table: Table, name: str) -> Answer:
    column = table.columns[name]
    body = _described(context, table, column)
    return Answer(body, version=versions.column_version(column))


async def add(change: Change, table: str, body: Mapping[str, Any]) -> None:
    new = new_column(body)
    if new.declared is not None:
        await schema.add_column(change, table, new.name, new.declared, new.default)
        if new.metadata["comment"]:
            await schema.comment_on_column(change, table, new.name, new.metadata["comment"])
    await schema.save_column(change, table, new.name, new.metadata)


def new_column(body: Mapping[str, Any]) -> NewColumn:
    """What a body means, under all the names that real callers send (reading 18).

    Raises InvalidRequest, Conflict for a type that cannot be.
    """
    name = new_column_name(body.get("column_name") or body.get("name") or body.get("id"))
    metadata: dict[str, Any] = {"sort": NEW_COLUMN_SORT, "comment": "", **_metadata(body)}
    data_type = str(body.get("data_type") or body.get("type") or "").strip()
    if metadata.get("ui") in _TO_ONE:
        metadata |= {"relationship_type": "MANYTOONE", "junction_key_right": name}
        data_type = data_type or "INT"
        if metadata["ui"] == "single_file":
            metadata["related_table"] = "directus_files"
    relationship = metadata.get("relationship_type")
    if is_alias(data_type) or relationship in ("ONETOMANY", "MANYTOMANY"):
        metadata["data_type"] = data_type.upper() if is_alias(data_type) else "ALIAS"
        return NewColumn(name, None, None, metadata)
    if relationship == "MANYTOONE":
        metadata["junction_key_right"] = metadata.get("junction_key_right") or name
    declared = declared_type(data_type, _length(body))
    metadata |= {"data_type": declared.stored, "char_length": declared.length}
    return NewColumn(name, declared, _default(body), metadata)


def declared_type(data_type: str, length: str | None) -> ColumnType:
    if not data_type:
        raise InvalidRequest("A column needs a data_type.", field="data_type")
    try:
        return declare(data_type, length)
    except BadType as error:
        raise Conflict(f"This column cannot be: {error}.", field="data_type") from error


def _length(body: Mapping[str, Any]) -> str | None:
    given = body.get("char_length")
    given = body.get("length") if given in (None, "") else given
    if isinstance(given, list):
        return ",".join(str(part) for part in given)
    return None if given in (None, "") else str(given)


def _default(body: Mapping[str, Any]) -> str | None:
    given = body.get("default_value")
    if isinstance(given, bool):
        return str(int(given))
    return None if given in (None, "") else str(given)


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of directus_columns that a body names, but not the type."""
    found: dict[str, Any] = {name: int(truth(body[name])) for name in _FLAGS if name in body}
    for name in ("ui", *_KEYS):
        if name in body:
            found[name] = str(body[name]) if body[name] not in (None, "") else None
    if "comment" in body:
        found["comment"] = str(body["comment"] or "")
    if "sort" in body:
        found["sort"] = _sort(body["sort"])
    if "relationship_type" in body:
        found["relationship_type"] = _relationship_type(body["relationship_type"])
    if "options" in body:
        found["options"] = msgspec.json.encode(body["options"] or {}).decode()
    return found


def _sort(value: object) -> int | None:
    if value in (None, ""):
        return None
    text = str(value).strip()
    if not text.lstrip("-").isdigit() or len(text) > 9:
        raise InvalidRequest("sort must be a whole number", field="sort")
    return int(text)


def _relationship_type(value: object) -> str | None:
    if value in (None, ""):
        return None
    name = str(value).upper()
    if name not in _RELATIONSHIPS:
        known = ", ".join(_RELATIONSHIPS)
        raise InvalidRequest(f"relationship_type must be one of {known}", field="relationship_type")
    return name


# ── change ────────────────────────────────────────────────────────────────────────────────────────


async def update_column(
    changes: Changes, context: Context, name: str, column_name: str, body: Mapping[str, Any]
) -> Answer:
    """Change metadata, and with ``data_type``, ``length`` or ``default_value`` the column itself.

    Raises Missing, Forbidden, NotFound for the table, Conflict for a type that cannot be.
    """
    table = alterable(context, name, structure=False)
    column = table.columns.get(column_name)
    if column is None:
        raise Missing(f"Unable to find the column [{column_name}]")
    version = versions.of_column(name, column_name)
    async with schema_change(changes, context, version) as change:
        await change_metadata(change, table, {**body, "id": column_name})
        if not column.is_alias and not table.is_system:
            await _change_structure(change, table, column, body)
        catalogue = await load_catalogue(change)
    return _answered(context, catalogue.tables[name], column_name)


async def update_columns(
    changes: Changes, context: Context, name: str, body: Mapping[str, Any]
) -> Answer:
    """``rows`` with metadata of columns by ``id``: all are changed, or none."""
    table = alterable(context, name, structure=False)
    async with schema_change(changes, context) as change:
        for entry in entries(body.get("rows")):
            await change_metadata(change, table, entry)
        catalogue = await load_catalogue(change)
    return list_columns(replace(context, catalogue=catalogue), name)


def entries(given: object) -> list[Mapping[str, Any]]:
    """A list of objects, from JSON or from a form (``rows[0][id]=…``). Raises InvalidRequest."""
    if given is None:
        return []
    values: object = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise InvalidRequest("a list of objects is needed, each with the id of its column")
    return values


async def change_metadata(change: Change, table: Table, entry: Mapping[str, Any]) -> None:
    """Raises Missing."""
    name = str(entry.get("id") or entry.get("column_name") or entry.get("name") or "")
    column = table.columns.get(name)
    if column is None:
        raise Missing(f"Unable to find the column [{name}]")
    metadata = _metadata(entry)
    if not metadata:
        return
    await schema.save_column(change, table.name, name, metadata)
    if "comment" in metadata and not column.is_alias:
        await schema.comment_on_column(change, table.name, name, metadata["comment"])


async def _change_structure(
    change: Change, table: Table, column: Column, body: Mapping[str, Any]
) -> None:
    """Of a key only metadata change: it carries the sequence and the activity."""
    if column.name == table.primary_key or column.generated:
        return
    given = str(body.get("data_type") or "").strip()
    length = _length(body)
    declared = declared_type(given or column.data_type, length or column.char_length)
    if (given or length) and declared.reported.column_type != column.column_type:
        is_status = column.name == table.status_column and table.managed
        if is_status:
            await change.execute(fixed(QUERIES["unmanage"], table.name))
        await schema.alter_column(change, table.name, column.name, declared)
        saved = {"data_type": declared.stored, "char_length": declared.length}
        await schema.save_column(change, table.name, column.name, saved)
        if "default_value" not in body and column.default is not None:
            await schema.set_default(change, table.name, column.name, declared, column.default)
        if is_status:
            await change.execute(fixed(QUERIES["manage"], table.name))
        change.touch(*map(table_topic, table.closure))
    if "default_value" in body and _default(body) != column.default:
        await schema.set_default(change, table.name, column.name, declared, _default(body))
        saved = {"data_type": declared.stored, "char_length": declared.length}
        await schema.save_column(change, table.name, column.name, saved)


async def drop_column(changes: Changes, context: Context, name: str, column_name: str) -> Answer:
    """Rights and metadata of the column go with it.

    Raises Missing, Forbidden, Conflict for the key, the last column, or where others depend on it.
    """
    name, column_name = _unswapped(context, name, column_name)
    table = alterable(context, name)
    column = table.columns.get(column_name)
    if column is None:
        raise Missing(f"Unable to find the column [{column_name}]")
    if column.name == table.primary_key:
        raise Conflict("The key of a table cannot be deleted.")
    version = versions.of_column(name, column_name)
    async with schema_change(changes, context, version) as change:
        if not column.is_alias:
            if len([c for c in table.columns.values() if not c.is_alias]) == 1:
                raise Conflict("The last column of a table cannot be deleted.")
            await _drop(change, table, column_name)
        forgotten = await change.fetchrow(fixed(QUERIES["forget_column"], name, column_name))
        assert forgotten is not None
        if not forgotten["had_metadata"]:
            await change.execute(fixed(QUERIES["record_schema"], name, "UPDATE"))
        change.touch(*map(table_topic, table.closure), *map(group_topic, forgotten["groups"]))
        change.touch("t:directus_privileges")
    meta = {"table": name, "column": column_name}
    if context.version is ApiVersion.V1_0:
        return Answer(msgspec.json.encode({"success": True}))
    return Answer(msgspec.json.encode({"meta": meta, "success": True}))


def _unswapped(context: Context, name: str, column_name: str) -> tuple[str, str]:
    """The PHP client, called as documented, sends column and table in the other order (7.2).

    Only where there is no such table: then nothing else can be meant.
    """
    other = context.catalogue.table(column_name)
    if context.catalogue.table(name) is None and other is not None and name in other.columns:
        return column_name, name
    return name, column_name


async def _drop(change: Change, table: Table, column_name: str) -> None:
    """The count triggers look at the status column: they go before it, and come back without it."""
    is_status = table.managed and column_name == table.status_column
    if is_status:
        await change.execute(fixed(QUERIES["unmanage"], table.name))
    await schema.drop_column(change, table.name, column_name)
    again = "manage" if is_status else "index_lists"  # indexes with this column are gone
    await change.execute(fixed(QUERIES[again], table.name))


# ── options of the interface a column is edited with ──────────────────────────────────────────────


def get_options(context: Context, name: str, column_name: str, ui: str) -> Answer:
    """``{id: <ui>, key: value, …}``. Raises NotFound where there are none for this interface."""
    table = _viewable(context, name)
    column = context.rights.of(table).readable().get(column_name)
    if column is None:
        raise NotFound(f"Unable to find the column [{column_name}]")
    if not column.options or ui != _ui_of(column):
        raise NotFound(f"There are no options of [{column_name}] for the interface [{ui}]")
    body = _options(context, ui, column.options)
    return of_the_schema(context, body, versions.column_version(column))


async def save_options(
    changes: Changes, context: Context, place: tuple[str, str, str], body: Mapping[str, Any]
) -> Answer:
    """Set what is named; ``place`` is table, column and interface.

    A column has the options of one interface: those of another take its place, and make it the
    column's. Raises Missing, Forbidden, NotFound for the table, InvalidRequest.
    """
    name, column_name, ui = place
    table = alterable(context, name, structure=False)
    column = table.columns.get(column_name)
    if column is None:
        raise Missing(f"Unable to find the column [{column_name}]")
    if len(ui) > MAX_UI:
        raise InvalidRequest(f"The name of an interface has at most {MAX_UI} characters")
    given = {key: value for key, value in body.items() if key != "id"}
    kept = column.options if ui == _ui_of(column) else {}
    options = {**kept, **given}
    metadata = {"ui": ui, "options": msgspec.json.encode(options).decode()}
    version = versions.of_column(name, column_name)
    async with schema_change(changes, context, version) as change:
        await schema.save_column(change, name, column_name, metadata)
        catalogue = await load_catalogue(change)
    saved = catalogue.tables[name].columns[column_name]
    return Answer(_options(context, ui, options), version=versions.column_version(saved))


def _ui_of(column: Column) -> str:
    return column.ui or default_ui(column.data_type)


def _options(context: Context, ui: str, options: Mapping[str, Any]) -> bytes:
    return wrapped(context, {**options, "id": ui}, {"table": "directus_ui", "type": "item"})
