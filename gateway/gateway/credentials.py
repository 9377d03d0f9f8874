"""The credential of a request. The first one present decides; there is no fall-through.

Order: query ``access_token``; HTTP Basic whose user name is the token and whose password is empty;
Bearer. Source: contract, section 2 and reading 68.
"""

import base64
import binascii
from urllib.parse import unquote_plus

from shared.errors import Unauthorized

_PARAMETER = "access_token"


def split_query(query: str) -> tuple[str, str | None]:
    """The query without ``access_token``, in the same order; and that parameter's last value.

    Every spelling of the name is taken out, so that no token travels on or reaches a log.
    """
    if _PARAMETER not in query and "%" not in query:
        return query, None
    kept: list[str] = []
    token: str | None = None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        spelled = unquote_plus(name)
        if spelled == _PARAMETER:
            token = unquote_plus(value)
        elif not spelled.startswith(_PARAMETER + "["):
            kept.append(pair)
    return "&".join(kept), token or None


def token_of(from_query: str | None, authorization: str | None) -> str:
    """The token a request shows. Raises Unauthorized when it shows none, or no valid one."""
    if from_query is not None:
        return from_query
    if authorization is None:
        raise Unauthorized
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    token = ""
    if scheme.lower() == "bearer":
        token = value
    elif scheme.lower() == "basic":
        token = _basic(value)
    if not token:
        raise Unauthorized
    return token


def _basic(value: str) -> str:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Unauthorized from error
    if password:
        raise Unauthorized
    return user
