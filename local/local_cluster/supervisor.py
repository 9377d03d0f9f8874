"""The supervisor: a process of its own that starts everything, keeps it alive and stops it."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from local_cluster import layout, probes
from local_cluster.errors import Refused
from local_cluster.forker import Forker
from local_cluster.home import Home, Ports
from local_cluster.keeper import DoesNotStart, Keeper
from local_cluster.layout import Member, Plan
from local_cluster.processes import MARK, call_it, clear_away, end, marked, started_at
from local_cluster.servers import Server, Servers
from local_cluster.settings import Settings

_SERVICES_PATIENCE: Final = 10.0  # seconds a service has to finish its requests
_SERVERS_PATIENCE: Final = 15.0
_LOG_LIMIT: Final = 20 * 1024 * 1024  # bytes of one process's log
_MINUTE: Final = 60.0
_FRUGAL: Final = {  # the C library: give memory back after a peak (Argon2, bulk bodies)
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": str(1024 * 1024),
}
MADE: Final = "made-admin-password"  # the secret that `make up` prints


def run(settings: Settings) -> None:
    """Supervise until SIGTERM. Raises SystemExit with 1 when the start failed."""
    call_it("supervisor")
    home = Home(settings.data)
    home.prepare()
    with home.supervising():
        clear_away(home.instance, recorded(home.read_state()))
        sys.exit(asyncio.run(Supervisor(settings, home).run()))


def without_own_urls(settings: Settings, home: Home) -> Settings:
    """A shell that took `make env` names our own servers; they are to be started all the same."""

    def foreign(server: str, url: str | None) -> str | None:
        return None if url is None or home.knows(server, url) else url

    return replace(
        settings,
        database_url=foreign("postgres", settings.database_url),
        redis_url=foreign("redis", settings.redis_url),
        amqp_url=foreign("rabbitmq", settings.amqp_url),
    )


def recorded(state: Mapping[str, Any]) -> dict[int, int]:
    """Pids and their starts, as a supervisor wrote them."""
    return {
        process["pid"]: process["started"]
        for process in state.get("processes", [])
        if process["pid"] is not None
    }


@dataclass(slots=True)
class _Phase:
    name: str = "starting"  # starting, ready, stopping, failed
    message: str = ""


class Supervisor:
    """All processes of one instance."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = without_own_urls(settings, home)
        self._home = home
        self._ports = Ports(home)
        self._phase = _Phase()
        self._urls: dict[str, str] = {}
        self._servers: list[Keeper] = []
        self._services: list[Keeper] = []
        self._parents: list[Keeper] = []
        self._began = time.monotonic()

    async def run(self) -> int:
        """Start all, wait for the signal to stop, stop all. Returns the exit code."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if self._settings.ends_with_input:
            asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
        starting = asyncio.create_task(self._start())
        asked = asyncio.create_task(stop.wait())
        code = 0
        try:
            await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._enter("ready")
                await self._until(asked)
        except DoesNotStart as error:
            code = 1
            self._enter("failed", f"{error}; its log ends with:\n{self.tail(error.name)}")
        except Refused as error:
            code = 1
            self._enter("failed", str(error))
        finally:
            starting.cancel()
            await asyncio.wait({starting})
            await self._stop()
        return code

    async def _until(self, asked: "asyncio.Task[bool]") -> None:
        while not asked.done():
            self._shorten_logs()
            await asyncio.wait({asked}, timeout=_MINUTE)

    async def _start(self) -> None:
        """Servers and the preloaded parent at once; then the schema; then the services."""
        self._say("starting")
        environment = self._environment()
        forker = self._forker(environment)
        servers = Servers(self._settings, self._home, self._ports, self._tell)
        brokers = asyncio.create_task(self._keep_servers(servers.brokers))
        try:
            stores = await self._keep_servers(servers.stores)
            self._urls = self._given_urls() | servers.urls()
            await _all(keeper.ready() for keeper in stores)
            await self._bootstrap(forker, environment | self._urls)
            await brokers
        finally:
            brokers.cancel()
        self._urls |= servers.urls()
        plan = Plan(
            settings=self._settings,
            home=self._home,
            ports=self._ports,
            environment=environment | self._urls | _without_proxy(servers.urls()),
        )
        self._services = [self._keep_member(member, forker) for member in layout.members(plan)]
        await _all(keeper.ready() for keeper in (*self._servers, *self._services))
        await self._ask_through_gateway()

    async def _keep_servers(self, find: Callable[[], list[Server]]) -> list[Keeper]:
        """Finding a program may take long: RabbitMQ may have to be fetched."""
        return [self._keep_server(server) for server in await asyncio.to_thread(find)]

    def _given_urls(self) -> dict[str, str]:
        given = {
            "DATABASE_URL": self._settings.database_url,
            "REDIS_URL": self._settings.redis_url,
            "AMQP_URL": self._settings.amqp_url,
        }
        return {name: url for name, url in given.items() if url is not None}

    def _environment(self) -> dict[str, str]:
        """What every process is told: our own environment without what is meant for us."""
        ours = {"REPLICAS", "DEMO", "PORT", "HOST", "SOCKET", MARK}
        return {
            name: value
            for name, value in os.environ.items()
            if name not in ours and not name.startswith("DIRECTOIRE_")
        }

    def _forker(self, environment: Mapping[str, str]) -> Forker:
        forker = Forker(
            tuple(layout.MODULES.values()),  # not the bootstrap: it ends, alembic would stay
            {**_FRUGAL, **environment, MARK: f"{self._home.instance}/preload"},
            self._home.logs / "preload.log",
        )
        keeper = self._keeper("preload", start=forker.start, ready=forker.ready)
        self._parents.append(keeper)
        keeper.keep()
        return forker

    def _keep_server(self, server: Server) -> Keeper:
        keeper = self._keeper(
            server.name,
            start=server.start,
            ready=lambda: probes.until_ready(server.probe),
            ports=(server.port,),
            stops_by=server.stops_by,
        )
        self._servers.append(keeper)
        keeper.keep()
        return keeper

    def _keep_member(self, member: Member, forker: Forker) -> Keeper:
        log = self._home.logs / f"{member.name}.log"
        keeper = self._keeper(
            member.name,
            start=lambda: forker.fork(member.name, member.module, member.environment, log),
            ready=lambda: probes.until_ready(probes.http(str(member.ports[0]), "/readyz")),
            ports=member.ports,
        )
        keeper.keep()
        return keeper

    def _keeper(self, name: str, **how: Any) -> Keeper:
        return Keeper(name, instance=self._home.instance, changed=self._write, say=self._say, **how)

    async def _bootstrap(self, forker: Forker, environment: Mapping[str, str]) -> None:
        """Database, migrations, administrator, in a process that ends."""
        began = time.monotonic()
        told = {
            **environment,
            MARK: f"{self._home.instance}/bootstrap",
            "DIRECTOIRE_DATA": str(self._home.data),
            "DIRECTOIRE_ADMIN_EMAIL": self._email(),
            "DIRECTOIRE_ADMIN_PASSWORD": self._password(),
            "DIRECTOIRE_ADMIN_TOKEN": self._home.secret("admin-token"),
        }
        log = self._home.logs / "bootstrap.log"
        process = await forker.fork("bootstrap", layout.BOOTSTRAP, told, log)
        how = await process.wait()
        if how != "exit code 0":
            raise Refused(f"The database could not be prepared ({how}):\n{self.tail('bootstrap')}")
        self._say(f"database, schema and administrator after {time.monotonic() - began:.1f} s")

    def _email(self) -> str:
        given = self._settings.admin_email
        if not given and not self._home.has_secret("admin-email"):
            given = "admin@directoire.example"
        return self._home.secret("admin-email", given or None)

    def _password(self) -> str:
        """What the environment gives or gave at the first start, else a made one."""
        if self._settings.admin_password:
            return self._home.secret("admin-password", self._settings.admin_password)
        given = self._home.has_secret("admin-password")
        return self._home.secret("admin-password" if given else MADE)

    async def _ask_through_gateway(self) -> None:
        """Ready means that a request reaches every service."""
        token = self._home.secret("admin-token")
        for route in layout.ROUTES:
            await probes.until_ready(
                probes.http(
                    str(self._settings.port),
                    route,
                    token=token,
                    good=lambda status: status not in {502, 503, 504},
                )
            )

    async def _stop(self) -> None:
        """Gateways first, so that their requests can end; then services; then servers."""
        if self._phase.name != "failed":
            self._enter("stopping")
        gateways = [keeper for keeper in self._services if keeper.name.startswith("gateway")]
        services = [keeper for keeper in self._services if keeper not in gateways]
        await _all(keeper.stop(patience=_SERVICES_PATIENCE) for keeper in gateways)
        await _all(keeper.stop(patience=_SERVICES_PATIENCE) for keeper in services)
        await _all(keeper.stop(patience=_SERVERS_PATIENCE) for keeper in self._parents)
        await _all(keeper.stop(patience=_SERVERS_PATIENCE) for keeper in self._servers)
        end(marked(self._home.instance), patience=1.0)
        self._say("stopped")
        if self._phase.name != "failed":
            self._home.state_file.unlink(missing_ok=True)

    def _enter(self, phase: str, message: str = "") -> None:
        self._phase = _Phase(phase, message)
        seconds = time.monotonic() - self._began
        self._say(f"{phase} after {seconds:.1f} s {message}".rstrip())
        self._write()

    def _tell(self, what: str) -> None:
        """Say what takes its time before there is a process to wait for."""
        self._phase.message = what
        self._say(what)
        self._write()

    def _write(self) -> None:
        """Say how things stand to `make up`, `make ps` and the tests."""
        self._home.write_state(
            {
                "pid": os.getpid(),
                "started": started_at(os.getpid()),
                "phase": self._phase.name,
                "message": self._phase.message,
                "host": self._settings.host,
                "port": self._settings.port,
                "urls": self._urls,
                "processes": [
                    {
                        "name": keeper.name,
                        "pid": keeper.pid,
                        "started": keeper.started,
                        "ports": keeper.ports,
                        "state": keeper.state,
                        "restarts": keeper.restarts,
                        "took": keeper.took,
                        "why": keeper.why,
                    }
                    for keeper in (*self._servers, *self._parents, *self._services)
                ],
            }
        )

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a process's log."""
        with contextlib.suppress(OSError):
            text = (self._home.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            return "\n".join(text.splitlines()[-lines:])
        return ""

    def _shorten_logs(self) -> None:
        """The processes append, so a log can be emptied under them; one older is kept."""
        for log in self._home.logs.glob("*.log"):
            if log.stat().st_size > _LOG_LIMIT:
                log.with_suffix(".log.1").write_bytes(log.read_bytes())
                os.truncate(log, 0)


def _without_proxy(urls: Mapping[str, str]) -> dict[str, str]:
    """Nothing stands between the processes and a Redis of our own."""
    return {name: f"{url}?direct=1" for name, url in urls.items() if name == "REDIS_URL"}


async def _all(tasks: Iterable[Coroutine[None, None, None]]) -> None:
    await asyncio.gather(*tasks)
