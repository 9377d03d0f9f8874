"""``/storage/uploads/<name>``: the bytes, served so that no browser runs them.

Readable without a token, as in the original. Source: contract 7.7, promise S11.
"""

import re
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from files_service.keys import CONTENTS
from files_service.operations import files
from files_service.operations.ranges import NotSatisfiable, asked_range
from files_service.store.contents import NoSuchContent
from files_service.store.files import StoredFile
from shared.errors import NotFound
from shared.service import DATABASE

log = structlog.get_logger(__name__)

# Shown in place; everything else is handed over as an attachment.
_SHOWN: Final = frozenset(
    {
        "image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp",
        "image/tiff", "video/mp4", "video/webm", "audio/mpeg", "audio/ogg", "audio/wav",
        "application/pdf", "text/plain",
    }
)  # fmt: skip
_TYPE: Final = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_SANDBOX: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_PDF: Final = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"  # viewers need it


async def download(request: web.Request) -> web.StreamResponse:
    file = await files.find_stored(request.app[DATABASE], request.match_info["name"])
    headers = _headers(file)
    if _matches(request.headers.get("If-None-Match"), headers["ETag"]):
        return web.Response(status=304, headers=headers)
    condition = request.headers.get("If-Range")
    asked = request.headers.get("Range") if condition in (None, headers["ETag"]) else None
    try:
        part = asked_range(asked, file.size)
    except NotSatisfiable:
        refusal = {"Content-Range": f"bytes */{file.size}", "Accept-Ranges": "bytes"}
        return web.Response(status=416, headers=refusal)
    start, end = part or (0, file.size)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    response.content_length = end - start
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    chunks = request.app[CONTENTS].read(file.storage_key, start, end)
    return await _stream(request, response, file, chunks)


async def _stream(
    request: web.Request,
    response: web.StreamResponse,
    file: StoredFile,
    chunks: AsyncIterator[bytes],
) -> web.StreamResponse:
    """Send the bytes; what fails after the first of them can only cut the connection."""
    try:
        first = await anext(chunks, b"")
    except NoSuchContent as error:
        log.exception("a record has no bytes", file=file.name)
        raise NotFound("There is no such file.") from error
    await response.prepare(request)
    try:
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except OSError as error:
        log.warning("a download was cut", file=file.name, reason=str(error))
        if request.transport is not None:
            request.transport.abort()
    return response


def _headers(file: StoredFile) -> dict[str, str]:
    """Stored names are made by the server of letters, digits, ``.``, ``_`` and ``-`` only."""
    shown = file.type in _SHOWN
    kind = file.type if _TYPE.fullmatch(file.type) else "application/octet-stream"
    return {
        "Content-Type": f"{kind}; charset=utf-8" if kind == "text/plain" else kind,
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{file.name}"',
        "Content-Security-Policy": _PDF if kind == "application/pdf" else _SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": f'"{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",  # kept, but asked for again: a deleted file is gone
    }


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag in tags
