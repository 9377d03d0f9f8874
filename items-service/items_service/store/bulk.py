"""Thousands of rows of one shape at once: COPY into a table of the transaction, then one INSERT."""

from collections.abc import Mapping, Sequence
from zlib import crc32

from shared.catalogue import Column, Table
from shared.changes import Change
from shared.errors import Forbidden
from shared.rows import write
from shared.rows.compile import table_name, where
from shared.rows.values import stored_cast, stored_type
from shared.sql import EMPTY, Sql, ident, join, literal, raw

_HELD = "directoire_import_"  # begins the names of the temporary tables, one a shape


async def store(
    change: Change,
    table: Table,
    key: Column,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    automatic: Mapping[str, Sql],
    automatic_update: Mapping[str, Sql],
    editable: Sql,
) -> None:
    """Insert the rows, or update those whose key exists and that ``editable`` covers.

    ``rows`` hold values of ``columns`` as `values.stored` makes them, no key twice. Raises
    Forbidden when some row exists that is not editable.
    """
    names = [ident(f"c{number}") for number in range(len(columns))]
    fields = [
        field + raw(" ") + ident(stored_type(column))
        for field, column in zip(names, columns, strict=True)
    ]
    # prepared statements outlive the table: one name must never be of two shapes
    name = f"{_HELD}{crc32(repr(join(', ', fields)).encode()):x}"
    held = ident(name)
    await change.execute(
        raw("CREATE TEMP TABLE ") + held + raw(" (") + join(", ", fields) + raw(") ON COMMIT DROP")
    )
    await change.session.copy_temporary(name, rows)
    values = [field + stored_cast(column) for field, column in zip(names, columns, strict=True)]
    insert = (
        raw("INSERT INTO ")
        + table_name(table)
        + raw(" AS t (")
        + join(", ", [*(ident(column.name) for column in columns), *map(ident, automatic)])
        + raw(") SELECT ")
        + join(", ", [*values, *automatic.values()])
        + raw(" FROM ")
        + held
    )
    keyed = any(column.name == key.name for column in columns)
    if keyed:
        insert += _or_update(key, columns, automatic_update, editable)
    done = await change.execute(insert)
    if int(done.rpartition(" ")[2]) < len(rows):
        raise Forbidden
    if keyed and key.auto_increment:
        number = [column.name for column in columns].index(key.name)
        await change.execute(_follow(table, key, held, names[number]))
    await change.execute(raw("DROP TABLE ") + held)


def _or_update(
    key: Column, columns: Sequence[Column], automatic: Mapping[str, Sql], editable: Sql
) -> Sql:
    changed = [column for column in columns if column.name != key.name] or [key]
    sets = [ident(c.name) + raw(" = EXCLUDED.") + ident(c.name) for c in changed]
    sets += [ident(name) + raw(" = ") + value for name, value in automatic.items()]
    return (
        raw(" ON CONFLICT (")
        + ident(key.name)
        + raw(") DO UPDATE SET ")
        + join(", ", sets)
        + (where([editable]) if editable else EMPTY)
    )


def _follow(table: Table, key: Column, held: Sql, name: Sql) -> Sql:
    """The sequence goes on behind the largest key that it may follow (reading 57)."""
    furthest = literal(str(write.FURTHEST))
    return (
        raw("SELECT ")
        + write.follow(table, key)
        + raw(" FROM (SELECT max(")
        + name
        + raw(") AS ")
        + ident(key.name)
        + raw(" FROM ")
        + held
        + raw(" WHERE ")
        + name
        + raw(" - coalesce(pg_sequence_last_value(")
        + write.sequence_of(table, key)
        + raw("), 0) <= ")
        + furthest
        + raw("::int8) AS t")
    )
