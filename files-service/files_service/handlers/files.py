"""``files``, ``files/<id>``, ``upload`` and ``upload/link``."""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from files_service.handlers.bodies import incoming
from files_service.keys import CONTENTS, LIMITS, THUMBNAILS
from files_service.operations import files
from shared import rows
from shared.file_records import check_quota
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE, PRINCIPAL, context_of


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
    await _check_room(request)
    answer, keys = await files.create_files(
        request.app[CHANGES],
        request.app[CONTENTS],
        request[CONTEXT],
        incoming(request),
        request.app[LIMITS],
    )
    await make_thumbnails(request, keys)
    return respond(request, answer)


async def update_file(request: web.Request) -> web.Response:
    await _check_room(request)
    answer = await files.update_file(
        request.app[CHANGES],
        request.app[CONTENTS],
        request[CONTEXT],
        request.match_info["id"],
        incoming(request),
        read_query(request),
        request.app[LIMITS],
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


async def upload(request: web.Request) -> web.Response:
    await _check_room(request)
    infos = await files.store_ahead(
        request.app[CHANGES],
        request.app[CONTENTS],
        request[CONTEXT],
        incoming(request),
        request.app[LIMITS],
    )
    return respond(request, infos)


async def upload_link(request: web.Request) -> web.Response:
    body = await read_body(request)
    return respond(request, [files.embed_info(request[CONTEXT], body.get("link"))])


async def prepare_file(request: web.Request) -> web.Response:
    """Bytes for a row of another service, which makes their record (``shared.new_file``)."""
    new = await files.prepare(
        request.app[CHANGES],
        request.app[CONTENTS],
        await context_of(request, request[PRINCIPAL]),
        incoming(request),
        request.app[LIMITS],
    )
    return web.Response(body=msgspec.json.encode(new), content_type="application/json")


async def give_back(request: web.Request) -> web.Response:
    await files.give_back(
        request.app[DATABASE],
        request.app[CONTENTS],
        await context_of(request, request[PRINCIPAL]),
        request.match_info["key"],
    )
    return web.Response(status=204)


async def make_thumbnails(request: web.Request, keys: Sequence[int]) -> None:
    """Beside the request, once others can see the records."""

    async def make() -> None:
        request.app[THUMBNAILS].make_soon(keys, request[CONTEXT].settings)

    await request.app[CHANGES].afterwards(make)


async def _check_room(request: web.Request) -> None:
    """A body that cannot fit into the group's quota is refused by its header."""
    announced = request.content_length or 0
    if announced > request.app[LIMITS].rest:
        await check_quota(request.app[DATABASE], request[CONTEXT], announced * 3 // 4)
