"""The modern utilities over rows."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp import web

from items_service.keys import BULK, IMPORT_LIMIT, IMPORTS
from items_service.operations.export_query import may_export
from items_service.operations.importing import import_file, may_import
from items_service.operations.jobs import begin_export, begin_import
from items_service.operations.sorting import sort_row
from items_service.operations.tabular import format_of
from shared.bodies import Part, body_of, let_go
from shared.brackets import Query, flag
from shared.errors import ApiError, Forbidden, InvalidRequest, TooLarge, UnsupportedMediaType
from shared.http import CONTEXT, no_content, read_body, read_query, respond
from shared.service import CHANGES

_MOST_READ_ON: Final = 2 * 1024 * 1024 * 1024


async def sort(request: web.Request) -> web.Response:
    body = await read_body(request)
    await sort_row(request.app[CHANGES], request[CONTEXT], request.match_info["table"], body)
    return no_content()


async def import_rows(request: web.Request) -> web.Response:
    """A multipart body with the part ``file``; ``dry_run`` stores nothing."""
    try:
        return await _import(request)
    except ApiError:
        await _read_on(request)
        raise


async def _import(request: web.Request) -> web.Response:
    context, table = request[CONTEXT], request.match_info["table"]
    query = read_query(request)
    may_import(context, table)
    part = await _file(request)
    form = format_of(part.content_type or "", part.filename or "")
    if form is None:
        raise UnsupportedMediaType(
            "an import is a file of type application/json, text/csv, application/x-ndjson, "
            "application/xml or application/yaml"
        )
    chunks = _limited(part.pieces(), request.app[IMPORT_LIMIT])
    dry_run = _says(query, "dry_run")
    if _says(query, "background"):
        id_ = await begin_import(request.app[BULK], context, table, form, chunks, dry_run=dry_run)
        response = respond(request, {"data": {"id": id_, "job": f"/utils/jobs/{id_}"}}, status=202)
        response.headers["Location"] = f"/utils/jobs/{id_}"
        return response
    places = request.app[IMPORTS]
    if places.locked():
        raise Forbidden("too many imports at once; try again when one is done")
    async with places:
        progress = await import_file(
            request.app[BULK], context, table, form, chunks, dry_run=dry_run
        )
    if dry_run:
        return respond(request, {"data": {"rows": progress.rows}})
    return no_content()


async def export_rows(request: web.Request) -> web.Response:
    """Made in the background: 204, and the address of the job for whoever wants to wait."""
    context, table = request[CONTEXT], request.match_info["table"]
    may_export(context, table)
    body = await read_body(request)
    if not isinstance(body.get("query"), dict):
        raise InvalidRequest('"query" is required: an object', field="query")
    form = body.get("format")
    if not isinstance(form, str) or not form:
        raise InvalidRequest('"format" is required: csv, csv_utf8, json, xml, yaml', field="format")
    file = body.get("file")
    arguments = {
        "query": body["query"],
        "format": form,
        "file": file if isinstance(file, dict) else None,
    }
    id_ = await begin_export(request.app[BULK], context, table, arguments)
    response = no_content(204)
    response.headers["Location"] = f"/utils/jobs/{id_}"
    return response


def _says(query: Query, name: str) -> bool:
    """A bare key counts as yes."""
    return name in query and (query[name] == "" or flag(query[name]))


async def _file(request: web.Request) -> Part:
    if not request.content_type.startswith("multipart/"):
        raise UnsupportedMediaType('an import is multipart/form-data with a part "file"')
    async for part in body_of(request).parts():
        if part.name == "file":
            return part
    raise InvalidRequest('the body has no part "file"', field="file")


async def _limited(pieces: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Raises TooLarge for more than ``most`` bytes."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > most:
            raise TooLarge(f"the file is larger than {most} bytes: import it in parts")
        yield piece


async def _read_on(request: web.Request) -> None:
    """Clients look for the answer when they have sent everything; within reason they may."""
    let_go(request)
    size = 0
    with suppress(Exception):
        while size < _MOST_READ_ON and (piece := await request.content.readany()):
            size += len(piece)
