"""``tables/<t>/columns`` and what is below."""

from aiohttp import web

from schema_service.operations import columns
from shared.http import CONTEXT, read_body, respond
from shared.service import CHANGES


async def list_columns(request: web.Request) -> web.Response:
    answer = columns.list_columns(request[CONTEXT], request.match_info["table"])
    return respond(request, answer)


async def get_column(request: web.Request) -> web.Response:
    answer = columns.get_column(
        request[CONTEXT], request.match_info["table"], request.match_info["column"]
    )
    return respond(request, answer)


async def create_column(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await columns.create_column(
        request.app[CHANGES], request[CONTEXT], request.match_info["table"], body
    )
    return respond(request, answer)


async def update_column(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await columns.update_column(
        request.app[CHANGES],
        request[CONTEXT],
        request.match_info["table"],
        request.match_info["column"],
        body,
    )
    return respond(request, answer)


async def update_columns(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await columns.update_columns(
        request.app[CHANGES], request[CONTEXT], request.match_info["table"], body
    )
    return respond(request, answer)


async def drop_column(request: web.Request) -> web.Response:
    answer = await columns.drop_column(
        request.app[CHANGES],
        request[CONTEXT],
        request.match_info["table"],
        request.match_info["column"],
    )
    return respond(request, answer)


async def get_options(request: web.Request) -> web.Response:
    return respond(request, columns.get_options(request[CONTEXT], *_place(request)))


async def save_options(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await columns.save_options(
        request.app[CHANGES], request[CONTEXT], _place(request), body
    )
    return respond(request, answer)


def _place(request: web.Request) -> tuple[str, str, str]:
    """Table, column and interface."""
    match = request.match_info
    return match["table"], match["column"], match["ui"]
