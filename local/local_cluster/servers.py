"""Private PostgreSQL, Redis and RabbitMQ: how each is prepared, started, asked and stopped."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from local_cluster import probes
from local_cluster.errors import Refused
from local_cluster.home import Home, Ports, reachable_copy
from local_cluster.processes import MARK, Child, Command, spawn
from local_cluster.programs import (
    find_postgres,
    find_rabbitmq,
    find_redis,
    point_erlang,
    rabbitmq_in,
)
from local_cluster.settings import Settings

# Not named like the schema `directoire`: that would come before `public` in the search path.
SUPERUSER: Final = "postgres"
BUS_USER: Final = "directoire"
DATABASE: Final = "directoire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server process under the supervisor."""

    name: str
    port: int
    start: Callable[[], Awaitable[Child]]
    probe: probes.Probe
    stops_by: signal.Signals
    variable: str = ""  # the environment variable that names it to the services
    url: str = field(default="", repr=False)


class Servers:
    """The servers of one instance. Making one finds its program: raises Refused without."""

    def __init__(
        self,
        settings: Settings,
        home: Home,
        ports: Ports,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say = say
        self._urls: dict[str, str] = {}
        self._settings = settings
        self._home = home
        self._ports = ports
        self._user = home.servers_user()
        self._place = home.servers()

    def stores(self) -> list[Server]:
        """PostgreSQL and Redis, where the environment does not give their URLs."""
        settings = self._settings
        servers: list[Server] = []
        if settings.database_url is None:
            servers.append(self._postgres())
        if settings.redis_url is None:
            servers.append(self._redis())
        return self._noted(servers)

    def brokers(self) -> list[Server]:
        """RabbitMQ and its port mapper likewise. May take long: it may have to be fetched."""
        return self._noted(self._rabbitmq() if self._settings.amqp_url is None else [])

    def urls(self) -> dict[str, str]:
        """By environment variable, of the servers asked for so far."""
        return dict(self._urls)

    def _noted(self, servers: list[Server]) -> list[Server]:
        self._urls |= {server.variable: server.url for server in servers if server.variable}
        return servers

    def _postgres(self) -> Server:
        data = self._folder("postgres")
        mark = data / "PG_VERSION"
        made_by = int(mark.read_text(encoding="utf-8")) if mark.exists() else None
        found = find_postgres(prefer_wheels=self._settings.prefer_wheels, made_by=made_by)
        install = reachable_copy(found.bin.parent, self._place)
        programs = install / found.bin.name
        port = self._ports.take("postgres")
        password = self._home.secret("postgres")
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "300",
            "log_min_messages": "warning",
            "autovacuum_naptime": "10s",  # a table filled a moment ago has statistics soon
            "idle_in_transaction_session_timeout": "60s",
        }
        if self._settings.throwaway:
            options |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
        arguments = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]

        async def start() -> Child:
            if not mark.exists():
                await self._initialize_postgres(programs, found.version, data, password)
            return await spawn(self._command("postgres", arguments, dies_by=signal.SIGINT))

        return Server(
            name="postgres",
            port=port,
            start=start,
            probe=probes.postgres(port),
            stops_by=signal.SIGINT,  # the fast shutdown: SIGTERM waits for clients
            variable="DATABASE_URL",
            url=f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{DATABASE}",
        )

    async def _initialize_postgres(
        self, programs: Path, version: int, data: Path, password: str
    ) -> None:
        """Into a folder beside, renamed when whole: a start cut off leaves nothing half made."""
        half = data.with_name("postgres.half")
        shutil.rmtree(half, ignore_errors=True)
        passwords = self._write("postgres.password", password)
        locale = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            if version >= 17
            else ["--locale=C.UTF-8"]
        )
        arguments = [
            str(programs / "initdb"),
            "-D",
            str(half),
            f"--username={SUPERUSER}",
            "--auth=scram-sha-256",
            f"--pwfile={passwords}",
            "--encoding=UTF8",
            *locale,
            *(["--no-sync"] if self._settings.throwaway else []),
        ]
        how = await (await spawn(self._command("postgres", arguments))).wait()
        await asyncio.to_thread(passwords.unlink)
        if how != "exit code 0":
            raise Refused(f"initdb ended with {how}: see {self._home.logs / 'postgres.log'}.")
        await asyncio.to_thread(half.rename, data)  # in place of the empty folder

    def _redis(self) -> Server:
        program = find_redis(prefer_wheels=self._settings.prefer_wheels)
        program = reachable_copy(program.parent, self._place) / program.name
        data = self._folder("redis")
        port = self._ports.take("redis")
        password = self._home.secret("redis")
        # It keeps no file: what it holds can be lost, and Redis cannot read what Valkey wrote
        configuration = self._write(
            "redis.conf",
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {data}\n"
            f'save ""\nappendonly no\nloglevel warning\ndaemonize no\nlogfile ""\n'
            "maxmemory 256mb\nmaxmemory-policy volatile-lru\n",
        )

        async def start() -> Child:
            return await spawn(
                self._command("redis", [str(program), str(configuration)], dies_by=signal.SIGTERM)
            )

        return Server(
            name="redis",
            port=port,
            start=start,
            probe=probes.redis(port),
            stops_by=signal.SIGTERM,
            variable="REDIS_URL",
            url=f"redis://default:{password}@127.0.0.1:{port}",
        )

    def _rabbitmq(self) -> list[Server]:
        """The broker, and before it the port mapper it would leave behind as a daemon."""
        found = find_rabbitmq(prefer_wheels=self._settings.prefer_wheels, say=self._say)
        if found.tree is not None:
            found = rabbitmq_in(reachable_copy(found.tree, self._place))
            assert found.tree is not None
            point_erlang(found.tree)
        mapper_port = self._ports.take("epmd")
        mapper = self._epmd(found.erlang, mapper_port)
        data = self._folder("rabbitmq")
        port = self._ports.take("rabbitmq")
        password = self._home.secret("rabbitmq")
        self._write(
            "rabbitmq/rabbitmq.conf",
            f"default_user = {BUS_USER}\ndefault_pass = {password}\n"
            f"listeners.tcp.1 = 127.0.0.1:{port}\n"
            "vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 50MB\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n",
        )
        self._write("rabbitmq/enabled_plugins", "[].")
        path = f"{found.erlang}:{os.environ.get('PATH', os.defpath)}"
        environment = {
            "PATH": path,
            "HOME": str(data),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": "directoire@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(self._ports.take("rabbitmq-distribution")),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none"
            " -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            # The script then becomes the broker instead of waiting for it as its parent
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(mapper_port),
        }

        async def start() -> Child:
            async with asyncio.timeout(10):
                await probes.until_ready(mapper.probe)
            return await spawn(
                self._command(
                    "rabbitmq",
                    [str(found.server)],
                    dies_by=signal.SIGTERM,
                    environment=environment,
                    cwd=data,
                )
            )

        broker = Server(
            name="rabbitmq",
            port=port,
            start=start,
            probe=probes.amqp(port),
            stops_by=signal.SIGTERM,
            variable="AMQP_URL",
            url=f"amqp://{BUS_USER}:{password}@127.0.0.1:{port}/",
        )
        return [mapper, broker]

    def _epmd(self, erlang: Path, port: int) -> Server:
        arguments = [str(erlang / "epmd"), "-port", str(port), "-address", "127.0.0.1"]

        async def start() -> Child:
            return await spawn(self._command("epmd", arguments))

        return Server(
            name="epmd",
            port=port,
            start=start,
            probe=probes.listens(port),
            stops_by=signal.SIGTERM,
        )

    def _command(
        self,
        name: str,
        arguments: list[str],
        *,
        dies_by: signal.Signals = signal.SIGKILL,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Command:
        plain = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        return Command(
            arguments=tuple(arguments),
            environment={
                **(plain if environment is None else environment),
                MARK: f"{self._home.instance}/{name}",
            },
            log=self._home.logs / f"{name}.log",
            user=self._user,
            dies_by=dies_by,
            cwd=self._place if cwd is None else cwd,
        )

    def _folder(self, name: str) -> Path:
        folder = self._place / name
        folder.mkdir(mode=0o700, exist_ok=True)
        self._give(folder)
        return folder

    def _write(self, name: str, text: str) -> Path:
        """A file that only the servers' user can read."""
        path = self._place / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        self._give(path)
        return path

    def _give(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user, self._user)
