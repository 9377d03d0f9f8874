"""Processes: starting one that dies with us, naming one without doubt, finding what is left."""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

MARK: Final = "DIRECTOIRE_PROCESS"  # environment of every process: "<instance>/<name>"

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Process(Protocol):
    """A running process: ours, or one that the preloaded parent forked for us."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> str:
        """Return when it is gone, with the way it went."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run: what `spawn` needs to know."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    user: int | None = None  # uid to become; None to stay
    dies_by: signal.Signals = signal.SIGKILL  # what it gets when we die
    cwd: Path | None = None


class Child:
    """A process started by us."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def process(self) -> asyncio.subprocess.Process:
        return self._process

    async def wait(self) -> str:
        return how_it_ended(await self._process.wait())


def how_it_ended(code: int) -> str:
    """``code`` as subprocess gives it: negative for a signal."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


async def spawn(command: Command, *, stdin: int | None = None, stdout: int | None = None) -> Child:
    """Start a program in a session of its own. It gets ``dies_by`` when we die."""
    with command.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            env=dict(command.environment),
            cwd=command.cwd,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=log if stdout is None else stdout,
            stderr=log,
            start_new_session=True,
            preexec_fn=_dying_with(os.getpid(), command.dies_by),
            user=command.user,
            group=command.user,
            extra_groups=None if command.user is None else [],
        )
    return Child(process)


def _dying_with(parent: int, by: signal.Signals) -> Callable[[], None]:
    def prepare() -> None:
        os.umask(0o077)
        die_with(parent, by)

    return prepare


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """In a new child: get the signal when the parent dies, or end at once if it has already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def call_it(name: str) -> None:
    """The name that ps and top show; the kernel keeps 15 bytes."""
    _LIBC.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def give_memory_back() -> None:
    """Return what the C library holds in reserve; not every C library can."""
    with contextlib.suppress(AttributeError):
        _LIBC.malloc_trim(0)


def started_at(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid it names it for good.

    None when there is none, or only its remains (a zombie).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def marked(instance: str, name: str | None = None) -> set[int]:
    """The processes of an instance, or of one process of it, by the mark in their environment.

    Children of children carry it too. A server that writes its title over its environment is
    found by its session instead: every marked process leads one of its own.
    """
    mark = f"{MARK}={instance}/{name or ''}".encode()
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if any(
                variable == mark or (name is None and variable.startswith(mark))
                for variable in variables
            ):
                found.add(int(folder.name))
    return found - {os.getpid()}


def in_sessions(leaders: Iterable[int]) -> set[int]:
    """The processes in the sessions that these lead."""
    wanted = set(leaders) - {os.getsid(0)}
    found: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(folder.name)) in wanted:
                found.add(int(folder.name))
    return found - {os.getpid()}


def end(pids: Iterable[int], *, patience: float) -> None:
    """SIGTERM, ``patience`` seconds, SIGKILL. Returns when all are gone."""
    known = {pid: started_at(pid) for pid in pids}

    def living() -> list[int]:
        return [
            pid for pid, since in known.items() if since is not None and started_at(pid) == since
        ]

    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for pid in living():
            send(pid, number)
        until = time.monotonic() + seconds
        while living() and time.monotonic() < until:
            time.sleep(0.02)


def clear_away(instance: str, recorded: Mapping[int, int], *, patience: float = 3.0) -> int:
    """End what a dead supervisor left: marked, recorded (pid to start) and their sessions.

    Returns how many there were.
    """
    left = marked(instance)
    left |= {pid for pid, since in recorded.items() if started_at(pid) == since}
    left |= in_sessions(left)
    left = {pid for pid in left if started_at(pid) is not None}
    end(left, patience=patience)
    return len(left)
