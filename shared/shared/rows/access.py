"""What a caller may look into: tables, their columns, and the tables that relations lead to.

A column that the caller may not read is as unknown as one that does not exist: a filter or an order
by it would tell its values (reading 51).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.catalogue import ACTIVITY, Column, Relationship, Table
from shared.context import Context
from shared.errors import Forbidden, IncompleteRelation, InvalidRequest, NotFound
from shared.rights import TableRights
from shared.rows import activity
from shared.sql import EMPTY, Sql, raw
from shared.system_tables import Computed, SystemTable, system_table

TABLE: Final = raw("t")  # the alias of the table a request is about
NEAR: Final = raw("n")  # rows that point at it: of the related or the junction table
FAR: Final = raw("f")  # rows behind a junction

Field = Column | Computed


@dataclass(frozen=True, slots=True)
class Access:
    """A table this caller may look into, with what it may see of it."""

    table: Table
    rights: TableRights
    readable: Mapping[str, Column]
    system: SystemTable | None
    source: Sql = EMPTY  # what stands for the table in FROM
    open: bool = False  # and shows every row of it

    def column(self, name: str, use: str) -> Column:
        """A column to filter or order by. Raises InvalidRequest."""
        found = self.named(name)
        if found is None:
            message = f'unknown column "{name}" in {use} of table "{self.table.name}"'
            raise InvalidRequest(message, field=name)
        return found

    def named(self, name: str) -> Column | None:
        """A column whose values the caller may know, or None."""
        found = self.readable.get(name)
        hidden = self.system is not None and name in self.system.computed
        return None if hidden else found

    def own_column(self, name: str, use: str) -> Column:
        """The same, where a relation has nothing to compare."""
        found = self.column(name, use)
        if found.is_alias:
            message = f'{use} of table "{self.table.name}" cannot use the relation "{name}"'
            raise InvalidRequest(message, field=name)
        return found


def known_table(context: Context, name: str) -> Table:
    """A table as the caller may know of it.

    Raises Forbidden for a missing or hidden one alike, NotFound for administrators (reading 66).
    """
    table = context.catalogue.table(name)
    if table is None:
        if context.rights.admin:
            raise NotFound(f'Unable to find the table "{name}"')
        raise Forbidden
    return table


def access(context: Context, name: str) -> Access:
    """Raises Forbidden without the view right."""
    table = known_table(context, name)
    rights = context.rights.of(table)
    if not rights.view:
        raise Forbidden
    if name == ACTIVITY:
        return activity_access(context, table, rights)
    system = system_table(name, context.principal, rights)
    return Access(table, rights, rights.readable(), system)


def activity_access(
    context: Context,
    table: Table,
    rights: TableRights,
    *,
    after: int | None = None,
    until: int = 0,
) -> Access:
    """The activity, cut to what this caller may view of the tables it tells of."""
    shown = activity.shown_table(table, positions=after is not None)
    hidden = rights.read_blacklist
    readable = {name: column for name, column in shown.columns.items() if name not in hidden}
    source = activity.entries(context, after=after, until=until)
    whole = context.rights.admin and after is None
    return Access(shown, rights, readable, None, source, open=whole)


def visible_fields(context: Context, table: Table) -> dict[str, Field]:
    """Everything this caller may see of a row."""
    rights = context.rights.of(table)
    system = system_table(table.name, context.principal, rights)
    where = Access(table, rights, rights.readable(), system)
    return shown_columns(where, None)


def versioned_by(
    table: Table, system: SystemTable | None, fields: Mapping[str, Field]
) -> Mapping[str, Field] | None:
    """The fields whose values are a row's version; None for a caller who is shown all of the row.

    ``fields`` are all that he may see. His version must not move with what he may not, nor with
    what no topic tells of.
    """
    whole = all(name in fields or column.is_alias for name, column in table.columns.items())
    if whole and (system is None or not system.personal):
        return None
    volatile = system.volatile if system is not None else frozenset[str]()
    return {name: field for name, field in fields.items() if name not in volatile}


def primary_key(table: Table) -> Column:
    if table.primary_key is None:
        raise InvalidRequest(f'The table "{table.name}" has no primary key of one column.')
    return table.columns[table.primary_key]


def shown_columns(where: Access, asked: tuple[str, ...] | None) -> dict[str, Field]:
    """What a row shows. Names the caller may not know are left out, relations to many rows too."""
    fields: dict[str, Field] = {
        name: column for name, column in where.readable.items() if not column.is_alias
    }
    if where.system is not None:
        hidden = where.rights.read_blacklist
        fields |= {n: show for n, show in where.system.computed.items() if n not in hidden}
    if asked is None:
        return fields
    first = dict.fromkeys(name.partition(".")[0] for name in asked)
    return {name: fields[name] for name in first if name in fields}


def personal(access: Access) -> bool:
    """Two users of one group may be shown different rows or values."""
    system = access.system
    return access.rights.depends_on_user() or (system is not None and system.personal)


def keeps(access: Access, fields: Mapping[str, Field]) -> bool:
    """Topics tell of every change these fields could show."""
    volatile = access.system.volatile if access.system is not None else frozenset[str]()
    return access.table.managed and volatile.isdisjoint(fields)


# ── what a relation leads to ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Path:
    """A relation that the caller may follow. ``match`` is in ``rows``, or in ``junction``."""

    rows: Access
    match: Column
    junction: Access | None = None
    link: Column | None = None
    key: Column | None = None


def relation_path(context: Context, where: Access, column: Column) -> Path | None:
    """None where it leads to what is missing or not this caller's to see: one with the other."""
    link = column.relationship
    rows = None if link is None else reachable(context, link.related_table)
    if link is None or rows is None:
        return None
    if link.type == "MANYTOONE":
        key = _key(rows)
        return None if key is None else Path(rows, key)
    if where.table.primary_key is None:
        return None
    if link.type == "ONETOMANY":
        match = _column(rows, link.junction_key_right)
        return None if match is None else Path(rows, match)
    return _through(context, link, rows)


_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "MANYTOONE": ("related_table",),
    "ONETOMANY": ("related_table", "junction_key_right"),
    "MANYTOMANY": ("related_table", "junction_table", "junction_key_left", "junction_key_right"),
}


def demand_complete(column: Column) -> None:
    """Raises IncompleteRelation where the metadata do not say where the relation leads."""
    link = column.relationship
    if link is None:
        return
    missing = [name for name in _NEEDED[link.type] if not getattr(link, name)]
    if missing:
        message = f'the relation "{column.name}" is incomplete: set its {" and ".join(missing)}'
        raise IncompleteRelation(message, field=column.name)


def _through(context: Context, link: Relationship, rows: Access) -> Path | None:
    near, key = reachable(context, link.junction_table), _key(rows)
    if near is None or key is None:
        return None
    match, far = _column(near, link.junction_key_left), _column(near, link.junction_key_right)
    return None if match is None or far is None else Path(rows, match, near, far, key)


def reachable(context: Context, name: str | None) -> Access | None:
    """The table of a relation or join; None where it is missing or not the caller's to see."""
    table = context.catalogue.table(name) if name else None
    if table is None or table.name == ACTIVITY:
        return None
    rights = context.rights.of(table)
    if not rights.view:
        return None
    return Access(
        table, rights, rights.readable(), system_table(table.name, context.principal, rights)
    )


def _key(access: Access) -> Column | None:
    name = access.table.primary_key
    return None if name is None else access.table.columns[name]


def _column(access: Access, name: str | None) -> Column | None:
    """A column to match by: one the caller may read, or rows would tell its values."""
    found = access.named(name or "")
    return None if found is None or found.is_alias else found
