"""``/internal/principals``: only the gateway asks, speaking for itself."""

from typing import Final

import msgspec
from aiohttp import web

from auth_service.operations import principals
from shared.errors import Forbidden, InvalidRequest
from shared.http import respond
from shared.service import DATABASE, PRINCIPAL

_DIGEST_DIGITS: Final = 64


class Question(msgspec.Struct):
    sha256: str  # of the token, hex
    address: str = ""  # of the client


async def resolve_token(request: web.Request) -> web.Response:
    if not request[PRINCIPAL].system:
        raise Forbidden
    try:
        question = msgspec.json.decode(await request.read(), type=Question)
        digest = bytes.fromhex(question.sha256)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidRequest("sha256 must be the hex digest of a token") from error
    if len(question.sha256) != _DIGEST_DIGITS:
        raise InvalidRequest("sha256 must be the hex digest of a token", field="sha256")
    principal, expires_in = await principals.resolve(
        request.app[DATABASE], digest, question.address
    )
    return respond(
        request,
        {
            "user": principal.user,
            "group": principal.group,
            "token": principal.token,
            "scope": principal.scope,
            "expires_in": expires_in,
        },
    )
