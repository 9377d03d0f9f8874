"""Named places where tests make a process sleep, fail or die; without effect elsewhere.

``FAILPOINTS="rows.committed=die,rows.read=sleep:0.2"`` works only with ``FAILPOINTS_ALLOWED=1``.
"""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Final

_ACTIVE: Final[dict[str, str]] = {}


class FailPointReached(Exception):
    """What ``raise`` raises."""


def arm(settings: str, *, allowed: bool) -> None:
    """Take the fail-points of the settings. Raises SystemExit where they are not allowed."""
    _ACTIVE.clear()
    if not settings:
        return
    if not allowed:
        raise SystemExit("FAILPOINTS is for tests only; set FAILPOINTS_ALLOWED=1 to allow it")
    for entry in settings.split(","):
        name, _, action = entry.strip().partition("=")
        _ACTIVE[name] = action


def is_off(mechanism: str) -> bool:
    """Whether a test switched a mechanism off, to see that its own checks notice."""
    return bool(_ACTIVE) and _ACTIVE.get(mechanism) == "off"


async def reach(name: str) -> None:
    """Do here what the tests asked for: ``sleep:<seconds>``, ``raise`` or ``die``."""
    if not _ACTIVE:
        return
    action = _ACTIVE.get(name, "")
    if action.startswith("sleep:"):
        await asyncio.sleep(float(action.removeprefix("sleep:")))
    elif action == "raise":
        raise FailPointReached(name)
    elif action == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def block(name: str) -> None:
    """``fifo:<path>``: as long as there is a pipe of that name, stand still in the kernel until
    somebody opens it for writing, as a thread does on a disk that does not answer.
    """
    if not _ACTIVE:
        return
    action = _ACTIVE.get(name, "")
    if action.startswith("fifo:"):
        with suppress(FileNotFoundError):
            os.close(os.open(action.removeprefix("fifo:"), os.O_RDONLY))
