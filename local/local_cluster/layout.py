"""Which processes make up the cluster, and what each is told in its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_cluster.home import PRIVATE_KEY, PUBLIC_KEYS, Home, Ports
from local_cluster.processes import MARK
from local_cluster.settings import Settings

MODULES: Final = {
    "auth-service": "auth_service.__main__",
    "items-service": "items_service.__main__",
    "files-service": "files_service.__main__",
    "schema-service": "schema_service.__main__",
    "settings-service": "settings_service.__main__",
    "relay": "items_service.relay",
    "gateway": "gateway.__main__",
}
BOOTSTRAP: Final = "local_cluster.bootstrap"
_ASKED_THROUGH_GATEWAY: Final = {
    "auth-service": "users",
    "items-service": "tables/directus_groups/rows",
    "files-service": "files",
    "schema-service": "tables",
    "settings-service": "settings",
}
ROUTES: Final = tuple(f"/api/1.1/{path}" for path in _ASKED_THROUGH_GATEWAY.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of the cluster: a service's replica, the relay or a gateway."""

    name: str  # "items-service", "items-service-2", …
    kind: str
    module: str
    ports: tuple[int, ...]  # the first is its own: health is asked there
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all processes are made from."""

    settings: Settings
    home: Home
    ports: Ports
    environment: Mapping[str, str]  # the servers' URLs and what all are told


def members(plan: Plan) -> list[Member]:
    """All processes: services and relay first, gateways last."""
    services = [
        _service(plan, kind, name)
        for kind in MODULES
        if kind != "gateway"
        for name in names(kind, plan.settings.replicas)
    ]
    gateways = [_gateway(plan, name, services) for name in names("gateway", plan.settings.replicas)]
    return [*services, *gateways]


def names(kind: str, replicas: Mapping[str, int]) -> list[str]:
    """The first replica has the plain name, the others a number."""
    return [kind, *(f"{kind}-{number}" for number in range(2, replicas.get(kind, 1) + 1))]


def _service(plan: Plan, kind: str, name: str) -> Member:
    home = plan.home
    port = plan.ports.take(name)
    told = {
        **plan.environment,
        "IDENTITY_PUBLIC_KEYS_FILE": str(home.secret_file(PUBLIC_KEYS)),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        MARK: f"{home.instance}/{name}",
    }
    if kind != "relay":
        told["SOCKET"] = str(socket_of(name, home))
    if kind == "items-service":
        replicas = names("files-service", plan.settings.replicas)
        told["FILES_URLS"] = ",".join(f"unix:{socket_of(one, home)}" for one in replicas)
    if kind == "files-service":
        told.setdefault("STORE_URL", home.files.as_uri())
        told.setdefault("PUBLIC_FILES", "1")  # the demo's files are as public as they were
    return Member(name=name, kind=kind, module=MODULES[kind], ports=(port,), environment=told)


def socket_of(name: str, home: Home) -> Path:
    return home.sockets() / f"{name}.sock"


def _gateway(plan: Plan, name: str, services: list[Member]) -> Member:
    settings, home = plan.settings, plan.home
    own = plan.ports.take(name)
    urls = {
        f"{kind.removesuffix('-service').upper()}_URLS": ",".join(
            f"unix:{socket_of(service.name, home)}" for service in services if service.kind == kind
        )
        for kind in MODULES
        if kind.endswith("-service")
    }
    told = {
        **plan.environment,
        **urls,
        "HOST": settings.host,
        "PORT": str(settings.port),
        "OWN_PORT": str(own),
        "IDENTITY_PRIVATE_KEY_FILE": str(home.secret_file(PRIVATE_KEY)),
        MARK: f"{home.instance}/{name}",
    }
    return Member(
        name=name,
        kind="gateway",
        module=MODULES["gateway"],
        ports=(own, settings.port),
        environment=told,
    )
