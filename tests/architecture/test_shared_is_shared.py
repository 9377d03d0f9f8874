"""A module of ``shared`` is used by two packages, or it belongs to the one that uses it.

A package is a service, or ``items_service.relay``, which is a process of its own. What another
module of ``shared`` uses counts as used by whoever uses that one.
"""

import ast
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "shared" / "shared"
USERS = {
    "gateway": "gateway/gateway",
    "auth_service": "auth-service/auth_service",
    "items_service": "items-service/items_service",
    "files_service": "files-service/files_service",
    "schema_service": "schema-service/schema_service",
    "settings_service": "settings-service/settings_service",
}
RUN_BY_ITSELF = {
    "shared",  # the package
    "shared.testing",  # fixtures of every test
    "shared.fault_proxy",  # cuts and delays one role, in the tests of several packages
    "shared.answer_cache",  # the gateway's side of shared.stamps, tried together with the others
    "shared.ports",  # of programs that tests and the local cluster start
    "shared.migrations",  # a job: python -m shared.migrations
}


def imports(source: str, package: str) -> set[str]:
    """Full names of what a module imports; ``from a import b`` gives ``a`` and ``a.b``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found.update(alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                parents = package.split(".")
                start = ".".join(parents[: len(parents) - level + 1]) if level else ""
                base = ".".join(part for part in (start, module) if part)
                found.add(base)
                found.update(f"{base}.{alias.name}" for alias in names)
            case _:
                pass
    return found


def users_of(
    modules: Mapping[str, set[str]], services: Mapping[str, set[str]]
) -> dict[str, set[str]]:
    """Who reaches each module.

    modules   module of shared → what it imports
    services  package → what it imports
    """
    users: dict[str, set[str]] = {name: set() for name in modules}
    for service, imported in services.items():
        waiting = [name for name in imported if name in modules]
        while waiting:
            name = waiting.pop()
            if service not in users[name]:
                users[name].add(service)
                waiting.extend(other for other in modules[name] if other in modules)
    return users


def _module_name(path: Path) -> str:
    parts = path.relative_to(SHARED.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_of(path: Path, package: str) -> set[str]:
    return imports(path.read_text(encoding="utf-8"), package)


def test_the_checker_counts_direct_and_indirect_users() -> None:
    modules = {"shared.a": {"shared.b"}, "shared.b": set[str](), "shared.c": set[str]()}
    services = {"x": {"shared.a"}, "y": {"shared.b", "shared.c"}}
    assert users_of(modules, services) == {
        "shared.a": {"x"},
        "shared.b": {"x", "y"},
        "shared.c": {"y"},
    }


def test_the_checker_reads_imports() -> None:
    source = "import shared.a\nfrom shared import b\nfrom shared.c import d\nfrom . import e"
    assert imports(source, "shared.rows") >= {
        "shared.a",
        "shared.b",
        "shared.c",
        "shared.c.d",
        "shared.rows.e",
    }


def test_every_module_of_shared_has_two_users() -> None:
    modules = {
        _module_name(path): _imports_of(
            path, _module_name(path) if path.name == "__init__.py" else _module_name(path.parent)
        )
        for path in SHARED.rglob("*.py")
        if "versions" not in path.parts
    }
    services: dict[str, set[str]] = {}
    for service, folder in USERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            user = "relay" if path.stem.startswith("relay") else service
            services.setdefault(user, set()).update(_imports_of(path, service))
    lonely = {
        name: users
        for name, users in users_of(modules, services).items()
        if len(users) < 2
        and name not in RUN_BY_ITSELF
        and not any(name.startswith(f"{alone}.") for alone in RUN_BY_ITSELF - {"shared"})
    }
    assert lonely == {}
