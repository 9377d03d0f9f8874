"""``tables`` and ``tables/<t>``."""

from aiohttp import web

from schema_service.operations import tables
from shared.brackets import flag
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE


async def list_tables(request: web.Request) -> web.Response:
    include_system = flag(read_query(request).get("include_system"))
    answer = tables.list_tables(request[CONTEXT], include_system=include_system)
    return respond(request, answer)


async def get_table(request: web.Request) -> web.Response:
    answer = await tables.get_table(
        request.app[DATABASE], request[CONTEXT], request.match_info["table"]
    )
    return respond(request, answer)


async def create_table(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await tables.create_table(request.app[CHANGES], request[CONTEXT], body)
    return respond(request, answer)


async def update_table(request: web.Request) -> web.Response:
    body = await read_body(request)
    name = request.match_info["table"]
    answer = await tables.update_table(request.app[CHANGES], request[CONTEXT], name, body)
    return respond(request, answer)


async def drop_table(request: web.Request) -> web.Response:
    answer = await tables.drop_table(
        request.app[CHANGES], request[CONTEXT], request.match_info["table"]
    )
    return respond(request, answer)
