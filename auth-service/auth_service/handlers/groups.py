"""``groups`` and ``groups/<id>``: rows of directus_groups. Source: contract 7.5."""

from typing import Final

from aiohttp import web

from shared import rows
from shared.errors import NotUnique, Taken
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE

TABLE: Final = "directus_groups"


async def list_groups(request: web.Request) -> web.Response:
    answer = await rows.list_rows(
        request.app[DATABASE], request[CONTEXT], TABLE, read_query(request)
    )
    return respond(request, answer)


async def get_group(request: web.Request) -> web.Response:
    answer = await rows.get_row(
        request.app[DATABASE],
        request[CONTEXT],
        TABLE,
        request.match_info["id"],
        read_query(request),
    )
    return respond(request, answer)


async def create_group(request: web.Request) -> web.Response:
    """With its first privilege row; a name that is taken is refused (reading 63)."""
    body = await read_body(request)
    try:
        answer = await rows.create_row(
            request.app[CHANGES], request[CONTEXT], TABLE, body, query=read_query(request)
        )
    except NotUnique as error:
        raise Taken(f'Group "{body.get("name")}" already exists', field="name") from error
    return respond(request, answer)


async def update_group(request: web.Request) -> web.Response:
    answer = await rows.update_row(
        request.app[CHANGES],
        request[CONTEXT],
        TABLE,
        request.match_info["id"],
        await read_body(request),
        query=read_query(request),
    )
    return respond(request, answer)


async def delete_group(request: web.Request) -> web.Response:
    answer = await rows.delete_row(
        request.app[CHANGES], request[CONTEXT], TABLE, request.match_info["id"], query={}
    )
    return respond(request, answer)
