"""Conditions on other tables: behind the relations of a dotted name, or joined for filtering.

Every table on the way is one the caller may view, every column one he may read, and only rows
visible to him match; whatever else is named is as unknown as what does not exist (reading 51).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.catalogue import Column, Table
from shared.column_types import Kind
from shared.context import Context
from shared.errors import InvalidRequest
from shared.rows.access import TABLE, Access, demand_complete, reachable, relation_path
from shared.rows.parse import MAX_JOINS, Join
from shared.sql import Sql, raw

MAX_STEPS: Final = 4  # relations that one dotted name follows

TEXT_KINDS: Final = frozenset({Kind.TEXT, Kind.INTEGER, Kind.FLOAT, Kind.DECIMAL})

# aliases; a name of four steps nests as deep
_ROWS: Final = (raw("r1"), raw("r2"), raw("r3"), raw("r4"))
_JUNCTIONS: Final = (raw("x1"), raw("x2"), raw("x3"), raw("x4"))
_JOINED: Final = (raw("k1"), raw("k2"), raw("k3"), raw("k4"), raw("k5"))
assert len(_ROWS) == MAX_STEPS
assert len(_JOINED) == MAX_JOINS


@dataclass(frozen=True, slots=True)
class Named:
    """A table under its alias, as far as the caller sees into it."""

    table: Table
    alias: Sql
    visible: Sql


@dataclass(frozen=True, slots=True)
class At:
    """A column of the table with this alias."""

    column: Column
    alias: Sql


@dataclass(frozen=True, slots=True)
class Hop:
    """From a row to the rows of ``rows`` whose ``match`` equals its ``from_``.

    Behind a junction ``match`` is the junction's, and its ``link`` equals ``key`` of the rows.
    """

    from_: At
    rows: Named
    match: At
    junction: Named | None = None
    link: At | None = None
    key: At | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """A table joined for filtering; ``required``: rows without a match are left out."""

    rows: Named
    left: At
    right: At
    required: bool


@dataclass(slots=True)
class Follower:
    """Follows names from the table of a request, and remembers into which tables it looked."""

    context: Context
    where: Access
    used: list[Access] = field(default_factory=list[Access])
    joined: dict[str, tuple[Access, Sql]] = field(default_factory=dict[str, tuple[Access, Sql]])

    def join(self, joins: tuple[Join, ...]) -> tuple[Joined, ...]:
        return tuple(self._join(alias, join) for alias, join in zip(_JOINED, joins, strict=False))

    def _join(self, alias: Sql, join: Join) -> Joined:
        access = reachable(self.context, join.table)
        if access is None or join.table == self.where.table.name:
            raise InvalidRequest(f'unknown table "{join.table}" in joins', field="joins")
        known = {self.where.table.name: (self.where, TABLE), **self.joined}
        self.joined[join.table] = known[join.table] = (access, alias)
        left, right = (self._joined_column(known, name) for name in join.names)
        if (left.alias == alias) == (right.alias == alias):
            message = f'the join of "{join.table}" takes one column of it, one of another table'
            raise InvalidRequest(message, field="joins")
        return Joined(self._named(access, alias), left, right, join.required)

    @staticmethod
    def _joined_column(known: Mapping[str, tuple[Access, Sql]], name: str) -> At:
        table, _, column = name.rpartition(".")
        if table not in known:
            raise InvalidRequest(f'unknown column "{name}" in joins', field="joins")
        access, alias = known[table]
        return At(access.own_column(column, "joins"), alias)

    def follow(self, dotted: str) -> tuple[tuple[Hop, ...], Access, Column, Sql]:
        """The steps of a dotted name, the table it ends in, its column there and the alias.

        Raises InvalidRequest for any step that is missing or not the caller's to take.
        """
        table, _, last = dotted.partition(".")
        if table in self.joined:
            access, alias = self.joined[table]
            return (), access, access.column(last, "a filter"), alias
        *steps, last = dotted.split(".")
        access, alias = self.where, TABLE
        hops: list[Hop] = []
        for number, step in enumerate(steps):
            relation = access.named(step)
            found = None
            if relation is not None and number < MAX_STEPS:
                demand_complete(relation)
                found = self.hop(access, relation, alias, number)
            if found is None:
                raise self._unknown(dotted)
            hop, access = found
            hops.append(hop)
            alias = hop.rows.alias
        column = access.named(last)
        if column is None:
            raise self._unknown(dotted)
        return tuple(hops), access, column, alias

    def hop(
        self, access: Access, relation: Column, alias: Sql, number: int = 0
    ) -> tuple[Hop, Access] | None:
        """One step; None where the caller may not take it."""
        path = relation_path(self.context, access, relation)
        if path is None:
            return None
        rows = self._named(path.rows, _ROWS[number])
        if not relation.is_alias:
            return Hop(At(relation, alias), rows, At(path.match, rows.alias)), path.rows
        key = access.table.columns[access.table.primary_key or ""]
        if path.junction is None or path.link is None or path.key is None:
            return Hop(At(key, alias), rows, At(path.match, rows.alias)), path.rows
        near = self._named(path.junction, _JUNCTIONS[number])
        link, behind = At(path.link, near.alias), At(path.key, rows.alias)
        hop = Hop(At(key, alias), rows, At(path.match, near.alias), near, link, behind)
        return hop, path.rows

    def _named(self, access: Access, alias: Sql) -> Named:
        self.used.append(access)
        user = self.context.principal.user
        return Named(access.table, alias, access.rights.view_condition(user, alias))

    def _unknown(self, dotted: str) -> InvalidRequest:
        table = self.where.table.name
        message = f'unknown column "{dotted}" in a filter of table "{table}"'
        return InvalidRequest(message, field=dotted)


def text_columns(access: Access) -> tuple[Column, ...]:
    """Where a search looks: text and numbers that the caller may read."""
    computed = access.system.computed if access.system is not None else {}
    return tuple(
        column
        for name, column in access.readable.items()
        if column.kind in TEXT_KINDS and name not in computed
    )
