"""``files`` and ``files/<id>``."""

from aiohttp import web

from files_service.keys import CONTENTS
from files_service.operations import files
from shared import rows
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE


async def list_files(request: web.Request) -> web.Response:
    answer = await rows.list_rows(
        request.app[DATABASE], request[CONTEXT], files.TABLE, read_query(request)
    )
    return respond(request, answer)


async def get_file(request: web.Request) -> web.Response:
    answer = await rows.get_row(
        request.app[DATABASE],
        request[CONTEXT],
        files.TABLE,
        request.match_info["id"],
        read_query(request),
    )
    return respond(request, answer)


async def create_file(request: web.Request) -> web.Response:
    answer = await files.create_file(
        request.app[CHANGES], request.app[CONTENTS], request[CONTEXT], await read_body(request)
    )
    return respond(request, answer)


async def update_file(request: web.Request) -> web.Response:
    answer = await files.update_file(
        request.app[CHANGES],
        request[CONTEXT],
        request.match_info["id"],
        await read_body(request),
        read_query(request),
    )
    return respond(request, answer)


async def delete_file(request: web.Request) -> web.Response:
    answer = await files.delete_file(
        request.app[CHANGES],
        request.app[CONTENTS],
        request[CONTEXT],
        request.match_info["id"],
        read_query(request),
    )
    return respond(request, answer)
