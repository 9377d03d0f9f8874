"""A missing thing is named in one sentence, with the way to get it."""

from pathlib import Path

import pytest

from local_cluster import programs
from local_cluster.errors import Refused
from local_cluster.settings import read_settings


def no_package(_name: str) -> None:
    return None


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with no server, no wheel and no apt-get."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_package_folder", no_package)
    monkeypatch.setattr(programs, "_UNPACKED", tmp_path / "rabbitmq")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("find", "way", "variable"),
    [
        (programs.find_postgres, "apt-get install postgresql", "DATABASE_URL"),
        (programs.find_redis, "apt-get install redis-server", "REDIS_URL"),
        (programs.find_rabbitmq, "apt-get install rabbitmq-server", "AMQP_URL"),
    ],
)
def test_a_missing_server_is_named_with_the_way_to_get_it(
    find: object, way: str, variable: str
) -> None:
    assert callable(find)
    with pytest.raises(Refused) as refused:
        find(prefer_wheels=True)
    assert way in str(refused.value)
    assert variable in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_wheels_bring_postgres_and_redis() -> None:
    assert programs.find_postgres(prefer_wheels=True).version >= programs.OLDEST_POSTGRES
    assert programs.find_redis(prefer_wheels=True).name == "valkey-server"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DIRECTOIRE_PORT", "80a", "DIRECTOIRE_PORT must be a port"),
        ("DIRECTOIRE_PORT", "70000", "DIRECTOIRE_PORT must be a port"),
        ("REPLICAS", "gateway=0", "NAME=NUMBER"),
        ("REPLICAS", "gatewy=2", "NAME one of gateway, auth-service"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        read_settings({name: value})


def test_replicas_are_counted_by_name() -> None:
    settings = read_settings({"REPLICAS": "gateway=2 items-service=3"})
    assert settings.replicas == {"gateway": 2, "items-service": 3}
