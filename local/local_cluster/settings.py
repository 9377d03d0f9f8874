"""What a local instance is told by the environment (README, "Settings of make up")."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local_cluster.errors import Refused

REPLICABLE: Final = (
    "gateway",
    "auth-service",
    "items-service",
    "files-service",
    "schema-service",
    "settings-service",
    "relay",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One instance. Server URLs are None where a private server is to be started."""

    data: Path  # absolute; everything the instance keeps lies in it
    host: str = "127.0.0.1"  # the gateway's; everything else is on loopback always
    port: int = 8080
    admin_email: str = ""  # empty: made
    admin_password: str = field(default="", repr=False)  # empty: made
    demo: bool = True
    replicas: Mapping[str, int] = field(default_factory=dict[str, int])
    prefer_wheels: bool = False  # for tests of machines with nothing installed
    throwaway: bool = False  # servers may forget everything: no fsync
    ends_with_input: bool = False  # the supervisor stops when its standard input ends
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    amqp_url: str | None = field(default=None, repr=False)


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment. Raises Refused naming every fault at once."""
    faults: list[str] = []
    port = environ.get("DIRECTOIRE_PORT") or "8080"
    if not port.isdigit() or not 0 < int(port) < 65536:
        faults.append(f"DIRECTOIRE_PORT must be a port from 1 to 65535, not {port!r}.")
    replicas = _replicas(environ.get("REPLICAS", ""), faults)
    if faults:
        raise Refused(" ".join(faults))
    return Settings(
        data=Path(environ.get("DIRECTOIRE_DATA") or ".data").absolute(),
        host=environ.get("DIRECTOIRE_HOST") or "127.0.0.1",
        port=int(port),
        admin_email=environ.get("DIRECTOIRE_ADMIN_EMAIL", ""),
        admin_password=environ.get("DIRECTOIRE_ADMIN_PASSWORD", ""),
        demo=environ.get("DEMO", "1") != "0",
        replicas=replicas,
        prefer_wheels=environ.get("DIRECTOIRE_PREFER") == "wheel",
        ends_with_input=environ.get("DIRECTOIRE_ENDS_WITH_INPUT") == "1",
        throwaway=environ.get("DIRECTOIRE_THROWAWAY") == "1",
        database_url=environ.get("DATABASE_URL") or None,
        redis_url=environ.get("REDIS_URL") or None,
        amqp_url=environ.get("AMQP_URL") or None,
    )


def _replicas(text: str, faults: list[str]) -> dict[str, int]:
    replicas: dict[str, int] = {}
    for word in text.split():
        match = re.fullmatch(r"([a-z-]+)=([1-9][0-9]?)", word)
        if match is None or match[1] not in REPLICABLE:
            faults.append(
                f"REPLICAS has {word!r}; it takes NAME=NUMBER words, NAME one of"
                f" {', '.join(REPLICABLE)}."
            )
        else:
            replicas[match[1]] = int(match[2])
    return replicas
