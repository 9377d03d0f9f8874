"""The table of settings in a service's README names exactly the fields of its Settings."""

import importlib
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

ROOT = Path(__file__).parents[2]
SETTINGS = [  # folder, module, class, heading of the table in the folder's README
    ("gateway", "gateway.settings", "Settings", "Settings"),
    ("auth-service", "auth_service.settings", "Settings", "Settings"),
    ("items-service", "items_service.settings", "Settings", "Settings"),
    ("files-service", "files_service.settings", "Settings", "Settings"),
    ("schema-service", "schema_service.settings", "Settings", "Settings"),
    ("settings-service", "settings_service.settings", "Settings", "Settings"),
    ("items-service", "items_service.relay_settings", "RelaySettings", "Settings of the relay"),
    ("schema-service", "schema_service.adopt", "AdoptSettings", "Settings of adopting"),
    (
        "auth-service",
        "auth_service.administrator",
        "AdministratorSettings",
        "Settings of the administrator job",
    ),
]
_ROW = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \|", re.MULTILINE)


def documented(readme: str, heading: str) -> set[str]:
    """Names in the first column of the table under ``## heading``."""
    _, _, section = readme.partition(f"\n## {heading}\n")
    section, _, _ = section.partition("\n## ")
    return set(_ROW.findall(section))


def test_the_checker_reads_one_section() -> None:
    readme = "# x\n## Settings\n| `A_B` | 1 |\n| other |\n## Settings of the relay\n| `C` | 2 |\n"
    assert documented(readme, "Settings") == {"A_B"}
    assert documented(readme, "Settings of the relay") == {"C"}


def _fields(module: str, name: str) -> set[str]:
    kind: type[BaseSettings] = getattr(importlib.import_module(module), name)
    return {field.upper() for field in kind.model_fields}


@pytest.mark.parametrize(
    ("folder", "module", "name", "heading"), SETTINGS, ids=[row[1] for row in SETTINGS]
)
def test_the_readme_names_every_setting(folder: str, module: str, name: str, heading: str) -> None:
    readme = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert documented(readme, heading) == _fields(module, name)
