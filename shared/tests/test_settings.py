"""Settings are read once, and every fault is named in one message."""

from pathlib import Path

import pytest

from shared import failpoints
from shared.settings import InvalidSettings, ServiceSettings, load_settings

GOOD = {
    "DATABASE_URL": "postgresql://user:secret-of-many-words@host/db",
    "REDIS_URL": "redis://host",
    "IDENTITY_PUBLIC_KEYS": "{}",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("DATABASE_URL", "REDIS_URL", "IDENTITY_PUBLIC_KEYS", "PORT", "POOL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_every_fault_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PORT", "many")
    environment.setenv("POOL_SIZE", "0")
    with pytest.raises(InvalidSettings) as refusal:
        load_settings(ServiceSettings)
    message = str(refusal.value)
    for name in ("DATABASE_URL", "REDIS_URL", "IDENTITY_PUBLIC_KEYS", "PORT", "POOL_SIZE"):
        assert name in message


def test_a_secret_may_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://from/file\n")
    for name, value in GOOD.items():
        environment.setenv(name, value)
    environment.setenv("DATABASE_URL_FILE", str(secret))
    settings = load_settings(ServiceSettings)
    assert settings.database_url.get_secret_value() == "postgresql://from/file"
    environment.setenv("DATABASE_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(InvalidSettings, match="DATABASE_URL_FILE"):
        load_settings(ServiceSettings)


def test_a_secret_shows_in_no_message(environment: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        environment.setenv(name, value)
    environment.setenv("PORT", "many")
    with pytest.raises(InvalidSettings) as refusal:
        load_settings(ServiceSettings)
    assert "secret" not in str(refusal.value)
    environment.delenv("PORT")
    assert "secret" not in repr(load_settings(ServiceSettings))


def test_fail_points_are_refused_outside_tests() -> None:
    with pytest.raises(SystemExit):
        failpoints.arm("changes.committed=die", allowed=False)


async def test_a_fail_point_does_what_it_was_told() -> None:
    failpoints.arm("a=raise, changes.raise=off", allowed=True)
    try:
        await failpoints.reach("b")
        with pytest.raises(failpoints.FailPointReached):
            await failpoints.reach("a")
        assert failpoints.is_off("changes.raise")
        assert not failpoints.is_off("a")
    finally:
        failpoints.arm("", allowed=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "postgresql://"),
        ("DATABASE_URL", "postgresql://postgres:postgres@database/x"),
        ("DATABASE_URL", "postgresql://directus:Directus2024!@database/x"),
        ("DATABASE_URL", "postgresql://u:short@database/x"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "cache:6379"),
        ("REDIS_URL", "redis://:p%61ssword@cache"),
        ("REDIS_URL", "redis://:1234@10.0.0.7:6379"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_told(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for each, good in GOOD.items():
        environment.setenv(each, good)
    environment.setenv(name, value)
    with pytest.raises(InvalidSettings) as refusal:
        load_settings(ServiceSettings)
    message = str(refusal.value)
    assert name in message
    assert not value or value not in message


def test_a_server_on_this_machine_may_go_without(environment: pytest.MonkeyPatch) -> None:
    for each, good in GOOD.items():
        environment.setenv(each, good)
    for url in ("redis://127.0.0.1", "redis://:x@localhost", "unix:///run/redis.sock"):
        environment.setenv("REDIS_URL", url)
        assert load_settings(ServiceSettings).redis_url.get_secret_value() == url
