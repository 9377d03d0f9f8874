"""Forgotten passwords and invitations by mail; what operators can set right."""

import re
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio

from auth_service.app import make_app
from auth_service.operations import recovery
from auth_service.settings import Settings
from shared.changes import Changes
from shared.database import Database
from shared.errors import InvalidValue, NotFound
from shared.passwords import hash_password
from shared.service import CHANGES
from shared.sql import param, raw
from shared.testing import Client, environment, serving

EMAIL = "Ada@example.com"
OLD, NEW = "correct horse battery staple", "another long enough one"


@pytest_asyncio.fixture(loop_scope="session")
async def running(
    database_url: str, redis_prefix: str, database: Database
) -> AsyncGenerator[tuple[Client, Changes]]:
    await database.execute(raw("INSERT INTO directus_groups (id, name) VALUES (2, 'readers')"))
    user = await database.fetchval(
        raw('INSERT INTO directus_users (email, "group") VALUES (')
        + param(EMAIL)
        + raw(", 2) RETURNING id")
    )
    await database.execute(
        raw("INSERT INTO directoire.credentials (user_id, password_hash) VALUES (")
        + param(user)
        + raw(", ")
        + param(hash_password(OLD))
        + raw(")")
    )
    app = make_app(Settings.model_validate(environment(database_url, redis_prefix)))
    async with serving(app) as client:
        yield client, app[CHANGES]


@pytest.fixture
def service(running: tuple[Client, Changes]) -> Client:
    return running[0]


async def post(service: Client, route: str, **body: object) -> tuple[int, dict[str, Any]]:
    async with service.http.post(f"/api/1.1/auth/{route}", json=body) as response:
        return response.status, await response.json()


async def signs_in(service: Client, password: str, email: str = EMAIL) -> bool:
    return (await post(service, "login", email=email, password=password))[0] == 200


async def mailed(database: Database) -> dict[str, str]:
    """Addresses and the tokens sent to them."""
    rows = await database.fetch(raw("SELECT recipient, body FROM directoire.mails ORDER BY id"))
    found: dict[str, str] = {}
    for row in rows:
        token = re.search(r"^[A-Za-z0-9_-]{43}$", row["body"], re.MULTILINE)
        assert token is not None, row["body"]
        found[row["recipient"]] = token[0]
    return found


async def test_a_mailed_token_sets_a_password_once(service: Client, database: Database) -> None:
    _, answer = await post(service, "login", email=EMAIL, password=OLD)
    refresh = answer["data"]["refresh_token"]
    assert await post(service, "forgot-password", email=EMAIL.lower()) == (200, {"success": True})
    token = (await mailed(database))[EMAIL]
    assert await signs_in(service, OLD), "a request changes nothing"
    status, _ = await post(service, "reset-password", token=token, password="short")
    assert status == 422
    status, answer = await post(service, "reset-password", token=token, password=NEW)
    assert (status, answer) == (200, {"success": True})
    assert not await signs_in(service, OLD)
    assert await signs_in(service, NEW)
    assert (await post(service, "refresh", refresh_token=refresh))[0] == 401
    assert (await post(service, "reset-password", token=token, password=OLD))[0] == 400
    rows = await database.fetch(raw("SELECT a::text AS row FROM directus_activity a"))
    rows += await database.fetch(raw("SELECT l::text AS row FROM directoire.links l"))
    assert not any(token in row["row"] or NEW in row["row"] for row in rows)


async def test_a_token_lasts_an_hour_and_the_last_one_counts(
    service: Client, database: Database
) -> None:
    await post(service, "forgot-password", email=EMAIL)
    first = (await mailed(database))[EMAIL]
    await post(service, "forgot-password", email=EMAIL)
    second = (await mailed(database))[EMAIL]
    assert (await post(service, "reset-password", token=first, password=NEW))[0] == 400
    left = await database.fetchval(
        raw("SELECT extract(epoch FROM expires_at - now())::int FROM directoire.links")
    )
    assert 3500 < left <= 3600
    await database.execute(raw("UPDATE directoire.links SET expires_at = now()"))
    assert (await post(service, "reset-password", token=second, password=NEW))[0] == 400
    assert await signs_in(service, OLD)


async def test_an_address_nobody_has_gets_the_same_answer_and_no_mail(
    service: Client, database: Database
) -> None:
    for email in ("nobody@example.com", "", "not an address"):
        answer = await post(service, "forgot-password", email=email)
        assert answer == (200, {"success": True})
    assert await mailed(database) == {}


async def test_nobody_is_flooded_with_mails(service: Client, database: Database) -> None:
    statuses = [(await post(service, "forgot-password", email=EMAIL))[0] for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    entries = await database.fetch(
        raw("SELECT after FROM directus_activity WHERE after::text LIKE '%reset%' ORDER BY id")
    )
    assert ["asked" in row["after"] for row in entries] == [True] * 5 + [False]


BOB = "bob@example.com"


async def invite(service: Client, database: Database) -> str:
    """The token mailed to Bob."""
    status, answer = await service.post("users/invite", {"email": BOB, "group": 2})
    assert (status, len(answer["data"])) == (200, 1), answer
    return (await mailed(database))[BOB]


async def test_the_invited_set_a_password_once_and_may_then_sign_in(
    service: Client, database: Database
) -> None:
    token = await invite(service, database)
    assert not await signs_in(service, NEW, BOB)
    links = await database.fetch(raw("SELECT l::text AS row, l.* FROM directoire.links l"))
    assert [link["purpose"] for link in links] == ["invitation"]
    assert links[0]["sha256"] == sha256(token.encode()).digest()
    assert token not in links[0]["row"]
    assert (await post(service, "reset-password", token=token, password="short"))[0] == 422
    assert (await post(service, "reset-password", token=token, password=NEW))[0] == 200
    assert (await post(service, "reset-password", token=token, password=OLD))[0] == 400, "once"
    assert await signs_in(service, NEW, BOB)
    _, answer = await service.get("users?columns=email,invite_accepted&in[email]=" + BOB)
    assert answer["data"] == [{"email": BOB, "invite_accepted": 1}]


async def test_an_invitation_lasts_an_hour_and_the_last_one_counts(
    service: Client, database: Database
) -> None:
    first, token = await invite(service, database), await invite(service, database)
    assert (await post(service, "reset-password", token=first, password=NEW))[0] == 400
    left = raw("SELECT extract(epoch FROM expires_at - now())::int FROM directoire.links")
    assert 3000 < await database.fetchval(left) <= 3600
    await database.execute(raw("UPDATE directoire.links SET expires_at = now()"))
    assert (await post(service, "reset-password", token=token, password=NEW))[0] == 400
    await post(service, "forgot-password", email=BOB)
    token = (await mailed(database))[BOB]
    assert (await post(service, "reset-password", token=token, password=NEW))[0] == 200


async def test_whoever_has_an_account_is_not_invited_and_nothing_says_so(
    service: Client, database: Database
) -> None:
    status, answer = await service.post("users/invite", {"email": [EMAIL, BOB], "group": 2})
    assert status == 200
    assert {user["email"] for user in answer["data"]} == {EMAIL, BOB}
    assert set(await mailed(database)) == {BOB}
    off = raw("UPDATE directus_users SET active = 2 WHERE email = ") + param(BOB)
    await database.execute(off)
    await database.execute(raw("DELETE FROM directoire.mails"))
    assert (await service.post("users/invite", {"email": BOB}))[0] == 200
    assert await mailed(database) == {}, "nor is who was disabled"


async def test_operators_set_a_lost_password_and_unlock(
    running: tuple[Client, Changes], database: Database
) -> None:
    service, changes = running
    for _ in range(20):
        await post(service, "login", email=EMAIL, password="a guess")
    assert not await signs_in(service, OLD)
    await recovery.unlock(changes, EMAIL)
    assert await signs_in(service, OLD)
    await recovery.set_password(changes, EMAIL, NEW)
    assert await signs_in(service, NEW)
    assert not await signs_in(service, OLD)
    with pytest.raises(InvalidValue):
        await recovery.set_password(changes, EMAIL, "short")
    with pytest.raises(NotFound):
        await recovery.set_password(changes, "nobody@example.com", NEW)
    await recovery.rotate_signing_keys(changes)
    assert await signs_in(service, NEW)
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.signing_keys")) == 1
