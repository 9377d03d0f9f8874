"""What a request to sign in says."""

from ipaddress import ip_address
from typing import Final

from aiohttp import web

from auth_service.operations.sign_in import SignIn
from shared.http import read_body
from shared.logs import REQUEST_ID
from shared.passwords import MAX_CHARACTERS

MAX_EMAIL: Final = 128  # characters, as the column
_ADDRESS_HEADER: Final = "X-Directoire-Client-Address"


async def sign_in_of(request: web.Request) -> SignIn:
    body = await read_body(request)
    return SignIn(
        email=text_of(body.get("email"), MAX_EMAIL).strip(),
        password=text_of(body.get("password"), MAX_CHARACTERS),
        address=address_of(request),
        request_id=REQUEST_ID.get(),
    )


def text_of(value: object, longest: int) -> str:
    """What no account can have counts as empty; it is refused like any wrong value."""
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        return ""
    return value


def address_of(request: web.Request) -> str | None:
    """The client's, as the gateway saw it; None for none, or a unix socket."""
    try:
        return str(ip_address(request.headers.get(_ADDRESS_HEADER, "")))
    except ValueError:
        return None
