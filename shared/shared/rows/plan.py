"""What may be read: every name of a request checked against the catalogue and the caller's rights.

A column that the caller may not read is as unknown as one that does not exist: a filter or an order
by it would tell its values (reading 51). Knows no SQL text but the conditions that rights are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.catalogue import Column, Table
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest
from shared.rows.access import (
    FAR,
    NEAR,
    TABLE,
    Access,
    Field,
    access,
    demand_complete,
    keeps,
    personal,
    primary_key,
    relation_path,
    shown_columns,
    versioned_by,
)
from shared.rows.cursor import Cursor, decode, order_fields
from shared.rows.operators import OPERATORS, RowTest
from shared.rows.parse import MAX_ROWS, Count, Filter, ListQuery
from shared.rows.relations import NONE, Relations, plan_relations, with_key
from shared.rows.through import MAX_STEPS, Follower, Hop, Joined, text_columns
from shared.sql import EMPTY, Sql
from shared.stamps import SCHEMA, group_topic, table_topic
from shared.versions import ApiVersion

_OLD_SEARCH_TYPES: Final = frozenset({"VARCHAR", "INT"})
BUDGET: Final = 100_000  # rows that are counted one by one for a list that did not ask for it
_DEFAULT_STATUS: Final = ("1",)
_NEWEST_FIRST: Final = frozenset({"directus_activity"})


@dataclass(frozen=True, slots=True)
class Compare:
    """A filter on a column's own value."""

    column: Column
    operator: str
    words: tuple[str, ...]
    either: bool
    alias: Sql = TABLE


@dataclass(frozen=True, slots=True)
class Contains:
    """Any of these columns contains the text; ``negated``: none does."""

    columns: tuple[Column, ...]
    alias: Sql
    word: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Through:
    """There are rows behind these steps for which ``leaf`` holds."""

    hops: tuple[Hop, ...]
    leaf: "Compare | CompareRows | Contains"
    either: bool = False


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
    alias: Sql = TABLE


Condition = Compare | CompareRows | Through


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by status. ``kept``: by the database; else they are counted under ``visible``."""

    kept: bool
    status: Column | None
    budget: int | None = None  # rows to count at most; past it the counts are estimates


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One list. Its conditions are and-ed; ``filters`` are one flat chain in themselves."""

    table: Table
    fields: Mapping[str, Field]
    visible: Sql
    filters: tuple[Condition, ...]
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
    relations: Relations = NONE
    text_behind: tuple[Through, ...] = ()
    joins: tuple[Joined, ...] = ()
    groups: tuple[Column, ...] = ()  # one row of each combination
    cursor: Cursor | None = None
    count: Count | None = None  # as asked for
    paged: bool = False  # by number of the page


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
    relations: Relations = NONE
    versioned_by: Mapping[str, Field] | None = None  # as ``access.versioned_by`` has it


def plan_list(context: Context, name: str, query: ListQuery) -> ReadPlan:
    """Raises Forbidden, NotFound, InvalidRequest naming the unknown thing."""
    return plan_access(context, access(context, name), query)


def plan_access(context: Context, where: Access, query: ListQuery) -> ReadPlan:
    """A list of what the caller was found to see."""
    table = where.table
    depends = _depends(context, table)
    follower = Follower(context, where)
    joins = follower.join(query.joins)
    filters = tuple(_filter(follower, item) for item in query.filters)
    text_behind = _text_behind(follower, query)
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
    wants_counts = query.meta or context.version is ApiVersion.V1_0
    relations = plan_relations(
        context, where, query.columns, query.depth, any_status=query.any_status
    )
    fields = with_key(where, shown_columns(where, query.columns), relations)
    orders = _orders(where, query)
    cursor = None
    if query.cursor is not None:
        primary_key(table)  # without one pages would overlap
        cursor = decode(orders, query.cursor)
        fields |= order_fields(orders)
    return ReadPlan(
        table=table,
        fields=fields,
        visible=visible,
        filters=filters,
        one_of=_one_of(where, query),
        text=query.text,
        text_columns=_text_columns(context, where, query),
        text_behind=text_behind,
        orders=orders,
        limit=limit,
        offset=offset,
        clipped=clipped,
        counts=_counts(where, query, visible) if wants_counts and not query.single else None,
        single=query.single,
        meta=query.meta,
        depends=frozenset(depends | relations.topics | _topics(follower.used)),
        scope=_scope(where, follower.used, relations),
        cacheable=(
            keeps(where, fields)
            and relations.cacheable
            and all(used.table.managed for used in follower.used)
        ),
        source=where.source,
        relations=relations,
        joins=joins,
        groups=tuple(where.own_column(name, "group_by") for name in query.groups),
        cursor=cursor,
        count=query.count,
        paged=query.page is not None,
    )


def plan_item(
    context: Context,
    name: str,
    columns: tuple[str, ...] | None,
    depth: int | None = None,
    *,
    any_status: bool = False,
) -> ItemPlan:
    """Raises Forbidden, NotFound; InvalidRequest for a table whose rows have no key."""
    where = access(context, name)
    relations = plan_relations(context, where, columns, depth, any_status=any_status)
    fields = with_key(where, shown_columns(where, columns), relations)
    return ItemPlan(
        table=where.table,
        fields=fields,
        visible=where.rights.view_condition(context.principal.user, TABLE),
        key=primary_key(where.table),
        depends=frozenset(_depends(context, where.table) | relations.topics),
        scope=_scope(where, (), relations),
        cacheable=keeps(where, fields) and relations.cacheable,
        source=where.source,
        relations=relations,
        versioned_by=versioned_by(where.table, where.system, shown_columns(where, None)),
    )


def _depends(context: Context, table: Table) -> set[str]:
    return {table_topic(table.name), SCHEMA, group_topic(context.principal.group)}


def _topics(used: Iterable[Access]) -> set[str]:
    return {table_topic(access.table.name) for access in used}


def _scope(where: Access, used: Iterable[Access], relations: Relations) -> Literal["group", "user"]:
    """Whether other members of the group may be shown the same bytes."""
    mine = relations.personal or personal(where) or any(personal(access) for access in used)
    return "user" if mine else "group"


def _filter(follower: Follower, item: Filter) -> Condition:
    where, alias = follower.where, TABLE
    hops: tuple[Hop, ...] = ()
    if "." in item.column and item.column not in where.readable:
        hops, where, column, alias = follower.follow(item.column)
    else:
        column = where.column(item.column, "a filter")
    operator = OPERATORS[item.operator]
    found: Compare | CompareRows | Contains | None = None
    if operator.on_text is not None and column.relationship is not None and not column.is_alias:
        behind = follower.hop(where, column, alias, len(hops)) if len(hops) < MAX_STEPS else None
        if behind is not None:
            hop, access = behind
            negated = operator.on_text == "without"
            leaf = Contains(text_columns(access), hop.rows.alias, item.words[0], negated)
            return Through((*hops, hop), leaf, item.either)
    if not column.is_alias and operator.on_values is not None:
        found = Compare(column, item.operator, item.words, item.either, alias)
    elif column.is_alias and operator.on_rows is not None:
        relation, sides = _relation(follower.context, where, column)
        follower.used += sides
        found = CompareRows(relation, operator.on_rows, item.words, item.either, alias)
    if found is None:
        message = f'the operator "{item.operator}" does not work on the column "{item.column}"'
        raise InvalidRequest(message, field=item.column)
    return Through(hops, found, item.either) if hops else found


def _text_behind(follower: Follower, query: ListQuery) -> tuple[Through, ...]:
    """``q`` looks through relations to one row and from many, one step far."""
    if query.text is None or not query.text_everywhere or follower.where.source:
        return ()
    found: list[Through] = []
    for name, column in follower.where.readable.items():
        link = column.relationship
        if link is None or link.type == "MANYTOMANY" or follower.where.named(name) is None:
            continue
        behind = follower.hop(follower.where, column, TABLE)
        if behind is not None:
            hop, access = behind
            leaf = Contains(text_columns(access), hop.rows.alias, query.text)
            found.append(Through((hop,), leaf))
    return tuple(found)


def _relation(
    context: Context, where: Access, column: Column
) -> tuple[Relation, tuple[Access, ...]]:
    """What is behind a relation to many rows, none of which the caller is kept from.

    Raises Forbidden, for administrators InvalidRequest where the metadata lead nowhere.
    """
    demand_complete(column)
    path = relation_path(context, where, column)
    if path is None:
        if context.rights.admin:
            message = f'the relation "{column.name}" leads to a table or column that is missing'
            raise InvalidRequest(message, field=column.name)
        raise Forbidden
    user = context.principal.user
    key = primary_key(where.table)
    if path.junction is None:
        near = Side(path.rows.table, path.rows.rights.view_condition(user, NEAR))
        return Relation(key, near, path.match), (path.rows,)
    near = Side(path.junction.table, path.junction.rights.view_condition(user, NEAR))
    far = Side(path.rows.table, path.rows.rights.view_condition(user, FAR))
    relation = Relation(key, near, path.match, far, path.link, path.key)
    return relation, (path.junction, path.rows)


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
    found = text_columns(where)
    return tuple(c for c in found if not narrow or c.data_type in _OLD_SEARCH_TYPES)


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


def _counts(where: Access, query: ListQuery, visible: Sql) -> Counts | None:
    table = where.table
    if query.count == "none":
        return None
    status = table.columns[table.status_column] if table.status_column is not None else None
    kept = table.managed and visible == EMPTY
    if where.source:  # of the activity everything is seen by administrators only
        kept = where.open
    budget = None if kept or query.count == "exact" else BUDGET
    return Counts(kept, status, budget)
