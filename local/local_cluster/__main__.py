"""``python -m local_cluster up|down|ps|logs|token|users|env``: what the Makefile calls."""

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from local_cluster import follow, supervisor
from local_cluster.errors import Refused
from local_cluster.home import write_private
from local_cluster.instance import Instance
from local_cluster.progress import Progress
from local_cluster.settings import read_settings


def up(instance: Instance) -> None:
    """Start if it does not run, load the demo once, say how to go on."""
    with Progress() as progress:
        started = instance.start(progress.show)
        progress.done(f"healthy at {instance.base_url}")
        if started and instance.settings.demo:
            asyncio.run(_load_demo(instance, progress))
    if not started:
        print("It was running already; this changed nothing.")
    print(_how_to_go_on(instance))


async def _load_demo(instance: Instance, progress: Progress) -> None:
    if instance.home.demo_mark.exists():
        return
    from local_cluster import demo  # noqa: PLC0415 - a second to import, needed once

    if not await demo.is_loaded(instance.base_url, instance.token()):
        users = await demo.load_demo(instance.base_url, instance.token(), progress.count)
        write_private(instance.home.users_file, json.dumps(users))
    instance.home.demo_mark.touch()
    progress.done("demo data is loaded")


def _how_to_go_on(instance: Instance) -> str:
    home = instance.home
    email = home.secret("admin-email")
    given = home.has_secret("admin-password")
    password = "as given" if given else home.secret(supervisor.MADE)
    return (
        f"\n  API            {instance.base_url}/api/1.1/\n"
        f"  administrator  {email}, password {password}\n"
        "  token          make token        (for example:"
        f" curl -u $(make --silent token): {instance.base_url}/api/1.1/tables)\n"
        "  look inside    make ps, make logs, make env\n"
        "  stop           make down         (the data stays)\n"
    )


def down(instance: Instance) -> None:
    print("stopped; nothing is left running" if instance.stop() else "it was not running")


def ps(instance: Instance) -> None:
    """Name, pid, ports and state of every process."""
    state = _running(instance)
    rows = [
        ("supervisor", state["pid"], (), "ready", 0),
        *(
            (
                process["name"],
                process["pid"],
                process["ports"],
                process["state"],
                process["restarts"],
            )
            for process in state["processes"]
        ),
    ]
    print(f"{'NAME':<20} {'PID':>7} {'PORT':<13} {'STATE':<10} RESTARTS")
    for name, pid, ports, process_state, restarts in rows:
        shown = ",".join(str(port) for port in ports) or "-"
        print(f"{name:<20} {pid or '-':>7} {shown:<13} {process_state:<10} {restarts}")


def logs(instance: Instance) -> None:
    follow.follow(instance.home.logs)


def token(instance: Instance) -> None:
    print(instance.token())


def users(instance: Instance) -> None:
    """The demo's users and their tokens."""
    try:
        tokens: dict[str, str] = json.loads(instance.home.users_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused("There are no demo users: start the cluster by `make up`.") from error
    for name, text in tokens.items():
        print(f"{name:<20} {text}")


def env(instance: Instance) -> None:
    """The servers' URLs as shell lines: eval "$(make --silent env)"."""
    for name, url in _running(instance)["urls"].items():
        print(f"export {name}={shlex.quote(url)}")


def supervise(instance: Instance) -> None:
    supervisor.run(instance.settings)


def _running(instance: Instance) -> Mapping[str, Any]:
    state = instance.state()
    if not state:
        raise Refused(f"Nothing runs on {instance.settings.data}: start it by `make up`.")
    return state


COMMANDS: Final[Mapping[str, Callable[[Instance], None]]] = {
    "up": up,
    "down": down,
    "ps": ps,
    "logs": logs,
    "token": token,
    "users": users,
    "env": env,
    "supervise": supervise,
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in COMMANDS:
        sys.exit(f"Give one of: {', '.join(COMMANDS)}")
    try:
        COMMANDS[name](Instance(read_settings()))
    except Refused as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
