"""auth/request-token and the principals behind tokens, over a real database."""

from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio

from auth_service.app import make_app
from auth_service.operations.principals import address_allowed
from auth_service.settings import Settings
from shared.database import Database
from shared.identity import GATEWAY, Principal
from shared.passwords import hash_password
from shared.sql import param, raw
from shared.testing import Client, environment, serving

EMAIL = "Ada@example.com"
PASSWORD = "correct horse battery staple"
KEEP = 3


@pytest_asyncio.fixture(loop_scope="session")
async def service(database_url: str, redis_prefix: str) -> AsyncGenerator[Client]:
    more = {"tokens_per_user": str(KEEP)}
    settings = Settings.model_validate(environment(database_url, redis_prefix, **more))
    async with serving(make_app(settings)) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def ada(database: Database) -> int:
    """An active user with a password; her id."""
    user = await database.fetchval(
        raw('INSERT INTO directus_users (email, "group") VALUES (')
        + param(EMAIL)
        + raw(", 1) RETURNING id")
    )
    await database.execute(
        raw("INSERT INTO directoire.credentials (user_id, password_hash) VALUES (")
        + param(user)
        + raw(", ")
        + param(hash_password(PASSWORD))
        + raw(")")
    )
    return user


async def sign_in(
    service: Client, version: str = "1.1", **body: object
) -> tuple[int, dict[str, Any]]:
    async with service.http.post(f"/api/{version}/auth/request-token", json=body) as response:
        return response.status, await response.json()


async def resolve(service: Client, token: str, address: str = "127.0.0.1") -> tuple[int, Any]:
    question = {"sha256": sha256(token.encode()).hexdigest(), "address": address}
    return await service.as_(GATEWAY).send("POST", "/internal/principals", json=question)


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_the_right_password_gives_a_token_that_stands_for_the_user(
    service: Client, ada: int, version: str
) -> None:
    status, answer = await sign_in(service, version, email="ada@EXAMPLE.com", password=PASSWORD)
    assert (status, answer["success"]) == (200, True)
    status, principal = await resolve(service, answer["data"]["token"])
    assert status == 200
    assert (principal["user"], principal["group"]) == (ada, 1)
    assert principal["token"] > 0


async def test_a_form_signs_in_as_well(service: Client, ada: int) -> None:
    data = {"email": EMAIL, "password": PASSWORD}
    async with service.http.post("/api/1/auth/request-token", data=data) as response:
        assert response.status == 200
        assert (await response.json())["success"] is True


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize(
    "body",
    [
        {"email": EMAIL, "password": "wrong"},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"email": EMAIL, "password": ""},
        {"email": EMAIL},
        {"password": PASSWORD},
        {},
        {"email": [EMAIL], "password": {"a": PASSWORD}},
        {"email": "a\0b", "password": "\0"},
        {"email": "e" * 5000, "password": "p" * 5000},
        {"email": "' OR 1=1 --", "password": "x"},
    ],
)
async def test_every_failed_sign_in_gets_one_answer_and_no_token(
    service: Client, database: Database, ada: int, version: str, body: dict[str, object]
) -> None:
    status, answer = await sign_in(service, version, **body)
    assert status == 401
    assert answer["success"] is False
    assert answer["error"]["message"] == "Incorrect email or password"
    if version == "1":
        assert answer["message"] == "Incorrect email or password"
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.tokens")) == 0


@pytest.mark.parametrize("active", [0, 2])
async def test_an_inactive_user_neither_signs_in_nor_goes_on(
    service: Client, database: Database, ada: int, active: int
) -> None:
    _, answer = await sign_in(service, email=EMAIL, password=PASSWORD)
    await database.execute(raw("UPDATE directus_users SET active = ") + param(active))
    assert (await sign_in(service, email=EMAIL, password=PASSWORD))[0] == 401
    assert (await resolve(service, answer["data"]["token"]))[0] == 404


async def test_only_digests_are_stored_and_the_longest_unused_goes_first(
    service: Client, database: Database, ada: int
) -> None:
    await database.execute(
        raw("INSERT INTO directoire.tokens (user_id, sha256, name) VALUES (")
        + param(ada)
        + raw(", sha256('api'::bytea), 'mine')")
    )
    made = [
        (await sign_in(service, email=EMAIL, password=PASSWORD))[1]["data"]["token"]
        for _ in range(KEEP)
    ]
    assert (await resolve(service, made[0]))[0] == 200, "noted as used"
    made.append((await sign_in(service, email=EMAIL, password=PASSWORD))[1]["data"]["token"])
    statuses = [(await resolve(service, token))[0] for token in made]
    assert statuses == [200, 404, 200, 200]
    assert (await resolve(service, "api"))[0] == 200, "tokens of another name are not counted"
    stored = await database.fetch(raw("SELECT tokens::text AS row FROM directoire.tokens"))
    assert all(token not in row["row"] for row in stored for token in made)


async def test_an_expired_token_stands_for_nobody(
    service: Client, database: Database, ada: int
) -> None:
    _, answer = await sign_in(service, email=EMAIL, password=PASSWORD)
    await database.execute(raw("UPDATE directoire.tokens SET expires_at = now()"))
    assert (await resolve(service, answer["data"]["token"]))[0] == 404


async def test_a_group_with_an_address_list_is_closed_to_other_addresses(
    service: Client, database: Database, ada: int
) -> None:
    _, answer = await sign_in(service, email=EMAIL, password=PASSWORD)
    await database.execute(
        raw("UPDATE directus_groups SET restrict_to_ip_whitelist = '10.0.0.0/8, 192.0.2.1'")
    )
    token = answer["data"]["token"]
    assert (await resolve(service, token, "192.0.2.1"))[0] == 200
    assert (await resolve(service, token, "10.9.8.7"))[0] == 200
    assert (await resolve(service, token, "192.0.2.2"))[0] == 403


@pytest.mark.parametrize(
    ("listed", "address", "allowed"),
    [
        ("", "192.0.2.1", True),
        ("0", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::/32", "2001:db8::7", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("192.0.2.1", "", False),
        ("192.0.2.1", "2001:db8::7", False),
        ("nonsense", "192.0.2.1", False),
        (",", "192.0.2.1", False),
    ],
)
def test_an_address_is_allowed_by_its_list_only(listed: str, address: str, allowed: bool) -> None:
    assert address_allowed(listed, address) is allowed


@pytest.mark.parametrize("principal", [Principal(user=1, group=1), Principal(user=2, group=7)])
async def test_only_the_gateway_may_ask_whom_a_token_stands_for(
    service: Client, ada: int, principal: Principal
) -> None:
    status, _ = await service.as_(principal).send(
        "POST", "/internal/principals", json={"sha256": "00" * 32}
    )
    assert status == 403
    async with service.http.post("/internal/principals", json={"sha256": "00" * 32}) as response:
        assert response.status == 401


@pytest.mark.parametrize("question", [{}, {"sha256": "zz"}, {"sha256": "00"}, {"sha256": 5}, []])
async def test_a_question_without_a_digest_is_refused(service: Client, question: object) -> None:
    status, _ = await service.as_(GATEWAY).send("POST", "/internal/principals", json=question)
    assert status == 400
