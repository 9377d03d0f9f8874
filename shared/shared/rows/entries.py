"""The activity as lists: newest first, on from a position of the feed, or of one row.

Everybody may ask: what is shown is cut to the tables, rows and columns the caller may view.
Source: contract 7.11, readings 43 and 69.
"""

from dataclasses import replace
from typing import Any, Final

from shared import envelopes
from shared.answers import Answer
from shared.brackets import Query, Value, as_list
from shared.catalogue import ACTIVITY
from shared.context import Context
from shared.database import Database
from shared.errors import InvalidRequest
from shared.identity import ADMINISTRATORS
from shared.rights import Rights
from shared.rows.access import access, activity_access
from shared.rows.parse import ListQuery, Order, parse_list
from shared.rows.plan import ReadPlan, plan_access
from shared.rows.read import fetch_list
from shared.sql import raw
from shared.versions import ApiVersion

MOST_LAST: Final = 100  # rows whose last entry one request asks for
WINDOW: Final = 20_000  # positions that one answer looks through
_REVISION: Final = ("id", "action", "user", "datetime")
_EVERYBODY: Final = Rights(ADMINISTRATORS, {})  # the tables' own rights cut the entries
_HEAD: Final = raw("SELECT position FROM directoire.relay")


async def list_activity(database: Database, context: Context, query: Query) -> Answer:
    """Newest first; with ``after`` in the order of the feed, from the position after that one.

    Quiet entries are left out unless a filter names ``quiet``; the feed has them all. The newest
    can be remembered; what follows a position cannot, since no writer knows when it gets one.
    Raises InvalidRequest naming the parameter at fault.
    """
    asked = parse_list(query)
    if query.get("after", "") != "":
        return await _list_feed(database, context, asked, position(query["after"]))
    if "last_updated" in query:
        return await _list_last(database, context, asked, query["last_updated"])
    named = {item.column for item in asked.filters} | {column for column, _ in asked.one_of}
    if "quiet" not in named:
        asked = replace(asked, one_of=(*asked.one_of, ("quiet", ("0",))))
    table = context.catalogue.tables[ACTIVITY]
    where = activity_access(context, table, _EVERYBODY.of(table))
    plan = plan_access(context, where, asked)
    rows, counts = await fetch_list(database, plan)
    if plan.single:
        row = rows[0] if rows else None
        body = envelopes.item(context.version, ACTIVITY, row, meta=plan.meta)
    elif context.version is ApiVersion.V1_0:
        total = sum((counts or {}).values())
        body = envelopes.encode({"total": total, "active": total, "rows": rows})
    else:
        body = _collection(context, rows, counts, meta=plan.meta)
    return Answer(
        body,
        depends=plan.depends,
        scope="group" if context.rights.admin else "user",
        cacheable=plan.relations.cacheable,
    )


async def _list_last(
    database: Database, context: Context, asked: ListQuery, wanted: Value
) -> Answer:
    """The newest entry of each row of ``last_updated[table]=ids``. Raises InvalidRequest."""
    if not isinstance(wanted, dict):
        message = "last_updated names rows of a table: last_updated[table]=1,2"
        raise InvalidRequest(message, field="last_updated")
    places = [(table, key) for table, keys in wanted.items() for key in as_list(keys)]
    if len(places) > MOST_LAST:
        message = f"last_updated takes up to {MOST_LAST} rows"
        raise InvalidRequest(message, field="last_updated")
    newest = Order("id", descending=True)
    found = [await entry_at(database, context, place, asked, newest) for place in places]
    rows = [row for row in found if row is not None]
    if context.version is ApiVersion.V1_0:
        return Answer(envelopes.encode({"total": len(rows), "active": len(rows), "rows": rows}))
    return Answer(_collection(context, rows, None, meta=True))


async def _list_feed(database: Database, context: Context, asked: ListQuery, after: int) -> Answer:
    """Each row with its ``position``; ``meta.position`` is where to ask on from.

    It moves on even where nothing was to be seen, and is the last row's when there may be more.
    """
    head: int = await database.fetchval(_HEAD)
    until = max(after, min(head, after + WINDOW))
    rows, reached = await fetch_feed(database, context, asked, after, until)
    if context.version is ApiVersion.V1_0:
        body = {"total": len(rows), "active": len(rows), "rows": rows, "position": reached}
        return Answer(envelopes.encode(body))
    meta = {"table": ACTIVITY, "type": "collection", "total": len(rows), "position": reached}
    return Answer(envelopes.encode({"meta": meta, "data": rows}))


async def fetch_feed(
    database: Database, context: Context, asked: ListQuery, after: int, until: int
) -> tuple[list[dict[str, Any]], int]:
    """What the caller may see of the positions above ``after`` up to ``until``, in their order.

    With it the position all was looked through to: less than ``until`` where the limit cut it.
    """
    table = context.catalogue.tables[ACTIVITY]
    where = activity_access(context, table, _EVERYBODY.of(table), after=after, until=until)
    columns = asked.columns
    if columns is not None and "position" not in columns:
        columns = ("position", *columns)
    asked = replace(
        asked, columns=columns, orders=(Order("position"),), page=None, offset=None, single=False
    )
    plan = replace(plan_access(context, where, asked), counts=None)
    rows, _counts = await fetch_list(database, plan)
    return rows, rows[-1]["position"] if rows and len(rows) == plan.limit else until


async def list_revisions(
    database: Database, context: Context, table: str, key: str, query: Query
) -> Answer:
    """The entries of one row, newest first: ``id, action, user, datetime``, or what is asked for.

    Raises Forbidden without the view right, NotFound (administrators) for a missing table.
    """
    access(context, table)
    asked = parse_list(query)
    asked = replace(asked, columns=asked.columns or _REVISION)
    plan = _plan_of_row(context, table, key, asked)
    rows, _counts = await fetch_list(database, plan)
    return Answer(_collection(context, rows, None, meta=plan.meta))


async def entry_at(
    database: Database, context: Context, row: tuple[str, str], asked: ListQuery, order: Order
) -> dict[str, Any] | None:
    """The first entry of a row, table and key, in this order."""
    plan = _plan_of_row(context, *row, replace(asked, orders=(order,)))
    rows, _counts = await fetch_list(database, plan)
    return rows[0] if rows else None


def _plan_of_row(context: Context, table: str, key: str, asked: ListQuery) -> ReadPlan:
    one_of = (*asked.one_of, ("table_name", (table,)), ("row_id", (key,)))
    stored = context.catalogue.tables[ACTIVITY]
    where = activity_access(context, stored, _EVERYBODY.of(stored))
    return replace(plan_access(context, where, replace(asked, one_of=one_of)), counts=None)


def position(given: object) -> int:
    """A position of the feed as a client names it. Raises InvalidRequest."""
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) < 19:
        return int(given)
    raise InvalidRequest("after is a position of the feed: a whole number", field="after")


def _collection(
    context: Context, rows: list[dict[str, Any]], counts: dict[str, int] | None, *, meta: bool
) -> bytes:
    return envelopes.collection(
        context.version, ACTIVITY, rows, counts, has_status=False, meta=meta
    )
