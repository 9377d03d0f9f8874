"""``auth/login``, ``auth/refresh`` and ``auth/logout``; no cookie is set."""

from aiohttp import web

from auth_service.handlers.sign_in import sign_in_of, text_of
from auth_service.keys import LIVES, PASSWORDS
from auth_service.operations import sessions
from shared.http import CONTEXT, read_body, respond
from shared.logs import REQUEST_ID
from shared.service import CHANGES


async def login(request: web.Request) -> web.Response:
    session = await sessions.login(
        request.app[CHANGES], request.app[PASSWORDS], await sign_in_of(request), request.app[LIVES]
    )
    return respond(request, _shown(session))


async def refresh(request: web.Request) -> web.Response:
    body = await read_body(request)
    session = await sessions.refresh(
        request.app[CHANGES],
        text_of(body.get("refresh_token"), 200),
        REQUEST_ID.get(),
        request.app[LIVES],
    )
    return respond(request, _shown(session))


async def logout(request: web.Request) -> web.Response:
    await sessions.logout(request.app[CHANGES], request[CONTEXT])
    return respond(request, {"success": True})


def _shown(session: sessions.Session) -> dict[str, object]:
    return {
        "success": True,
        "data": {
            "access_token": session.access_token,
            "refresh_token": session.refresh_token,
            "expires": session.expires,
        },
    }
