"""``settings`` and ``settings/<collection>``."""

from aiohttp import web

from settings_service.operations import settings
from shared.http import CONTEXT, read_body, respond
from shared.service import CHANGES


async def list_settings(request: web.Request) -> web.Response:
    return respond(request, settings.list_settings(request[CONTEXT]))


async def get_settings(request: web.Request) -> web.Response:
    collection = request.match_info["collection"]
    return respond(request, settings.get_settings(request[CONTEXT], collection))


async def update_settings(request: web.Request) -> web.Response:
    collection = request.match_info["collection"]
    body = await read_body(request)
    answer = await settings.update_settings(
        request.app[CHANGES], request[CONTEXT], collection, body
    )
    return respond(request, answer)
