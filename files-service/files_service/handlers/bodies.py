"""From a request's body to what it brings, whatever its form."""

from collections.abc import AsyncIterator
from typing import Final

from aiohttp import BodyPartReader, web

from files_service.keys import LIMITS
from files_service.operations.base64_data import opened
from files_service.operations.incoming import (
    DATA,
    Field,
    Incoming,
    Sending,
    form_body,
    json_body,
)
from files_service.operations.limits import check_announced, check_count
from files_service.operations.names import bare_name
from shared.errors import InvalidRequest, TooLarge, UnsupportedMediaType

_CHUNK: Final = 256 * 1024  # bytes
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"


def incoming(request: web.Request) -> Incoming:
    """JSON, form or multipart. What is too large by its header is refused before a byte is read.

    Raises TooLarge, UnsupportedMediaType, and InvalidRequest as it is read.
    """
    limits = request.app[LIMITS]
    kind = request.content_type
    if kind == _MULTIPART:
        check_announced(limits, request.content_length, files_at_most=limits.count)
        return _multipart(request)
    check_announced(limits, request.content_length)
    if kind == _FORM:
        return form_body(pieces(request), limits.rest)
    if kind.endswith(("/json", "+json")) or "Content-Type" not in request.headers:
        return json_body(pieces(request), limits.rest)
    raise UnsupportedMediaType(
        f'a body of type "{kind}" is not understood here; '
        f"send application/json, {_FORM} or {_MULTIPART}"
    )


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The raw body, in pieces large enough to be worth a step. Raises ConnectionResetError."""
    gathered = bytearray()
    while True:
        piece = await request.content.readany()
        if not piece:
            break
        gathered += piece
        if len(gathered) >= _CHUNK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


async def _multipart(request: web.Request) -> Incoming:
    limits = request.app[LIMITS]
    fields = 0
    try:
        reader = await request.multipart()
        async for part in reader:
            if not isinstance(part, BodyPartReader):
                raise InvalidRequest("a part of the body is itself multipart")
            if part.filename is not None:
                name = bare_name(part.filename)
                yield Sending(_chunks(part), name, part.headers.get("Content-Type"))
            elif part.name == DATA:
                file = await opened(_chunks(part))
                if file is not None:
                    yield Sending(file[1], claimed=file[0])
            else:
                fields += 1
                check_count(limits, fields)
                yield Field(part.name or "", await _text(part, limits.rest))
    except (ValueError, AssertionError) as error:
        raise InvalidRequest(f"the body is not valid multipart: {error}") from error


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(_CHUNK):
        yield chunk


async def _text(part: BodyPartReader, most: int) -> str:
    text = b""
    async for chunk in _chunks(part):
        text += chunk
        if len(text) > most:
            raise TooLarge("a field is longer than this service takes")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("a field is not valid UTF-8") from error
