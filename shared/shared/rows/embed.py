"""Related rows fetched and set into the rows of an answer: one query a level of depth.

A level is compiled once; its parameters are the values that the rows of the level before hold. The
rows come as JSON texts, because one query brings rows of several tables.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from shared import envelopes
from shared.catalogue import Column
from shared.rows.access import NEAR, TABLE
from shared.rows.compile import as_json, sort_key, table_name, where
from shared.rows.relations import ROW_KEY, Embedded, Relations, Shown
from shared.rows.values import comparison_type, equal_values, operand
from shared.sql import EMPTY, FixedSql, Sql, ident, join, literal, param, raw
from shared.versions import ApiVersion

MAX_OF_ONE: Final = 1_000  # related rows of one row and relation; then the answer says "more"
MAX_OF_ALL: Final = 20_000  # of one level

_ACTIVE: Final = "1"
_LINK: Final = ident("?link")
_RANK: Final = ident("?rank")
_DECODE: Final = msgspec.json.Decoder(dict[str, Any]).decode

Row = dict[str, Any]


class Fetching(Protocol):
    """The snapshot that the rows came from."""

    async def fetch(self, sql: Sql) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands for the values of one relation in a compiled level."""

    index: int


@dataclass(frozen=True, slots=True)
class Level:
    """The relations of a level and the statement that fetches them; no text where all are hidden.

    The statement's rows: index of the relation, text of the value that links, rank among the rows
    with that link, JSON of the row, JSON of its junction row.
    """

    relations: tuple[Embedded, ...]
    text: str
    values: tuple[object, ...]


def compile_levels(relations: Relations) -> tuple[Level, ...]:
    return tuple(_level(level) for level in relations.levels)


def _level(relations: tuple[Embedded, ...]) -> Level:
    parts = [_rows_of(index, item) for index, item in enumerate(relations) if item.rows is not None]
    if not parts:
        return Level(relations, "", ())
    most = literal(str(MAX_OF_ALL + 1))
    every = join(" UNION ALL ", parts) + raw(" ORDER BY 3, 2 LIMIT ") + most
    text, values = every.render()
    return Level(relations, text, tuple(values))


def _rows_of(index: int, item: Embedded) -> Sql:
    rows, match = item.rows, item.match
    assert rows is not None
    assert match is not None
    number = raw("SELECT ") + literal(str(index)) + raw("::int4 AS relation, ")
    if item.to_one:
        return (
            number
            + operand(match, TABLE)
            + raw("::text AS link, 0::int8 AS rank, ")
            + as_json(rows.table, rows.fields, TABLE)
            + raw(" AS shown, NULL::text AS junction FROM ")
            + table_name(rows.table)
            + raw(" AS t")
            + where([_linked(index, match, TABLE), rows.visible])
        )
    columns = join(
        ", ", [raw("x.") + name for name in (_LINK, _RANK, ident("?row"), ident("?near"))]
    )
    if match.key:
        # from parent to parent, none further than shown: whoever has a million is no dearer
        inner = _many(item, rows, match, raw(" = p.link"), most=MAX_OF_ONE + 1)
        source = _slot(index, match) + raw(") AS p(link) CROSS JOIN LATERAL (") + inner + raw(") x")
        return number + columns + raw(" FROM unnest(") + source
    slot = _slot(index, match)
    inner = _many(item, rows, match, raw(" = ANY(") + slot + raw(")"))
    rank = raw(") x WHERE x.") + _RANK + raw(" <= ") + literal(str(MAX_OF_ONE + 1))
    return number + columns + raw(" FROM (") + inner + rank


def _many(item: Embedded, rows: Shown, match: Column, linked: Sql, most: int | None = None) -> Sql:
    """Rows with their rank among those of one link, by the sort column or the key.

    ``linked`` is what the link is to be; ``most`` how many rows to take of one, None for all.
    """
    near = item.junction
    holder, alias = (rows, TABLE) if near is None else (near, NEAR)
    link = operand(match, alias)
    orders = _orders(holder, alias)
    source = raw(" FROM ") + table_name(holder.table) + raw(" AS ") + alias
    conditions = [link + linked, holder.visible, _active(holder, alias)]
    shown_near = raw("NULL::text")
    if near is not None:
        assert item.link is not None
        assert item.key is not None
        source += raw(" JOIN ") + table_name(rows.table) + raw(" AS t ON ")
        source += _same(item.link, NEAR, item.key, TABLE)
        conditions += [rows.visible, _active(rows, TABLE)]
        shown_near = as_json(near.table, near.fields, NEAR)
    order = raw(" ORDER BY ") + join(", ", orders) if orders else EMPTY
    rank = raw("row_number() OVER (PARTITION BY ") + link + order + raw(")")
    taken = EMPTY
    if most is not None:
        taken = order + raw(" LIMIT ") + literal(str(most))
    return (
        raw("SELECT ")
        + join(
            ", ",
            [
                link + raw("::text AS ") + _LINK,
                rank + raw(" AS ") + _RANK,
                as_json(rows.table, rows.fields, TABLE) + raw(" AS ") + ident("?row"),
                shown_near + raw(" AS ") + ident("?near"),
            ],
        )
        + source
        + where(conditions)
        + taken
    )


def _slot(index: int, match: Column) -> Sql:
    """The values of one relation, as an array."""
    return param(_Slot(index)) + raw("::") + ident(comparison_type(match)) + raw("[]")


def _linked(index: int, match: Column, alias: Sql) -> Sql:
    return operand(match, alias) + raw(" = ANY(") + _slot(index, match) + raw(")")


def _same(left: Column, left_alias: Sql, right: Column, right_alias: Sql) -> Sql:
    one, other = operand(left, left_alias), operand(right, right_alias)
    if left.kind is right.kind:
        return one + raw(" = ") + other
    return one + raw("::text = ") + other + raw("::text")


def _active(shown: Shown, alias: Sql) -> Sql:
    if shown.status is None:
        return EMPTY
    return operand(shown.status, alias) + raw(" = ") + literal(_ACTIVE)


def _orders(shown: Shown, alias: Sql) -> list[Sql]:
    table = shown.table
    names = [name for name in (table.sort_column, table.primary_key) if name is not None]
    return [sort_key(table.columns[name], False, alias) for name in dict.fromkeys(names)]


# ── at the time of an answer ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Envelope:
    version: ApiVersion
    meta: bool


async def embed(
    session: Fetching, levels: Sequence[Level], rows: Sequence[Row], envelope: Envelope
) -> None:
    """Set the related rows into ``rows``."""
    generation: dict[int | None, list[Row]] = {None: list(rows)}
    touched = [generation[None]]
    for number, level in enumerate(levels, 1):
        parents = generation
        opened = {item.parent for later in levels[number : number + 1] for item in later.relations}
        found, cut = await _fetch(session, level, parents, opened)
        generation = {}
        for index, item in enumerate(level.relations):
            mine = found.get(index, {})
            if index in opened:
                inside = [row for group in mine.values() for row, _ in group]
                generation[index] = [row for row in inside if isinstance(row, dict)]
                touched.append(generation[index])
            for parent in parents.get(item.parent, ()):
                parent[item.name] = _value(item, parent, mine, cut, envelope)
    for group in touched:
        for row in group:
            row.pop(ROW_KEY, None)


# A row into which nothing is set stays the text that PostgreSQL made.
_Group = list[tuple[Row | msgspec.Raw, Row | None]]
_Found = Mapping[int, Mapping[str, _Group]]


async def _fetch(
    session: Fetching,
    level: Level,
    parents: Mapping[int | None, Sequence[Row]],
    opened: Container[int | None],
) -> tuple[_Found, int]:
    """The rows by relation and link, and the rank from which there may be more than were taken.

    Those of relations in ``opened`` are decoded: they get related rows of their own.
    """
    wanted = [_wanted(item, parents.get(item.parent, ())) for item in level.relations]
    if not level.text or not any(wanted):
        return {}, MAX_OF_ONE + 1
    values = tuple(wanted[v.index] if isinstance(v, _Slot) else v for v in level.values)
    records = await session.fetch(FixedSql((level.text,), values))
    cut = MAX_OF_ONE + 1
    if len(records) > MAX_OF_ALL:
        cut = max(1, records[-1][2] - 1)
        records.pop()
    found: dict[int, dict[str, _Group]] = defaultdict(dict)
    for index, link, rank, shown, junction in records:
        if rank <= MAX_OF_ONE:
            near = None if junction is None else _DECODE(junction)
            row = _DECODE(shown) if index in opened else msgspec.Raw(shown)
            found[index].setdefault(link, []).append((row, near))
        else:
            cut = min(cut, MAX_OF_ONE)
    return found, cut


def _wanted(item: Embedded, parents: Iterable[Row]) -> list[object]:
    """The values that the related rows must hold."""
    if item.rows is None or item.match is None:
        return []
    words = {str(value) for row in parents if (value := row.get(item.source)) is not None}
    return equal_values(item.match, tuple(words))


def _value(
    item: Embedded,
    parent: Row,
    found: Mapping[str, _Group],
    cut: int,
    envelope: Envelope,
) -> object:
    key = parent.get(item.source)
    group = found.get(str(key), [])
    version, meta = envelope.version, envelope.meta
    if item.to_one:
        if key is None:
            return None
        if group:
            return envelopes.related(version, item.table, group[0][0], meta=meta)
        if item.rows is not None and not item.rows.visible:
            return None  # there is no such row; otherwise it may be there, and hidden
        return envelopes.related_key(version, key)
    rows = [row for row, _ in group]
    more = len(group) >= cut
    if item.type == "ONETOMANY":
        return envelopes.related_rows(version, item.table, rows, more=more, meta=meta)
    near = item.junction
    return envelopes.through(
        version,
        item.table,
        rows,
        [junction or {} for _, junction in group],
        envelopes.Junction(
            "" if near is None else near.table.name,
            "" if near is None else near.table.primary_key or "",
            None if near is None else near.table.sort_column,
        ),
        more=more,
        meta=meta,
    )
