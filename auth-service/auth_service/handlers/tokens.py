"""``auth/request-token``: needs no token, gives one. ``users/<id>/tokens``: tokens by name."""

from aiohttp import web

from auth_service.handlers.sign_in import sign_in_of
from auth_service.handlers.users import key_of
from auth_service.keys import PASSWORDS, TOKENS_PER_USER
from auth_service.operations import tokens
from shared.errors import NotFound
from shared.http import CONTEXT, read_body, respond
from shared.service import CHANGES


async def request_token(request: web.Request) -> web.Response:
    token = await tokens.request_token(
        request.app[CHANGES],
        request.app[PASSWORDS],
        await sign_in_of(request),
        keep=request.app[TOKENS_PER_USER],
    )
    return respond(request, {"success": True, "data": {"token": token}})


async def list_tokens(request: web.Request) -> web.Response:
    found = await tokens.list_tokens(request.app[CHANGES], request[CONTEXT], _user(request))
    meta = {"type": "collection", "table": "tokens", "total": len(found)}
    return respond(request, {"meta": meta, "data": found})


async def create_token(request: web.Request) -> web.Response:
    """The token is in this answer and in no other."""
    made = await tokens.create_token(
        request.app[CHANGES], request[CONTEXT], _user(request), await read_body(request)
    )
    return respond(request, {"meta": {"type": "item", "table": "tokens"}, "data": made})


async def revoke_token(request: web.Request) -> web.Response:
    text = request.match_info["token"]
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise NotFound("There is no such token.")
    gone = await tokens.revoke_token(
        request.app[CHANGES], request[CONTEXT], _user(request), int(text)
    )
    return respond(request, {"meta": {"table": "tokens"}, "success": gone})


def _user(request: web.Request) -> int:
    text = key_of(request)
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise NotFound(f"Unable to find the record in [directus_users] with ID [{text[:20]}]")
    return int(text)
