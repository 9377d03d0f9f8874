"""What the gateway reads from its environment."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from shared.settings import CommonSettings

Addresses = Annotated[tuple[str, ...], NoDecode]  # comma separated
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]


class Settings(CommonSettings):
    """Times in seconds, sizes in bytes, rates in requests a second."""

    redis_url: SecretStr
    redis_prefix: str = "directoire:"
    identity_private_key: SecretStr  # PEM, Ed25519
    identity_key_id: str = "1"

    auth_urls: Addresses
    items_urls: Addresses
    files_urls: Addresses
    schema_urls: Addresses
    settings_urls: Addresses

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
