"""``hash``, ``random`` and those below ``utils``: any valid token may (reading 48)."""

import string
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from auth_service.keys import HASHER
from auth_service.operations.hashes import MAX_RANDOM, random_text
from shared.errors import InvalidQuery, InvalidRequest, Refused
from shared.http import CONTEXT, read_body, read_query, respond
from shared.versions import ApiVersion

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
    return respond(request, {"data": random_text(_length(read_query(request)))})


def _length(given: Mapping[str, object]) -> int:
    """Raises InvalidQuery."""
    text = str(given.get("length", "")).strip()
    if not text:
        return _DEFAULT_LENGTH
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= length <= MAX_RANDOM:
        message = f'"length" must be a whole number from 1 to {MAX_RANDOM}'
        raise InvalidQuery(message, field="length")
    return length


async def old_random(request: web.Request) -> web.Response:
    """``random`` of 1.1: clients send the length in a body, a form or the query."""
    length = _length(await _given(request))
    text = random_text(length, string.ascii_letters + string.digits)
    if request[CONTEXT].version is ApiVersion.V1_0:
        return respond(request, {"random": text})
    return respond(request, {"success": True, "data": {"random": text}})


async def old_hash(request: web.Request) -> web.Response:
    """``hash`` of 1.1: ``string``, or ``password`` as 6.3 called it, by any of the hashers.

    Without a string it is a business failure: some clients never send theirs. Raises
    InvalidRequest, TooManyRequests, Unavailable.
    """
    given = await _given(request)
    named = "string" if "string" in given else "password"
    text = given.get(named)
    if not isinstance(text, str) or not text:
        raise Refused("Hash expect a string", field="string")
    hasher = str(given.get("hasher") or "core").lower()
    hashed = await request.app[HASHER].generate_by(
        request[CONTEXT].principal.user, text, hasher, _cost(given.get("options"))
    )
    if request[CONTEXT].version is ApiVersion.V1_0:
        return respond(request, {"success": True, "password": hashed})
    data = {"hash": hashed} if named == "string" else {"hash": hashed, "password": hashed}
    return respond(request, {"success": True, "data": data})


def _cost(options: object) -> int | None:
    given = options.get("cost") if isinstance(options, Mapping) else None
    if given in (None, ""):
        return None
    text = str(given).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


async def _given(request: web.Request) -> dict[str, Any]:
    return {**read_query(request), **await read_body(request)}


def _text(body: dict[str, object], field: str) -> str:
    value = body.get(field, "")
    if not isinstance(value, str):
        raise InvalidRequest(f'"{field}" must be text', field=field)
    return value
