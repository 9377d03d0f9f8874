"""The activity over HTTP."""

from aiohttp import web

from shared.http import CONTEXT, read_query, respond
from shared.rows import entries
from shared.service import DATABASE


async def list_activity(request: web.Request) -> web.Response:
    answer = await entries.list_activity(
        request.app[DATABASE], request[CONTEXT], read_query(request)
    )
    return respond(request, answer)
