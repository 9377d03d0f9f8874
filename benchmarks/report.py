"""Figures for people: a table on the screen, the same as a page in ``benchmarks/results``."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.cases import Case
from benchmarks.load import Measured

RESULTS: Final = Path(__file__).parent / "results"
HEADINGS: Final = (
    "work", "", "requests/s", "p50 ms", "p99 ms", "CPU s / 1,000", "of the floor", "goal",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Round:
    measured: Measured
    cpu_seconds: float

    @property
    def cpu_per_thousand(self) -> float:
        return 1000 * self.cpu_seconds / max(1, self.measured.requests)


@dataclass(frozen=True, slots=True)
class Result:
    """One case: the rounds of both, interleaved as they were run."""

    case: Case
    ours: Sequence[Round]
    floor: Sequence[Round]

    @property
    def ratio(self) -> float:
        """The median of the rounds' own ratios, so that a slow minute counts for both."""
        return median(
            ours.measured.rate / max(0.001, floor.measured.rate)
            for ours, floor in zip(self.ours, self.floor, strict=True)
        )

    def lines(self) -> list[tuple[str, ...]]:
        goal = f"{self.case.goal:.0%}"
        floor = "bytes from memory" if self.case.cached else "bare proxy + service"
        return [
            (self.case.name, "ours", *_figures(self.ours), f"{self.ratio:.0%}", goal),
            ("", floor, *_figures(self.floor), "", ""),
        ]


def _figures(rounds: Sequence[Round]) -> tuple[str, str, str, str]:
    return (
        f"{median(one.measured.rate for one in rounds):,.0f}",
        f"{median(one.measured.p50 for one in rounds):.1f}",
        f"{median(one.measured.p99 for one in rounds):.1f}",
        f"{median(one.cpu_per_thousand for one in rounds):.2f}",
    )


def show(results: Sequence[Result], notes: Sequence[str]) -> None:
    table = Table(*HEADINGS, title="Directoire beside its floor")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        for line in result.lines():
            table.add_row(*line)
        table.add_section()
    console = Console()
    console.width = max(console.width, 110)  # wide enough for whole words, also into a file
    console.print(table)
    for note in notes:
        console.print(note)


def write(results: Sequence[Result], notes: Sequence[str]) -> Path:
    now = datetime.now(UTC)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    lines = [
        f"# {now:%Y-%m-%d %H:%M} UTC",
        "",
        f"{machine}, servers and load generator on the same machine. Compare within a run only.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---|---|" + "--:|" * (len(HEADINGS) - 2),
        *("| " + " | ".join(line) + " |" for result in results for line in result.lines()),
        "",
        *notes,
        "",
    ]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}.md"
    with path.open("a", encoding="utf-8") as page:  # a day's runs, one below the other
        page.write("\n".join(lines) + "\n")
    return path
