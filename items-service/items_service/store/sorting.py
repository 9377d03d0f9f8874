"""Moving one row of a table that keeps its order in a column."""

from shared.catalogue import Column, Table
from shared.changes import actor_cte
from shared.context import Actor
from shared.rows.access import TABLE
from shared.rows.compile import table_name, where
from shared.rows.values import array_of, bound, stored_type
from shared.sql import Sql, ident, literal, raw

_SORT_LOCK = 7302  # names the advisory locks of those who sort a table


def lock(table: Table) -> Sql:
    """Two moves in one table are made one after the other."""
    return (
        raw("SELECT pg_advisory_xact_lock(")
        + literal(str((_SORT_LOCK << 32) | table.oid))
        + raw("::int8)")
    )


def move(table: Table, key: Column, sort: Column, *, item: object, to: object, actor: Actor) -> Sql:
    """Give ``item`` the place of ``to``; returns the keys of the rows that changed.

    Rows without a value come after all others, by key. Where a value is double, all are numbered
    anew in the order they have. Then the rows between the two places move up or down by one. Only
    rows whose value changes are written. Both keys must be there.
    """
    k, v = ident(key.name), ident(sort.name)
    return (
        raw("WITH ")
        + actor_cte(actor)
        + raw(", filled AS (SELECT t.")
        + k
        + raw(" AS k, t.")
        + v
        + raw("::int8 AS old, coalesce(t.")
        + v
        + raw("::int8, coalesce(max(t.")
        + v
        + raw(") OVER (), 0) + row_number() OVER (PARTITION BY t.")
        + v
        + raw(" IS NULL ORDER BY t.")
        + k
        + raw(")) AS value FROM ")
        + table_name(table)
        + raw(
            " AS t), placed AS (SELECT f.k, f.old, CASE"
            " WHEN (SELECT count(*) > count(DISTINCT value) FROM filled)"
            " THEN row_number() OVER (ORDER BY f.value, f.k) ELSE f.value END AS value"
            " FROM filled AS f), places AS ("
            "SELECT (SELECT value FROM placed WHERE k = "
        )
        + bound(key, item)
        + raw(") AS here, (SELECT value FROM placed WHERE k = ")
        + bound(key, to)
        + raw(
            ") AS there), moved AS (SELECT p.k, p.old, CASE"
            " WHEN p.value = here THEN there"
            " WHEN p.value > here AND p.value <= there THEN p.value - 1"
            " WHEN p.value < here AND p.value >= there THEN p.value + 1"
            " ELSE p.value END AS value FROM placed AS p, places) UPDATE "
        )
        + table_name(table)
        + raw(" AS t SET ")
        + v
        + raw(" = m.value FROM ctx, moved AS m WHERE t.")
        + k
        + raw(" = m.k AND m.value IS DISTINCT FROM m.old RETURNING t.")
        + k
    )


def covered(table: Table, key: Column, keys: list[object], allowed: Sql) -> Sql:
    """How many of these rows ``allowed`` covers."""
    chosen = TABLE + raw(".") + ident(key.name) + raw(" = ANY(")
    condition = chosen + array_of(stored_type(key), keys) + raw(")")
    return (
        raw("SELECT count(*) FROM ")
        + table_name(table)
        + raw(" AS t")
        + where([condition, allowed])
    )
