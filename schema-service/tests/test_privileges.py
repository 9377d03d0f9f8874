"""Privileges over HTTP."""

from typing import Any

import pytest

from shared.database import Database
from shared.identity import Principal
from shared.sql import raw
from shared.testing import Client

EDITOR = Principal(user=2, group=2)


@pytest.fixture(autouse=True)
async def _editors(database: Database) -> None:
    await database.execute(raw("INSERT INTO directus_groups (id, name) VALUES (2, 'Editors')"))


async def ask(service: Client, method: str, path: str, json: object = None) -> Any:
    status, body = await service.send(method, path, json=json)
    assert status == 200, body
    return body


async def test_every_table_is_listed_with_its_row_or_a_stub(service: Client) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    await ask(service, "POST", "privileges/2", {"table_name": "books", "allow_view": "2"})
    body = await ask(service, "GET", "privileges/2")
    assert body["meta"] == {"table": "directus_privileges", "type": "item"}
    rows = {row["table_name"]: row for row in body["data"]}
    assert list(rows) == sorted(rows)
    assert (rows["books"]["allow_view"], rows["books"]["group_id"]) == (2, 2)
    stub = {"table_name": "directus_users", "group_id": 2, "status_id": None}
    assert rows["directus_users"] == stub
    assert isinstance(await ask(service, "GET", "/api/1/privileges/2"), list)


async def test_one_row_or_not_found(service: Client) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    body = await ask(service, "GET", "privileges/1/books")
    assert (body["data"]["allow_view"], body["data"]["allow_alter"]) == (2, 1)
    for path in ("privileges/2/books", "privileges/7/books", "privileges/x"):
        status, _ = await service.send("GET", path)
        assert status == 404


@pytest.mark.parametrize("path", ["undefined", "%25s", "1"])
async def test_the_group_of_the_body_counts(service: Client, path: str) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    sent = {"group_id": 2, "table_name": "books", "allow_view": 1, "read_field_blacklist": "id,x"}
    body = await ask(service, "POST", f"privileges/{path}", sent)
    assert (body["data"]["group_id"], body["data"]["read_field_blacklist"]) == (2, "id,x")


async def test_add_table_makes_the_table_and_answers_the_row(service: Client) -> None:
    sent = {"addTable": True, "table_name": "books"}
    row = await ask(service, "POST", "/api/1/privileges/1", sent)
    assert (row["table_name"], row["group_id"], row["allow_edit"]) == ("books", 1, 2)
    assert (await ask(service, "GET", "tables/books"))["data"]["name"] == "books"
    again = await ask(service, "POST", "/api/1/privileges/1", sent)
    assert again["id"] == row["id"]
    bad = {"addTable": "1", "table_name": "a b"}
    status, body = await service.send("POST", "privileges/1", json=bad)
    assert (status, body["error"]["message"]) == (400, "Invalid table name")  # type: ignore[index]


async def test_a_row_is_changed_by_id_or_by_table_name(service: Client) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    row = (await ask(service, "POST", "privileges/2", {"table_name": "books"}))["data"]
    changed = await ask(service, "PUT", f"privileges/2/{row['id']}", {"allow_view": 2})
    assert (changed["data"]["id"], changed["data"]["allow_view"]) == (row["id"], 2)
    changed = await ask(service, "PUT", "privileges/2/books", {"allow_edit": "1"})
    assert (changed["data"]["allow_view"], changed["data"]["allow_edit"]) == (2, 1)
    special = await ask(service, "PUT", "privileges/2/books", {"activeState": 2, "allow_view": 0})
    assert (special["data"]["status_id"], special["data"]["id"] != row["id"]) == (2, True)
    status, _ = await service.send("PUT", "privileges/2/999", json={"allow_view": 2})
    assert status == 404


async def test_levels_are_0_1_or_2(service: Client, database: Database) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    sent = {"table_name": "books", "allow_view": 3}
    status, _ = await service.send("POST", "privileges/2", json=sent)
    assert status == 400
    rows = "SELECT count(*) FROM directus_privileges WHERE group_id = 2"
    assert await database.fetchval(raw(rows)) == 0


async def test_privileges_are_for_administrators(service: Client, database: Database) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    sent = {"table_name": "books", "group_id": 2, "allow_view": 2}
    for method, path in (
        ("GET", "privileges/2"),
        ("GET", "privileges/2/books"),
        ("POST", "privileges/2"),
        ("PUT", "privileges/2/books"),
    ):
        status, _ = await service.as_(EDITOR).send(method, path, json=sent)
        assert status == 403
    rows = "SELECT count(*) FROM directus_privileges WHERE group_id = 2"
    assert await database.fetchval(raw(rows)) == 0


async def test_a_new_right_counts_at_once(service: Client) -> None:
    await ask(service, "POST", "tables", {"name": "books"})
    assert (await ask(service.as_(EDITOR), "GET", "tables"))["data"] == []
    await ask(service, "POST", "privileges/2", {"table_name": "books", "allow_view": 2})
    names = [entry["name"] for entry in (await ask(service.as_(EDITOR), "GET", "tables"))["data"]]
    assert names == ["books"]
