"""Keeping one process alive: start, wait until it is ready, start again when it ends."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

from local_cluster.errors import Refused
from local_cluster.processes import Process, end, marked, send, started_at

_FIRST_PAUSE: Final = 0.1  # seconds before the first restart; doubled for each failure in a row
_LONGEST_PAUSE: Final = 10.0
_TRIES: Final = 5  # before a process that was never ready is given up
_GOOD_LIFE: Final = 10.0  # seconds after which an end is not a failure in a row any more

Say = Callable[[str], None]


class DoesNotStart(Refused):
    """A process ended again and again before it was ready."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Keeper:
    """Owns one named process. ``say`` is told every change of state, for people."""

    def __init__(
        self,
        name: str,
        *,
        instance: str,
        start: Callable[[], Awaitable[Process]],
        ready: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
        say: Say,
        ports: tuple[int, ...] = (),
        stops_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.ports = ports
        self.pid: int | None = None
        self.started: int | None = None
        self.state = "waiting"
        self.restarts = 0
        self.why = ""  # how it ended last
        self.took = 0.0  # seconds from start to ready
        self._instance = instance
        self._start = start
        self._ready = ready
        self._changed = changed
        self._say = say
        self._stops_by = stops_by
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._was_ready = asyncio.Event()

    def keep(self) -> None:
        """Start, and start again for as long as nobody asks to stop."""
        self._task = asyncio.create_task(self._keep(), name=self.name)

    async def ready(self) -> None:
        """Return when the process is ready for the first time. Raises Refused if it cannot be."""
        assert self._task is not None
        waiting = asyncio.create_task(self._was_ready.wait())
        try:
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                self._task.result()
        finally:
            waiting.cancel()

    async def stop(self, *, patience: float) -> None:
        """Ask it to end, wait, and end it and what it started."""
        self._stopping = True
        if self._task is None:
            return
        if self.pid is None:
            self._task.cancel()
        else:
            self._set("stopping")
            send(self.pid, self._stops_by)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await asyncio.shield(asyncio.wait({self._task}))
            if not self._task.done():
                send(self.pid, signal.SIGKILL)
        await asyncio.wait({self._task})
        self._set("stopped")

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping:
            began = time.monotonic()
            try:
                await self._live_once()
            except (OSError, TimeoutError) as error:
                self.why = str(error) or type(error).__name__
            except Refused as error:
                if not self._was_ready.is_set() and self.restarts == 0:
                    raise
                self.why = str(error)
            if self._stopping:
                return
            self.restarts += 1
            if self.restarts >= _TRIES and not self._was_ready.is_set():
                raise DoesNotStart(self.name, f"{self.name} does not start ({self.why})")
            if time.monotonic() - began > _GOOD_LIFE:
                pause = _FIRST_PAUSE
            self._set("restarting")
            self._say(f"{self.name} ended ({self.why}); next start in {pause:.1f} s")
            self._clear_children()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _live_once(self) -> None:
        began = time.monotonic()
        process = await self._start()
        self.pid, self.started = process.pid, started_at(process.pid)
        self._set("starting")
        ended = asyncio.ensure_future(process.wait())
        probing = asyncio.ensure_future(self._ready())
        try:
            await asyncio.wait({ended, probing}, return_when=asyncio.FIRST_COMPLETED)
            if probing.done() and not ended.done():
                probing.result()
                self.took = time.monotonic() - began
                self._set("ready")
                self._was_ready.set()
                self._say(f"{self.name} is ready after {self.took:.1f} s (pid {self.pid})")
            self.why = await ended
        finally:
            probing.cancel()
            self.pid = self.started = None

    def _clear_children(self) -> None:
        """What a killed server leaves behind holds its port and its data."""
        end(marked(self._instance, self.name), patience=0)

    def _set(self, state: str) -> None:
        self.state = state
        self._changed()
