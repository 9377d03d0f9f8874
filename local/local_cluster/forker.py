"""The supervisor's side of the preloaded parent: ask for a child, learn of its end."""

import asyncio
import contextlib
import itertools
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_cluster.errors import Refused
from local_cluster.preload import Fork, Told
from local_cluster.processes import Child, Command, how_it_ended, spawn


class Forked:
    """A process that the preloaded parent forked."""

    def __init__(self, pid: int, ended: "asyncio.Future[str]") -> None:
        self._pid = pid
        self._ended = ended

    @property
    def pid(self) -> int:
        return self._pid

    async def wait(self) -> str:
        return await asyncio.shield(self._ended)


class Forker:
    """Starts the preloaded parent anew whenever it dies; its children die with it."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = Command(
            arguments=(sys.executable, "-m", "local_cluster.preload", *modules),
            environment=environment,
            log=log,
            dies_by=signal.SIGKILL,
        )
        self._orders = itertools.count(1)
        self._parent: Child | None = None
        self._ready = asyncio.Event()
        self._asked: dict[int, asyncio.Future[Forked]] = {}
        self._children: dict[int, asyncio.Future[str]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> Child:
        """Start the parent. The returned process ends when it does."""
        pipe = asyncio.subprocess.PIPE
        self._ready.clear()
        self._parent = await spawn(self._command, stdin=pipe, stdout=pipe)
        self._listening = asyncio.create_task(self._listen(self._parent))
        return self._parent

    async def ready(self) -> None:
        await self._ready.wait()

    async def fork(
        self, name: str, module: str, environment: Mapping[str, str], log: Path
    ) -> Forked:
        """Start a process that runs ``main()`` of the module. Raises Refused if that failed."""
        await self._ready.wait()
        assert self._parent is not None
        assert self._parent.process.stdin is not None
        order: Fork = {
            "order": next(self._orders),
            "name": name,
            "module": module,
            "environment": dict(environment),
            "log": str(log),
        }
        asked = self._asked[order["order"]] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(OSError):  # then the listener below gives the answer
            self._parent.process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._parent.process.stdin.drain()
        return await asked

    async def _listen(self, parent: Child) -> None:
        assert parent.process.stdout is not None
        async for line in parent.process.stdout:
            self._take(json.loads(line))
        self._ready.clear()
        for asked in self._asked.values():
            asked.set_exception(Refused("the preloaded parent died"))
        for ended in self._children.values():
            ended.set_result("its preloaded parent")
        self._asked.clear()
        self._children.clear()

    def _take(self, told: Told) -> None:
        if "ready" in told:
            self._ready.set()
        elif "order" in told and "pid" in told:
            ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._children[told["pid"]] = ended
            asked = self._asked.pop(told["order"])
            if not asked.cancelled():
                asked.set_result(Forked(told["pid"], ended))
        elif "ended" in told and "pid" in told:
            self._children.pop(told["pid"]).set_result(how_it_ended(told["ended"]))
