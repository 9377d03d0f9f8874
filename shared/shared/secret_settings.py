"""Secrets in settings: none is empty, short or one that everybody knows. Promise S17.

A server on this machine (loopback, a unix socket) may go without: a stranger does not reach it.
"""

from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, SecretStr

MIN_PASSWORD: Final = 8  # characters of a server's password
MIN_TOKEN: Final = 20  # of a token that an operator chooses
_KNOWN: Final = frozenset({
    "admin", "changeme", "default", "directoire", "directus", "example", "guest", "minioadmin",
    "passw0rd", "password", "postgres", "postgresql", "rabbitmq", "redis", "root", "secret", "test",
})  # fmt: skip
_LIKE_NUMBERS: Final = "0123456789!-_"  # what is added to these


def is_known(secret: str) -> bool:
    """Whether everybody tries it: a default of some server, whatever numbers follow."""
    return secret.casefold().rstrip(_LIKE_NUMBERS) in _KNOWN


def _check_server(value: SecretStr) -> SecretStr:
    """The address of a server. Raises ValueError, without the address in it."""
    try:
        parts = urlsplit(value.get_secret_value())
        host, password = parts.hostname or "", unquote(parts.password or "")
    except ValueError:
        raise ValueError("this is no address of a server") from None
    if not parts.scheme or not value.get_secret_value().partition("://")[2]:
        raise ValueError("the address of a server is needed, scheme://user:password@host")
    if password and not _is_here(host):
        _check_password("its password", password)
    return value


def _check_password(what: str, password: str) -> None:
    if is_known(password):
        raise ValueError(f"{what} is one that everybody knows")
    if len(password) < MIN_PASSWORD:
        raise ValueError(f"{what} has fewer than {MIN_PASSWORD} characters")


def _check_server_if_any(value: SecretStr) -> SecretStr:
    return _check_server(value) if value.get_secret_value() else value


def _check_key_if_any(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        _check_password("this key", value.get_secret_value())
    return value


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")


def _check_token(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if token and (len(token) < MIN_TOKEN or is_known(token) or len(set(token)) < 8):
        raise ValueError(f"a token has {MIN_TOKEN} characters or more that nobody can guess")
    return value


ServerUrl = Annotated[SecretStr, AfterValidator(_check_server)]
OptionalServerUrl = Annotated[SecretStr, AfterValidator(_check_server_if_any)]  # or empty
OptionalKey = Annotated[SecretStr, AfterValidator(_check_key_if_any)]  # of a store; or empty
ChosenToken = Annotated[SecretStr, AfterValidator(_check_token)]  # or empty, for none
