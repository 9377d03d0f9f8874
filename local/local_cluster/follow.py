"""``make logs``: the lines of all processes, each with the name of who wrote it."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from local_cluster.errors import Refused

_FIRST: Final = 10  # lines of each log that are shown at the start
_PAUSE: Final = 0.2  # seconds


def follow(folder: Path, *, forever: bool | None = None) -> None:
    """Print the last lines of each log, then new ones until interrupted.

    ``forever`` defaults to whether somebody looks (a terminal) or FOLLOW=1.
    """
    if not folder.exists():
        raise Refused("There are no logs yet: start the cluster by `make up`.")
    if forever is None:
        forever = os.environ.get("FOLLOW", "1" if sys.stdout.isatty() else "0") != "0"
    read: dict[Path, int] = {}
    for log in _logs(folder):
        lines = log.read_bytes().splitlines()[-_FIRST:]
        read[log] = log.stat().st_size
        _print(log, lines)
    while forever:
        time.sleep(_PAUSE)
        for log in _logs(folder):
            _print(log, list(_new_lines(log, read)))


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def _new_lines(log: Path, read: dict[Path, int]) -> Iterator[bytes]:
    """Whole lines written since the last look; a log emptied meanwhile begins anew."""
    begin = read.get(log, 0)
    if log.stat().st_size < begin:
        begin = 0
    with log.open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                break
            begin += len(line)
            yield line.rstrip(b"\n")
    read[log] = begin


def _print(log: Path, lines: list[bytes]) -> None:
    for line in lines:
        print(f"{log.stem:<18} | {line.decode(errors='replace')}")
    sys.stdout.flush()
