"""Users and groups as the API makes, shows and changes them, over a real database."""

from collections.abc import AsyncGenerator
from hashlib import sha256

import pytest
import pytest_asyncio

from auth_service.app import make_app
from auth_service.settings import Settings
from shared.database import Database
from shared.identity import GATEWAY, Principal
from shared.passwords import verify_password
from shared.sql import raw
from shared.testing import Client, environment, serving

PASSWORD = "correct horse battery staple"


@pytest_asyncio.fixture(loop_scope="session")
async def service(
    database_url: str, redis_prefix: str, database: Database
) -> AsyncGenerator[Client]:
    await database.execute(
        raw("INSERT INTO directus_users (email, \"group\") VALUES ('root@example.com', 1)")
    )
    settings = Settings.model_validate(environment(database_url, redis_prefix))
    async with serving(make_app(settings)) as client:
        yield client


async def test_a_group_is_made_with_its_one_privilege_row(
    service: Client, database: Database
) -> None:
    status, answer = await service.post("groups", {"name": "Manager"})
    assert (status, answer["meta"]["type"]) == (200, "item")
    group = answer["data"]
    assert (group["id"], group["name"], group["show_files"]) == (2, "Manager", 1)
    rows = await database.fetch(raw("SELECT * FROM directus_privileges"))
    assert len(rows) == 1
    row = rows[0]
    assert (row["group_id"], row["table_name"]) == (2, "directus_users")
    assert (row["allow_view"], row["allow_edit"], row["allow_add"], row["allow_delete"]) == (
        1, 1, 0, 0,
    )  # fmt: skip
    assert row["read_field_blacklist"] == "token"
    assert set(row["write_field_blacklist"].split(",")) == {"group", "token", "active", "email"}


async def test_groups_are_listed_and_read_in_both_envelopes(service: Client) -> None:
    await service.send("POST", "/api/1/groups", data={"name": "Manager"})
    _, flat = await service.get("/api/1/groups")
    assert flat["total"] == 2
    assert [row["name"] for row in flat["rows"]] == ["Administrator", "Manager"]
    _, wrapped = await service.get("groups")
    assert wrapped["meta"]["total"] == 2
    assert wrapped["data"] == flat["rows"]
    _, one = await service.get("/api/1/groups/2")
    assert one["name"] == "Manager"
    _, one = await service.get("groups/2")
    assert one["data"]["name"] == "Manager"


async def test_a_group_name_is_taken_once(service: Client, database: Database) -> None:
    await service.post("groups", {"name": "Manager"})
    status, answer = await service.post("groups", {"name": "Manager"})
    assert (status, answer["success"]) == (200, False)
    assert answer["error"]["message"] == 'Group "Manager" already exists'
    problem = {"Accept": "application/problem+json"}
    status, _ = await service.send("POST", "groups", json={"name": "Manager"}, headers=problem)
    assert status == 409
    for body in ({}, {"name": ""}, {"name": " "}, {"description": "x"}):
        _, answer = await service.post("groups", body)
        assert answer["success"] is False
    assert await database.fetchval(raw("SELECT count(*) FROM directus_groups")) == 2
    assert await database.fetchval(raw("SELECT count(*) FROM directus_privileges")) == 1


async def test_the_group_of_administrators_stays(service: Client) -> None:
    await service.post("groups", {"name": "Manager"})
    assert (await service.send("DELETE", "groups/1"))[0] == 403
    status, answer = await service.send("DELETE", "groups/2")
    assert (status, answer["success"]) == (200, True)
    assert (await service.send("PUT", "groups/1", json={"description": "all"}))[0] == 200


async def test_a_user_is_made_with_a_hash_for_a_password(
    service: Client, database: Database
) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, "group": 1, "token": "a-first-token"}
    status, answer = await service.post("users", body)
    assert status == 200
    user = answer["data"]
    assert (user["email"], user["active"], user["language"]) == ("ada@example.com", 1, "en")
    assert (user["token"], user.keys() & {"password", "salt"}) == ("a-first-token", set())
    stored = await database.fetchval(
        raw("SELECT password_hash FROM directoire.credentials WHERE user_id = 2")
    )
    assert verify_password(stored, PASSWORD)
    _, again = await service.get("users/2")
    assert again["data"]["token"] is None
    digest = sha256(b"a-first-token").hexdigest()
    _, principal = await service.as_(GATEWAY).send(
        "POST", "/internal/principals", json={"sha256": digest, "address": "127.0.0.1"}
    )
    assert (principal["user"], principal["group"]) == (2, 1)
    entries = await database.fetch(raw("SELECT before::text, after::text FROM directus_activity"))
    assert not any(
        secret in str(tuple(entry))
        for entry in entries
        for secret in (PASSWORD, "a-first-token", "argon2", digest)
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"email": "nonsense", "group": 1}, 422),
        ({"group": 1, "first_name": "A"}, 422),
        ({"email": "ROOT@example.com", "group": 1}, 409),
        ({"email": "a@example.com", "password": "short", "group": 1}, 422),
        ({"email": "a@example.com", "token": "short", "group": 1}, 422),
        ({"email": "a@example.com", "group": 99}, 422),
        ({}, 400),
    ],
)
async def test_a_user_that_cannot_be_made_leaves_nothing(
    service: Client, database: Database, body: dict[str, object], status: int
) -> None:
    found, answer = await service.post("users", body)
    assert (found, answer["success"]) == (status, False), answer
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 1
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.credentials")) == 0


async def test_a_member_of_a_new_group_sees_and_changes_himself_only(
    service: Client, database: Database
) -> None:
    await service.post("groups", {"name": "Manager"})
    for name in ("ada", "bob"):
        body = {"email": f"{name}@example.com", "password": PASSWORD, "group": 2}
        await service.post("users", body)
    ada = service.as_(Principal(user=2, group=2))
    _, listed = await ada.get("users")
    assert [row["id"] for row in listed["data"]] == [2]
    assert "token" not in listed["data"][0]
    _, me = await ada.get("users/me")
    assert me["data"]["email"] == "ada@example.com"
    status, changed = await ada.send("PATCH", "users/me", json={"first_name": "Ada"})
    assert (status, changed["data"]["first_name"]) == (200, "Ada")
    for path, change, refused in (
        ("users/me", {"group": 1}, 403),
        ("users/me", {"email": "x@example.com"}, 403),
        ("users/me", {"active": 1}, 403),
        ("users/me", {"token": "abcdefgh12"}, 403),
        ("users/3", {"first_name": "x"}, 404),
        ("users/1", {"password": PASSWORD}, 404),
    ):
        assert (await ada.send("PUT", path, json=change))[0] == refused, (path, change)
    assert (await ada.post("users", {"email": "x@example.com", "group": 2}))[0] == 403
    assert (await ada.post("groups", {"name": "x"}))[0] == 403
    assert (await ada.get("groups"))[0] == 403
    names = await database.fetch(raw("SELECT first_name FROM directus_users ORDER BY id"))
    assert [row["first_name"] for row in names] == ["", "Ada", ""]


async def test_deleting_a_user_only_sets_the_status_and_never_the_last_administrator(
    service: Client, database: Database
) -> None:
    await service.post("users", {"email": "ada@example.com", "password": PASSWORD, "group": 1})
    status, answer = await service.send("DELETE", "users/2")
    assert (status, answer["success"]) == (200, True)
    assert (await service.send("DELETE", "users/1"))[0] == 403
    active = await database.fetch(raw("SELECT active FROM directus_users ORDER BY id"))
    assert [row["active"] for row in active] == [1, 0]


async def test_users_are_rows_as_well(service: Client) -> None:
    body = {"email": "ada@example.com", "password": PASSWORD, "group": 1}
    status, created = await service.post("tables/directus_users/rows", body)
    assert (status, created["data"]["id"]) == (200, 2)
    _, listed = await service.get("/api/1/tables/directus_users/rows")
    assert (listed["Active"], listed["total"], len(listed["rows"])) == (2, 2, 2)
    status, _ = await service.send("PUT", "tables/directus_users/rows/2", json={"last_name": "L"})
    assert status == 200
    assert (await service.get("tables/directus_settings/rows"))[0] == 404, "another service's"
