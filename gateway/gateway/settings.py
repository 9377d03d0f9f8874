"""What the gateway reads from its environment."""

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from shared.secret_settings import ServerUrl
from shared.settings import CommonSettings

Addresses = Annotated[tuple[str, ...], NoDecode]  # comma separated
CustomRoutes = Annotated[Mapping[str, tuple[str, ...]], NoDecode]  # name → addresses
_CUSTOM_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]


class Settings(CommonSettings):
    """Times in seconds, sizes in bytes, rates in requests a second."""

    redis_url: ServerUrl
    redis_prefix: str = "directoire:"
    identity_private_key: SecretStr  # PEM, Ed25519

    auth_urls: Addresses
    items_urls: Addresses
    files_urls: Addresses
    schema_urls: Addresses
    settings_urls: Addresses
    # "name=url,…": custom/<name>/** leads there
    custom_routes: CustomRoutes = Field(default_factory=dict[str, tuple[str, ...]])

    own_port: int = Field(default=0, ge=0, le=65535)  # besides PORT, which replicas then share
    cors_origins: Addresses = ()  # none: CORS is off; "*": any
    trusted_proxies: Networks = ()  # whose X-Forwarded-For is believed

    rate_per_token: float = Field(default=2000, gt=0)
    rate_per_address: float = Field(default=4000, gt=0)
    body_limit: int = Field(default=64 * 1024 * 1024, ge=1024)
    upload_limit: int = Field(default=5 * 1024 * 1024 * 1024, ge=1024)
    url_limit: int = Field(default=16 * 1024, ge=1024)  # the request line
    header_limit: int = Field(default=16 * 1024, ge=1024)  # one header
    headers_limit: int = Field(default=100, ge=10)  # how many
    deadline: float = Field(default=10.0, gt=0)  # until a reply begins, or without progress
    requests_per_replica: int = Field(default=1000, ge=1)  # outstanding; more are refused
    cache_memory: int = Field(default=16 * 1024 * 1024, ge=0)
    cache_life: float = Field(default=600.0, gt=0)  # of an answer nobody made invalid
    cache_at_once: bool = False  # else an answer is stored when it is asked for a second time
    upload_deadline: float = Field(default=120.0, gt=0)  # of a reply, after an upload's last byte
    slow_request: float = Field(default=1.0, gt=0)  # logged from here on
    stop_after: float = Field(default=10.0, gt=0)  # that running requests have at a stop

    @field_validator(
        "auth_urls", "items_urls", "files_urls", "schema_urls", "settings_urls", "cors_origins",
        "trusted_proxies", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("auth_urls", "items_urls", "files_urls", "schema_urls", "settings_urls")
    @classmethod
    def _needed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("at least one address is needed")
        return value

    @field_validator("custom_routes", mode="before")
    @classmethod
    def _named_addresses(cls, value: object) -> object:
        """``hello=http://10.0.0.5:9000,hello=http://10.0.0.6:9000``: a name again is a replica."""
        if not isinstance(value, str):
            return value
        found: dict[str, tuple[str, ...]] = {}
        for part in filter(None, (part.strip() for part in value.split(","))):
            name, _, url = part.partition("=")
            if not _CUSTOM_NAME.fullmatch(name) or not url:
                raise ValueError(
                    f"{part!r} is no custom route: name=http://host:port or name=unix:/path.sock, "
                    "the name of a-z, 0-9, - and _"
                )
            found[name] = (*found.get(name, ()), url)
        return found
