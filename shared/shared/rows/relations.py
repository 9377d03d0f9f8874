"""Which related rows an answer holds: relations followed as deep as asked, rights on every table.

Each level of depth is one query, whatever the page and however many relations there are. A table
that the caller may not view, or that is missing, leaves the key of a many-to-one relation and no
rows of the others. Source: contract 7.3, "Relations in answers".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.catalogue import Column, RelationshipType, Table
from shared.context import Context
from shared.errors import InvalidRequest
from shared.rows.access import (
    NEAR,
    TABLE,
    Access,
    Field,
    keeps,
    personal,
    relation_path,
    shown_columns,
)
from shared.rows.parse import MAX_DEPTH
from shared.sql import Sql
from shared.stamps import table_topic

DEFAULT_DEPTH: Final = 1
MAX_RELATIONS: Final = 100  # followed by one answer
ROW_KEY: Final = "?key"  # the field that holds a row's key while to-many relations need it


@dataclass(frozen=True, slots=True)
class Shown:
    """A table whose rows are embedded: what of them, and which. ``visible`` EMPTY: every one."""

    table: Table
    fields: Mapping[str, Field]
    visible: Sql
    status: Column | None  # only rows in use; None: whatever their status


@dataclass(frozen=True, slots=True)
class Embedded:
    """One relation of the rows of ``parent``: an index in the level before, None for the first.

    ``source`` is the parent's field whose value ``match`` has: a column of ``rows``, or of the
    junction. ``rows`` is None where the caller may not look.
    """

    parent: int | None
    name: str
    type: RelationshipType
    table: str
    source: str
    rows: Shown | None
    match: Column | None = None
    junction: Shown | None = None
    link: Column | None = None  # of the junction, holds ``key`` of rows
    key: Column | None = None

    @property
    def to_one(self) -> bool:
        return self.type == "MANYTOONE"


@dataclass(frozen=True, slots=True)
class Relations:
    """All that is embedded, level by level, and what the answer rests on because of it."""

    levels: tuple[tuple[Embedded, ...], ...]
    tables: frozenset[str]
    personal: bool
    cacheable: bool

    @property
    def topics(self) -> set[str]:
        return {table_topic(name) for name in self.tables}


NONE: Final = Relations((), frozenset(), personal=False, cacheable=True)


def plan_relations(
    context: Context,
    where: Access,
    asked: tuple[str, ...] | None,
    depth: int | None,
    *,
    any_status: bool,
) -> Relations:
    """``asked`` are column names, dotted ones select inside relations; None for all.

    Raises InvalidRequest where this would follow more relations than one answer holds.
    """
    if where.source or not any(column.relationship for column in where.readable.values()):
        return NONE
    levels = DEFAULT_DEPTH if depth is None else depth
    return _Planner(context, levels, any_status=any_status).plan(where, asked)


def branches(asked: tuple[str, ...] | None) -> dict[str, tuple[str, ...]] | None:
    """``("id", "author.name")`` → ``{"id": (), "author": ("name",)}``."""
    if asked is None:
        return None
    found: dict[str, tuple[str, ...]] = {}
    for name in asked:
        first, _, rest = name.partition(".")
        found[first] = (*found.get(first, ()), *([rest] if rest else []))
    return found


class _Planner:
    def __init__(self, context: Context, depth: int, *, any_status: bool) -> None:
        self._context = context
        self._depth = depth
        self._any_status = any_status
        self._used: list[tuple[Access, Mapping[str, Field]]] = []

    def plan(self, where: Access, asked: tuple[str, ...] | None) -> Relations:
        levels: list[tuple[Embedded, ...]] = []
        open_: list[tuple[int | None, Access, tuple[str, ...] | None]] = [(None, where, asked)]
        followed = 0
        for level in range(MAX_DEPTH):
            found: list[Embedded] = []
            inner: list[tuple[int | None, Access, tuple[str, ...] | None]] = []
            for parent, access, names in open_:
                for column, wanted in _wanted(access, names, deeper=level < self._depth):
                    embedded, behind = self._follow(parent, access, column, wanted, level)
                    if behind is not None:
                        inner.append((len(found), behind, wanted))
                    found.append(embedded)
            followed += len(found)
            if followed > MAX_RELATIONS:
                message = f"this would follow more than {MAX_RELATIONS} relations; lower the depth"
                raise InvalidRequest(message, field="depth")
            if not found:
                break
            levels.append(tuple(found))
            open_ = inner
        return Relations(
            tuple(levels),
            frozenset(access.table.name for access, _ in self._used),
            personal=any(personal(access) for access, _ in self._used),
            cacheable=all(keeps(access, fields) for access, fields in self._used),
        )

    def _follow(
        self,
        parent: int | None,
        where: Access,
        column: Column,
        asked: tuple[str, ...] | None,
        level: int,
    ) -> tuple[Embedded, Access | None]:
        link = column.relationship
        assert link is not None
        source = column.name if link.type == "MANYTOONE" else ROW_KEY
        hidden = Embedded(parent, column.name, link.type, link.related_table or "", source, None)
        path = relation_path(self._context, where, column)
        if path is None:
            return hidden, None
        behind = path.rows
        fields = self._fields(behind, asked, level + 1)
        near = path.junction
        return (
            Embedded(
                parent,
                column.name,
                link.type,
                behind.table.name,
                source,
                self._shown(behind, fields, TABLE, any_status=link.type == "MANYTOONE"),
                path.match,
                None if near is None else self._shown(near, _own(near), NEAR, any_status=False),
                path.link,
                path.key,
            ),
            behind,
        )

    def _shown(
        self, access: Access, fields: Mapping[str, Field], alias: Sql, *, any_status: bool
    ) -> Shown:
        self._used.append((access, fields))
        status = access.table.status_column
        free = any_status or self._any_status or status is None
        return Shown(
            access.table,
            fields,
            access.rights.view_condition(self._context.principal.user, alias),
            None if free or status is None else access.table.columns[status],
        )

    def _fields(
        self, access: Access, asked: tuple[str, ...] | None, level: int
    ) -> dict[str, Field]:
        fields = shown_columns(access, asked)
        deeper = level < min(self._depth, MAX_DEPTH)
        if level < MAX_DEPTH and any(c.is_alias for c, _ in _wanted(access, asked, deeper=deeper)):
            return _and_key(access, fields)
        return fields


def with_key(where: Access, fields: dict[str, Field], relations: Relations) -> dict[str, Field]:
    """The fields and, where relations to many rows follow, the key they are found by."""
    if relations.levels and any(not item.to_one for item in relations.levels[0]):
        return _and_key(where, fields)
    return fields


def _and_key(where: Access, fields: dict[str, Field]) -> dict[str, Field]:
    assert where.table.primary_key is not None  # or no such relation would be followed
    return {**fields, ROW_KEY: where.table.columns[where.table.primary_key]}


def _wanted(
    access: Access, asked: tuple[str, ...] | None, *, deeper: bool
) -> list[tuple[Column, tuple[str, ...] | None]]:
    """The relations to follow, with what is asked for behind each."""
    names = branches(asked)
    computed = access.system.computed if access.system is not None else {}
    found: list[tuple[Column, tuple[str, ...] | None]] = []
    for name, column in access.readable.items():
        link = column.relationship
        if link is None or name in computed or column.is_alias != (link.type != "MANYTOONE"):
            continue
        if column.is_alias and access.table.primary_key is None:
            continue
        inside = None if names is None else names.get(name)
        if (names is None or inside is not None) and (deeper or inside):
            found.append((column, inside or None))
    return found


def _own(access: Access) -> dict[str, Field]:
    return shown_columns(access, None)
