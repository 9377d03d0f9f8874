"""From a request's body to what it brings, whatever its form."""

from typing import Final

from aiohttp import web

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
from shared.bodies import Part, body_of
from shared.errors import InvalidRequest, TooLarge, UnsupportedMediaType

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
        return form_body(body_of(request).pieces(), limits.rest)
    if kind.endswith(("/json", "+json")) or "Content-Type" not in request.headers:
        return json_body(body_of(request).pieces(), limits.rest)
    raise UnsupportedMediaType(
        f'a body of type "{kind}" is not understood here; '
        f"send application/json, {_FORM} or {_MULTIPART}"
    )


async def _multipart(request: web.Request) -> Incoming:
    limits = request.app[LIMITS]
    fields = 0
    async for part in body_of(request).parts():
        if part.filename is not None:
            yield Sending(part.pieces(), bare_name(part.filename), part.content_type)
        elif part.name == DATA:
            file = await opened(part.pieces())
            if file is not None:
                yield Sending(file[1], claimed=file[0])
        else:
            fields += 1
            check_count(limits, fields)
            yield Field(part.name, await _text(part, limits.rest))


async def _text(part: Part, most: int) -> str:
    text = b""
    async for piece in part.pieces():
        text += piece
        if len(text) > most:
            raise TooLarge("a field is longer than this service takes")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("a field is not valid UTF-8") from error
