"""The same names in every service, nothing left unfinished, nothing of one machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = {
    "gateway": "gateway",
    "auth-service": "auth_service",
    "items-service": "items_service",
    "files-service": "files_service",
    "schema-service": "schema_service",
    "settings-service": "settings_service",
}
EVERY_SERVICE_HAS = {"__init__.py", "__main__.py", "app.py", "routes.py", "settings.py"}
A_SERVICE_MAY_HAVE = {
    "keys.py", "model.py", "events.py", "handlers", "operations", "store", "mails",
}  # fmt: skip
ITS_OWN = {
    # compares store and database: a job, started as files_service.reconcile
    "files-service": {"reconcile.py"},
    # makes the first administrator: a job, started as auth_service.administrator
    "auth-service": {"administrator.py", "operators.py"},
    # takes over tables that are there: a job, started as schema_service.adopt
    "schema-service": {"adopt.py"},
    # the relay is a process of its own, started as items_service.relay
    "items-service": {
        "relay.py",
        "relay.sql",
        "asyncapi.json",
        "relay_bus.py",
        "relay_events.py",
        "relay_settings.py",
    },
    # the gateway has no rows; it has what stands between a client and a service
    "gateway": {
        "credentials.py",
        "edge.py",
        "exchange.py",
        "flights.py",
        "headers.py",
        "kernel.py",
        "origins.py",
        "principals.py",
        "rates.py",
        "replies.py",
        "server.py",
        "testing.py",
        "upstream.py",
        "pages",
    },
}
BESIDES = {"Dockerfile", "README.md", "pyproject.toml", "tests"}
TEXT = {".py", ".md", ".toml", ".sql", ".yaml", ".yml", ".txt", ".in", ".env", ".sh", ".html", ""}


@cache
def tracked() -> tuple[Path, ...]:
    """Every file git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    names = sorted(set(listed.stdout.split("\0")) - {""})
    return tuple(path for name in names if (path := ROOT / name).is_file())


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.suffix in TEXT else ""


def lines_with(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    for match in pattern.finditer(text):
        yield text.count("\n", 0, match.start()) + 1


def found(pattern: re.Pattern[str], *, but: tuple[str, ...] = ()) -> list[str]:
    this = str(Path(__file__).relative_to(ROOT))
    return [
        f"{path.relative_to(ROOT)}:{line}"
        for path in tracked()
        if str(path.relative_to(ROOT)) not in {this, *but}
        for line in lines_with(pattern, read(path))
    ]


# --- names ---------------------------------------------------------------------------------------


def misplaced(folder: str, names: set[str]) -> set[str]:
    """What a service's package lacks or should not have."""
    allowed = EVERY_SERVICE_HAS | A_SERVICE_MAY_HAVE | ITS_OWN.get(folder, set())
    return (EVERY_SERVICE_HAS - names) | (names - allowed)


def test_the_checker_sees_a_misplaced_file() -> None:
    assert misplaced("auth-service", EVERY_SERVICE_HAS | {"misc.py"}) == {"misc.py"}
    assert misplaced("auth-service", EVERY_SERVICE_HAS - {"app.py"}) == {"app.py"}


@pytest.mark.parametrize("folder", SERVICES)
def test_a_service_has_the_same_names_inside(folder: str) -> None:
    package = ROOT / folder / SERVICES[folder]
    names = {path.name for path in package.iterdir() if path.name != "__pycache__"}
    assert misplaced(folder, names) == set()
    besides = {path.name for path in (ROOT / folder).iterdir()}
    assert besides >= BESIDES


NAMELESS = re.compile(r"(^|/)(utils?|helpers?|common|misc|tools?)(\.py|/)")


def test_no_module_is_named_after_nothing() -> None:
    assert NAMELESS.search("shared/utils.py")
    assert NAMELESS.search("gateway/helpers/x.py")
    assert not NAMELESS.search("shared/commonplace.py")
    names = [str(path.relative_to(ROOT)) for path in tracked()]
    assert [name for name in names if NAMELESS.search(name)] == []


# --- what must not be written --------------------------------------------------------------------

UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
ADDRESS_OF_A_REGISTRY = re.compile(
    r"--(extra-)?index-url|--find-links|--trusted-host|https?://[^\s/]*(pypi|devpi|nexus|artifactory)[^\s/]*/"
)
PATH_OF_A_MACHINE = re.compile(r"(?<![\w./:-])/(home|root|work|Users|mnt)/\w")


def test_the_patterns_see() -> None:
    assert UNFINISHED.search("# TO" + "DO: later")
    assert ADDRESS_OF_A_REGISTRY.search("--index-url " + "https://x/simple")
    assert ADDRESS_OF_A_REGISTRY.search("https://pypi" + ".example.org/simple")
    assert PATH_OF_A_MACHINE.search('open("/ho' + 'me/me/file")')
    assert not PATH_OF_A_MACHINE.search("GET http://host/work/3 and /thumbnail/100")


def test_nothing_is_left_unfinished() -> None:
    assert found(UNFINISHED) == []


def test_no_address_of_a_registry() -> None:
    assert found(ADDRESS_OF_A_REGISTRY) == []


def test_no_path_of_a_machine() -> None:
    assert found(PATH_OF_A_MACHINE) == []


# --- tests ---------------------------------------------------------------------------------------


def evasions(source: str) -> Iterator[int]:
    """Lines where a test skips, expects to fail, or sleeps the loop's thread."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="pytest"), attr="skip" | "xfail" | "importorskip"):
                yield node.lineno
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id="pytest"), attr="mark"),
                attr="skip" | "skipif" | "xfail",
            ):
                yield node.lineno
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                yield node.lineno
            case _:
                pass


@pytest.mark.parametrize(
    "line", ["pytest.skip('x')", "time.sleep(1)", "@pytest.mark.skipif(True)\ndef f(): ..."]
)
def test_the_checker_sees_an_evasion(line: str) -> None:
    assert list(evasions(line)) == [1]


def test_no_test_skips_or_sleeps() -> None:
    tests = [path for path in tracked() if path.suffix == ".py" and "tests" in path.parts]
    assert [
        f"{path.relative_to(ROOT)}:{line}" for path in tests for line in evasions(read(path))
    ] == []


# --- requirements and decisions ------------------------------------------------------------------


def unhashed(requirements: str) -> list[str]:
    """Requirements without an exact version and a hash."""
    entries = requirements.replace("\\\n", " ").splitlines()
    wanted = re.compile(r"^[\w.\[\],-]+==\S+ .*--hash=sha256:[0-9a-f]{64}")
    return [entry for entry in entries if entry.strip() and not wanted.match(entry)]


def test_the_checker_sees_a_requirement_without_hash() -> None:
    assert unhashed("a==1 \\\n    --hash=sha256:" + "0" * 64 + "\n") == []
    assert unhashed("a==1\n") == ["a==1"]
    assert unhashed("a>=1 --hash=sha256:" + "0" * 64) != []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.name
)
def test_every_requirement_is_pinned_and_hashed(path: Path) -> None:
    assert unhashed(path.read_text(encoding="utf-8")) == []


def faults_of_decision(text: str) -> set[str]:
    return {"## Context", "## Decision", "## Consequence"} - set(text.splitlines())


def test_the_checker_sees_a_decision_without_consequence() -> None:
    assert faults_of_decision("# x\n## Context\n## Decision\n") == {"## Consequence"}


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda p: p.name)
def test_every_decision_has_its_three_parts(path: Path) -> None:
    assert faults_of_decision(path.read_text(encoding="utf-8")) == set()


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))
