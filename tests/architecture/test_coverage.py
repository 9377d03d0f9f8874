"""`tests/acceptance/COVERAGE.md` leaves no line empty and names only tests that exist."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ACCEPTANCE = ROOT / "tests" / "acceptance"
NAMED = re.compile(r"`([\w/-]+\.py::[^`]+)`")
ELSEWHERE = re.compile(r"`((?!clients/)[\w-]+/[\w/-]+\.py)::")  # outside tests/acceptance


def lines(page: str) -> list[list[str]]:
    """The cells of every table's rows, without heads and rulers."""
    found: list[list[str]] = []
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = [
            [cell.strip() for cell in row.strip("|").split(" | ")] for row in block.splitlines()
        ]
        found += rows[2:]
    return found


def empty(page: str) -> list[str]:
    return [row[0] for row in lines(page) if not NAMED.search(row[-1])]


def test_the_checker_sees_an_empty_line() -> None:
    page = "| line | test |\n|---|---|\n| a | `x.py::test_y` |\n| b |  |\n| c | later |\n"
    assert empty(page) == ["b", "c"]


@cache
def page() -> str:
    return (ACCEPTANCE / "COVERAGE.md").read_text(encoding="utf-8")


@cache
def collected() -> frozenset[str]:
    """The tests as pytest names them, the acceptance tests from their folder, and the same without
    their parameters.
    """
    places = ["tests/acceptance", *sorted(set(ELSEWHERE.findall(page())))]
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *places],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        check=True,
        text=True,
    )
    names = {
        line.removeprefix("tests/acceptance/")
        for line in listed.stdout.splitlines()
        if "::" in line
    }
    return frozenset(names | {name.partition("[")[0] for name in names})


def test_no_line_is_empty() -> None:
    assert len(lines(page())) > 370
    assert empty(page()) == []


def test_every_named_test_exists() -> None:
    assert sorted(set(NAMED.findall(page())) - collected()) == []
