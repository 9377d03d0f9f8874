"""The Dockerfiles and the compose file say what they must."""

import importlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv" / "bin"
SERVICES = (
    "gateway",
    "auth-service",
    "items-service",
    "files-service",
    "schema-service",
    "settings-service",
)

SETTINGS = {
    **{service: f"{service.replace('-', '_')}.settings.Settings" for service in SERVICES},
    "relay": "items_service.relay_settings.RelaySettings",
    "administrator": "auth_service.administrator.AdministratorSettings",
}


def run(tool: str, *arguments: str | Path) -> str:
    """The output of a development tool; empty when it has nothing to say."""
    done = subprocess.run(
        [TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_hadolint_has_nothing_to_say() -> None:
    assert run("hadolint", *(f"{service}/Dockerfile" for service in SERVICES)) == ""


def test_hadolint_would_say_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /x && sudo make\n")
    assert "DL3006" in run("hadolint", bad)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_built_in_two_stages_and_runs_as_nobody_important(service: str) -> None:
    lines = (ROOT / service / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FROM ")] == [
        "python:3.11-slim-bookworm"
    ] * 2
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert int(user.split(":")[0]) >= 10_000
    installed = [line for line in lines if "pip install" in line]
    assert all("--require-hashes" in line or "--no-index" in line for line in installed)
    assert not any("dev.txt" in line for line in lines)


def test_the_compose_file_fits_the_specification() -> None:
    assert (
        run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
        == ""
    )


def test_a_misspelt_key_would_not_fit(tmp_path: Path) -> None:
    bad = tmp_path / "docker-compose.yml"
    bad.write_text("services: {gateway: {imagee: x}}\n")
    assert "imagee" in run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", bad)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_our_containers_are_read_only_and_powerless(compose: dict[str, Any]) -> None:
    ours = {
        name: service
        for name, service in compose["services"].items()
        if service["image"].startswith("directoire/")
    }
    assert set(SERVICES) | {"relay", "migrate", "administrator"} <= set(ours)
    for name, service in ours.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert int(service["user"].split(":")[0]) >= 10_000, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "healthcheck" in service, name


def test_only_the_gateway_has_a_port_outside(compose: dict[str, Any]) -> None:
    with_ports = [name for name, service in compose["services"].items() if "ports" in service]
    assert with_ports == ["gateway"]
    assert compose["networks"]["inside"] == {"internal": True}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_a_setting_and_no_required_one_is_missing(
    compose: dict[str, Any], name: str
) -> None:
    module, _, kind = SETTINGS[name].rpartition(".")
    fields = getattr(importlib.import_module(module), kind).model_fields
    given = {
        variable.removesuffix("_FILE").lower()
        for variable in compose["services"][name]["environment"]
    }
    assert given - fields.keys() == set()
    assert {field for field, info in fields.items() if info.is_required()} - given == set()


def test_secrets_come_from_files(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in ("PASSWORD", "KEY", "TOKEN", "DATABASE_URL")):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {value}"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/.secrets/" in ignored
