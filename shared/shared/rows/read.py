"""Lists and items: parse, plan, compile, run, answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shared import envelopes, failpoints
from shared.answers import Answer, Link
from shared.brackets import Query, Value, flag
from shared.catalogue import Catalogue
from shared.context import Context
from shared.database import Database, Session
from shared.rights import Rights
from shared.rows import activity, cursor
from shared.rows.access import access
from shared.rows.compile import KEY, compile_item, compile_list
from shared.rows.embed import Envelope, Level, compile_levels, embed
from shared.rows.parse import parse_columns, parse_depth, parse_list, wants_meta
from shared.rows.plan import ItemPlan, ReadPlan, plan_item, plan_list
from shared.rows.relations import ROW_KEY, plan_relations
from shared.rows.values import Unfit, compared, comparison_type
from shared.sql import FixedSql, Sql

_KEPT: Final = 2048  # compiled statements a process remembers
_SHAPES_AN_ITEM: Final = ("columns", "columns_visible", "depth", "preview")
_CACHE_BUSTER: Final = "_"  # what clients add to get past caches in between; means nothing here
_LONGEST: Final = 2_000  # characters of parameters that are still remembered


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A plan with its statement. Holds for these very objects: knowledge is replaced as a whole."""

    catalogue: Catalogue
    rights: Rights
    plan: Any
    text: str
    values: tuple[object, ...]
    names: tuple[str, ...]
    levels: tuple[Level, ...]


_compiled: dict[object, _Compiled] = {}


async def list_rows(database: Database, context: Context, table: str, query: Query) -> Answer:
    """Raises Forbidden, NotFound (administrators), InvalidRequest naming the unknown thing."""
    shaping = {name: value for name, value in query.items() if name != _CACHE_BUSTER}
    shape = ("list", table, context.version, context.settings.rows_per_page, _frozen(shaping))
    known = _recall(shape, context)
    if known is None:
        plan = plan_list(context, table, parse_list(query))
        known = _remember(shape, context, plan, compile_list(plan), plan.fields)
    plan: ReadPlan = known.plan
    if not known.levels:
        records = await database.fetch(_statement(known))
        await failpoints.reach("rows.read")
        return _listed(context, plan, _rows(plan, known.names, records), records)
    async with database.transaction(isolation="repeatable_read", readonly=True) as session:
        records = await session.fetch(_statement(known))
        rows = _rows(plan, known.names, records)
        await embed(session, known.levels, rows, Envelope(context.version, plan.meta))
        await failpoints.reach("rows.read")
    return _listed(context, plan, rows, records)


async def fetch_list(
    database: Database, plan: ReadPlan
) -> tuple[list[dict[str, Any]], dict[str, int] | None]:
    """The rows of a plan of an operation's own making, and its counts."""
    records = await database.fetch(compile_list(plan))
    return _rows(plan, tuple(plan.fields), records), _counts(plan, records)


def _statement(known: "_Compiled") -> FixedSql:
    return FixedSql((known.text,), known.values)


def _listed(
    context: Context, plan: ReadPlan, rows: list[dict[str, Any]], records: list[Any]
) -> Answer:
    table = plan.table.name
    links: list[Link] = []
    next_cursor = None
    if plan.cursor is not None:
        next_cursor = _next_cursor(plan, rows)
        links = [Link("next", {"cursor": next_cursor})] if next_cursor is not None else []
    elif not plan.single:
        links = _links(plan, len(rows))
    if plan.single:
        row = rows[0] if rows else None
        body = envelopes.item(context.version, table, row, meta=plan.meta)
    else:
        counts = _counts(plan, records)
        more = {} if plan.cursor is None else {"next_cursor": next_cursor}
        body = envelopes.collection(
            context.version,
            table,
            rows,
            counts,
            has_status=plan.table.status_column is not None,
            meta=plan.meta,
            more=more | _counted(plan, counts),
        )
    return Answer(
        body,
        depends=plan.depends,
        scope=plan.scope,
        cacheable=plan.cacheable,
        links=tuple(links),
    )


def _next_cursor(plan: ReadPlan, rows: list[dict[str, Any]]) -> str | None:
    """Where the list goes on, when there may be more; takes the fields of the order away."""
    last = None
    for row in rows:
        last = cursor.encode(plan.orders, row)
    return last if plan.limit and len(rows) == plan.limit else None


def _links(plan: ReadPlan, found: int) -> list[Link]:
    """The pages around this one, by the parameters that differ; None takes a parameter away."""
    if not plan.limit:
        return []
    links: list[Link] = []
    starts = {"next": plan.offset + plan.limit} if found == plan.limit else {}
    if plan.offset:
        starts |= {"prev": max(0, plan.offset - plan.limit), "first": 0}
    for rel, start in starts.items():
        if plan.clipped:
            changes = {"perPage": None, "currentPage": None, "limit": "-1", "offset": str(start)}
        elif plan.paged and start % plan.limit == 0:
            changes = {"currentPage": str(start // plan.limit)}
        else:
            changes = {"offset": str(start), "limit": str(plan.limit)}
        links.append(Link(rel, changes))
    return links


def _counted(plan: ReadPlan, counts: Mapping[str, int] | None) -> dict[str, str]:
    """How the counts came about, where that was asked for or they are not what they seem."""
    if plan.counts is None or counts is None:
        return {"count": "none"} if plan.count == "none" else {}
    budget = plan.counts.budget
    estimated = budget is not None and sum(counts.values()) > budget
    if estimated:
        return {"count": "estimated"}
    return {"count": "exact"} if plan.count is not None else {}


async def get_row(
    database: Database, context: Context, table: str, key: str, query: Query
) -> Answer:
    """A missing or hidden row is an empty list (reading 66). Raises as list_rows."""
    shaping = {name: query[name] for name in _SHAPES_AN_ITEM if name in query}
    shape = ("item", table, context.version, _frozen(shaping))
    known = _recall(shape, context)
    if known is None:
        plan = plan_item(
            context,
            table,
            parse_columns(query),
            parse_depth(query),
            any_status=flag(query.get("preview")),
        )
        known = _remember(shape, context, plan, compile_item(plan), plan.fields)
    plan: ItemPlan = known.plan
    meta = wants_meta(query)
    if not known.levels:
        row, version = await _fetch_item(database, known, plan, key)
    else:
        async with database.transaction(isolation="repeatable_read", readonly=True) as session:
            row, version = await _fetch_item(session, known, plan, key)
            if row is not None:
                await embed(session, known.levels, [row], Envelope(context.version, meta))
    body = envelopes.item(context.version, table, row, meta=meta)
    return Answer(
        body,
        depends=plan.depends,
        scope=plan.scope,
        cacheable=plan.cacheable,
        version=version,
    )


async def embed_written(
    database: Database,
    context: Context,
    table: str,
    rows: Sequence[dict[str, Any]],
    query: Query,
) -> None:
    """Related rows set into rows that were just written, whatever their status."""
    where = access(context, table)
    relations = plan_relations(context, where, None, parse_depth(query), any_status=True)
    if not relations.levels or not rows:
        return
    for row in rows:
        row[ROW_KEY] = row[where.table.primary_key or ""]
    envelope = Envelope(context.version, wants_meta(query))
    async with database.transaction(isolation="repeatable_read", readonly=True) as session:
        await embed(session, compile_levels(relations), rows, envelope)


async def _fetch_item(
    database: Database | Session, known: _Compiled, plan: ItemPlan, key: str
) -> tuple[dict[str, Any] | None, str | None]:
    """The row and its version."""
    try:
        pg_type, value = compared(plan.key, key)
    except Unfit:
        return None, None
    if pg_type != comparison_type(plan.key):
        return None, None
    values = tuple(value if item is KEY else item for item in known.values)
    record = await database.fetchrow(FixedSql((known.text,), values))
    await failpoints.reach("rows.read")
    if record is None:
        return None, None
    row = dict(zip(known.names, record, strict=False))
    return activity.finished(row) if plan.source else row, record["?version"]


def _rows(plan: ReadPlan, names: tuple[str, ...], records: list[Any]) -> list[dict[str, Any]]:
    rows = [dict(zip(names, record, strict=False)) for record in records if record[-1]]
    return [activity.finished(row) for row in rows] if plan.source else rows


def _counts(plan: ReadPlan, records: list[Any]) -> dict[str, int] | None:
    if plan.counts is None:
        return None
    text = records[0][-2]
    return msgspec.json.decode(text) if text else {}


# ── what is compiled once ─────────────────────────────────────────────────────────────────────────


def _frozen(query: Query) -> object:
    """The parameters as a key, order included: it has meaning."""
    return tuple(_frozen_items(query.items()))


def _frozen_items(items: Iterable[tuple[str, Value]]) -> Iterable[object]:
    for name, value in items:
        yield name, value if isinstance(value, str) else tuple(_frozen_items(value.items()))


def _recall(shape: tuple[object, ...], context: Context) -> _Compiled | None:
    known = _compiled.get((context.principal.user, *shape))
    if (
        known is not None
        and known.catalogue is context.catalogue
        and known.rights is context.rights
    ):
        return known
    return None


def _remember(
    shape: tuple[object, ...],
    context: Context,
    plan: ReadPlan | ItemPlan,
    sql: Sql,
    fields: Mapping[str, object],
) -> _Compiled:
    text, values = sql.render()
    known = _Compiled(
        context.catalogue,
        context.rights,
        plan,
        text,
        tuple(values),
        tuple(fields),
        compile_levels(plan.relations),
    )
    if len(text) < 16 * _LONGEST and len(str(shape)) < _LONGEST:
        if len(_compiled) >= _KEPT:
            del _compiled[next(iter(_compiled))]  # the oldest: dicts keep their order
        _compiled[(context.principal.user, *shape)] = known
    return known
