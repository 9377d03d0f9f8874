"""``bookmarks`` and what is below."""

from aiohttp import web

from settings_service.operations import bookmarks
from shared import rows
from shared.errors import NotFound
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE


async def list_bookmarks(request: web.Request) -> web.Response:
    answer = await bookmarks.list_bookmarks(
        request.app[DATABASE], request[CONTEXT], read_query(request)
    )
    return respond(request, answer)


async def list_own(request: web.Request) -> web.Response:
    context = request[CONTEXT]
    answer = await bookmarks.list_of_user(
        request.app[DATABASE], context, context.principal.user, read_query(request)
    )
    return respond(request, answer)


async def list_of_user(request: web.Request) -> web.Response:
    answer = await bookmarks.list_of_user(
        request.app[DATABASE], request[CONTEXT], user_in_path(request), read_query(request)
    )
    return respond(request, answer)


async def get_bookmark(request: web.Request) -> web.Response:
    answer = await rows.get_row(
        request.app[DATABASE],
        request[CONTEXT],
        bookmarks.TABLE,
        request.match_info["id"],
        read_query(request),
    )
    return respond(request, answer)


async def create_bookmark(request: web.Request) -> web.Response:
    answer = await bookmarks.create_bookmark(
        request.app[CHANGES], request[CONTEXT], await read_body(request), read_query(request)
    )
    return respond(request, answer)


async def update_bookmark(request: web.Request) -> web.Response:
    answer = await rows.update_row(
        request.app[CHANGES],
        request[CONTEXT],
        bookmarks.TABLE,
        request.match_info["id"],
        await read_body(request),
        query=read_query(request),
    )
    return respond(request, answer)


async def delete_bookmark(request: web.Request) -> web.Response:
    answer = await bookmarks.delete_bookmark(
        request.app[CHANGES], request[CONTEXT], request.match_info["id"]
    )
    return respond(request, answer)


def user_in_path(request: web.Request) -> int:
    """The user of ``…/user/<id>``; ``me`` is the caller. Raises NotFound."""
    given = request.match_info["user"]
    if given == "me":
        return request[CONTEXT].principal.user
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise NotFound(f"Unable to find the record in [directus_users] with ID [{given}]")
    return int(given)
