"""The bootstrap: one administrator, whoever runs it and how often."""

import asyncio
import json
import os
import sys
from hashlib import sha256
from typing import Any

import pytest

from auth_service.app import make_app
from auth_service.operations.administrators import ensure_administrator
from auth_service.settings import Settings
from shared.database import Database
from shared.errors import InvalidValue
from shared.passwords import verify_password
from shared.sql import raw
from shared.testing import environment, serving

PASSWORD = "a passphrase for operators"


async def test_an_empty_instance_gets_an_administrator_with_a_token(database: Database) -> None:
    made = await ensure_administrator(database, "root@example.com", PASSWORD, None)
    assert made.token
    row = await database.fetchrow(
        raw(
            'SELECT u.email, u.active, u."group", c.password_hash, t.sha256'
            " FROM directus_users u JOIN directoire.credentials c ON c.user_id = u.id"
            " JOIN directoire.tokens t ON t.user_id = u.id"
        )
    )
    assert row is not None
    assert (row["email"], row["active"], row["group"]) == ("root@example.com", 1, 1)
    assert verify_password(row["password_hash"], PASSWORD)
    assert row["sha256"] == sha256(made.token.encode()).digest()


async def test_a_second_run_changes_nothing(database: Database) -> None:
    first = await ensure_administrator(database, "root@example.com", PASSWORD, "the-token")
    again = await ensure_administrator(database, "other@example.com", "another one", "the-token")
    assert again.administrator == first.administrator
    assert not again.replaced
    assert (await ensure_administrator(database, "x@example.com", "pw", None)).token is None
    counts = await database.fetchrow(
        raw(
            "SELECT (SELECT count(*) FROM directus_users) AS users,"
            " (SELECT count(*) FROM directoire.tokens) AS tokens"
        )
    )
    assert tuple(counts or ()) == (1, 1)


async def test_a_new_token_takes_the_place_of_the_former(database: Database) -> None:
    await ensure_administrator(database, "root@example.com", PASSWORD, "first")
    made = await ensure_administrator(database, "root@example.com", PASSWORD, "second")
    assert made.replaced
    digests = await database.fetch(raw("SELECT sha256 FROM directoire.tokens"))
    assert [row["sha256"] for row in digests] == [sha256(b"second").digest()]


async def test_an_inactive_administrator_with_the_address_becomes_active(
    database: Database,
) -> None:
    await database.execute(
        raw("INSERT INTO directus_users (email, active) VALUES ('Root@example.com', 0)")
    )
    made = await ensure_administrator(database, "root@example.com", PASSWORD, None)
    row = await database.fetchrow(raw('SELECT id, active, "group" FROM directus_users'))
    assert tuple(row or ()) == (made.administrator.user, 1, 1)


async def test_two_bootstraps_at_once_make_one_administrator(database: Database) -> None:
    results = await asyncio.gather(
        *(ensure_administrator(database, f"{n}@example.com", PASSWORD, None) for n in range(3))
    )
    assert len({made.administrator.user for made in results}) == 1
    assert sum(made.token is not None for made in results) == 1


@pytest.mark.parametrize("password", ["short", "password-password", "aaaaaaaaaaaaaaaaaaaa"])
async def test_a_weak_password_makes_no_administrator(database: Database, password: str) -> None:
    with pytest.raises(InvalidValue):
        await ensure_administrator(database, "root@example.com", password, None)
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 0


async def installed(database_url: str, **settings: str) -> tuple[int, str]:
    """Exit status and output of the program, as an installation runs it."""
    told = {"DATABASE_URL": database_url, "DIRECTOIRE_ADMIN_EMAIL": "root@example.com", **settings}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_service.administrator",
        env={**os.environ, **told},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_without_a_password_the_installation_prints_what_sets_one_once(
    database_url: str, redis_prefix: str, database: Database
) -> None:
    async def first_password() -> Any:
        status, said = await installed(database_url)
        assert status == 0, said
        return json.loads(said)["first_password"]

    former, told = await first_password(), await first_password()
    assert (told["post"], told["seconds"]) == ("/api/1.1/auth/reset-password", 3600)
    app = make_app(Settings.model_validate(environment(database_url, redis_prefix)))
    async with serving(app) as client:

        async def post(path: str, body: object) -> int:
            async with client.http.post(path, json=body) as response:
                return response.status

        body = {**told["body"], "password": PASSWORD}
        signing_in = {"email": "root@example.com", "password": PASSWORD}
        assert await post("/api/1.1/auth/login", {**signing_in, "password": ""}) == 401
        stale = {**body, "token": former["body"]["token"]}
        assert await post(told["post"], stale) == 400, "a second run takes the place of the first"
        left = raw("SELECT extract(epoch FROM expires_at - now())::int FROM directoire.links")
        assert 3500 < await database.fetchval(left) <= 3600
        await database.execute(raw("UPDATE directoire.links SET expires_at = now()"))
        assert await post(told["post"], body) == 400, "it expires"
        body["token"] = (await first_password())["body"]["token"]
        assert await post(told["post"], body) == 200
        assert await post(told["post"], body) == 400, "once"
        assert await post("/api/1.1/auth/login", signing_in) == 200
    assert await first_password() is None, "he has a password"


@pytest.mark.parametrize(
    "secrets",
    [
        {"DIRECTOIRE_ADMIN_TOKEN": "admin_token"},
        {"DIRECTOIRE_ADMIN_TOKEN": "a" * 40},
        {"DIRECTOIRE_ADMIN_PASSWORD": "password"},
        {"DIRECTOIRE_ADMIN_PASSWORD": "root@example.com"},
        {"DIRECTOIRE_ADMIN_PASSWORD": "adminadminadmin1"},
    ],
)
async def test_what_everybody_tries_makes_no_administrator(
    database_url: str, database: Database, secrets: dict[str, str]
) -> None:
    status, said = await installed(database_url, **secrets)
    assert status != 0
    assert not any(secret in said for secret in secrets.values() if secret != "password"), said
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 0
