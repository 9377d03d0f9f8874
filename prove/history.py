"""What clients did and saw, and whether one register could have behaved like that.

Each thing that is watched (a row, a count, a right, a table's columns) has one writer, whose values
grow: 1, 2, 3 … A write whose outcome is unknown is sent again until it is acknowledged and counts
as one. For such a register linearizability is three conditions on each read (Lamport, On
Interprocess Communication, 1986), so that the check is exact and takes n log n:

stale     older than a write that was acknowledged before the read began
inverted  older than what a read showed that ended before this one began
invented  of a write that had not begun when the read ended

The first is what Directoire promises never to happen; the second is reported beside it.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Read:
    """``seen``: the version, or what tells it from its neighbours (``Register.values``)."""

    begun: float
    ended: float
    seen: int
    told: str  # how the answer came: Cache-Status, for the report


@dataclass(slots=True)
class Register:
    """Times in seconds of one clock; version n is written between begun[n - 1] and acked[n - 1]."""

    begun: list[float] = field(default_factory=list[float])
    acked: list[float] = field(default_factory=list[float])
    reads: list[Read] = field(default_factory=list[Read])
    values: int | None = None  # how many values a read can tell apart; None: each version

    def begin(self, now: float) -> int:
        """A write begins; its version."""
        self.begun.append(now)
        return len(self.begun)

    def end(self, now: float) -> None:
        self.acked.append(now)


@dataclass
class Verdict:
    reads: int = 0
    writes: int = 0
    stale: list[str] = field(default_factory=list[str])
    inverted: int = 0
    invented: int = 0

    def add(self, name: str, register: Register) -> None:
        self.reads += len(register.reads)
        self.writes += len(register.acked)
        ended = sorted((read.ended, _version(register, read)) for read in register.reads)
        ends = [end for end, _ in ended]
        newest = list(accumulate((version for _, version in ended), max))
        for read in register.reads:
            version = _version(register, read)
            known = bisect_left(register.acked, read.begun)
            if version < known:
                self.stale.append(f"{name}: {version} < {known}; {read.told}")
            if version > bisect_right(register.begun, read.ended):
                self.invented += 1
            before = bisect_left(ends, read.begun)
            if before and newest[before - 1] > version:
                self.inverted += 1

    def __str__(self) -> str:
        ways: dict[str, int] = defaultdict(int)
        for line in self.stale:
            ways[line.rpartition("; ")[2]] += 1
        return (
            f"{self.reads} reads, {self.writes} writes: {len(self.stale)} stale, "
            f"{self.inverted} inverted, {self.invented} invented"
            + "".join(f"\n  stale {times} x {way}" for way, times in ways.items())
            + "".join(f"\n  {line}" for line in self.stale[:5])
        )


def _version(register: Register, read: Read) -> int:
    """The newest version that the answer can stand for, by what had begun when it ended."""
    if register.values is None:
        return read.seen
    possible = bisect_right(register.begun, read.ended)
    return possible - (possible - read.seen) % register.values
