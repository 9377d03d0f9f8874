"""The real cluster on private servers: what dies comes back, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local_cluster.cluster import Cluster
from local_cluster.errors import Refused
from local_cluster.home import Home
from local_cluster.instance import Instance
from local_cluster.processes import MARK, marked, started_at
from local_cluster.settings import read_settings

pytestmark = pytest.mark.xdist_group("supervisor")  # one start of all servers is enough

SERVICES = {
    "gateway",
    "gateway-2",
    "auth-service",
    "items-service",
    "files-service",
    "schema-service",
    "settings-service",
    "relay",
}
SERVERS = {"postgres", "redis", "epmd", "rabbitmq"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(replicas={"gateway": 2})
    cluster.start()
    yield cluster
    cluster.stop()


def command(cluster: Cluster, name: str) -> "subprocess.CompletedProcess[str]":
    """`make NAME` against this cluster."""
    return make(name, cluster.data, urlsplit(cluster.base_url).port or 0)


def make(name: str, data: Path, port: int) -> "subprocess.CompletedProcess[str]":
    """Run `make NAME` as the Makefile does."""
    return subprocess.run(
        [sys.executable, "-m", "local_cluster", name],
        env={
            **os.environ,
            "DIRECTOIRE_DATA": str(data),
            "DIRECTOIRE_PORT": str(port),
            "DEMO": "0",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ps_names_every_process_with_pid_and_port(cluster: Cluster) -> None:
    rows = {row.split()[0]: row.split()[1:] for row in command(cluster, "ps").stdout.splitlines()}
    assert set(rows) == {"NAME", "supervisor", "preload"} | SERVICES | SERVERS
    assert {name: int(row[0]) for name, row in rows.items() if name != "NAME"} == cluster.processes
    assert all(rows[name][1].split(",")[0].isdigit() for name in SERVICES | SERVERS)
    assert rows["gateway"][1].split(",")[1] == rows["gateway-2"][1].split(",")[1]


def test_token_prints_the_token_alone_and_its_file_is_private(cluster: Cluster) -> None:
    assert command(cluster, "token").stdout == cluster.token + "\n"
    assert Home(cluster.data).token_file.stat().st_mode & 0o777 == 0o600


def test_env_prints_the_urls_as_shell_lines(cluster: Cluster) -> None:
    lines = command(cluster, "env").stdout.splitlines()
    assert {line.split("=")[0] for line in lines} == {
        "export DATABASE_URL",
        "export REDIS_URL",
        "export AMQP_URL",
    }


def test_logs_name_who_wrote_each_line(cluster: Cluster) -> None:
    lines = command(cluster, "logs").stdout.splitlines()
    assert any(line.startswith("supervisor ") and "| " in line for line in lines)


def test_a_second_up_changes_nothing(cluster: Cluster) -> None:
    before = cluster.processes
    again = command(cluster, "up")
    assert again.returncode == 0
    assert "running already" in again.stdout
    assert cluster.processes == before


def test_secrets_stay_out_of_the_logs(cluster: Cluster) -> None:
    logged = "".join(log.read_text(errors="replace") for log in Home(cluster.data).logs.iterdir())
    kept = [secret.read_text() for secret in (cluster.data / "secrets").iterdir()]
    assert not [secret for secret in kept if len(secret) > 40 and secret in logged]


@pytest.mark.parametrize("name", ["items-service", "gateway-2", "relay", "redis", "postgres"])
async def test_what_is_killed_comes_back(cluster: Cluster, name: str) -> None:
    killed = cluster.kill(name)
    assert await cluster.restarted(name, after=killed) != killed


async def test_when_the_preloaded_parent_is_killed_all_services_come_back(
    cluster: Cluster,
) -> None:
    before = cluster.processes
    cluster.kill("preload")
    for name in SERVICES:
        await cluster.restarted(name, after=before[name])


def test_a_taken_port_is_told_in_one_sentence(cluster: Cluster) -> None:
    settings = read_settings(
        {
            "DIRECTOIRE_DATA": str(cluster.data / "another"),
            "DIRECTOIRE_PORT": str(urlsplit(cluster.base_url).port),
        }
    )
    with pytest.raises(Refused, match=r"^Port \d+ is taken by another program: .*DIRECTOIRE_PORT"):
        Instance(settings).start()


def test_nothing_outlives_a_killed_supervisor(cluster: Cluster) -> None:
    home = Home(cluster.data)
    known = {pid: started_at(pid) for pid in cluster.processes.values()}
    assert marked(home.instance)
    cluster.kill("supervisor")
    until = time.monotonic() + 60
    while any(started_at(pid) == since for pid, since in known.items()):
        assert time.monotonic() < until
    assert command(cluster, "down").returncode == 0
    assert not marked(home.instance)
    assert command(cluster, "ps").stderr.startswith("Nothing runs on ")


def test_a_cluster_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from local_cluster.cluster import Cluster;"
        f"Cluster(data=Path({str(tmp_path)!r}), amqp_url='amqp://127.0.0.1:9').start()"
    )
    home = Home(tmp_path)
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as starter:
        until = time.monotonic() + 60
        while home.supervisor() is None:
            assert time.monotonic() < until
        starter.kill()
    while home.supervisor() is not None or marked(home.instance):
        assert time.monotonic() < until


def test_what_stays_behind_is_found_by_its_mark(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    with subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"],
        env={MARK: f"{home.instance}/epmd"},
        start_new_session=True,
    ) as orphan:
        try:
            until = time.monotonic() + 30
            while marked(home.instance) != {orphan.pid}:  # its environment shows after its start
                assert time.monotonic() < until
            down = make("down", tmp_path, 8080)
            assert down.stdout == "stopped; nothing is left running\n"
            assert orphan.wait(timeout=30) == -signal.SIGTERM
        finally:
            orphan.kill()
