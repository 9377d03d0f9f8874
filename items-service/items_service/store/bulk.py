"""Thousands of rows of one shape at once: by COPY, where their keys are given by way of a table of
the transaction and one INSERT that updates those that exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from shared.catalogue import Column, Table
from shared.changes import Change
from shared.database import Session
from shared.errors import Forbidden
from shared.rows import write
from shared.rows.compile import table_name, where
from shared.rows.values import stored_cast, stored_type
from shared.sql import EMPTY, Sql, ident, join, literal, raw

_HELD = "directoire_import_"  # begins the names of the temporary tables


@dataclass(frozen=True, slots=True)
class Held:
    """A temporary table for rows of one shape: once a transaction, emptied for every batch."""

    name: str
    columns: tuple[Column, ...]

    @property
    def fields(self) -> list[Sql]:
        return [ident(f"c{number}") for number in range(len(self.columns))]

    async def prepare(self, session: Session, *, made: bool) -> None:
        """In the transaction itself: within a part of it, emptying would leave a file behind."""
        name = ident(self.name)
        if made:
            await session.execute(raw("TRUNCATE ") + name)
            return
        fields = [
            field + raw(" ") + ident(stored_type(column))
            for field, column in zip(self.fields, self.columns, strict=True)
        ]
        create = raw("CREATE TEMP TABLE ") + name + raw(" (") + join(", ", fields)
        await session.execute(create + raw(") ON COMMIT DROP"))


def held(columns: Sequence[Column]) -> Held:
    """Prepared statements outlive the table: one name must never be of two shapes."""
    shape = repr([(column.name, stored_type(column)) for column in columns])
    return Held(_HELD + sha256(shape.encode()).hexdigest()[:16], tuple(columns))


def go_straight(key: Column, columns: Sequence[Column], automatic: Mapping[str, Sql]) -> bool:
    """Whether rows of this shape are new and need nothing that only a statement can say."""
    return not automatic and all(
        column.name != key.name and not stored_cast(column) for column in columns
    )


async def copy(
    change: Change, table: Table, columns: Sequence[Column], rows: Sequence[Sequence[object]]
) -> None:
    await change.session.copy_records(table.name, [column.name for column in columns], rows)


async def store(
    change: Change,
    table: Table,
    key: Column,
    held: Held,
    rows: Sequence[Sequence[object]],
    *,
    automatic: Mapping[str, Sql],
    automatic_update: Mapping[str, Sql],
    editable: Sql,
) -> None:
    """Insert the rows, or update those whose key exists and that ``editable`` covers.

    ``rows`` hold values of the columns of ``held``, which is prepared, as `values.stored` makes
    them, no key twice. Raises Forbidden when some row exists that is not editable.
    """
    columns, names, source = held.columns, held.fields, ident(held.name)
    await change.session.copy_temporary(held.name, rows)
    values = [field + stored_cast(column) for field, column in zip(names, columns, strict=True)]
    insert = (
        raw("INSERT INTO ")
        + table_name(table)
        + raw(" AS t (")
        + join(", ", [*(ident(column.name) for column in columns), *map(ident, automatic)])
        + raw(") SELECT ")
        + join(", ", [*values, *automatic.values()])
        + raw(" FROM ")
        + source
    )
    keyed = any(column.name == key.name for column in columns)
    if keyed:
        insert += _or_update(key, columns, automatic_update, editable)
    done = await change.execute(insert)
    if int(done.rpartition(" ")[2]) < len(rows):
        raise Forbidden
    if keyed and key.auto_increment:
        number = [column.name for column in columns].index(key.name)
        await change.execute(_follow(table, key, source, names[number]))


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
