"""The parent of all services: imports them once, then forks a process for each.

Importing costs seconds and some 40 MB; a forked child has it done and shares the memory. It
forks before any event loop or thread exists, so a child begins as a fresh process would.

On standard input it takes a `Fork` a line as JSON; on standard output it gives `Told` lines.
It ends when its input ends, and its children die with it.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, TypedDict

from local_cluster.processes import call_it, die_with, give_memory_back


class Fork(TypedDict):
    """The order for one child: run ``main()`` of a module under an environment."""

    order: int
    name: str
    module: str
    environment: dict[str, str]
    log: str


class Told(TypedDict, total=False):
    """What the parent says: ready (once), or order and pid of a child, or pid and its end."""

    ready: bool
    order: int
    pid: int
    ended: int  # as subprocess counts: negative for a signal


_INPUT: Final = 0
_OUTPUT: Final = 1


def main() -> None:
    signals, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, _wake_up)
    call_it("preload")
    _import(sys.argv[1:])
    gc.collect()
    give_memory_back()
    gc.freeze()  # the collector then leaves the shared pages alone
    _tell({"ready": True})
    waiting = selectors.EpollSelector()
    waiting.register(_INPUT, selectors.EVENT_READ)
    waiting.register(signals, selectors.EVENT_READ)
    unread = b""
    while True:
        ready = {key.fd for key, _ in waiting.select()}
        if signals in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(signals, 4096)
            _tell_ends()
        if _INPUT in ready:
            read = os.read(_INPUT, 65536)
            if not read:
                return
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                _fork(json.loads(line), own=(signals, wake, waiting.fileno()))


def _wake_up(_number: int, _frame: FrameType | None) -> None:
    """The signal's byte in the wake-up pipe says it all."""


def _import(modules: Iterable[str]) -> None:
    """A module that fails now fails again in its own child, where its log shows it."""
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 - see above
            traceback.print_exc()
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        print(f"preload: {threads} threads before the fork", file=sys.stderr, flush=True)


def _fork(order: Fork, own: tuple[int, ...]) -> None:
    parent = os.getpid()
    child = os.fork()
    if child:
        _tell({"order": order["order"], "pid": child})
    else:
        _be(order, parent, own)


def _be(order: Fork, parent: int, own: tuple[int, ...]) -> NoReturn:
    """Become the ordered process. Never returns into the parent's loop.

    ``own`` are the descriptors that only the parent has a use for.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        die_with(parent)
        call_it(order["name"])
        for descriptor in own:
            os.close(descriptor)
        with Path(os.devnull).open("rb") as nothing, Path(order["log"]).open("ab") as log:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        sys.argv = [order["name"]]
        os.environ.clear()
        os.environ.update(order["environment"])
        importlib.import_module(order["module"]).main()
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _tell_ends() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell({"pid": pid, "ended": os.waitstatus_to_exitcode(status)})


def _tell(told: Told) -> None:
    line: Any = json.dumps(told) + "\n"
    os.write(_OUTPUT, line.encode())


if __name__ == "__main__":
    main()
