"""``auth/forgot-password`` and ``auth/reset-password``."""

from aiohttp import web

from auth_service.handlers.sign_in import sign_in_of, text_of
from auth_service.keys import PASSWORDS
from auth_service.operations import links
from shared.http import read_body, respond
from shared.logs import REQUEST_ID
from shared.passwords import MAX_CHARACTERS
from shared.service import CHANGES


async def forgot_password(request: web.Request) -> web.Response:
    """The same answer whether somebody has the address or not."""
    await links.forgot_password(request.app[CHANGES], await sign_in_of(request))
    return respond(request, {"success": True})


async def reset_password(request: web.Request) -> web.Response:
    body = await read_body(request)
    await links.set_password(
        request.app[CHANGES],
        request.app[PASSWORDS],
        text_of(body.get("token"), 200),
        text_of(body.get("password"), MAX_CHARACTERS),
        REQUEST_ID.get(),
    )
    return respond(request, {"success": True})
