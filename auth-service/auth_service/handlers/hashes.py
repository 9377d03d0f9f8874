"""``utils/hash`` and ``utils/random``: any valid token may (reading 48)."""

from aiohttp import web

from auth_service.keys import HASHER
from auth_service.operations.hashes import MAX_RANDOM, random_text
from shared.errors import InvalidQuery, InvalidRequest
from shared.http import CONTEXT, read_body, read_query, respond

_DEFAULT_LENGTH = 32


async def generate(request: web.Request) -> web.Response:
    text = _text(await read_body(request), "string")
    hashed = await request.app[HASHER].generate(request[CONTEXT].principal.user, text)
    return respond(request, {"data": hashed})


async def verify(request: web.Request) -> web.Response:
    body = await read_body(request)
    text, hashed = _text(body, "string"), _text(body, "hash")
    matches = await request.app[HASHER].verify(request[CONTEXT].principal.user, text, hashed)
    return respond(request, {"data": matches})


async def random_string(request: web.Request) -> web.Response:
    given = read_query(request).get("length", "")
    length = _DEFAULT_LENGTH
    if given != "":
        number = given if isinstance(given, str) and given.isascii() and given.isdigit() else "0"
        length = int(number[:9])
    if not 1 <= length <= MAX_RANDOM:
        message = f'"length" must be a whole number from 1 to {MAX_RANDOM}'
        raise InvalidQuery(message, field="length")
    return respond(request, {"data": random_text(length)})


def _text(body: dict[str, object], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str):
        raise InvalidRequest(f'"{field}" must be text', field=field)
    return value
