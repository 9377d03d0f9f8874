"""How PostgreSQL reads a plan: pure functions from plans to SQL.

Values leave PostgreSQL in the form the wire shows (contract, list (b)): decimals and dates as text,
booleans as 0 and 1, bytes as base64. What PostgreSQL makes no JSON of is cheaper: building it there
costs more than records and a C encoder (docs/decisions/0010).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, LiteralString

from shared.catalogue import Column, Table
from shared.column_types import Kind
from shared.rows import cursor
from shared.rows.access import FAR, NEAR, TABLE, Field
from shared.rows.operators import NOTHING, OPERATORS, RowTest, contains, one_of
from shared.rows.plan import (
    CompareRows,
    Condition,
    Contains,
    Counts,
    ItemPlan,
    ReadPlan,
    Relation,
    Through,
)
from shared.rows.through import At, Hop, Joined
from shared.rows.values import equal_values, operand, text_operand, typed
from shared.sql import EMPTY, Sql, ident, join, literal, param, raw

KEY: Final = object()  # stands for the key in an item's statement

NO_VERSION: Final = raw("NULL::text")
AS_VERSION: Final = raw(' AS "?version"')

_USUAL_LIMITS: Final = frozenset({1, 5, 10, 20, 25, 50, 100, 200, 500, 1000})
_USUAL_STATUSES: Final = frozenset({"0", "1", "2"})
_DATETIME: Final[LiteralString] = "YYYY-MM-DD HH24:MI:SS"
# Entries without positions, and those with one that retention has left: one snapshot sees either.
_ENTRIES: Final = (
    "SELECT NULL::text AS status, (SELECT r.position - r.retained FROM directoire.relay r)"
    " + (SELECT count(*) FROM directoire.outbox) AS n"
)
_DATETIME_ISO: Final[LiteralString] = 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'  # on system tables


def table_name(table: Table) -> Sql:
    return raw("public.") + ident(table.name)


def compile_list(plan: ReadPlan) -> Sql:
    """The statement of a list: the fields of each row, then the marker ``found``.

    With counts one more column before the marker holds them as JSON ``{"1": 5, "": 2}``, the same
    in each row, and a list without rows is one row without marker: rows and counts of one snapshot
    in one statement.
    """
    rows = (
        raw("SELECT ")
        + join(", ", [*_shown(plan.table, plan.fields), raw('true AS "?found"')])
        + raw(" FROM ")
        + _source(plan)
        + _order(plan)
        + raw(" LIMIT ")
        + _limit(plan.limit)
        + (raw(" OFFSET ") + param(plan.offset) + raw("::int8") if plan.offset else EMPTY)
    )
    if plan.counts is None:
        return rows
    names = [raw("r.") + ident(name) for name in plan.fields]
    fields = join(", ", [*names, raw("c.counts"), raw('r."?found"')])
    counts = _counts(plan, plan.counts)
    return (
        raw("SELECT ")
        + fields
        + raw(" FROM (SELECT json_object_agg(coalesce(s.status, ''), s.n)::text AS counts FROM (")
        + counts
        + raw(") s) c LEFT JOIN LATERAL (")
        + rows
        + raw(") r ON true")
    )


def compile_item(plan: ItemPlan) -> Sql:
    """The row with the key KEY."""
    key = operand(plan.key, TABLE) + raw(" = ") + typed((_key_type(plan.key), KEY))
    version = NO_VERSION if plan.source else row_version(plan.table, plan.versioned_by)
    return (
        raw("SELECT ")
        + join(
            ", ", [*_shown(plan.table, plan.fields), version + AS_VERSION, raw('true AS "?found"')]
        )
        + raw(" FROM ")
        + (plan.source or table_name(plan.table))
        + raw(" AS t")
        + where([key, plan.visible])
    )


def row_version(table: Table, by: Mapping[str, Field] | None) -> Sql:
    """The version of the stored row of alias ``t``, as its tag names it; null where it has none.

    ``by``: see ``access.versioned_by``. What PostgreSQL says of the row as a whole would tell a
    caller that something changed which is hidden from him: his is a digest of what he is shown.
    """
    if not table.writable or not table.versioned:
        return NO_VERSION
    if by is None:
        return raw("t.xmin::text")
    shown = [_field(table, field, TABLE) for field in by.values()]
    return _one_part(raw("md5(ROW(") + join(", ", shown) + raw(")::text)"))


def as_json(table: Table, fields: Mapping[str, Field], alias: Sql) -> Sql:
    """The fields of a row as the text of one JSON object."""
    shown = join(", ", _shown(table, fields, alias))
    return raw("(SELECT row_to_json(j) FROM (SELECT ") + shown + raw(") j)::text")


def where(conditions: Iterable[Sql]) -> Sql:
    """``WHERE`` all of those that say anything."""
    said = [raw("(") + condition + raw(")") for condition in conditions if condition]
    return raw(" WHERE ") + join(" AND ", said) if said else EMPTY


def shown_fields(table: Table, fields: Mapping[str, Field]) -> Sql:
    """The fields of a row of alias ``t``, as the wire shows them."""
    return _one_part(join(", ", _shown(table, fields)))


def _one_part(sql: Sql) -> Sql:
    """Cheap to add to many statements; what holds parameters stays as it is."""
    text, values = sql.render()
    return sql if values else Sql((text,))


def _key_type(key: Column) -> str:
    return key.pg_type if operand(key, TABLE) == TABLE + raw(".") + ident(key.name) else "text"


# ── what a row shows ──────────────────────────────────────────────────────────────────────────────


def _shown(table: Table, fields: Mapping[str, Field], alias: Sql = TABLE) -> list[Sql]:
    return [
        _field(table, field, alias) + raw(" AS ") + ident(name) for name, field in fields.items()
    ]


def _field(table: Table, field: Field, alias: Sql) -> Sql:
    if not isinstance(field, Column):
        return field(alias)
    name = alias + raw(".") + ident(field.name)
    if field.kind in {Kind.DATETIME, Kind.DATETIME_UTC}:
        utc = raw(" AT TIME ZONE 'UTC'") if field.kind is Kind.DATETIME_UTC else EMPTY
        form = literal(_DATETIME_ISO if table.is_system else _DATETIME)
        return raw("to_char(") + name + utc + raw(", ") + form + raw(")")
    if field.kind is Kind.FLOAT and field.pg_type == "float4":
        return name + raw("::text::float8")  # 0.1 instead of 0.10000000149
    if field.kind is Kind.TEXT:
        return text_operand(field, alias)
    return _FORMS.get(field.kind, lambda column: column)(name)


_FORMS: Final[Mapping[Kind, Callable[[Sql], Sql]]] = {
    Kind.DECIMAL: lambda column: column + raw("::text"),
    Kind.BOOLEAN: lambda column: column + raw("::int4"),
    Kind.DATE: lambda column: column + raw("::text"),
    Kind.TIME: lambda column: column + raw("::text"),
    Kind.JSON: lambda column: column + raw("::text"),
    # encode() breaks lines after 76 characters
    Kind.BYTES: lambda c: raw("translate(encode(") + c + raw(", 'base64'), chr(10), '')"),
}


# ── which rows ────────────────────────────────────────────────────────────────────────────────────


def _source(plan: ReadPlan) -> Sql:
    """The rows that fit, as ``t``; with groups the first of each by its key."""
    rows = (plan.source or table_name(plan.table)) + raw(" AS t") + where(_conditions(plan))
    if not plan.groups:
        return rows
    groups = [operand(column, TABLE) for column in plan.groups]
    key = plan.table.columns.get(plan.table.primary_key or "")
    orders = [*groups, *([operand(key, TABLE)] if key is not None else [])]
    return (
        raw("(SELECT DISTINCT ON (")
        + join(", ", groups)
        + raw(") t.* FROM ")
        + rows
        + raw(" ORDER BY ")
        + join(", ", orders)
        + raw(") AS t")
    )


def _conditions(plan: ReadPlan) -> list[Sql]:
    conditions = [plan.visible, cursor.condition(plan.orders, plan.cursor)]
    for column, words in plan.one_of:
        conditions.append(_status_or(plan.table, column, words))
    conditions.append(_joined(plan.joins, _chain(plan.filters)))
    if plan.text is not None:
        found = [contains(column, TABLE, (plan.text,)) for column in plan.text_columns]
        found += [_through(item) for item in plan.text_behind]
        conditions.append(join(" OR ", found) if found else NOTHING)
    return conditions


def _status_or(table: Table, column: Column, words: tuple[str, ...]) -> Sql:
    """The usual status as a constant: the planner then knows how rare it is, without replanning."""
    usual = len(words) == 1 and words[0] in _USUAL_STATUSES
    if column.name == table.status_column and column.kind is Kind.INTEGER and usual:
        return operand(column, TABLE) + raw(" = ") + literal(words[0])
    return one_of(column, TABLE, words)


def _joined(joins: tuple[Joined, ...], chain: Sql) -> Sql:
    """The chain with joined tables in reach: there is a combination of their rows that fits.

    Each row of the list appears once. A RIGHT join's rows without a row of the list show nothing.
    """
    if not joins:
        return chain
    source = raw("EXISTS (SELECT FROM (SELECT) AS o")
    for item in joins:
        source += raw(" INNER JOIN " if item.required else " LEFT JOIN ")
        source += table_name(item.rows.table) + raw(" AS ") + item.rows.alias + raw(" ON (")
        source += _equal_at(item.left, item.right) + raw(")")
        if item.rows.visible:
            source += raw(" AND (") + item.rows.visible + raw(")")
    return source + where([chain]) + raw(")")


def _chain(filters: tuple[Condition, ...]) -> Sql:
    """One flat chain in key order, read with SQL precedence: AND binds tighter (reading 40)."""
    chain = EMPTY
    for index, item in enumerate(filters):
        if index:
            chain += raw(" OR ") if item.either else raw(" AND ")
        chain += raw("(") + _filter(item) + raw(")")
    return chain


def _filter(item: Condition | Contains) -> Sql:
    if isinstance(item, Through):
        return _through(item)
    if isinstance(item, CompareRows):
        return _related(item.relation, item.test, item.words, item.alias)
    if isinstance(item, Contains):
        found = [contains(column, item.alias, (item.word,)) for column in item.columns]
        any_ = join(" OR ", found) if found else NOTHING
        return raw("(") + any_ + raw(") IS NOT TRUE") if item.negated else any_
    build = OPERATORS[item.operator].on_values
    assert build is not None  # the plan has looked
    return build(item.column, item.alias, item.words)


def _through(item: Through) -> Sql:
    """From the last step to the first, each inside the one before."""
    condition = _filter(item.leaf)
    for hop in reversed(item.hops):
        condition = behind(hop, condition)
    return condition


def behind(hop: Hop, condition: Sql) -> Sql:
    """Whether there are rows behind this step for which the condition holds."""
    return raw("EXISTS (SELECT") + related(hop, condition) + raw(")")


def related(hop: Hop, condition: Sql) -> Sql:
    """The rows behind a step as a FROM and its WHERE, under the aliases of the step."""
    rows, near = hop.rows, hop.junction
    source = raw(" FROM ") + table_name(rows.table) + raw(" AS ") + rows.alias
    conditions = [_equal_at(hop.match, hop.from_), rows.visible, condition]
    if near is not None:
        assert hop.link is not None
        assert hop.key is not None
        source += raw(" JOIN ") + table_name(near.table) + raw(" AS ") + near.alias
        source += raw(" ON ") + _equal_at(hop.link, hop.key)
        conditions.append(near.visible)
    return source + where(conditions)


def _equal_at(left: At, right: At) -> Sql:
    return _equal(left.column, left.alias, right.column, right.alias)


def _related(relation: Relation, test: RowTest, words: tuple[str, ...], alias: Sql) -> Sql:
    if test.every_key:
        return _has_all(relation, words, alias)
    count = test.count if test.count is not None else _count(words)
    if count is None:
        return NOTHING
    rows = raw("SELECT 1") + _related_rows(relation, alias)
    if count <= 1:
        found = raw("EXISTS (") + rows + raw(")")
        negated = test.negated != (count == 0)  # "has 0" means none
        return raw("NOT ") + found if negated else found
    number = param(count) + raw("::int8")
    counted = raw("(SELECT count(*) FROM (") + rows + raw(" LIMIT ") + number + raw(") x)")
    return counted + raw(" < " if test.negated else " >= ") + number


def _count(words: tuple[str, ...]) -> int | None:
    word = words[0].strip() if words else ""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None


def _has_all(relation: Relation, words: tuple[str, ...], from_: Sql) -> Sql:
    key = relation.far_key or relation.near.table.columns.get(relation.near.table.primary_key or "")
    wanted = list(dict.fromkeys(words))
    values = equal_values(key, tuple(wanted)) if key is not None else []
    if key is None or not wanted or len(set(values)) < len(wanted):
        return NOTHING
    alias = NEAR if relation.far is None else FAR
    return (
        raw("(SELECT count(DISTINCT ")
        + operand(key, alias)
        + raw(")")
        + _related_rows(relation, from_, one_of(key, alias, tuple(wanted)))
        + raw(") = ")
        + param(len(wanted))
        + raw("::int8")
    )


def _related_rows(relation: Relation, from_: Sql, condition: Sql = EMPTY) -> Sql:
    near, far = relation.near, relation.far
    source = raw(" FROM ") + table_name(near.table) + raw(" AS n")
    conditions = [_equal(relation.near_key, NEAR, relation.key, from_), near.visible, condition]
    if far is not None:
        assert relation.far_link is not None
        assert relation.far_key is not None
        source += raw(" JOIN ") + table_name(far.table) + raw(" AS f ON ")
        source += _equal(relation.far_link, NEAR, relation.far_key, FAR)
        conditions.append(far.visible)
    return source + where(conditions)


def _equal(left: Column, left_alias: Sql, right: Column, right_alias: Sql) -> Sql:
    """Two keys; those of unlike kinds compare as text instead of failing."""
    form = operand if left.kind is right.kind else text_operand
    return form(left, left_alias) + raw(" = ") + form(right, right_alias)


# ── order, limit, counts ──────────────────────────────────────────────────────────────────────────


def _order(plan: ReadPlan) -> Sql:
    if not plan.orders:
        return EMPTY
    return raw(" ORDER BY ") + join(", ", [sort_key(*order) for order in plan.orders])


def sort_key(column: Column, descending: bool, alias: Sql = TABLE) -> Sql:
    """As MySQL sorts: text without regard to case, NULL before everything."""
    name = operand(column, alias)
    if column.kind is Kind.TEXT and column.pg_type != "uuid":
        name = raw("lower(") + name + raw(")")
    if not column.nullable:  # so that an index serves
        return name + raw(" DESC" if descending else "")
    return name + raw(" DESC NULLS LAST" if descending else " NULLS FIRST")


def _limit(limit: int) -> Sql:
    """A usual limit is a constant: for an unknown one the planner assumes a tenth of the table."""
    return literal(str(limit)) if limit in _USUAL_LIMITS else param(limit) + raw("::int8")


def _counts(plan: ReadPlan, counts: Counts) -> Sql:
    table = plan.table
    if counts.kept and plan.source:
        return raw(_ENTRIES)
    if counts.kept:
        kept = literal(str(table.oid))  # a constant of the table, like its name
        return raw("SELECT status, n FROM directoire.table_counts(") + kept + raw("::oid)")
    status = EMPTY
    if counts.status is not None:
        status = text_operand(counts.status, TABLE)
    rows = (plan.source or table_name(table)) + raw(" AS t") + where([plan.visible])
    status = status or raw("NULL::text")
    if counts.budget is not None:
        most = literal(str(counts.budget + 1))
        rows = raw("(SELECT ") + status + raw(" AS status FROM ") + rows + raw(" LIMIT ")
        rows += most + raw(") b")
        status = raw("b.status") if counts.status is not None else raw("NULL::text")
    return (
        raw("SELECT ")
        + status
        + raw(" AS status, count(*) AS n FROM ")
        + rows
        + (raw(" GROUP BY 1") if counts.status is not None else EMPTY)
    )
