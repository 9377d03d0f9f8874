"""Settings from the environment, read once at start.

Each service has one Settings class. A variable ``X`` may come from a file named in ``X_FILE``
(secrets in containers). Every fault is named in one message.
"""

import os
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.secret_settings import ServerUrl


class CommonSettings(BaseSettings):
    """What every process reads."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    socket: str = ""  # path of a unix socket listened on besides the port
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    failpoints: str = ""  # for tests: "name=sleep:0.2,other=die"
    failpoints_allowed: bool = False


class PasswordSettings(BaseSettings):
    """What a password's hash costs, wherever one is made: the same for all of an installation."""

    argon2_time: int = Field(default=2, ge=2, le=20)  # passes over the memory
    argon2_memory: int = Field(default=19_456, ge=19_456, le=1_048_576)  # KiB of one hash
    argon2_lanes: int = Field(default=1, ge=1, le=16)


class ServiceSettings(CommonSettings, PasswordSettings):
    """What every service behind the gateway reads."""

    database_url: ServerUrl
    redis_url: ServerUrl
    redis_prefix: str = "directoire:"
    identity_public_keys: str  # a JWK set, JSON
    pool_size: int = Field(default=8, ge=1, le=200)  # connections to PostgreSQL
    statement_timeout: float = Field(default=10.0, gt=0)  # seconds
    body_limit: int = Field(default=32 * 1024 * 1024, ge=1024)  # bytes of a JSON or form body


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class InvalidSettings(SystemExit):
    """The process cannot start; the message names every fault."""


def load_settings(kind: type[SettingsT]) -> SettingsT:
    """Read ``kind`` from the environment. Raises InvalidSettings naming each faulty variable."""
    faults: list[str] = []
    for name, path in list(os.environ.items()):
        setting = name.removesuffix("_FILE")
        if setting == name or setting.lower() not in kind.model_fields:
            continue
        try:
            os.environ[setting] = Path(path).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            faults.append(f"{name}: {error.strerror}: {path}")
    try:
        settings = kind()
    except ValidationError as error:
        faults += [
            f"{'.'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors()
        ]
    else:
        if not faults:
            return settings
    raise InvalidSettings("Cannot start, these settings are wrong:\n  " + "\n  ".join(faults))
