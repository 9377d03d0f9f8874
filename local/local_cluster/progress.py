"""What `make up` shows while it works: a line for each thing done, and on a terminal what it
waits for."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO


class Progress:
    """Lines for people. A log file gets the same lines without the passing ones."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._began = time.monotonic()
        self._told: set[str] = set()
        self._counted: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pass("")

    def show(self, state: Mapping[str, Any]) -> None:
        """A supervisor's state: tell who became ready, and who is still awaited."""
        message = state.get("message", "")
        if state.get("phase") == "starting" and message and message not in self._told:
            self._told.add(message)
            self.done(message)
        processes = state.get("processes", [])
        for process in processes:
            if process["state"] == "ready" and process["name"] not in self._told:
                self._told.add(process["name"])
                self.done(f"{process['name']} is ready")
        awaited = [process["name"] for process in processes if process["state"] != "ready"]
        self._pass(f"waiting for {', '.join(awaited) or 'a first answer'}")

    def count(self, what: str, done: int, total: int) -> None:
        """Part of a longer work: told in passing, and as a line when it is whole."""
        if done < total:
            self._pass(f"{what}: {done} of {total}")
        elif self._counted.get(what) != total:
            self._counted[what] = total
            self.done(f"{what}: {total}")

    def done(self, what: str) -> None:
        self._pass("")
        seconds = time.monotonic() - self._began
        print(f"{seconds:6.1f} s  {what}", file=self._out, flush=True)

    def _pass(self, text: str) -> None:
        if self._terminal:
            self._out.write(f"\r\x1b[K{text[:100]}")
            self._out.flush()
