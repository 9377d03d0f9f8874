"""``privileges/<g>`` and ``privileges/<g>/<id or table>``."""

from aiohttp import web

from schema_service.operations import privileges
from shared.http import CONTEXT, read_body, respond
from shared.service import CHANGES, DATABASE


async def list_privileges(request: web.Request) -> web.Response:
    answer = await privileges.list_privileges(
        request.app[DATABASE], request[CONTEXT], request.match_info["group"]
    )
    return respond(request, answer)


async def get_privilege(request: web.Request) -> web.Response:
    answer = await privileges.get_privilege(
        request.app[DATABASE],
        request[CONTEXT],
        request.match_info["group"],
        request.match_info["which"],
    )
    return respond(request, answer)


async def create_privilege(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await privileges.create_privilege(
        request.app[CHANGES], request[CONTEXT], request.match_info["group"], body
    )
    return respond(request, answer)


async def update_privilege(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer = await privileges.update_privilege(
        request.app[CHANGES],
        request[CONTEXT],
        request.match_info["group"],
        request.match_info["which"],
        body,
    )
    return respond(request, answer)
