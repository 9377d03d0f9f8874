"""How rows change: each write one statement that sets its actor and returns the row as shown.

Every source of rows refers to ``ctx`` (``shared.changes.actor_cte``): PostgreSQL never runs a CTE
nobody refers to, and the entry would silently say ``db:<role>``. ``status_rule`` says which rows a
change of status reaches, the conditions of the callers' rights which rows at all. ``shown`` are the
fields of a row of alias ``t`` as the answer has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.catalogue import Column, Table
from shared.changes import actor_cte
from shared.context import Actor
from shared.rows.access import TABLE
from shared.rows.compile import AS_VERSION, NO_VERSION, table_name, where
from shared.rows.values import array_of, bound, operand, stored_cast, stored_type, typed
from shared.sql import EMPTY, Sql, ident, join, literal, param, raw

FURTHEST: Final = 1_000_000  # how far one explicit id may move its sequence (reading 57)
_VERSION: Final = raw(', t."?version"')  # of a row that ``Batch.returning`` gave
_SEQUENCE_LOCK: Final = 7301  # names the advisory locks of those who move a sequence

Values = Mapping[str, object]  # column name → value as `values.stored` makes it


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that name the same columns, with what the server fills in by itself."""

    table: Table
    key: Column
    columns: tuple[Column, ...]  # what the rows name, the key among them where they do
    rows: Sequence[Values]
    automatic: Mapping[str, Sql]  # on insert
    automatic_update: Mapping[str, Sql]
    actor: Actor
    version: Sql  # of a row of alias ``t``, by ``compile.row_version``

    @property
    def many(self) -> bool:
        return len(self.rows) > 1

    @property
    def returning(self) -> Sql:
        """The stored rows with their versions; the rows of a CTE have no ``xmin`` any more."""
        return raw(" RETURNING t.*, ") + self.version + AS_VERSION

    def inputs(self) -> Sql:
        """The CTEs that the statement takes its rows from."""
        if not self.many:
            return actor_cte(self.actor)
        arrays = [
            array_of(stored_type(column), [row[column.name] for row in self.rows])
            for column in self.columns
        ]
        names = [*(ident(f"c{index}") for index in range(len(self.columns))), raw("n")]
        return (
            actor_cte(self.actor)
            + raw(", i AS (SELECT * FROM unnest(")
            + join(", ", arrays)
            + raw(") WITH ORDINALITY AS i(")
            + join(", ", names)
            + raw("))")
        )

    def source(self) -> Sql:
        return raw("ctx, i") if self.many else raw("ctx")

    def value(self, column: Column) -> Sql:
        if not self.many:
            return bound(column, self.rows[0][column.name])
        return raw("i.") + ident(f"c{self.columns.index(column)}") + stored_cast(column)

    def in_order(self, rows: Sql, extra: Sql = EMPTY) -> Sql:
        """``rows`` in the order of the request; they hold keys of it."""
        if not self.many:
            return rows + raw(" AS t")
        matched = raw(" AS t JOIN i ON ") + self.is_row() + extra
        return rows + matched + raw(" ORDER BY i.n")

    def is_row(self) -> Sql:
        return operand(self.key, TABLE) + raw(" = ") + self.value(self.key)


def insert(batch: Batch, shown: Sql) -> Sql:
    """New rows without a key of their own."""
    return (
        raw("WITH ")
        + batch.inputs()
        + raw(", w AS (")
        + _insert(batch, EMPTY)
        + raw(") SELECT ")
        + shown
        + _VERSION
        + raw(" FROM w AS t")
    )


def put(batch: Batch, shown: Sql, allowed: Sequence[Sql], *, add: bool, edit: bool) -> Sql:
    """Rows with keys: updated where they exist and ``allowed`` holds, inserted else.

    A row that exists but may not be changed meets the unique key: NotUnique.
    """
    steps: list[Sql] = [batch.inputs()]
    parts: list[Sql] = []
    if edit:
        steps.append(raw("updated AS (") + _update(batch, allowed) + raw(")"))
        parts.append(raw("SELECT * FROM updated"))
    if add:
        unless = _unless_updated(batch) if edit else EMPTY
        steps.append(raw("inserted AS (") + _insert(batch, unless) + raw(")"))
        parts.append(raw("SELECT * FROM inserted"))
    shown += _VERSION
    if add and batch.key.auto_increment:
        shown += raw(", ") + follow(batch.table, batch.key)
    rows = raw("(") + join(" UNION ALL ", parts) + raw(")")
    return (
        raw("WITH ")
        + join(", ", steps)
        + raw(" SELECT ")
        + shown
        + raw(" FROM ")
        + batch.in_order(rows)
    )


def update(batch: Batch, shown: Sql, allowed: Sequence[Sql]) -> Sql:
    """Existing rows, by key; those that ``allowed`` does not cover are left out of the answer."""
    return (
        raw("WITH ")
        + batch.inputs()
        + raw(", w AS (")
        + _update(batch, allowed)
        + raw(") SELECT ")
        + shown
        + _VERSION
        + raw(" FROM ")
        + batch.in_order(raw("w"))
    )


def untouched(batch: Batch, shown: Sql, allowed: Sequence[Sql]) -> Sql:
    """The rows of a batch that names nothing but keys, as they are."""
    source = raw(" AS t, i") if batch.many else raw(" AS t")
    return (
        raw("WITH ")
        + batch.inputs()
        + raw(" SELECT ")
        + shown
        + raw(", ")
        + batch.version
        + AS_VERSION
        + raw(" FROM ")
        + table_name(batch.table)
        + source
        + where([batch.is_row(), *allowed])
        + (raw(" ORDER BY i.n") if batch.many else EMPTY)
    )


def delete(
    table: Table, key: Column, keys: Sequence[object], allowed: Sequence[Sql], actor: Actor
) -> Sql:
    """Remove rows by key; returns the keys of those removed."""
    name = TABLE + raw(".") + ident(key.name)
    return (
        raw("WITH ")
        + actor_cte(actor)
        + raw(" DELETE FROM ")
        + table_name(table)
        + raw(" AS t USING ctx")
        + where([_is_one_of(key, keys), *allowed])
        + raw(" RETURNING ")
        + name
    )


def seen(table: Table, key: Column, keys: Sequence[object], visible: Sql) -> Sql:
    """Whether any of these rows is there for the caller to see."""
    return (
        raw("SELECT EXISTS (SELECT FROM ")
        + table_name(table)
        + raw(" AS t")
        + where([_is_one_of(key, keys), visible])
        + raw(")")
    )


def item(
    table: Table, key: Column, value: object, shown: Sql, visible: Sql, version: Sql = NO_VERSION
) -> Sql:
    """One row as shown."""
    return (
        raw("SELECT ")
        + shown
        + raw(", ")
        + version
        + AS_VERSION
        + raw(" FROM ")
        + table_name(table)
        + raw(" AS t")
        + where([_is_one_of(key, [value]), visible])
    )


def image(table: Table, key: Column, value: object) -> Sql:
    """One row as stored, locked until the transaction ends."""
    return (
        raw("SELECT t.* FROM ")
        + table_name(table)
        + raw(" AS t")
        + where([_is_one_of(key, [value])])
        + raw(" FOR UPDATE")
    )


def is_version(version: Sql, versions: Sequence[str] | None) -> Sql:
    """The row is still of one of these versions; one without a version is of none."""
    if versions is None:
        return EMPTY
    if not versions or version == NO_VERSION:
        return raw("false")
    return version + raw(" = ANY(") + param(list(versions)) + raw("::text[])")


def status_rule(column: Column, value: object, allowed: Sql, editable: Sql) -> Sql:
    """The status may become ``value`` where it is so already and the row ``editable``, or where
    ``allowed`` holds.
    """
    if not allowed:
        return EMPTY
    now = operand(column, TABLE) + raw(" IS NOT DISTINCT FROM ") + bound(column, value)
    if editable:
        now += raw(" AND (") + editable + raw(")")
    return now + raw(" OR (") + allowed + raw(")")


def _is_one_of(key: Column, keys: Sequence[object]) -> Sql:
    name = operand(key, TABLE)
    if len(keys) == 1:
        return name + raw(" = ") + typed((stored_type(key), keys[0]))
    return name + raw(" = ANY(") + array_of(stored_type(key), list(keys)) + raw(")")


def _insert(batch: Batch, unless: Sql) -> Sql:
    names = [ident(column.name) for column in batch.columns]
    names += [ident(name) for name in batch.automatic]
    values = [batch.value(column) for column in batch.columns]
    values += batch.automatic.values()
    return (
        raw("INSERT INTO ")
        + table_name(batch.table)
        + raw(" AS t (")
        + join(", ", names)
        + raw(") SELECT ")
        + join(", ", values)
        + raw(" FROM ")
        + batch.source()
        + unless
        + (raw(" ORDER BY i.n") if batch.many else EMPTY)
        + batch.returning
    )


def _unless_updated(batch: Batch) -> Sql:
    if not batch.many:
        return raw(" WHERE NOT EXISTS (SELECT FROM updated)")
    rows = raw(" WHERE NOT EXISTS (SELECT FROM updated AS t WHERE ")
    return rows + batch.is_row() + raw(")")


def _update(batch: Batch, allowed: Sequence[Sql]) -> Sql:
    changed = [column for column in batch.columns if column.name != batch.key.name]
    sets = [ident(column.name) + raw(" = ") + batch.value(column) for column in changed]
    sets += [ident(name) + raw(" = ") + value for name, value in batch.automatic_update.items()]
    return (
        raw("UPDATE ")
        + table_name(batch.table)
        + raw(" AS t SET ")
        + join(", ", sets)
        + raw(" FROM ")
        + batch.source()
        + where([batch.is_row(), *allowed])
        + batch.returning
    )


def sequence_of(table: Table, key: Column) -> Sql:
    return (
        raw("pg_get_serial_sequence(")
        + literal(table_name(table).render()[0])
        + raw(", ")
        + literal(key.name)
        + raw(")::regclass")
    )


def follow(table: Table, key: Column) -> Sql:
    """Moves the sequence of the key on to an explicit id, never back and never to its end.

    The lock keeps two of these from crossing; ``nextval`` alone cannot get past a far id meanwhile.
    """
    sequence = sequence_of(table, key)
    last = raw("coalesce(pg_sequence_last_value(") + sequence + raw("), 0)")
    lock = literal(str((_SEQUENCE_LOCK << 32) | table.oid))
    id_ = TABLE + raw(".") + ident(key.name)
    furthest = literal(str(FURTHEST))
    return join(
        "",
        [
            raw("CASE WHEN ") + id_ + raw(" <= ") + last + raw(" THEN NULL"),
            raw(" WHEN pg_advisory_xact_lock(") + lock + raw("::int8) IS NULL THEN NULL"),
            raw(" WHEN ") + id_ + raw(" > ") + last,
            raw(" AND ") + id_ + raw(" - ") + last + raw(" <= ") + furthest + raw("::int8"),
            raw(" AND ") + id_ + raw(" < (SELECT s.seqmax FROM pg_sequence s WHERE s.seqrelid = "),
            sequence + raw(") THEN setval(") + sequence + raw(", ") + id_ + raw(") END"),
        ],
    )
