"""``messages`` and what is below, and ``comments``."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from settings_service.handlers.bookmarks import user_in_path
from settings_service.operations import messages, recipients
from shared.errors import InvalidRequest
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE


async def list_messages(request: web.Request) -> web.Response:
    """The caller's inbox, or that of the user in the path."""
    user = request[CONTEXT].principal.user
    if "user" in request.match_info:
        user = user_in_path(request)
    answer = await messages.list_messages(
        request.app[DATABASE], request[CONTEXT], user, read_query(request)
    )
    return respond(request, answer)


async def get_message(request: web.Request) -> web.Response:
    answer = await messages.get_message(
        request.app[DATABASE], request[CONTEXT], request.match_info["id"]
    )
    return respond(request, answer)


async def send_message(request: web.Request) -> web.Response:
    answer = await messages.send_message(
        request.app[CHANGES], request[CONTEXT], await read_body(request)
    )
    return respond(request, answer)


async def reply(request: web.Request) -> web.Response:
    answer = await messages.reply(
        request.app[CHANGES],
        request[CONTEXT],
        request.match_info["id"],
        await read_body(request),
    )
    return respond(request, answer)


async def mark(request: web.Request) -> web.Response:
    """Read, unless the body says ``read: 0``."""
    body = await read_body(request)
    unread = str(body.get("read", 1)).strip().lower() in {"0", "false"}
    answer = await messages.mark(
        request.app[CHANGES], request[CONTEXT], request.match_info["id"], read=not unread
    )
    return respond(request, answer)


async def archive(request: web.Request) -> web.Response:
    answer = await messages.archive(
        request.app[CHANGES], request[CONTEXT], [request.match_info["id"]]
    )
    return respond(request, answer)


async def archive_many(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await messages.archive(request.app[CHANGES], request[CONTEXT], _keys(body))
    return respond(request, answer)


def _keys(body: Mapping[str, Any]) -> list[object]:
    """The ids in ``rows``, from JSON or a form. Raises InvalidRequest."""
    given = body.get("rows")
    rows = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(rows, list) or not rows:
        raise InvalidRequest("Rows no specified", field="rows")
    if not all(isinstance(row, Mapping) and "id" in row for row in rows):
        raise InvalidRequest("Row without primary key field", field="rows")
    return [row["id"] for row in rows]


async def find_recipients(request: web.Request) -> web.Response:
    text = read_query(request).get("q", "")
    if not isinstance(text, str):
        raise InvalidRequest("q takes one text", field="q")
    answer = await recipients.find_recipients(request.app[DATABASE], request[CONTEXT], text)
    return respond(request, answer)


async def comment(request: web.Request) -> web.Response:
    answer = await messages.comment(
        request.app[CHANGES], request[CONTEXT], await read_body(request)
    )
    return respond(request, answer)
