"""Run a command beside throw-away servers: ``python -m local_cluster.throwaway -- pytest``.

The servers are real, private, empty and forgetful; DATABASE_URL (the server's own database, as
its superuser), REDIS_URL and AMQP_URL name them. All are gone when the command has ended.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from local_cluster import probes
from local_cluster.errors import Refused
from local_cluster.home import Home, Ports
from local_cluster.keeper import Keeper
from local_cluster.processes import clear_away
from local_cluster.servers import Servers
from local_cluster.settings import Settings

_URLS: Final = ("DATABASE_URL", "REDIS_URL", "AMQP_URL")


@contextlib.asynccontextmanager
async def throwaway_servers(
    environ: Mapping[str, str] = os.environ,
) -> AsyncGenerator[dict[str, str]]:
    """URLs of private servers by variable. One whose URL the environment gives is not started."""
    with tempfile.TemporaryDirectory(prefix="directoire-") as folder:
        home = Home(Path(folder))
        home.prepare()
        settings = Settings(
            data=home.data,
            throwaway=True,
            prefer_wheels=environ.get("DIRECTOIRE_PREFER") == "wheel",
            database_url=environ.get("DATABASE_URL"),
            redis_url=environ.get("REDIS_URL"),
            amqp_url=environ.get("AMQP_URL"),
        )
        found = Servers(settings, home, Ports(home))
        servers = [*found.stores(), *found.brokers()]
        keepers = [
            Keeper(
                server.name,
                instance=home.instance,
                start=server.start,
                ready=lambda probe=server.probe: probes.until_ready(probe),
                changed=lambda: None,
                say=lambda _: None,
                stops_by=signal.SIGKILL,  # nothing in them is wanted
            )
            for server in servers
        ]
        try:
            for keeper in keepers:
                keeper.keep()
            await asyncio.gather(*(keeper.ready() for keeper in keepers))
            given = {name: environ[name] for name in _URLS if environ.get(name)}
            started = found.urls()
            if "DATABASE_URL" in started:
                parts = urlsplit(started["DATABASE_URL"])
                started["DATABASE_URL"] = urlunsplit(parts._replace(path="/postgres"))
            yield given | started
        finally:
            await asyncio.gather(*(keeper.stop(patience=5.0) for keeper in keepers))
            clear_away(home.instance, {}, patience=0)


async def run(command: Sequence[str]) -> int:
    """Run the command; its exit code, negative for a signal."""
    async with throwaway_servers() as urls:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **urls})
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, process.send_signal, number)
        return await process.wait()


def main() -> None:
    command = [word for word in sys.argv[1:] if word != "--"]
    if not command:
        sys.exit("Give a command to run: python -m local_cluster.throwaway -- COMMAND")
    try:
        code = asyncio.run(run(command))
    except Refused as error:
        sys.exit(str(error))
    sys.exit(128 - code if code < 0 else code)


if __name__ == "__main__":
    main()
