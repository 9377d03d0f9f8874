"""What the activity tells, and to whom."""

import json
from typing import Any

import pytest

from shared.database import Database
from shared.identity import Principal
from shared.rows.activity import finished
from shared.sql import raw
from shared.testing import Client

CLERK = Principal(user=7, group=5)
STRANGER = Principal(user=8, group=9)


@pytest.fixture
async def shop(own_shop: tuple[Client, Database]) -> Client:
    client, database = own_shop
    # what the fixtures wrote before the tables were managed left no entries; the rest is taken away
    await database.execute(raw("TRUNCATE public.directus_activity"))
    await database.execute(raw("TRUNCATE directoire.outbox"))
    return client


@pytest.fixture
def database(own_shop: tuple[Client, Database]) -> Database:
    return own_shop[1]


async def entries(client: Client, query: str = "") -> list[dict[str, Any]]:
    status, body = await client.get(f"activity?{query}")
    assert status == 200, body
    return body["data"]


async def test_an_entry_tells_what_changed_newest_first(shop: Client) -> None:
    _, made = await shop.post("tables/groceries/rows", {"title": "Pear", "active": 1})
    key = made["data"]["id"]
    await shop.send("PUT", f"tables/groceries/rows/{key}", json={"title": "Plum"})
    update, add = await entries(shop)
    assert (add["action"], update["action"]) == ("ADD", "UPDATE")
    assert update["table_name"] == "groceries"
    assert update["row_id"] == key
    assert update["identifier"] == "Plum"
    assert update["user"] == 1
    assert update["type"] == "ENTRY"
    assert json.loads(update["delta"]) == {"title": "Plum"}
    assert json.loads(update["before"]) == {"title": "Pear"}
    assert json.loads(update["data"])["title"] == "Plum"
    assert json.loads(add["data"])["title"] == "Pear"
    assert update["id"] > add["id"]


async def test_version_1_0_is_flat(shop: Client) -> None:
    await shop.post("tables/labels/rows", {"id": 9, "word": "new"})
    status, body = await shop.get("/api/1/activity")
    assert status == 200
    assert (body["total"], body["active"]) == (1, 1)
    assert body["rows"][0]["identifier"] == "new"


async def test_a_soft_delete_is_shown_as_delete_and_found_as_such(shop: Client) -> None:
    await shop.send("PUT", "tables/groceries/rows/1", json={"active": 0})
    await shop.send("PUT", "tables/groceries/rows/2", json={"title": "Milk"})
    await shop.send("DELETE", "tables/labels/rows/3")
    hard, soft = await entries(shop, "filters[action]=DELETE")
    assert (hard["table_name"], hard["row_id"]) == ("labels", 3)
    assert (soft["table_name"], soft["row_id"]) == ("groceries", 1)
    assert json.loads(hard["data"]) == {"id": 3, "word": "rare"}


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("filters[table_name]=labels", ["labels"]),
        ("filters[type]=SETTINGS", ["directus_settings"]),
        ("filters[identifier][contains]=wor", ["labels"]),
        ("in[table_name]=labels,words&order[id]=ASC", ["labels", "words"]),
        ("q=wordy", ["labels"]),
        ("limit=1", ["words"]),
        ("columns=table_name&offset=2", ["labels"]),
        ("filters[user]=2", []),
    ],
)
async def test_filters(shop: Client, database: Database, query: str, tables: list[str]) -> None:
    await shop.post("tables/labels/rows", {"id": 9, "word": "wordy"})
    await database.execute(
        raw("INSERT INTO directus_settings (collection, name, value) VALUES ('x', 'y', 'z')")
    )
    await shop.post("tables/words/rows", {"word": "cat", "meaning": "animal"})
    assert [entry["table_name"] for entry in await entries(shop, query)] == tables


async def test_an_unknown_filter_is_refused(shop: Client) -> None:
    assert (await shop.get("activity?filters[nothing]=1"))[0] == 400
    assert (await shop.get("activity?after=soon"))[0] == 400


async def test_tables_one_may_not_view_are_not_there(shop: Client) -> None:
    await shop.post("tables/labels/rows", {"id": 9, "word": "new"})
    await shop.send("PUT", "tables/words/rows/bread", json={"meaning": "more"})
    seen = await entries(shop.as_(CLERK))
    assert [entry["table_name"] for entry in seen] == ["words"]
    _, body = await shop.as_(CLERK).get("/api/1/activity")
    assert body["total"] == 1
    assert await entries(shop.as_(STRANGER)) == []


async def test_columns_one_may_not_read_are_cut(shop: Client) -> None:
    await shop.send("PUT", "tables/groceries/rows/1", json={"price": "9.99", "title": "Rye"})
    (entry,) = await entries(shop.as_(CLERK))
    assert json.loads(entry["delta"]) == {"title": "Rye"}
    assert json.loads(entry["before"]) == {"title": "Bread"}
    assert "price" not in json.loads(entry["data"])


async def test_a_column_of_another_time_is_shown_to_administrators_only(
    shop: Client, database: Database
) -> None:
    await shop.send("PUT", "tables/words/rows/bread", json={"meaning": "more"})
    await database.execute(raw("ALTER TABLE words RENAME COLUMN meaning TO sense"))
    await database.execute(raw("SELECT directoire.bump('schema')"))  # as the relay notices it
    (entry,) = await entries(shop.as_(CLERK))
    assert json.loads(entry["data"]) == {"word": "bread"}
    (entry,) = await entries(shop)
    assert json.loads(entry["data"]) == {"word": "bread", "meaning": "more"}


async def test_of_own_rows_one_sees_the_entries_while_they_are_own(shop: Client) -> None:
    await shop.send("PUT", "tables/notes/rows/1", json={"text": "mine again"})
    await shop.send("PUT", "tables/notes/rows/3", json={"text": "theirs again"})
    (entry,) = await entries(shop.as_(CLERK))
    assert entry["row_id"] == 1
    assert entry["before"] is None, "what a row was before may be what one may not see"
    assert "secret" not in json.loads(entry["data"])


async def test_quiet_entries_stand_back_but_are_there(shop: Client) -> None:
    await shop.post("tables/labels/rows?skip_activity_log=1", {"id": 9, "word": "hush"})
    assert await entries(shop) == []
    (entry,) = await entries(shop, "filters[quiet]=1")
    assert entry["identifier"] == "hush"


async def test_the_rows_of_directus_activity_are_the_same(shop: Client) -> None:
    await shop.send("PUT", "tables/groceries/rows/1", json={"active": 0})
    (entry,) = await entries(shop)
    _, body = await shop.get("tables/directus_activity/rows")
    assert body["data"] == [entry]
    _, body = await shop.get(f"tables/directus_activity/rows/{entry['id']}")
    assert body["data"] == entry
    assert (await shop.as_(CLERK).get("tables/directus_activity/rows"))[0] == 403


async def test_the_revisions_of_a_row(shop: Client) -> None:
    await shop.send("PUT", "tables/groceries/rows/1", json={"price": "1.00"})
    await shop.send("PUT", "tables/groceries/rows/2", json={"title": "Milk"})
    await shop.send("PUT", "tables/groceries/rows/1", json={"title": "Rye"})
    _, body = await shop.get("tables/groceries/rows/1/revisions")
    assert [sorted(entry) for entry in body["data"]] == [["action", "datetime", "id", "user"]] * 2
    _, body = await shop.as_(CLERK).get("tables/groceries/rows/1/revisions?columns=before,delta")
    assert [json.loads(entry["before"] or "{}") for entry in body["data"]] == [
        {"title": "Bread"},
        {},
    ]
    assert (await shop.as_(STRANGER).get("tables/groceries/rows/1/revisions"))[0] == 403


async def test_after_counts_in_positions(shop: Client, database: Database) -> None:
    for number in range(10, 15):
        await shop.post("tables/labels/rows", {"id": number, "word": f"w{number}"})
        await shop.send("PUT", "tables/words/rows/bread", json={"meaning": f"m{number}"})
    token = await database.fetchval(raw("SELECT directoire.lead('test', 60)"))
    assert token
    taken = await database.fetchval(raw("SELECT directoire.take_positions(1, 1000)"))
    assert taken == 10
    _, body = await shop.get("activity?after=0&limit=4")
    assert [entry["position"] for entry in body["data"]] == [1, 2, 3, 4]
    assert body["meta"]["position"] == 4
    _, body = await shop.get("activity?after=4")
    assert [entry["position"] for entry in body["data"]] == [5, 6, 7, 8, 9, 10]
    _, body = await shop.as_(CLERK).get("activity?after=0")
    assert [entry["position"] for entry in body["data"]] == [2, 4, 6, 8, 10]
    assert body["meta"]["position"] == 10
    _, body = await shop.as_(STRANGER).get("activity?after=3")
    assert (body["data"], body["meta"]["position"]) == ([], 10)
    _, body = await shop.get("activity?after=8&filters[table_name]=words&columns=action")
    assert body["data"] == [{"position": 10, "action": "UPDATE"}]


def test_a_row_id_is_a_number_or_null() -> None:
    named = {"table_name": "directus_settings", "name": "x"}
    entry = finished({"row_id": "groceries", **named})
    assert entry == {"row_id": None, "row_key": "groceries", **named}
    assert finished({"row_id": "-7"}) == {"row_id": -7}
    assert finished({"row_id": "007x"}) == {"row_id": None, "row_key": "007x"}
    assert finished({"action": "ADD"}) == {"action": "ADD"}
