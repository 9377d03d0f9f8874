"""``auth/request-token``: needs no token, gives one."""

from typing import Final

from aiohttp import web

from auth_service.keys import PASSWORDS, TOKENS_PER_USER
from auth_service.operations import tokens
from shared.http import read_body, respond
from shared.logs import REQUEST_ID
from shared.passwords import MAX_CHARACTERS
from shared.service import CHANGES

MAX_EMAIL: Final = 128  # characters, as the column
_ADDRESS_HEADER: Final = "X-Directoire-Client-Address"


async def request_token(request: web.Request) -> web.Response:
    body = await read_body(request)
    email, password = body.get("email"), body.get("password")
    sign_in = tokens.SignIn(
        email=_text(email, MAX_EMAIL).strip(),
        password=_text(password, MAX_CHARACTERS),
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


def _text(value: object, longest: int) -> str:
    """What no account can have counts as empty; it is refused like any wrong value."""
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        return ""
    return value
