"""``auth/request-token``: needs no token, gives one."""

from typing import Final

from aiohttp import web

from auth_service.keys import PASSWORDS, TOKENS_PER_USER
from auth_service.operations import tokens
from shared.http import read_body, respond
from shared.logs import REQUEST_ID
from shared.service import CHANGES

_ADDRESS_HEADER: Final = "X-Directoire-Client-Address"


async def request_token(request: web.Request) -> web.Response:
    body = await read_body(request)
    email, password = body.get("email"), body.get("password")
    sign_in = tokens.SignIn(
        email=email.strip() if isinstance(email, str) else "",
        password=password if isinstance(password, str) else "",
        address=request.headers.get(_ADDRESS_HEADER),
        request_id=REQUEST_ID.get(),
    )
    token = await tokens.request_token(
        request.app[CHANGES],
        request.app[PASSWORDS],
        sign_in,
        keep=request.app[TOKENS_PER_USER],
    )
    return respond(request, {"success": True, "data": {"token": token}})
