"""Tables: list, describe, create, change what is known of them, drop. Source: contract 7.1."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from schema_service.operations import columns, versions
from schema_service.operations.alterable import alterable
from schema_service.operations.answers import of_the_schema, wrapped
from schema_service.operations.describe import describe_table
from schema_service.operations.names import new_table_name
from schema_service.operations.truth import truth
from schema_service.store import schema
from schema_service.store.schema import QUERIES, schema_change
from shared.answers import Answer
from shared.brackets import as_list
from shared.catalogue import Catalogue, Table, load_catalogue
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Conflict, Forbidden, Missing, NotFound, Taken
from shared.preferences import default_preferences, usable_sort
from shared.rights import TableRights
from shared.sql import fixed, ident, raw
from shared.stamps import SCHEMA, group_topic, table_topic
from shared.system_tables import AUTOMATIC_COLUMNS, check_table_metadata
from shared.versions import ApiVersion

_META: Final = {"table": "directus_tables", "type": "entry"}
_FLAGS: Final = ("hidden", "single", "is_junction_table", "footer", "require_if_match")
_TEXTS: Final = (
    "primary_column",
    "default_status",
    "list_view",
    "column_groupings",
    "filter_column_blacklist",
    "display_template",
    "preview_url",
    "comment",
)


def list_tables(context: Context, *, include_system: bool) -> Answer:
    """Names of the tables the caller may look into."""
    names = [
        {"name": table.name, "table_name": table.name}
        for table in context.catalogue.tables.values()
        if (include_system or not table.is_system) and context.rights.of(table).view
    ]
    meta = {"table": "directus_tables", "type": "collection", "total": len(names)}
    return of_the_schema(context, wrapped(context, names, meta))


async def get_table(database: Database, context: Context, name: str) -> Answer:
    """Raises Missing, also for a table the caller may not look into."""
    table = context.catalogue.table(name)
    if table is None or not context.rights.of(table).view:
        raise Missing(f'Unable to find the table "{name}"')
    rights = context.rights.of(table)
    described = describe_table(
        context,
        table,
        rights,
        await _counts(database, context, table, rights),
        await _preferences(database, context, table, rights),
    )
    body = wrapped(context, described, _META, success=True)
    depends = {SCHEMA, group_topic(context.principal.group), table_topic(name)}
    depends.add(table_topic("directus_preferences"))
    return Answer(
        body,
        depends=frozenset(depends),
        scope="user",
        cacheable=table.managed,
        version=versions.table_version(context, table),
    )


async def create_table(changes: Changes, context: Context, body: Mapping[str, Any]) -> Answer:
    """A new table with key and status; ``columns`` may name more (V64: ``status``, ``sort``).

    Raises Forbidden, InvalidRequest for a bad name, Refused for one that is taken.
    """
    if not context.principal.is_admin:
        raise Forbidden
    if truth(body.get("adopt")):
        return await adopt_table(changes, context, str(body.get("name") or ""))
    name = new_table_name(body.get("name") or body.get("table_name"))
    _refuse_taken(context.catalogue, name)
    async with schema_change(changes, context, versions.nothing) as change:
        await add_table(change, context, name)
        for column in _more_columns(body.get("columns")):
            await columns.add(change, name, column)
        catalogue = await load_catalogue(change)
    return await get_table(changes.database, replace(context, catalogue=catalogue), name)


async def add_table(change: Change, context: Context, name: str) -> None:
    """The table, its metadata, triggers and counts, and all rights for its creator's group."""
    group = context.principal.group
    await schema.create_table(change, name)
    await change.execute(fixed(QUERIES["grant_everything"], name, group))
    await change.execute(fixed(QUERIES["manage"], name))
    change.touch(table_topic(name), "t:directus_privileges", group_topic(group))


async def adopt_table(changes: Changes, context: Context, name: str) -> Answer:
    """A table that others made is recorded, counted and writable from now on, rows as they are.

    Raises Forbidden, NotFound, Conflict for a table without a key of one column: that stays
    readable only (reading 70).
    """
    if not context.principal.is_admin:
        raise Forbidden
    async with schema_change(changes, context, versions.of_table(context, name)) as change:
        # nobody tells of tables that others make: look again
        table = (await load_catalogue(change)).table(name)
        if table is None:
            raise NotFound(f'Unable to find the table "{name}"')
        if table.is_system:
            raise Forbidden("Tables of the system are adopted from the beginning.")
        if table.primary_key is None:
            message = f'The table "{name}" has no primary key of one column: it can be read only.'
            raise Conflict(message)
        await schema.adopt(change, name)
        change.touch(*map(table_topic, table.closure))
        catalogue = await load_catalogue(change)
    return await get_table(changes.database, replace(context, catalogue=catalogue), name)


def _refuse_taken(catalogue: Catalogue, name: str) -> None:
    if catalogue.table(name) is not None:
        raise Taken(f'Table "{name}" already exists')


def _more_columns(given: object) -> list[Mapping[str, Any]]:
    """Bodies of columns; the status is there already."""
    if isinstance(given, list):
        entries: list[Any] = given
    else:
        entries = list(as_list(given)) if isinstance(given, str | dict) else []
    known: dict[str, Mapping[str, Any]] = {
        "sort": {"column_name": "sort", "data_type": "INT", "ui": "sort"}
    }
    found = [known.get(entry) if isinstance(entry, str) else entry for entry in entries]
    return [entry for entry in found if isinstance(entry, Mapping)]


async def update_table(
    changes: Changes, context: Context, name: str, body: Mapping[str, Any]
) -> Answer:
    """Change metadata; ``columns`` may hold metadata of columns by ``id``.

    Raises NotFound and Forbidden as every write, InvalidValue for an automatic column that does
    not fit.
    """
    table = alterable(context, name, structure=False)
    metadata = _metadata(body)
    if not context.principal.is_admin and metadata.keys() & AUTOMATIC_COLUMNS:
        raise Forbidden("Only administrators say who owns rows and what fills columns.")
    check_table_metadata(table, metadata)
    async with schema_change(changes, context, versions.of_table(context, name)) as change:
        if metadata:
            await schema.save_table(change, name, metadata)
        if "comment" in metadata:
            await schema.comment_on_table(change, name, metadata["comment"] or "")
        for entry in columns.entries(body.get("columns")):
            await columns.change_metadata(change, table, entry)
        if table.managed and "status_column" in metadata:
            await change.execute(fixed(QUERIES["manage"], name))
        catalogue = await load_catalogue(change)
    return await get_table(changes.database, replace(context, catalogue=catalogue), name)


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of directus_tables that a body names; an empty text is none."""
    flags = {name: int(truth(body[name])) for name in _FLAGS if name in body}
    texts = {
        name: str(body[name]) if body[name] not in (None, "") else None
        for name in (*_TEXTS, *AUTOMATIC_COLUMNS)
        if name in body
    }
    return {**flags, **texts}


async def drop_table(changes: Changes, context: Context, name: str) -> Answer:
    """The table with its rows, rights, metadata and preferences. Raises Forbidden, NotFound,
    Conflict where others refer to it.
    """
    table = alterable(context, name)
    async with schema_change(changes, context, versions.of_table(context, name)) as change:
        await schema.drop_table(change, name)
        forgotten = await change.fetchrow(fixed(QUERIES["forget_table"], name))
        assert forgotten is not None
        if not forgotten["had_metadata"]:
            await change.execute(fixed(QUERIES["record_schema"], name, "DELETE"))
        change.touch(*map(table_topic, table.closure), *map(group_topic, forgotten["groups"]))
        change.touch("t:directus_privileges", "t:directus_preferences")
    message = f'The table "{name}" was deleted'
    if context.version is ApiVersion.V1_0:
        return Answer(msgspec.json.encode({"success": True, "message": message}))
    return Answer(msgspec.json.encode({"success": True, "data": {"message": message}}))


async def _counts(
    database: Database, context: Context, table: Table, rights: TableRights
) -> dict[str, int]:
    """Rows by status, as far as the caller's rights reach (reading 53)."""
    visible = rights.view_condition(context.principal.user, raw("t"))
    if table.managed and not visible:
        rows = await database.fetch(fixed(QUERIES["counts"], table.oid))
    else:
        status = raw("''")
        if table.status_column is not None:
            status = raw("coalesce(t.") + ident(table.status_column) + raw("::text, '')")
        rows = await database.fetch(
            raw("SELECT ")
            + status
            + raw(" AS status, count(*) AS n FROM public.")
            + ident(table.name)
            + raw(" AS t WHERE ")
            + (visible or raw("true"))
            + raw(" GROUP BY 1")
        )
    return {row["status"]: row["n"] for row in rows}


async def _preferences(
    database: Database, context: Context, table: Table, rights: TableRights
) -> dict[str, Any]:
    """The caller's own, or defaults: computed, never stored by a GET (reading 69)."""
    user = context.principal.user
    stored = await database.fetchrow(fixed(QUERIES["preferences"], user, table.name))
    if stored is None:
        return default_preferences(table, rights, user)
    return {**stored, "sort": usable_sort(table, rights, stored["sort"])}
