"""What may be read: every name of a request checked against the catalogue and the caller's rights.

A column that the caller may not read is as unknown as one that does not exist: a filter or an order
by it would tell its values (reading 51). Knows no SQL text but the conditions that rights are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.catalogue import ACTIVITY, Column, Table
from shared.column_types import Kind
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.rights import TableRights
from shared.rows import activity
from shared.rows.operators import OPERATORS, RowTest
from shared.rows.parse import MAX_ROWS, Filter, ListQuery
from shared.sql import EMPTY, Sql, raw
from shared.stamps import SCHEMA, group_topic, table_topic
from shared.system_tables import Computed, SystemTable, system_table
from shared.versions import ApiVersion

TABLE: Final = raw("t")  # the alias of the table a request is about
NEAR: Final = raw("n")  # rows that point at it: of the related or the junction table
FAR: Final = raw("f")  # rows behind a junction

_TEXT_KINDS: Final = frozenset({Kind.TEXT, Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL})
_OLD_SEARCH_TYPES: Final = frozenset({"VARCHAR", "INT"})
_DEFAULT_STATUS: Final = ("1",)
_NEWEST_FIRST: Final = frozenset({"directus_activity"})

Field = Column | Computed


@dataclass(frozen=True, slots=True)
class Compare:
    """A filter on a column's own value."""

    column: Column
    operator: str
    words: tuple[str, ...]
    either: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One table of a relation, as far as the caller may see into it."""

    table: Table
    visible: Sql


@dataclass(frozen=True, slots=True)
class Relation:
    """The rows that belong to a row of the table: of ``near``, or of ``far`` behind it."""

    key: Column  # of the table itself
    near: Side
    near_key: Column  # points at ``key``
    far: Side | None = None
    far_link: Column | None = None  # of near, points at far
    far_key: Column | None = None


@dataclass(frozen=True, slots=True)
class CompareRows:
    """A filter on how many related rows there are, or which."""

    relation: Relation
    test: RowTest
    words: tuple[str, ...]
    either: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by status. ``kept``: by the database; else they are counted under ``visible``."""

    kept: bool
    status: Column | None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One list. Its conditions are and-ed; ``filters`` are one flat chain in themselves."""

    table: Table
    fields: Mapping[str, Field]
    visible: Sql
    filters: tuple[Compare | CompareRows, ...]
    one_of: tuple[tuple[Column, tuple[str, ...]], ...]
    text: str | None
    text_columns: tuple[Column, ...]
    orders: tuple[tuple[Column, bool], ...]  # descending?
    limit: int
    offset: int
    clipped: bool  # the caller asked for all: the answer may hold less
    counts: Counts | None
    single: bool
    meta: bool
    depends: frozenset[str]
    scope: Literal["group", "user"]
    cacheable: bool
    source: Sql = EMPTY  # what stands for the table in FROM, where it is not the table itself


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """One row by its key."""

    table: Table
    fields: Mapping[str, Field]
    visible: Sql
    key: Column
    depends: frozenset[str]
    scope: Literal["group", "user"]
    cacheable: bool
    source: Sql = EMPTY


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
        found = self.readable.get(name)
        if found is None or (self.system is not None and name in self.system.computed):
            message = f'unknown column "{name}" in {use} of table "{self.table.name}"'
            raise InvalidRequest(message, field=name)
        return found

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


def plan_list(context: Context, name: str, query: ListQuery) -> ReadPlan:
    """Raises Forbidden, NotFound, InvalidRequest naming the unknown thing."""
    return plan_access(context, access(context, name), query)


def plan_access(context: Context, where: Access, query: ListQuery) -> ReadPlan:
    """A list of what the caller was found to see."""
    table = where.table
    depends = _depends(context, table)
    filters = tuple(_filter(context, where, item, depends) for item in query.filters)
    limit = query.limit
    if limit is None:
        limit = context.settings.rows_per_page
        depends.add(table_topic("directus_settings"))
    clipped = limit < 0
    limit = MAX_ROWS if clipped else limit
    offset = query.offset or 0
    if query.page is not None:
        offset = query.page * limit
    if query.single:
        limit, clipped = 1, False
    visible = where.rights.view_condition(context.principal.user, TABLE)
    fields = _fields(where, query.columns)
    wants_counts = query.meta or context.version is ApiVersion.V1_0
    fields = _fields(where, query.columns)
    return ReadPlan(
        table=table,
        fields=fields,
        visible=visible,
        filters=filters,
        one_of=_one_of(where, query),
        text=query.text,
        text_columns=_text_columns(context, where, query),
        orders=_orders(where, query),
        limit=limit,
        offset=offset,
        clipped=clipped,
        counts=_counts(where, visible) if wants_counts and not query.single else None,
        single=query.single,
        meta=query.meta,
        depends=frozenset(depends),
        scope=_scope(context, where, filters),
        cacheable=_cacheable(where, fields),
        source=where.source,
    )


def plan_item(context: Context, name: str, columns: tuple[str, ...] | None) -> ItemPlan:
    """Raises Forbidden, NotFound; InvalidRequest for a table whose rows have no key."""
    where = access(context, name)
    fields = _fields(where, columns)
    return ItemPlan(
        table=where.table,
        fields=fields,
        visible=where.rights.view_condition(context.principal.user, TABLE),
        key=primary_key(where.table),
        depends=frozenset(_depends(context, where.table)),
        scope=_scope(context, where, ()),
        cacheable=_cacheable(where, fields),
        source=where.source,
    )


def visible_fields(context: Context, table: Table) -> dict[str, Field]:
    """Everything this caller may see of a row."""
    rights = context.rights.of(table)
    system = system_table(table.name, context.principal, rights)
    where = Access(table, rights, rights.readable(), system)
    return _fields(where, None)


def primary_key(table: Table) -> Column:
    if table.primary_key is None:
        raise InvalidRequest(f'The table "{table.name}" has no primary key of one column.')
    return table.columns[table.primary_key]


def _depends(context: Context, table: Table) -> set[str]:
    return {table_topic(table.name), SCHEMA, group_topic(context.principal.group)}


def _scope(
    context: Context, where: Access, filters: tuple[Compare | CompareRows, ...]
) -> Literal["group", "user"]:
    """Whether other members of the group may be shown the same bytes."""
    if where.rights.depends_on_user() or (where.system is not None and where.system.personal):
        return "user"
    for item in filters:
        if isinstance(item, CompareRows):
            for side in (item.relation.near, item.relation.far):
                if side is not None and context.rights.of(side.table).depends_on_user():
                    return "user"
    return "group"


def _cacheable(where: Access, fields: Mapping[str, Field]) -> bool:
    """Whether topics tell of every change this answer could show."""
    volatile = where.system.volatile if where.system is not None else frozenset[str]()
    return where.table.managed and volatile.isdisjoint(fields)


def _fields(where: Access, asked: tuple[str, ...] | None) -> dict[str, Field]:
    """What a row shows. Names the caller may not know are left out, relations to many rows too."""
    fields: dict[str, Field] = {
        name: column for name, column in where.readable.items() if not column.is_alias
    }
    if where.system is not None:
        hidden = where.rights.read_blacklist
        fields |= {n: show for n, show in where.system.computed.items() if n not in hidden}
    if asked is None:
        return fields
    return {name: fields[name] for name in asked if name in fields}


def _filter(
    context: Context, where: Access, item: Filter, depends: set[str]
) -> Compare | CompareRows:
    column = where.column(item.column, "a filter")
    operator = OPERATORS[item.operator]
    if not column.is_alias and operator.on_values is not None:
        return Compare(column, item.operator, item.words, item.either)
    if column.is_alias and operator.on_rows is not None:
        relation = _relation(context, where, column)
        sides = [relation.near] if relation.far is None else [relation.near, relation.far]
        depends.update(table_topic(side.table.name) for side in sides)
        return CompareRows(relation, operator.on_rows, item.words, item.either)
    message = f'the operator "{item.operator}" does not work on the column "{item.column}"'
    raise InvalidRequest(message, field=item.column)


def _relation(context: Context, where: Access, column: Column) -> Relation:
    """The tables and columns behind a relation, none of which the caller is kept from.

    Raises Forbidden, for administrators InvalidRequest where the metadata lead nowhere.
    """
    link = column.relationship
    key = primary_key(where.table)
    if link is None or link.junction_key_right is None or link.related_table is None:
        raise _incomplete(context, column)
    if link.type == "ONETOMANY":
        near = _side(context, column, link.related_table, NEAR)
        return Relation(key, near, _side_column(context, column, near, link.junction_key_right))
    if link.junction_table is None or link.junction_key_left is None:
        raise _incomplete(context, column)
    near = _side(context, column, link.junction_table, NEAR)
    far = _side(context, column, link.related_table, FAR)
    return Relation(
        key,
        near,
        _side_column(context, column, near, link.junction_key_left),
        far,
        _side_column(context, column, near, link.junction_key_right),
        primary_key(far.table),
    )


def _side(context: Context, column: Column, name: str, alias: Sql) -> Side:
    table = context.catalogue.table(name)
    if table is None:
        raise _incomplete(context, column)
    rights = context.rights.of(table)
    if not rights.view:
        raise Forbidden
    return Side(table, rights.view_condition(context.principal.user, alias))


def _side_column(context: Context, relation: Column, side: Side, name: str) -> Column:
    found = context.rights.of(side.table).readable().get(name)
    if found is None or found.is_alias:
        raise _incomplete(context, relation)
    return found


def _incomplete(context: Context, column: Column) -> InvalidRequest | Forbidden:
    """Administrators are told; to everybody else it is one with a relation they may not follow."""
    if context.rights.admin:
        message = f'the relation "{column.name}" leads to a table or column that is missing'
        return InvalidRequest(message, field=column.name)
    return Forbidden()


def _one_of(where: Access, query: ListQuery) -> tuple[tuple[Column, tuple[str, ...]], ...]:
    found = [(where.own_column(name, "in"), words) for name, words in query.one_of]
    status = where.table.status_column
    if status is not None and not query.any_status:
        found.append((where.table.columns[status], query.statuses or _DEFAULT_STATUS))
    if query.ids is not None:
        found.append((primary_key(where.table), query.ids))
    return tuple(found)


def _text_columns(context: Context, where: Access, query: ListQuery) -> tuple[Column, ...]:
    """Where ``q`` looks: every text and number column; `search` of 1.0 only VARCHAR and INT."""
    if query.text is None:
        return ()
    narrow = context.version is ApiVersion.V1_0 and not query.text_everywhere
    computed: Mapping[str, Computed] = {} if where.system is None else where.system.computed
    return tuple(
        column
        for name, column in where.readable.items()
        if column.kind in _TEXT_KINDS
        and name not in computed
        and (not narrow or column.data_type in _OLD_SEARCH_TYPES)
    )


def _orders(where: Access, query: ListQuery) -> tuple[tuple[Column, bool], ...]:
    """The order asked for, else by the sort column; ends in the key, so pages never overlap."""
    table = where.table
    orders = [(where.own_column(o.column, "the order"), o.descending) for o in query.orders]
    if not orders and table.sort_column is not None and table.sort_column in where.readable:
        orders = [(table.columns[table.sort_column], False)]
    if not orders and table.name in _NEWEST_FIRST:
        orders = [(primary_key(table), True)]
    named = {column.name for column, _ in orders}
    if table.primary_key is not None and table.primary_key not in named:
        orders.append((table.columns[table.primary_key], False))
    return tuple(orders)


def _counts(where: Access, visible: Sql) -> Counts:
    table = where.table
    status = table.columns[table.status_column] if table.status_column is not None else None
    kept = table.managed and visible == EMPTY
    if where.source:  # of the activity everything is seen by administrators only
        kept = where.open
    return Counts(kept, status)
