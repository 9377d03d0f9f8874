"""Finding who a message can be for: users and groups, as far as the caller may see them."""

from dataclasses import dataclass
from typing import Final

import msgspec

from shared.answers import Answer
from shared.context import Context
from shared.database import Database
from shared.sql import Sql, ident, join, param, raw
from shared.stamps import SCHEMA, group_topic

MOST: Final = 50


@dataclass(frozen=True, slots=True)
class Kind:
    """``also`` is a column searched besides the name, and shown where there is no name."""

    table: str
    number: int
    names: tuple[str, ...]
    also: str


KINDS: Final = (
    Kind("directus_users", 0, ("first_name", "last_name"), "email"),
    Kind("directus_groups", 1, ("name",), "name"),
)
_T: Final = raw("t")


async def find_recipients(database: Database, context: Context, text: str) -> Answer:
    """``[{id: "0_5", type: 0, name}, {id: "1_2", type: 1, name}]``, by name, at most MOST.

    Only columns the caller may read are searched and shown.
    """
    found_by_kind = (_of(context, kind, text) for kind in KINDS)
    selects = [select for select in found_by_kind if select is not None]
    found: list[dict[str, object]] = []
    if selects:
        rows = await database.fetch(
            raw("SELECT * FROM (")
            + join(" UNION ALL ", selects)
            + raw(") AS found ORDER BY lower(name), id LIMIT ")
            + param(MOST)
            + raw("::int")
        )
        found = [dict(row) for row in rows]
    depends = {SCHEMA, group_topic(context.principal.group)}
    depends |= {"t:directus_users", "t:directus_groups"}
    return Answer(
        msgspec.json.encode(found), depends=frozenset(depends), scope="user", cacheable=True
    )


def _of(context: Context, kind: Kind, text: str) -> Sql | None:
    """None: nothing the caller may see."""
    table = context.catalogue.tables[kind.table]
    rights = context.rights.of(table)
    readable = rights.readable()
    shown = [column for column in kind.names if column in readable]
    searched = [column for column in dict.fromkeys((*kind.names, kind.also)) if column in readable]
    if not rights.view or not searched:
        return None
    titles = raw("trim(concat_ws(' ', ") + _columns(shown) + raw("))") if shown else raw("''")
    if kind.also in readable:
        titles = raw("coalesce(nullif(") + titles + raw(", ''), t.") + ident(kind.also) + raw(")")
    pattern = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    prefix = raw("'0_'") if kind.number == 0 else raw("'1_'")
    visible = rights.view_condition(context.principal.user, _T) or raw("true")
    active = raw("t.active = 1") if kind.number == 0 else raw("true")
    return (
        raw("SELECT ")
        + prefix
        + raw(" || t.id AS id, ")
        + param(kind.number)
        + raw("::int AS type, ")
        + titles
        + raw(" AS name FROM public.")
        + ident(kind.table)
        + raw(" AS t WHERE ")
        + active
        + raw(" AND ")
        + visible
        + raw(" AND concat_ws(' ', ")
        + _columns(searched)
        + raw(") ILIKE ")
        + param(f"%{pattern}%")
    )


def _columns(names: list[str]) -> Sql:
    return join(", ", [raw("t.") + ident(name) for name in names])
