"""What clients did and saw, and whether one register could have behaved like that.

Each thing that is watched (a row, a count, a right, a table's columns) has one writer, whose values
grow: 1, 2, 3 … A write whose outcome is unknown is sent again until it is acknowledged and counts
as one. For such a register linearizability is three conditions on each read (Lamport, On
Interprocess Communication, 1986), so that the check is exact:

stale     older than a write that was acknowledged before the read began
inverted  older than what a read showed that ended before this one began
invented  of a write that had not begun when the read ended

The first is what Directoire promises never to happen; the others are reported beside it. Each read
is judged as it ends, against the writes and the newest values of the last ``HORIZON`` seconds: no
read lasts longer, and memory stays the same however many there are.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

HORIZON: Final = 60.0  # seconds; a client's patience is far shorter
_TOLD: Final = 5  # violations of a kind that are told one by one


class _Times:
    """Moments in their order, in seconds; what is older than the horizon is only counted."""

    def __init__(self) -> None:
        self._gone = 0
        self._kept: list[float] = []

    def __len__(self) -> int:
        return self._gone + len(self._kept)

    def add(self, now: float) -> int:
        """How many were only counted from now on."""
        self._kept.append(now)
        if len(self._kept) % 1024:
            return 0
        old = bisect_left(self._kept, now - HORIZON)
        del self._kept[:old]
        self._gone += old
        return old

    def before(self, moment: float) -> int:
        """How many lie before the moment, which is not older than the horizon."""
        return self._gone + bisect_left(self._kept, moment)

    def until(self, moment: float) -> int:
        """How many lie before the moment or at it."""
        return self._gone + bisect_right(self._kept, moment)


@dataclass
class Verdict:
    """``ways`` counts violations by kind and by what the answer said of itself."""

    reads: int = 0
    writes: int = 0
    stale: int = 0
    inverted: int = 0
    invented: int = 0
    ways: Counter[str] = field(default_factory=Counter[str])
    first: list[str] = field(default_factory=list[str])

    def violated(self, kind: str, line: str, way: str) -> None:
        """Record one; ``kind`` is one of the three."""
        setattr(self, kind, getattr(self, kind) + 1)
        way = f"{kind}; {way}"
        self.ways[way] += 1
        if sum(line.startswith(kind) for line in self.first) < _TOLD:
            self.first.append(f"{kind}: {line}; {way}")

    def __str__(self) -> str:
        return (
            f"{self.reads} reads, {self.writes} writes: {self.stale} stale, "
            f"{self.inverted} inverted, {self.invented} invented"
            + "".join(f"\n  {times} x {way}" for way, times in self.ways.most_common(12))
            + "".join(f"\n  {line}" for line in self.first)
        )


class Register:
    """One thing that is watched. All moments are of one clock, in seconds, told in their order."""

    def __init__(self, name: str, verdict: Verdict, values: int | None = None) -> None:
        """``values``: how many values a read can tell apart; None: each version."""
        self._name = name
        self._verdict = verdict
        self._values = values
        self._begun = _Times()
        self._acked = _Times()
        self._ended = _Times()  # of the reads that showed something newer than all before
        self._shown: list[int] = []  # what those of them that are kept showed
        self._first = 0  # the number of the first of ``_shown`` among all

    def begin(self, now: float) -> int:
        """A write begins; its version."""
        self._begun.add(now)
        return len(self._begun)

    def end(self, now: float) -> None:
        """The write was acknowledged."""
        self._acked.add(now)
        self._verdict.writes += 1

    def read(self, begun: float, ended: float, seen: int, told: str) -> None:
        """Judge a read that ended now, and remember what it showed.

        ``seen`` is the version, or what tells it from its neighbours; ``told`` how the answer came.
        """
        verdict = self._verdict
        verdict.reads += 1
        possible = self._begun.until(ended)
        known = self._acked.before(begun)
        before = self._ended.before(begun) - self._first
        shown = self._shown[before - 1] if before > 0 else 0
        oldest, newest = self._range(seen, max(known, shown), possible)
        if newest < known:
            verdict.violated("stale", f"{self._name}: {newest} < {known}", told)
        if newest > possible:
            verdict.violated("invented", f"{self._name}: {newest} > {possible}", told)
        if newest < shown:
            verdict.violated("inverted", f"{self._name}: {newest} < {shown}", told)
        version = min(oldest, newest)  # what later reads must not be older than
        if not self._shown or version > self._shown[-1]:
            self._shown.append(version)
            gone = self._ended.add(ended)
            del self._shown[:gone]
            self._first += gone

    def _range(self, seen: int, least: int, possible: int) -> tuple[int, int]:
        """The oldest version from ``least`` on, and the newest possible, that look like ``seen``.

        A long read may have seen either: nothing is held against it, or against a later one,
        that another choice explains.
        """
        if self._values is None:
            return seen, seen
        oldest = least + (seen - least) % self._values
        return oldest, possible - (possible - seen) % self._values
