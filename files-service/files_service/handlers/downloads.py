"""``/storage/uploads/<name>`` and thumbnails: the bytes, served so that no browser runs them.

Source: contract 7.7, promise S11, RFC 9110.
"""

from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final
from uuid import uuid4

import structlog
from aiohttp import web

from files_service.handlers.kernel import send_by_kernel
from files_service.keys import ACCESS, CONTENTS, THUMBNAILS
from files_service.operations import files
from files_service.operations.access import address_is_signed, may_read
from files_service.operations.ranges import NotSatisfiable, asked_ranges
from files_service.operations.thumbnails import Variant, asked_variant, default_variant
from files_service.operations.types_shown import disposition_of, policy_of, shown_type
from files_service.store.contents import NoSuchContent
from files_service.store.files import StoredFile, stored_as
from shared.errors import ApiError, NotFound, Unauthorized
from shared.http import CONTEXT, respond
from shared.service import DATABASE, KNOWLEDGE, PRINCIPAL, context_of

log = structlog.get_logger(__name__)

# A grey dot: what a thumbnail that cannot be made looks like (contract 7.7).
_PLACEHOLDER: Final = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mOYCQAAuQC4uzX2BwAAAABJRU5ErkJggg=="
)


class PreconditionFailed(ApiError):
    status, code = 412, "PRECONDITION_FAILED"


@dataclass(frozen=True, slots=True)
class Served:
    """Bytes as they go out."""

    key: str
    name: str
    type: str
    size: int
    sha256: str
    modified: datetime


async def download(request: web.Request) -> web.StreamResponse:
    file = await files.find_stored(request.app[DATABASE], request.match_info["name"])
    await _check_access(request, file)
    kind = shown_type(file.type, file.name)
    return await _serve(
        request,
        Served(file.storage_key, file.name, kind, file.size, file.sha256, file.modified),
    )


async def thumbnail(request: web.Request) -> web.StreamResponse:
    """``/storage/uploads/thumbs/<id>.<ending>``: as it is made on upload."""
    number = request.match_info["name"].partition(".")[0]
    file = None
    if number.isascii() and number.isdigit() and len(number) < 10:
        file = await stored_as(request.app[DATABASE], int(number))
    if file is None:
        raise NotFound("There is no such file.")
    await _check_access(request, file)
    settings = await request.app[KNOWLEDGE].settings(None)
    return await _serve_thumbnail(request, file, default_variant(settings))


async def sized_thumbnail(request: web.Request) -> web.StreamResponse:
    """``/thumbnail/<width>/<height>[/crop|contain][/quality]/<name>``."""
    *options, name = request.match_info["rest"].split("/")
    settings = await request.app[KNOWLEDGE].settings(None)
    width, height = request.match_info["width"], request.match_info["height"]
    variant = asked_variant(settings, width, height, options)
    try:
        file = await files.find_stored(request.app[DATABASE], name)
    except NotFound:
        return _placeholder()
    await _check_access(request, file)
    if variant is None:
        return _placeholder()
    return await _serve_thumbnail(request, file, variant)


async def sign(request: web.Request) -> web.Response:
    """``GET files/<id>/link?for=<seconds>``: an address that works without a token for a while."""
    signed = await request.app[ACCESS].sign(
        request.app[DATABASE],
        request[CONTEXT],
        request.match_info["id"],
        request.query.get("for", ""),
    )
    return respond(request, signed)


async def _serve_thumbnail(
    request: web.Request, file: StoredFile, variant: Variant
) -> web.StreamResponse:
    made = await request.app[THUMBNAILS].of(file, variant)
    if made is None:
        return _placeholder()
    ending = made.type.rpartition("/")[2]
    name = f"{file.name.rpartition('.')[0] or file.name}.{ending}"
    return await _serve(
        request,
        Served(made.storage_key, name, made.type, made.size, made.sha256, file.modified),
    )


def _placeholder() -> web.Response:
    return web.Response(
        body=_PLACEHOLDER,
        headers={
            "Content-Type": "image/png",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )


async def _check_access(request: web.Request, file: StoredFile) -> None:
    """Raises Unauthorized, NotFound for what the caller may not see."""
    access = request.app[ACCESS]
    if access.public:
        return
    database = request.app[DATABASE]
    if "signature" in request.query and await address_is_signed(
        access, database, file.name, request.query
    ):
        return
    principal = request.get(PRINCIPAL)
    if principal is None:
        raise Unauthorized("This file needs a token or a signed address")
    if not await may_read(database, await context_of(request, principal), file.id):
        raise NotFound("There is no such file.")


async def _serve(request: web.Request, file: Served) -> web.StreamResponse:
    etag = f'"{file.sha256}"'
    modified = file.modified.astimezone(UTC).replace(microsecond=0)
    headers = {
        "Content-Type": file.type,
        "Content-Disposition": disposition_of(file.type, file.name),
        "Content-Security-Policy": policy_of(file.type),
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": etag,
        "Last-Modified": format_datetime(modified, usegmt=True),
        "Accept-Ranges": "bytes",
        # kept, but asked for again: a deleted file is gone
        "Cache-Control": "no-cache" if request.app[ACCESS].public else "private, no-cache",
    }
    if _is_unchanged(request, etag, modified):
        return web.Response(status=304, headers=headers)
    try:
        ranges = asked_ranges(_range_header(request, etag, modified), file.size)
    except NotSatisfiable:
        refusal = {"Content-Range": f"bytes */{file.size}", "Accept-Ranges": "bytes"}
        return web.Response(status=416, headers=refusal)
    if len(ranges) > 1:
        return await _send_several(request, file, headers, ranges)
    start, end = ranges[0] if ranges else (0, file.size)
    response = web.StreamResponse(status=206 if ranges else 200, headers=headers)
    response.content_length = end - start
    if ranges:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    contents = request.app[CONTENTS]
    if end > start:
        try:
            source = await contents.outgoing(file.key, start, end)
        except NoSuchContent as error:
            raise _lost(file) from error
        if source is not None:
            return await send_by_kernel(request, response, source)
    return await _stream(request, response, file, contents.read(file.key, start, end))


def _is_unchanged(request: web.Request, etag: str, modified: datetime) -> bool:
    """Whether the client has these bytes. Raises PreconditionFailed where it wanted others."""
    headers = request.headers
    wanted, unmodified = headers.get("If-Match"), _date(headers.get("If-Unmodified-Since"))
    if wanted is not None:
        if not _names(wanted, etag, weak=False):
            raise PreconditionFailed("the file is another one by now")
    elif unmodified is not None and modified > unmodified:
        raise PreconditionFailed("the file was changed since then")
    known, since = headers.get("If-None-Match"), _date(headers.get("If-Modified-Since"))
    if known is not None:
        return _names(known, etag, weak=True)
    return since is not None and modified <= since


def _range_header(request: web.Request, etag: str, modified: datetime) -> str | None:
    """``Range``, unless ``If-Range`` names other bytes than these."""
    condition = request.headers.get("If-Range")
    if condition is None or condition == etag or _date(condition) == modified:
        return request.headers.get("Range")
    return None


def _names(header: str, etag: str, *, weak: bool) -> bool:
    tags = {tag.strip() for tag in header.split(",")}
    if weak:
        tags = {tag.removeprefix("W/") for tag in tags}
    return "*" in tags or etag in tags


def _date(header: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header) if header else None
    except (ValueError, TypeError):
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


async def _send_several(
    request: web.Request,
    file: Served,
    headers: dict[str, str],
    ranges: Sequence[tuple[int, int]],
) -> web.StreamResponse:
    """``multipart/byteranges``: each range with a head of its own."""
    boundary = uuid4().hex
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {file.type}\r\n"
        f"Content-Range: bytes {start}-{end - 1}/{file.size}\r\n\r\n".encode()
        for start, end in ranges
    ]
    last = f"\r\n--{boundary}--\r\n".encode()
    response = web.StreamResponse(status=206, headers=headers)
    response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    inside = sum(end - start for start, end in ranges)
    response.content_length = inside + sum(map(len, heads)) + len(last)
    if request.method == "HEAD":
        await response.prepare(request)
        return response

    async def chunks() -> AsyncIterator[bytes]:
        for head, (start, end) in zip(heads, ranges, strict=True):
            yield head
            async for chunk in request.app[CONTENTS].read(file.key, start, end):
                yield chunk
        yield last

    return await _stream(request, response, file, chunks())


async def _stream(
    request: web.Request,
    response: web.StreamResponse,
    file: Served,
    chunks: AsyncIterator[bytes],
) -> web.StreamResponse:
    """Send the bytes; what fails after the first of them can only cut the connection."""
    try:
        first = await anext(chunks, b"")
    except NoSuchContent as error:
        raise _lost(file) from error
    await response.prepare(request)
    try:
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except (OSError, ApiError, NoSuchContent) as error:
        log.warning("a download was cut", file=file.name, reason=str(error))
        if request.transport is not None:
            request.transport.abort()
    return response


def _lost(file: Served) -> NotFound:
    log.error("a record has no bytes", file=file.name)
    return NotFound("There is no such file.")
