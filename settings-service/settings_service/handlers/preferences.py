"""``tables/<t>/preferences`` and ``preferences/<t>``."""

from aiohttp import web

from settings_service.operations import preferences
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE


async def get_preferences(request: web.Request) -> web.Response:
    answer = await preferences.get_preferences(
        request.app[DATABASE], request[CONTEXT], request.match_info["table"], _title(request)
    )
    return respond(request, answer)


async def list_titled(request: web.Request) -> web.Response:
    answer = await preferences.list_titled(
        request.app[DATABASE], request[CONTEXT], request.match_info["table"]
    )
    return respond(request, answer)


async def save_preferences(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await preferences.save_preferences(
        request.app[CHANGES], request[CONTEXT], request.match_info["table"], body, _title(request)
    )
    return respond(request, answer)


async def delete_preferences(request: web.Request) -> web.Response:
    body = {"title": _title(request), **await read_body(request)}
    answer = await preferences.delete_preferences(
        request.app[CHANGES], request[CONTEXT], request.match_info["table"], body
    )
    return respond(request, answer)


def _title(request: web.Request) -> str | None:
    """``title`` in the query picks a titled row; 6.3 called it ``newTitle``."""
    query = read_query(request)
    return preferences.title_of(query.get("title") or query.get("newTitle"))
