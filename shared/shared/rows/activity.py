"""The activity as its readers see it: entries cut to the tables, rows and columns they may view.

An entry holds the row after a change and the changed columns before it. Who may not view a table
sees none of its entries; of rows the condition of the view right is asked of the entry's own image,
as the row was then; of columns only those stay that the reader may read by their name of today.
Source: contract 7.11, readings 43 and 69.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from shared.catalogue import Column, Table
from shared.context import Context
from shared.rights import TableRights
from shared.sql import EMPTY, Sql, join, literal, param, raw
from shared.system_tables import system_table

# What the wire calls the kind of an entry; everything else is an ENTRY.
TYPES: Final[Mapping[str, str]] = {
    "directus_files": "FILES",
    "directus_settings": "SETTINGS",
    "directus_tables": "UI",
    "directus_columns": "UI",
    "directus_preferences": "UI",
    "directus_bookmarks": "UI",
    "directus_messages": "MESSAGE",
    "directus_messages_recipients": "MESSAGE",
}
DELETED_STATUS: Final = "0"
# Of these a reader sees what he did himself: the right to view them is decided row by row.
BY_THEMSELVES: Final = frozenset({"directus_messages", "directus_messages_recipients"})

_TEXTS: Final = (
    "identifier", "type", "data", "delta", "before", "parent_table", "user_agent", "logged_ip",
)  # fmt: skip
_NUMBERS: Final = ("parent_id", "parent_changed")
_SHOWN: Final = (
    "id", "identifier", "action", "table_name", "row_id", "user", "datetime", "type", "data",
    "delta", "before", "parent_id", "parent_table", "parent_changed", "user_agent", "logged_ip",
    "actor", "request_id", "quiet",
)  # fmt: skip
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")  # a key as its row shows it

Shown = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reader:
    """What one caller may see of a table's entries. ``columns`` None: every one, for ever."""

    table: Table
    rights: TableRights
    columns: frozenset[str] | None
    everything: bool  # all rows, so that what a row was before is no secret either


def readers(context: Context) -> dict[str, Reader]:
    """The tables of which this caller sees any entry, by name."""
    found = (_reader(context, table) for table in context.catalogue.tables.values())
    return {reader.table.name: reader for reader in found if reader is not None}


def _reader(context: Context, table: Table) -> Reader | None:
    rights = context.rights.of(table)
    if not rights.view:
        return None
    if context.rights.admin:
        return Reader(table, rights, None, everything=True)
    system = system_table(table.name, context.principal, rights)
    computed = frozenset(system.computed) if system is not None else frozenset[str]()
    named = frozenset(n for n, column in rights.readable().items() if not column.is_alias)
    everything = not rights.depends_on_user() and all(
        rights.level("view", status) == 2 for status in (None, *rights.by_status)
    )
    everything = everything and table.name not in BY_THEMSELVES
    return Reader(table, rights, named - computed, everything=everything)


def identifier_column(table: Table) -> str | None:
    """The first column that is no machinery: what people call a row by."""
    machinery = {table.primary_key, table.status_column, table.sort_column, *table.owner_columns}
    machinery |= table.automatic_columns
    for name, column in table.columns.items():
        if name not in machinery and not column.is_alias:
            return name
    return None


# ── as SQL ────────────────────────────────────────────────────────────────────────────────────────


def shown_table(table: Table, *, positions: bool = False) -> Table:
    """``directus_activity`` with the columns the wire has, to filter, order and choose among."""
    stored = table.columns
    text = replace(stored["request_id"], nullable=True)
    number = replace(stored["user"], nullable=True)
    columns: dict[str, Column] = {}
    for name in _SHOWN:
        if name in stored and name not in _TEXTS:
            columns[name] = stored[name]
        else:
            columns[name] = replace(number if name in _NUMBERS else text, name=name)
    if positions:
        columns["position"] = replace(stored["id"], name="position")
    return replace(table, columns=columns, status_column=None, sort_column=None)


def entries(context: Context, *, after: int | None = None, until: int = 0) -> Sql:
    """The entries this caller may see, in the columns of ``shown_table``, as a FROM item.

    With ``after`` those of the feed's positions above it, up to ``until``.
    """
    mine = readers(context)
    every = context.catalogue.tables.values()
    names = {table.name: name for table in every if (name := identifier_column(table)) is not None}
    source = raw("(SELECT ") + _columns(context, positions=after is not None) + raw(" FROM ")
    if after is None:
        source += raw("public.directus_activity a")
    else:
        source += raw(
            "directoire.feed f JOIN public.directus_activity a"
            ' ON a.id = f.id AND a."datetime" = f.at'
        )
    source += raw(" CROSS JOIN (SELECT ") + _json(names) + raw(" AS named")
    conditions: list[Sql] = []
    if not context.rights.admin:
        readable = {name: sorted(reader.columns or ()) for name, reader in mine.items()}
        source += raw(", ") + _json(readable) + raw(" AS readable")
        source += raw(", ") + param(sorted(n for n, r in mine.items() if r.everything))
        source += raw("::text[] AS open")
        conditions.append(_visible(context, mine))
    source += raw(") k")
    if after is not None:
        conditions.append(
            raw("f.position > ") + param(after) + raw("::int8 AND f.position <= ")
            + param(until) + raw("::int8")
        )  # fmt: skip
    if conditions:
        source += raw(" WHERE ") + join(" AND ", conditions)
    return source + raw(")")


def _columns(context: Context, *, positions: bool) -> Sql:
    admin = context.rights.admin
    image = raw("coalesce(a.after, a.before)")
    identifier = raw("left(") + image + raw(" ->> (k.named ->> a.table_name), 255)")
    before = _cut(raw("a.before"), admin=admin)
    if not admin:
        readable = raw("(k.readable -> a.table_name) ? (k.named ->> a.table_name)")
        identifier = raw("CASE WHEN ") + readable + raw(" THEN ") + identifier + raw(" END")
        before = (
            raw("CASE WHEN a.table_name = ANY (k.open) OR a.action = 'DELETE' THEN ")
            + before
            + raw(" END")
        )
    delta = (
        raw("CASE a.action WHEN 'UPDATE' THEN (SELECT jsonb_object_agg(c.key, a.after -> c.key)")
        + raw("::text FROM jsonb_object_keys(a.before) c (key)")
        + (EMPTY if admin else raw(" WHERE (k.readable -> a.table_name) ? c.key"))
        + raw(") WHEN 'ADD' THEN ")
        + _cut(raw("a.after"), admin=admin)
        + raw(" END")
    )
    columns = [
        raw('a.id, a."datetime", a.table_name, a.row_id, a."user", a.actor, a.request_id'),
        raw(
            "(a.quiet OR EXISTS (SELECT FROM directoire.quiet_tables q"
            " WHERE q.table_name = a.table_name)) AS quiet"
        ),
        _action(context) + raw(" AS action"),
        _type() + raw(" AS type"),
        identifier + raw(" AS identifier"),
        _cut(image, admin=admin) + raw(" AS data"),
        delta + raw(" AS delta"),
        before + raw(" AS before"),
        raw("NULL::int4 AS parent_id, NULL::int4 AS parent_changed, NULL::text AS parent_table"),
        raw("NULL::text AS user_agent, NULL::text AS logged_ip"),
    ]
    if positions:
        columns.append(raw("f.position"))
    return join(", ", columns)


def _cut(image: Sql, *, admin: bool) -> Sql:
    if admin:
        return image + raw("::text")
    return (
        raw("(SELECT jsonb_object_agg(c.key, c.value)::text FROM jsonb_each(")
        + image
        + raw(") c WHERE (k.readable -> a.table_name) ? c.key)")
    )


def _action(context: Context) -> Sql:
    """A row whose status became "deleted" was deleted; a message that answers one is a REPLY."""
    others = {
        table.name: table.status_column or ""
        for table in context.catalogue.tables.values()
        if table.status_column != "active"
    }
    status = raw("coalesce(") + _json(others) + raw(" ->> a.table_name, 'active')")
    return (
        raw("CASE WHEN a.action = 'UPDATE' AND a.before ? ")
        + status
        + raw(" AND a.after ->> ")
        + status
        + raw(" = '" + DELETED_STATUS + "' THEN 'DELETE'")
        + raw(" WHEN a.table_name = 'directus_messages' AND a.action = 'ADD'")
        + raw(" AND a.after ->> 'response_to' IS NOT NULL THEN 'REPLY' ELSE a.action END")
    )


def _type() -> Sql:
    whens = [
        raw("WHEN ") + literal(name) + raw(" THEN ") + literal(kind) for name, kind in TYPES.items()
    ]
    return (
        raw("CASE WHEN a.action = 'LOGIN' THEN 'LOGIN' ELSE CASE a.table_name ")
        + join(" ", whens)
        + raw(" ELSE 'ENTRY' END END")
    )


def _visible(context: Context, mine: Mapping[str, Reader]) -> Sql:
    user = context.principal.user
    conditions = [raw("a.table_name = ANY (k.open)")]
    for name, reader in mine.items():
        if reader.everything:
            continue
        if name in BY_THEMSELVES:
            rows = raw('a."user" = ') + param(user) + raw("::int4")
        else:
            rows = raw("a.action <> 'TRUNCATE' AND ") + _rows(reader, user)
        conditions.append(raw("a.table_name = ") + param(name) + raw("::text AND ") + rows)
    return raw("((") + join(") OR (", conditions) + raw("))")


def _rows(reader: Reader, user: int) -> Sql:
    rights, status = reader.rights, reader.table.status_column
    general = _level(reader, rights.level("view", None), user)
    if status is None or not rights.by_status:
        return general
    cases = [
        raw("WHEN ") + param(str(number)) + raw("::text THEN ")
        + _level(reader, rights.level("view", number), user)
        for number in rights.by_status
    ]  # fmt: skip
    whole = raw("CASE coalesce(a.after, a.before) ->> ") + param(status) + raw("::text ")
    return whole + join(" ", cases) + raw(" ELSE ") + general + raw(" END")


def _level(reader: Reader, level: int, user: int) -> Sql:
    if level >= 2:
        return raw("true")
    owned = [
        raw("coalesce(a.after, a.before) ->> ") + param(name) + raw("::text = ")
        + param(str(user)) + raw("::text")
        for name in reader.table.owner_columns
    ]  # fmt: skip
    return raw("(") + join(" OR ", owned) + raw(")") if level == 1 and owned else raw("false")


def _json(value: object) -> Sql:
    return param(msgspec.json.encode(value).decode()) + raw("::jsonb")


# ── what PostgreSQL cannot say ────────────────────────────────────────────────────────────────────


def finished(row: dict[str, object]) -> dict[str, object]:
    """``row_id`` is a number, or null: a client of 1.1 reads it as one and fails at anything else.

    A key that is no number is in ``row_key``. Source: contract, section 4.
    """
    key = row.get("row_id")
    if isinstance(key, str):
        is_number = _NUMBER.fullmatch(key) is not None
        row["row_id"] = int(key) if is_number else None
        if not is_number:
            row["row_key"] = key
    return row
