"""``utils/jobs``: what works in the background, for those who began it."""

from uuid import UUID

from aiohttp import web

from items_service.keys import BULK
from items_service.operations import jobs
from shared.errors import NotFound
from shared.http import CONTEXT, no_content, respond


async def list_jobs(request: web.Request) -> web.Response:
    found = await jobs.list_jobs(request.app[BULK], request[CONTEXT])
    return respond(request, {"data": found})


async def get_job(request: web.Request) -> web.Response:
    job = await jobs.get_job(request.app[BULK], request[CONTEXT], _id(request))
    return respond(request, {"data": job})


async def cancel_job(request: web.Request) -> web.Response:
    await jobs.cancel_job(request.app[BULK], request[CONTEXT], _id(request))
    return no_content(204)


async def rejects(request: web.Request) -> web.Response:
    """The rows that kept an import from being made, to be downloaded."""
    text = await jobs.rejects(request.app[BULK], request[CONTEXT], _id(request))
    headers = {"Content-Disposition": 'attachment; filename="rejects.csv"'}
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


def _id(request: web.Request) -> str:
    try:
        return str(UUID(request.match_info["id"]))
    except ValueError as error:
        raise NotFound("There is no such job.") from error
