"""Keeping one process alive, tried on small programs."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from local_cluster.errors import Refused
from local_cluster.keeper import Keeper
from local_cluster.processes import Child, Command, spawn


def starting(program: str, log: Path) -> Callable[[], Awaitable[Child]]:
    async def start() -> Child:
        return await spawn(
            Command(arguments=(sys.executable, "-c", program), environment={}, log=log)
        )

    return start


async def at_once() -> None:
    """Ready as soon as it runs."""


async def never() -> None:
    await asyncio.Event().wait()


def keeper(
    start: Callable[[], Awaitable[Child]], ready: Callable[[], Awaitable[None]], said: list[str]
) -> Keeper:
    return Keeper(
        "sleeper",
        instance="none",
        start=start,
        ready=ready,
        changed=lambda: None,
        say=said.append,
    )


async def test_a_process_that_never_gets_ready_is_given_up_with_its_name(tmp_path: Path) -> None:
    failing = keeper(starting("raise SystemExit(3)", tmp_path / "log"), never, [])
    failing.keep()
    with pytest.raises(Refused, match=r"^sleeper does not start \(exit code 3\)$"):
        await failing.ready()


async def test_a_stop_that_is_ignored_ends_in_a_kill(tmp_path: Path) -> None:
    said: list[str] = []
    marker = tmp_path / "deaf"
    deaf = (
        "import signal, pathlib, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(marker)!r}).touch(); signal.pause()"
    )

    async def is_deaf() -> None:
        while not marker.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)

    kept = keeper(starting(deaf, tmp_path / "log"), is_deaf, said)
    kept.keep()
    await kept.ready()
    await kept.stop(patience=0.1)
    assert kept.state == "stopped"
    assert kept.why == "signal SIGKILL"
