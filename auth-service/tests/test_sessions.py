"""auth/login, auth/refresh, auth/logout, tokens by name; guesses, old hashes, what is recorded."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Any

import bcrypt
import jwt
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from auth_service.app import make_app
from auth_service.operations import recovery
from auth_service.operations import sign_in as signing_in
from auth_service.operations.passwords import PasswordChecker
from auth_service.settings import Settings
from shared.database import Database
from shared.errors import NotFound
from shared.identity import GATEWAY, Principal
from shared.passwords import hash_password, set_cost
from shared.service import CHANGES
from shared.settings import PasswordSettings, load_settings
from shared.sql import param, raw
from shared.testing import Client, environment, server, serving

EMAIL = "Ada@example.com"
PASSWORD = "correct horse battery staple"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest_asyncio.fixture(loop_scope="session")
async def service(database_url: str, redis_prefix: str) -> AsyncGenerator[Client]:
    settings = Settings.model_validate(environment(database_url, redis_prefix))
    async with serving(make_app(settings)) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def ada(database: Database) -> Principal:
    """A user of group 2 with a password."""
    await database.execute(raw("INSERT INTO directus_groups (id, name) VALUES (2, 'readers')"))
    user = await database.fetchval(
        raw('INSERT INTO directus_users (email, "group") VALUES (')
        + param(EMAIL)
        + raw(", 2) RETURNING id")
    )
    await keep_hash(database, user, hash_password(PASSWORD))
    return Principal(user=user, group=2)


async def keep_hash(database: Database, user: int, password_hash: str) -> None:
    await database.execute(
        raw("INSERT INTO directoire.credentials (user_id, password_hash) VALUES (")
        + param(user)
        + raw(", ")
        + param(password_hash)
        + raw(") ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash")
    )


async def post(
    service: Client, route: str, address: str = HERE, **body: object
) -> tuple[int, dict[str, Any]]:
    headers = {"X-Directoire-Client-Address": address}
    path = f"/api/1.1/auth/{route}"
    async with service.http.post(path, json=body, headers=headers) as response:
        assert "Set-Cookie" not in response.headers
        return response.status, await response.json()


async def login(service: Client) -> dict[str, Any]:
    status, answer = await post(service, "login", email=EMAIL, password=PASSWORD)
    assert status == 200, answer
    return answer["data"]


async def resolve(service: Client, token: str) -> tuple[int, Any]:
    question = {"sha256": sha256(token.encode()).hexdigest(), "address": HERE}
    return await service.as_(GATEWAY).send("POST", "/internal/principals", json=question)


async def test_login_gives_a_short_signed_token_and_one_to_refresh_it(
    service: Client, database: Database, ada: Principal
) -> None:
    session = await login(service)
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["sub"] == str(ada.user)
    assert claims["exp"] - claims["iat"] == session["expires"] == 900
    status, principal = await resolve(service, session["access_token"])
    assert (status, principal["user"], principal["group"]) == (200, ada.user, 2)
    assert 0 < principal["expires_in"] <= 900
    assert (await resolve(service, session["refresh_token"]))[0] == 404, "it opens nothing"
    stored = await database.fetch(
        raw("SELECT sessions::text AS row FROM directoire.sessions UNION ALL")
        + raw(" SELECT tokens::text FROM directoire.tokens")
    )
    assert len(stored) == 2
    secrets = [value for value in session.values() if isinstance(value, str)]
    assert not any(secret in row["row"] for row in stored for secret in secrets)


async def test_a_forged_access_token_stands_for_nobody(service: Client, ada: Principal) -> None:
    session = await login(service)
    head, body, signature = session["access_token"].split(".")
    for forged in (f"{head}.{body}.", f"{head}.{body}.{signature[::-1]}", f"{body}.{head}.x"):
        assert (await resolve(service, forged))[0] == 404


async def test_a_refresh_token_works_once_and_its_return_ends_the_family(
    service: Client, ada: Principal
) -> None:
    first = await login(service)
    other = await login(service)
    status, answer = await post(service, "refresh", refresh_token=first["refresh_token"])
    assert status == 200
    second = answer["data"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await resolve(service, second["access_token"]))[0] == 200
    status, _ = await post(service, "refresh", refresh_token=first["refresh_token"])
    assert status == 401
    status, _ = await post(service, "refresh", refresh_token=second["refresh_token"])
    assert status == 401
    for session in (first, second):
        assert (await resolve(service, session["access_token"]))[0] == 404
    assert (await resolve(service, other["access_token"]))[0] == 200, "another family"


async def test_what_is_no_refresh_token_refreshes_nothing(service: Client, ada: Principal) -> None:
    session = await login(service)
    for wrong in ("", "x" * 43, session["access_token"], None, 5, {"a": 1}):
        assert (await post(service, "refresh", refresh_token=wrong))[0] == 401
    await service.send("PUT", f"users/{ada.user}", json={"active": 0})
    assert (await post(service, "refresh", refresh_token=session["refresh_token"]))[0] == 401


async def test_logout_ends_the_session_of_the_token_in_use(service: Client, ada: Principal) -> None:
    session, other = await login(service), await login(service)
    _, principal = await resolve(service, session["access_token"])
    caller = Principal(user=ada.user, group=2, token=principal["token"])
    status, answer = await service.as_(caller).post("auth/logout")
    assert (status, answer["success"]) == (200, True)
    assert (await resolve(service, session["access_token"]))[0] == 404
    assert (await post(service, "refresh", refresh_token=session["refresh_token"]))[0] == 401
    assert (await resolve(service, other["access_token"]))[0] == 200


async def test_tokens_by_name_have_a_scope_and_an_end_and_are_shown_once(
    service: Client, database: Database, ada: Principal
) -> None:
    me = service.as_(ada)
    body = {"name": "reports", "scope": "read table:stories", "expires_in": 3600}
    status, answer = await me.post("users/me/tokens", body)
    assert status == 200, answer
    made = answer["data"]
    _, principal = await resolve(service, made["token"])
    assert (principal["scope"], principal["token"]) == ("read table:stories", made["id"])
    assert 3500 < principal["expires_in"] <= 3600
    status, answer = await me.get(f"users/{ada.user}/tokens")
    assert [(t["name"], t["scope"], "token" in t) for t in answer["data"]] == [
        ("reports", "read table:stories", False)
    ]
    _, answer = await me.send("DELETE", f"users/me/tokens/{made['id']}")
    assert answer["success"] is True
    assert (await resolve(service, made["token"]))[0] == 404
    entries = await database.fetch(raw("SELECT after::text AS after FROM directus_activity"))
    assert any("reports" in row["after"] for row in entries)
    assert not any(made["token"] in row["after"] for row in entries)


async def test_tokens_are_their_users_and_the_administrators_business(
    service: Client, ada: Principal
) -> None:
    strangers = [
        Principal(user=ada.user + 100, group=2),
        Principal(user=ada.user, group=2, scope="read"),
        Principal(user=ada.user, group=2, scope="table:directus_users"),
        Principal(user=1, group=1, scope="table:directus_users"),
    ]
    for stranger in strangers:
        caller = service.as_(stranger)
        path = f"users/{ada.user}/tokens"
        assert (await caller.post(path, {"name": "x"}))[0] == 403
        assert (await caller.send("DELETE", f"{path}/1"))[0] == 403
        if stranger.scope != "read":
            assert (await caller.get(path))[0] == 403
    assert (await service.post(f"users/{ada.user}/tokens", {"name": "x"}))[0] == 200
    for wrong in (
        {},
        {"name": ""},
        {"name": "x", "scope": "everything"},
        {"name": "x", "expires_in": -1},
        {"name": "static"},
    ):
        assert (await service.post(f"users/{ada.user}/tokens", wrong))[0] == 422, wrong


async def test_a_scope_cuts_an_administrator_too(service: Client, ada: Principal) -> None:
    reader = service.as_(Principal(user=1, group=1, scope="read"))
    assert (await reader.get("users"))[0] == 200
    assert (await reader.send("PUT", f"users/{ada.user}", json={"position": "x"}))[0] == 403
    narrow = service.as_(Principal(user=1, group=1, scope="table:stories"))
    assert (await narrow.get("users"))[0] == 403
    assert (await narrow.get("tables/directus_users/rows"))[0] == 403


async def test_guesses_are_slowed_and_lock_nobody_out_where_he_was_before(
    service: Client, ada: Principal
) -> None:
    await login(service)
    statuses: list[int] = []
    for number in range(signing_in.GUESSES + 3):
        address = f"203.0.113.{number}"
        body = {"email": EMAIL, "password": f"a wrong guess {number}"}
        statuses.append((await post(service, "login", address, **body))[0])
    assert statuses == [401] * signing_in.GUESSES + [429] * 3
    status, answer = await post(service, "login", ELSEWHERE, email=EMAIL, password=PASSWORD)
    assert status == 429, answer
    assert (await post(service, "login", HERE, email=EMAIL, password=PASSWORD))[0] == 200
    nobody = [
        (await post(service, "login", f"203.0.113.{n}", email="no@b.dy", password="x"))[0]
        for n in range(signing_in.GUESSES + 1)
    ]
    assert nobody == [401] * signing_in.GUESSES + [429], "an address nobody has is told the same"


async def test_whoever_locked_himself_out_where_he_was_before_is_unlocked(
    service: Client, database: Database, ada: Principal
) -> None:
    places = (HERE, "2001:db8::1")
    for place in places:
        body = {"email": EMAIL, "password": PASSWORD}
        assert (await post(service, "login", place, **body))[0] == 200
        statuses = [
            (await post(service, "login", place, email=EMAIL, password=f"a guess {number}"))[0]
            for number in range(signing_in.GUESSES + 2)
        ]
        assert statuses[-1] == 429
    app = service.http.app
    assert app is not None
    await recovery.unlock(app[CHANGES], EMAIL.upper())
    for place in places:
        body = {"email": EMAIL, "password": PASSWORD}
        assert (await post(service, "login", place, **body))[0] == 200
    told = await database.fetch(
        raw("SELECT row_id, actor FROM directus_activity WHERE after::text LIKE '%unlocked%'")
    )
    assert [tuple(row) for row in told] == [(str(ada.user), "0")]
    with pytest.raises(NotFound):
        await recovery.unlock(app[CHANGES], "nobody@example.com")


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """No guess is forgotten while a slow machine makes the next ones."""
    monkeypatch.setattr(signing_in, "FORGET", 1e6)


@pytest.mark.usefixtures("remembering")
async def test_guesses_from_one_address_are_slowed_whosever_the_accounts_are(
    service: Client, ada: Principal
) -> None:
    async def guess(number: int) -> int:
        body = {"email": f"{number}@example.com", "password": "a guess"}
        return (await post(service, "login", ELSEWHERE, **body))[0]

    most = signing_in.GUESSES_OF_ADDRESS
    statuses = Counter(await asyncio.gather(*(guess(number) for number in range(most + 1))))
    assert statuses == {401: most, 429: 1}
    assert await guess(most + 1) == 429
    assert (await post(service, "login", HERE, email=EMAIL, password="a guess"))[0] == 401


@pytest.mark.usefixtures("remembering")
async def test_addresses_of_one_network_of_ipv6_are_one_client(
    service: Client, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_in, "GUESSES_OF_ADDRESS", 3)

    async def guess(address: str) -> int:
        email = f"{address.replace(':', '-')}@example.com"
        return (await post(service, "login", address, email=email, password="a guess"))[0]

    statuses = [await guess(f"2001:db8::{number}:1") for number in range(4)]
    assert statuses == [401, 401, 401, 429]
    assert await guess("2001:db8:0:1::1") == 401, "the next network"
    statuses = [await guess(f"::ffff:192.0.2.{number}") for number in range(4)]
    assert statuses == [401] * 4, "addresses of IPv4 are each one's own"


async def test_who_signed_in_from_a_network_of_ipv6_is_known_in_all_of_it(
    service: Client, database: Database, ada: Principal
) -> None:
    body = {"email": EMAIL, "password": PASSWORD}
    assert (await post(service, "login", "2001:db8::1", **body))[0] == 200
    for number in range(signing_in.GUESSES + 1):
        await post(service, "login", email=EMAIL, password=f"a guess {number}")
    assert (await post(service, "login", ELSEWHERE, **body))[0] == 429
    assert (await post(service, "login", "2001:db8::2", **body))[0] == 200
    assert (await post(service, "login", "2001:db8:0:1::1", **body))[0] == 429


@pytest.mark.usefixtures("remembering")
@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_slowed_attempts_leave_an_entry_a_minute(
    service: Client, database: Database, ada: Principal, email: str
) -> None:
    slowed = raw(
        "SELECT row_id, actor, after FROM directus_activity WHERE after::text LIKE '%slowed%'"
    )

    async def guesses(number: int) -> set[int]:
        return {
            (await post(service, "login", f"203.0.113.{n}", email=email, password="a secret"))[0]
            for n in range(number)
        }

    await guesses(signing_in.GUESSES)
    assert await database.fetch(slowed) == []
    assert await guesses(5) == {429}
    (entry,) = await database.fetch(slowed)
    user = ada.user if email == EMAIL else None
    assert (entry["row_id"], entry["actor"]) == (None if user is None else str(user), "0")
    assert json.loads(entry["after"]) == {"id": user, "failed": True, "slowed": True}
    await database.execute(
        raw("UPDATE directoire.guesses SET told_at = told_at - interval '2 minutes'")
    )
    assert await guesses(5) == {429}
    assert len(await database.fetch(slowed)) == 2


@pytest.mark.usefixtures("remembering")
async def test_no_more_entries_for_whoever_tries_ever_other_accounts(
    service: Client, database: Database, ada: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_in, "GUESSES_OF_ADDRESS", 2)
    for number in range(12):
        await post(service, "login", email=f"{number}@example.com", password="a guess")
    entries = await database.fetchval(
        raw("SELECT count(*) FROM directus_activity WHERE action = 'LOGIN'")
    )
    assert entries == 3, "two failures, and that there were more"


async def test_a_hash_of_directus_6_is_good_and_replaced(
    service: Client, database: Database, ada: Principal
) -> None:
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    await keep_hash(database, ada.user, old)
    assert (await post(service, "login", email=EMAIL, password="wrong"))[0] == 401
    await login(service)
    kept = await database.fetchval(raw("SELECT password_hash FROM directoire.credentials"))
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await login(service)


async def test_sign_ins_and_failures_are_entries_without_secrets(
    service: Client, database: Database, ada: Principal
) -> None:
    session = await login(service)
    await post(service, "login", email=EMAIL, password="not the password at all")
    await post(service, "login", email="nobody@example.com", password="not the password at all")
    rows = await database.fetch(
        raw("SELECT row_id, actor, after FROM directus_activity WHERE action = 'LOGIN' ORDER BY id")
    )
    found = [(row["row_id"], row["actor"], "failed" in row["after"]) for row in rows]
    key = str(ada.user)
    assert found == [(key, key, False), (key, "0", True), (None, "0", True)]
    every = await database.fetch(raw("SELECT a::text AS row FROM directus_activity a"))
    for secret in (PASSWORD, "not the password at all", *map(str, session.values())):
        assert not any(secret in row["row"] for row in every if secret != "900")


async def test_addresses_that_were_not_seen_for_long_are_forgotten(
    service: Client, database: Database, ada: Principal
) -> None:
    await database.execute(
        raw("INSERT INTO directoire.known_addresses (user_id, address, seen_at) VALUES (")
        + param(ada.user)
        + raw(", '203.0.113.1', now() - interval '91 days'), (")
        + param(ada.user)
        + raw(", '203.0.113.2', now() - interval '89 days')")
    )
    await login(service)
    rows = await database.fetch(
        raw("SELECT host(address) AS address FROM directoire.known_addresses ORDER BY 1")
    )
    assert [row["address"] for row in rows] == [HERE, "203.0.113.2"]


async def test_a_hash_is_made_anew_when_the_parameters_rise(
    service: Client, database: Database, ada: Principal
) -> None:
    await keep_hash(database, ada.user, PasswordHasher(1, 8192, 1).hash(PASSWORD))
    await login(service)
    kept = await database.fetchval(raw("SELECT password_hash FROM directoire.credentials"))
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await login(service)
    assert await database.fetchval(raw("SELECT password_hash FROM directoire.credentials")) == kept


@pytest.mark.parametrize("route", ["login", "request-token"])
async def test_a_password_that_changes_while_it_is_checked_signs_nobody_in(
    service: Client,
    database: Database,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
    route: str,
) -> None:
    real = PasswordChecker.matches

    async def matches(self: PasswordChecker, *given: Any) -> bool:
        right = await real(self, *given)
        body = {"password": f"another phrase for {route}"}
        assert (await service.send("PUT", f"users/{ada.user}", json=body))[0] == 200
        return right

    monkeypatch.setattr(PasswordChecker, "matches", matches)
    assert (await post(service, route, email=EMAIL, password=PASSWORD))[0] == 401
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.tokens")) == 0
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.sessions")) == 0


async def test_many_at_once_sign_in_though_the_first_replaces_the_hash(
    service: Client, database: Database, ada: Principal
) -> None:
    await keep_hash(database, ada.user, PasswordHasher(1, 8192, 1).hash(PASSWORD))
    await asyncio.gather(*(login(service) for _ in range(4)))
    kept = await database.fetchval(raw("SELECT password_hash FROM directoire.credentials"))
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_hash_costs_what_the_settings_say(
    database_url: str,
    redis_prefix: str,
    database: Database,
    ada: Principal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = environment(database_url, redis_prefix) | {"argon2_memory": "32768", "argon2_lanes": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name.upper(), value)
    asked = raw("SELECT password_hash FROM directoire.credentials ORDER BY user_id")
    try:
        async with serving(make_app(load_settings(Settings))) as service:
            body = {"email": "bob@example.com", "password": PASSWORD, "group": 2}
            assert (await service.post("users", body))[0] == 200
            older, new = [row["password_hash"] for row in await database.fetch(asked)]
            assert older.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
            assert new.startswith("$argon2id$v=19$m=32768,t=2,p=2$")
            await login(service)
            risen, same = [row["password_hash"] for row in await database.fetch(asked)]
            assert risen.startswith("$argon2id$v=19$m=32768,t=2,p=2$"), "replaced at sign-in"
            assert same == new
            await login(service)
    finally:
        set_cost(PasswordSettings(argon2_memory=19_456, argon2_lanes=1))


async def test_the_commands_of_operators_obey_the_same_settings(
    database_url: str, redis_prefix: str, database: Database, ada: Principal
) -> None:
    urls = {"DATABASE_URL": database_url, "REDIS_URL": server("REDIS_URL")}
    told = {**os.environ, **urls, "REDIS_PREFIX": redis_prefix, "ARGON2_MEMORY": "32768"}

    async def run(module: str, *arguments: str, typed: str = "", **more: str) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"auth_service.{module}", *arguments, env={**told, **more},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await process.communicate(typed.encode())
        assert process.returncode == 0

    root = {"DIRECTOIRE_ADMIN_EMAIL": "root@example.com", "DIRECTOIRE_ADMIN_PASSWORD": PASSWORD}
    await run("operators", "set-password", EMAIL, typed="another phrase, long enough\n")
    await run("administrator", **root)
    hashes = await database.fetch(raw("SELECT password_hash FROM directoire.credentials"))
    assert [row["password_hash"][:30] for row in hashes] == ["$argon2id$v=19$m=32768,t=2,p=1"] * 2
