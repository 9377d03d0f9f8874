"""A whole cluster for tests: its own processes, on servers that are given or its own."""

import asyncio
import os
import signal
import tempfile
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from local_cluster.home import Home, Ports
from local_cluster.instance import Instance
from local_cluster.programs import rabbitmqctl_for
from local_cluster.settings import Settings


class Cluster:
    """Everything that `make up` starts, without demo data, in a folder of its own.

    A server whose URL is None is started privately, and can be killed by its name (postgres,
    redis, rabbitmq) like any process. The database a URL names is created if it is not there,
    and left there. Processes answer as under `make up`: what is killed is started again.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        amqp_url: str | None = None,
        data: Path | None = None,
        replicas: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``environment`` is told to every process, besides our own environment."""
        self._temporary = None if data else tempfile.TemporaryDirectory(prefix="directoire-")
        folder = data or Path(self._temporary.name if self._temporary else "")
        home = Home(folder)
        home.prepare()
        settings = Settings(
            data=folder,
            port=Ports(home).take("shared-gateway"),
            demo=False,
            replicas=replicas or {},
            throwaway=True,
            database_url=database_url,
            redis_url=redis_url,
            amqp_url=amqp_url,
        )
        told = _told(settings, home, environment or {})
        self._instance = Instance(settings, told, ends_with_us=True)
        self.exchange = told.get("ACTIVITY_EXCHANGE", "directoire.activity")  # of its activity
        self.data = folder

    @property
    def base_url(self) -> str:
        """The port that all gateways share."""
        return self._instance.base_url

    @property
    def gateway_urls(self) -> list[str]:
        """Each gateway replica's own port."""
        return [
            f"http://127.0.0.1:{process['ports'][0]}"
            for process in self._instance.state()["processes"]
            if process["name"].startswith("gateway")
        ]

    @property
    def ports(self) -> dict[str, int]:
        """Each process's own port by its name."""
        processes = self._instance.state()["processes"]
        return {p["name"]: p["ports"][0] for p in processes if p["ports"]}

    @property
    def token(self) -> str:
        """The administrator's API token."""
        return self._instance.token()

    @property
    def urls(self) -> dict[str, str]:
        """DATABASE_URL, REDIS_URL and AMQP_URL."""
        return self._instance.state()["urls"]

    @property
    def processes(self) -> dict[str, int]:
        """Name to pid of what runs now: "gateway", "items-service", "items-service-2", …"""
        return self._instance.processes()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to a process; returns the pid it had."""
        pid = self.processes[name]
        os.kill(pid, number)
        return pid

    async def restarted(self, name: str, *, after: int, patience: float = 30.0) -> int:
        """Wait until the process is ready again under another pid than ``after``."""
        async with asyncio.timeout(patience):
            while True:
                for process in self._instance.state().get("processes", []):
                    found = process["name"] == name and process["state"] == "ready"
                    if found and process["pid"] not in {None, after}:
                        return process["pid"]
                await asyncio.sleep(0.02)

    async def rabbitmqctl(self, *words: str) -> str:
        """What an operator tells the private broker; its output. Raises ChildProcessError."""
        program, environment = rabbitmqctl_for(self.processes["rabbitmq"])
        command = await asyncio.create_subprocess_exec(
            program, *words, env=environment, stdout=PIPE, stderr=STDOUT
        )
        output, _ = await command.communicate()
        if command.returncode != 0:
            raise ChildProcessError(f"rabbitmqctl {' '.join(words)}: {output.decode()}")
        return output.decode()

    def start(self) -> None:
        """Start and return when all is healthy. Raises Refused with the reason."""
        began = time.monotonic()
        try:
            self._instance.start()
        except BaseException:
            self._clean_up()
            raise
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        """Leave no process."""
        self._instance.stop()
        self._clean_up()

    def _clean_up(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)


def _told(settings: Settings, home: Home, more: Mapping[str, str]) -> dict[str, str]:
    """The supervisor's environment. Shared servers are divided by prefix and exchange."""
    told = {
        **os.environ,
        "DIRECTOIRE_PORT": str(settings.port),
        "DIRECTOIRE_THROWAWAY": "1",
        "DEMO": "0",
        "REPLICAS": " ".join(f"{kind}={number}" for kind, number in settings.replicas.items()),
        "REDIS_PREFIX": f"{home.instance}:",
        "ACTIVITY_EXCHANGE": f"directoire.activity.{home.instance}" if settings.amqp_url else "",
        "DATABASE_URL": settings.database_url or "",
        "REDIS_URL": settings.redis_url or "",
        "AMQP_URL": settings.amqp_url or "",
        **more,
    }
    return {name: value for name, value in told.items() if value}
