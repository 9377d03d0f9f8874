"""How a user looks at a table: one untitled row, and any number of titled ones.

Everybody has his own and nobody else's. Source: contract 7.8, reading 29.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from settings_service.store import preferences as store
from settings_service.store.preferences import QUERIES
from shared.answers import Answer
from shared.catalogue import Table
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.preconditions import state_version
from shared.preferences import default_preferences, usable_sort
from shared.sql import Sql, fixed
from shared.stamps import SCHEMA, group_topic
from shared.versions import ApiVersion

TABLE: Final = "directus_preferences"
MAX_TITLE: Final = 128  # characters, as the column


async def get_preferences(
    database: Database, context: Context, name: str, title: str | None
) -> Answer:
    """The caller's for this table, or what stands in for them. Raises Forbidden, NotFound."""
    table = viewable(context, name)
    row = await database.fetchrow(fixed(QUERIES["preference"], context.principal.user, name, title))
    shown = None if row is None else dict(row)
    version = state_version(shown)
    return _cached(context, _item(context, _shown(context, table, shown, title)), version)


async def list_titled(database: Database, context: Context, name: str) -> Answer:
    """The titled ones, a bare array in both versions. Raises Forbidden, NotFound."""
    table = viewable(context, name)
    rows = await database.fetch(fixed(QUERIES["titled"], context.principal.user, name))
    shown = [_shown(context, table, dict(row), row["title"]) for row in rows]
    return _cached(context, msgspec.json.encode(shown))


async def save_preferences(
    changes: Changes, context: Context, name: str, body: Mapping[str, Any], title: str | None
) -> Answer:
    """Change what is named, of the row with this title; a body without any reads (PHP's way).

    Raises Forbidden, NotFound, InvalidRequest.
    """
    table = viewable(context, name)
    title = title_of(body.get("title")) or title
    chosen = choices(body)
    if not chosen and title is None:
        return await get_preferences(changes.database, context, name, None)
    async with changes.transaction(context.actor, compares=True) as change:
        mine = fixed(QUERIES["preference"], context.principal.user, name, title)
        await _compare(change, context, mine)
        row = await save(change, context, table, title, chosen)
    version = state_version(row)
    return Answer(_item(context, _shown(context, table, row, title)), version=version)


async def _compare(change: Change, context: Context, mine: Sql) -> None:
    """Raises PreconditionFailed. What stands in for a row that is not there has a version too."""

    async def version() -> str | None:
        row = await change.fetchrow(mine)
        missing = row is None and context.precondition.absent
        return None if missing else state_version(None if row is None else dict(row))

    await change.compare(context.precondition, version, alone=TABLE)


async def save(
    change: Change,
    context: Context,
    table: Table,
    title: str | None,
    chosen: Mapping[str, str | None],
) -> dict[str, Any]:
    """Raises Forbidden where a choice is protected from the caller's group."""
    own = context.catalogue.tables[TABLE]
    writable = context.rights.of(own).writable()
    for choice in chosen:
        if choice not in writable:
            raise Forbidden(f'The column "{choice}" cannot be written.', field=choice)
    user = context.principal.user
    defaults = default_preferences(table, context.rights.of(table), user)
    return await store.save(change, store.View(user, table.name, title), chosen, defaults)


async def delete_preferences(
    changes: Changes, context: Context, name: str, body: Mapping[str, Any]
) -> Answer:
    """One row by ``id``, or by ``title``. Raises Forbidden, InvalidRequest, NotFound."""
    user = context.principal.user
    given = body.get("user")
    if given not in (None, "") and _number(given) != user:
        raise Forbidden("Preferences are deleted by whose they are.", field="user")
    key, title = _number(body.get("id")), title_of(body.get("title"))
    if key is None and title is None:
        raise InvalidRequest(
            'Which preferences? Name their "id", or the "title" they were saved under.'
        )
    async with changes.transaction(context.actor, compares=True) as change:
        mine = fixed(QUERIES["preference_of"], user, name, key, title)
        await _compare(change, context, mine)
        deleted = await change.fetchrow(fixed(QUERIES["forget"], user, name, key, title))
        change.touch(f"t:{TABLE}")
    body_out: dict[str, Any] = {"success": deleted is not None}
    if context.version is ApiVersion.V1_1:
        body_out = {"meta": {"table": TABLE}, **body_out}
    return Answer(msgspec.json.encode(body_out))


def viewable(context: Context, name: str) -> Table:
    """Raises Forbidden for a hidden or missing table, NotFound for administrators."""
    table = context.catalogue.table(name)
    if table is None and context.principal.is_admin:
        raise NotFound(f'Unable to find the table "{name}"')
    if table is None or not context.rights.of(table).view:
        raise Forbidden
    return table


def title_of(given: object) -> str | None:
    """Raises InvalidRequest for a title that cannot be one."""
    if given in (None, ""):
        return None
    if not isinstance(given, str) or len(given) > MAX_TITLE or "\0" in given:
        raise InvalidRequest(f"A title is text of at most {MAX_TITLE} characters", field="title")
    return given


def choices(body: Mapping[str, Any]) -> dict[str, str | None]:
    """What a body says of a view, as it is stored: lists become CSV. Raises InvalidRequest."""
    chosen = {name: _text(name, body[name]) for name in store.CHOICES if name in body}
    order = chosen.get("sort_order")
    if order is not None:
        chosen["sort_order"] = order.upper()
        if chosen["sort_order"] not in ("ASC", "DESC"):
            message = f'sort_order must be ASC or DESC, not "{order}"'
            raise InvalidRequest(message, field="sort_order")
    return chosen


def _text(name: str, given: object) -> str | None:
    match given:
        case None | "":
            return None
        case bool():
            text = str(int(given))
        case str() | int():
            text = str(given)
        case list():
            text = ",".join(str(part) for part in given)
        case dict() if name == "list_view_options":
            text = msgspec.json.encode(given).decode()
        case dict():
            text = ",".join(str(part) for part in given.values())
        case _:
            raise InvalidRequest(f"{name} must be text or a list of texts", field=name)
    if "\0" in text:
        raise InvalidRequest(f"{name} holds a NUL character", field=name)
    return text


def _number(given: object) -> int | None:
    text = str(given).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _shown(
    context: Context, table: Table, row: dict[str, Any] | None, title: str | None
) -> dict[str, Any]:
    rights = context.rights.of(table)
    if row is None:
        row = default_preferences(table, rights, context.principal.user) | {"title": title}
    else:
        row["sort"] = usable_sort(table, rights, row["sort"])
    readable = context.rights.of(context.catalogue.tables[TABLE]).readable()
    return {name: value for name, value in row.items() if name in readable}


def _item(context: Context, row: Mapping[str, Any]) -> bytes:
    if context.version is ApiVersion.V1_0:
        return msgspec.json.encode(row)
    return msgspec.json.encode({"meta": {"table": TABLE, "type": "item"}, "data": row})


def _cached(context: Context, body: bytes, version: str | None = None) -> Answer:
    depends = {f"t:{TABLE}", SCHEMA, group_topic(context.principal.group)}
    return Answer(body, depends=frozenset(depends), scope="user", cacheable=True, version=version)
