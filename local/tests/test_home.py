"""The data folder: secrets, ports, logs."""

import socket
from pathlib import Path

import pytest

from local_cluster.errors import Refused
from local_cluster.follow import follow
from local_cluster.home import Home, Ports
from shared.ports import is_free


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "data")
    home.prepare()
    return home


def test_a_secret_is_made_once_and_private(home: Home) -> None:
    made = home.secret("redis")
    assert home.secret("redis") == made
    assert (home.data / "secrets" / "redis").stat().st_mode & 0o777 == 0o600


def test_a_port_is_the_same_again_until_somebody_takes_it(home: Home) -> None:
    port = Ports(home).take("items-service")
    assert Ports(home).take("items-service") == port
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free("127.0.0.1", port)
        assert Ports(home).take("items-service") != port


def test_a_port_shared_by_gateways_is_not_free(home: Home) -> None:
    port = Ports(home).take("gateway")
    with socket.create_server(("127.0.0.1", port), reuse_port=True):
        assert not is_free("127.0.0.1", port)


def test_one_supervisor_a_folder(home: Home) -> None:
    with home.supervising(), pytest.raises(Refused), home.supervising():
        pass


def test_sockets_have_short_paths_wherever_the_data_lies(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 30))
    home.prepare()
    assert len(str(home.sockets() / "settings-service-12.sock")) < 100
    home.sockets().rmdir()


def test_logs_begin_with_the_last_lines_of_each(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    (home.logs / "relay.log").write_text("".join(f"line {n}\n" for n in range(30)))
    follow(home.logs, forever=False)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in shown] == [f"line {n}" for n in range(20, 30)]
