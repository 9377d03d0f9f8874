"""Bookmarks: rows of directus_bookmarks, and the saved view a bookmark of a table stands for.

Source: contract 7.9, reading 30.
"""

from collections.abc import Mapping
from typing import Any, Final

from settings_service.operations import preferences
from shared import rows
from shared.answers import Answer
from shared.brackets import Query
from shared.changes import Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Forbidden, InvalidRequest, Missing
from shared.queries import load_queries
from shared.sql import fixed
from shared.stamps import table_topic
from shared.versions import ApiVersion

TABLE: Final = "directus_bookmarks"
MAX_TITLE: Final = 128  # characters: the saved view carries the same title
QUERIES: Final = load_queries("settings_service.store", "bookmarks.sql")


async def list_bookmarks(database: Database, context: Context, query: Query) -> Answer:
    """All the caller may see; 1.0 knew only his own."""
    if context.version is ApiVersion.V1_0:
        return await list_of_user(database, context, context.principal.user, query)
    return await rows.list_rows(database, context, TABLE, query)


async def list_of_user(database: Database, context: Context, user: int, query: Query) -> Answer:
    """Bookmarks of one user, as far as the caller's rights reach."""
    given = query.get("in")
    narrowed = {**(given if isinstance(given, dict) else {}), "user": str(user)}
    return await rows.list_rows(database, context, TABLE, {**query, "in": narrowed})


async def create_bookmark(
    changes: Changes, context: Context, body: Mapping[str, Any], query: Query
) -> Answer:
    """With ``table_name`` the view is saved under the same title, and the bookmark leads to it.

    Raises InvalidRequest, Forbidden, NotFound for the table.
    """
    if body.get("table_name") in (None, ""):
        return await rows.create_row(changes, context, TABLE, body, query=query)
    table = preferences.viewable(context, str(body["table_name"]))
    title = preferences.title_of(body.get("title"))
    if title is None:
        message = "A bookmark of a table needs the title its view is saved under"
        raise InvalidRequest(message, field="title")
    rights = context.rights.of(context.catalogue.tables[TABLE])
    if not rights.add:
        raise Forbidden
    icon = body.get("icon_class")
    url = f"tables/{table.name}/pref/{title}"
    async with changes.transaction(context.actor) as change:
        await preferences.save(change, context, table, title, preferences.choices(body))
        added = fixed(
            QUERIES["add"], context.principal.user, title, url, str(icon) if icon else None
        )
        key = await change.fetchval(added)
        change.touch(table_topic(TABLE))
    return await rows.get_row(changes.database, context, TABLE, str(key), {})


async def delete_bookmark(changes: Changes, context: Context, key: str) -> Answer:
    """One's own, with the view that was saved for it. Raises Missing."""
    number = int(key) if key.isascii() and key.isdigit() and len(key) < 10 else 0
    own = await changes.database.fetchval(fixed(QUERIES["is_own"], number, context.principal.user))
    if not own:
        raise Missing("bookmark_not_found")
    return await rows.delete_row(changes, context, TABLE, key, query={})
