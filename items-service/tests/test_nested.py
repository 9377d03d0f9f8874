"""Related rows in bodies: created, changed and detached with the row, all or none."""

from typing import Any

import pytest

from shared.database import Database
from shared.identity import Principal
from shared.sql import raw
from shared.testing import Client

Shop = tuple[Client, Database]
CLERK = Principal(user=7, group=5)


async def send(client: Client, method: str, path: str, body: object) -> Any:
    status, answer = await client.send(method, path, json=body)
    assert status == 200, answer
    return answer["data"]


async def column(database: Database, statement: Any) -> list[Any]:
    return [row[0] for row in await database.fetch(statement)]


MAKERS = raw("SELECT name FROM makers ORDER BY id")
TITLES = raw("SELECT title FROM groceries WHERE maker_id = 3 AND active <> 0 ORDER BY id")
LABELS = raw("SELECT label_id FROM groceries_labels WHERE grocery_id = 4 ORDER BY id")


async def test_an_object_in_place_of_a_key_is_created(own_related: Shop) -> None:
    client, database = own_related
    body = {"title": "Rye", "maker_id": {"name": "New mill"}}
    row = await send(client, "POST", "tables/groceries/rows", body)
    assert row["maker_id"]["data"]["name"] == "New mill"
    assert await column(database, MAKERS) == ["Acme", "Mill", "Nobody", "New mill"]


async def test_an_object_with_its_key_is_updated(own_related: Shop) -> None:
    client, database = own_related
    body = {"maker_id": {"id": 1, "name": "Acme & sons"}}
    row = await send(client, "PUT", "tables/groceries/rows/3", body)
    assert row["maker_id"]["data"]["name"] == "Acme & sons"
    assert (await column(database, MAKERS))[0] == "Acme & sons"


async def test_what_was_read_can_be_sent_back_and_changes_nothing(own_related: Shop) -> None:
    client, database = own_related
    count = raw("SELECT count(*) FROM directus_activity")
    for path, version in (("tables/groceries/rows/1", "1.1"), ("tables/makers/rows/1", "1")):
        _, answer = await client.get(f"/api/{version}/{path}")
        before = await database.fetchval(count)
        row = answer["data"] if version == "1.1" else answer
        await send(client, "PUT", path, row)
        assert await database.fetchval(count) - before == 1  # the row itself


async def test_rows_that_point_here_are_created_changed_and_detached(own_related: Shop) -> None:
    client, database = own_related
    rows = [{"title": "Oats", "active": 1}, {"id": 3, "title": "Red wine"}]
    maker = await send(client, "PUT", "tables/makers/rows/3", {"groceries": rows})
    assert [row["title"] for row in maker["groceries"]["data"]] == ["Red wine", "Oats"]
    gone = {"groceries": {"rows": [{"id": 3, "active": 0}]}}
    await send(client, "PUT", "tables/makers/rows/3", gone)
    assert await column(database, TITLES) == ["Oats"]


async def test_many_to_many_links_creates_and_unlinks(own_related: Shop) -> None:
    client, database = own_related
    path = "tables/groceries/rows/4"
    entries = [{"data": {"id": 2}}, {"data": {"id": 9, "word": "new"}}]
    row = await send(client, "PUT", path, {"labels": entries})
    assert [label["word"] for label in row["labels"]["data"]] == ["cheap", "new"]
    links = row["labels"]["junction"]["data"]
    await send(client, "PUT", path, {"labels": [{"id": links[0]["id"], "active": 0}]})
    assert await column(database, LABELS) == [9]
    await send(client, "PUT", path, {"labels": row["labels"]} | {"title": "Soup"})


async def test_a_form_nests_with_brackets(own_related: Shop) -> None:
    client, database = own_related
    form = "name=Farm&groceries[0][title]=Eggs&groceries[0][active]=1"
    identity = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = await client.send("POST", "tables/makers/rows", data=form, headers=identity)
    assert status == 200, answer
    assert await column(database, raw("SELECT title FROM groceries WHERE maker_id = 4")) == ["Eggs"]


async def test_bulk_rows_nest_too(own_related: Shop) -> None:
    client, database = own_related
    rows = [{"title": "a", "maker_id": {"name": "m"}}, {"title": "b", "maker_id": 1}]
    found = await send(client, "POST", "tables/groceries/rows/bulk", {"rows": rows})
    assert [row["maker_id"]["data"]["name"] for row in found] == ["m", "Acme"]
    rows = [{"id": 1, "labels": [{"id": 1, "active": 0}]}, {"id": 2, "stock": 3}]
    await send(client, "PUT", "tables/groceries/rows/bulk", {"rows": rows})
    left = raw("SELECT label_id FROM groceries_labels WHERE grocery_id = 1")
    assert await column(database, left) == [2]


@pytest.mark.parametrize(
    "body",
    [
        {"title": "X", "maker_id": {"name": "x" * 50}},
        {"title": "X", "maker_id": {"name": "Fine"}, "labels": [{"data": {"id": "no number"}}]},
        {"title": "X", "maker_id": {"name": "Fine"}, "labels": ["5", 7]},
        {"title": "X", "maker_id": {"name": "Fine"}, "barcode": 9007199254740993},
    ],
)
async def test_a_fault_anywhere_leaves_nothing(own_related: Shop, body: object) -> None:
    client, database = own_related
    status, _ = await client.post("tables/groceries/rows", body)
    assert status in {400, 409, 422}
    assert await column(database, MAKERS) == ["Acme", "Mill", "Nobody"]
    assert await database.fetchval(raw("SELECT count(*) FROM groceries")) == 6


async def test_related_tables_keep_their_own_rights(own_related: Shop) -> None:
    client, database = own_related
    clerk = client.as_(CLERK)
    for body in ({"maker_id": {"name": "Mine"}}, {"maker_id": {"id": 1, "name": "Mine"}}):
        status, _ = await clerk.post("tables/groceries/rows", {"title": "Y", **body})
        assert status == 403
    assert await column(database, MAKERS) == ["Acme", "Mill", "Nobody"]
    # a related row sent back unchanged needs no right to change it
    _, answer = await clerk.get("tables/groceries/rows/1")
    body = {"maker_id": answer["data"]["maker_id"], "stock": 8}
    row = await send(clerk, "PUT", "tables/groceries/rows/1", body)
    assert row["stock"] == 8


async def test_a_change_says_which_tables_it_touched(own_related: Shop) -> None:
    client, database = own_related
    await send(client, "POST", "tables/makers/rows", {"name": "M", "groceries": [{"title": "t"}]})
    entries = raw('SELECT table_name, "user" FROM directus_activity ORDER BY id DESC LIMIT 2')
    assert [tuple(row) for row in await database.fetch(entries)] == [
        ("groceries", 1),
        ("makers", 1),
    ]


async def test_too_many_related_rows_are_refused(own_related: Shop) -> None:
    client, _ = own_related
    rows = [{"title": "t"}] * 1001
    status, _ = await client.post("tables/makers/rows", {"name": "M", "groceries": rows})
    assert status == 400
