"""The modern utilities over rows."""

from aiohttp import web

from items_service.operations.sorting import sort_row
from shared.http import CONTEXT, no_content, read_body
from shared.service import CHANGES


async def sort(request: web.Request) -> web.Response:
    body = await read_body(request)
    await sort_row(request.app[CHANGES], request[CONTEXT], request.match_info["table"], body)
    return no_content()
