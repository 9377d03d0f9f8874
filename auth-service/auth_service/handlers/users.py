"""``users``, ``users/<id>`` and ``users/me``: rows of directus_users. Source: contract 7.6."""

from typing import Final

from aiohttp import web

from auth_service.operations import invitations
from shared import rows
from shared.http import CONTEXT, read_body, read_query, respond
from shared.service import CHANGES, DATABASE

TABLE: Final = "directus_users"


async def list_users(request: web.Request) -> web.Response:
    answer = await rows.list_rows(
        request.app[DATABASE], request[CONTEXT], TABLE, read_query(request)
    )
    return respond(request, answer)


async def get_user(request: web.Request) -> web.Response:
    answer = await rows.get_row(
        request.app[DATABASE], request[CONTEXT], TABLE, key_of(request), read_query(request)
    )
    return respond(request, answer)


async def create_user(request: web.Request) -> web.Response:
    answer = await rows.create_row(
        request.app[CHANGES],
        request[CONTEXT],
        TABLE,
        await read_body(request),
        query=read_query(request),
    )
    return respond(request, answer)


async def invite(request: web.Request) -> web.Response:
    answer = await invitations.invite(
        request.app[CHANGES], request[CONTEXT], await read_body(request)
    )
    return respond(request, answer)


async def update_user(request: web.Request) -> web.Response:
    answer = await rows.update_row(
        request.app[CHANGES],
        request[CONTEXT],
        TABLE,
        key_of(request),
        await read_body(request),
        query=read_query(request),
    )
    return respond(request, answer)


async def delete_user(request: web.Request) -> web.Response:
    """A user is never removed by this route, only set to the status Delete."""
    answer = await rows.delete_row(
        request.app[CHANGES], request[CONTEXT], TABLE, key_of(request), query={"soft": "1"}
    )
    return respond(request, answer)


def key_of(request: web.Request) -> str:
    """The id in the path; ``me`` is the caller's."""
    key = request.match_info["id"]
    return str(request[CONTEXT].principal.user) if key == "me" else key
