"""Small questions about rows: what somebody may be typing, and who wrote a row when.

Source: contract 7.3, typeahead and audit.
"""

from dataclasses import replace
from typing import Any, Final

from shared import envelopes
from shared.answers import Answer
from shared.brackets import Query, as_list
from shared.context import Context
from shared.database import Database
from shared.errors import InvalidRequest
from shared.rows.access import access, primary_key
from shared.rows.change import current_row
from shared.rows.entries import entry_at
from shared.rows.parse import Order, parse_list
from shared.rows.plan import plan_access
from shared.rows.read import fetch_list

MOST: Final = 50  # suggestions


async def typeahead(database: Database, context: Context, table: str, query: Query) -> Answer:
    """``[{value, tokens, id}]``: rows of which one of the ``columns`` contains ``q``.

    Raises InvalidRequest for a column that is unknown, or when none is named.
    """
    where = access(context, table)
    names = as_list(query.get("columns"))
    if not names:
        raise InvalidRequest("columns names where to look: columns=a,b", field="columns")
    columns = tuple(where.own_column(name, "typeahead") for name in dict.fromkeys(names))
    key = primary_key(where.table)
    asked = replace(
        parse_list({name: query[name] for name in ("q", "status", "preview") if name in query}),
        columns=(key.name, *names),
        limit=MOST,
        depth=0,
    )
    plan = plan_access(context, where, asked)
    plan = replace(plan, counts=None, text_columns=columns, text_behind=())
    rows, _counts = await fetch_list(database, plan)
    found = [_suggestion(row, key.name, names) for row in rows]
    return Answer(
        envelopes.encode(found), depends=plan.depends, scope=plan.scope, cacheable=plan.cacheable
    )


def _suggestion(row: dict[str, Any], key: str, names: list[str]) -> dict[str, Any]:
    texts = [str(row[name]) for name in names if row.get(name) is not None]
    value = " ".join(texts)
    return {"value": value, "tokens": list(dict.fromkeys([*texts, *value.split()])), "id": row[key]}


async def audit(database: Database, context: Context, table: str, key: str, query: Query) -> Answer:
    """``created_on, created_by, updated_on, updated_by``, as the activity tells them.

    A missing or hidden row is an empty list, as for its own route (reading 66).
    """
    access(context, table)
    asked = parse_list({"meta": query["meta"]} if "meta" in query else {})
    row: dict[str, Any] | None = None
    if await current_row(database, context, table, key) is not None:
        asked = replace(asked, columns=("action", "user", "datetime"), limit=1)
        first = await entry_at(database, context, (table, key), asked, Order("id"))
        last = await entry_at(database, context, (table, key), asked, Order("id", descending=True))
        created = first if first is not None and first["action"] == "ADD" else None
        row = {
            "created_on": created and created["datetime"],
            "created_by": created and created["user"],
            "updated_on": last and last["datetime"],
            "updated_by": last and last["user"],
        }
    return Answer(envelopes.item(context.version, table, row, meta=asked.meta))
