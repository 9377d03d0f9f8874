"""What a group may not see or change; a refusal changes nothing."""

from typing import Any

import pytest

from shared.database import Database
from shared.http import DEPENDS_HEADER, SCOPE_HEADER
from shared.identity import Principal
from shared.service import IDENTITY_HEADER
from shared.sql import raw
from shared.testing import SIGNER, Client

Shop = tuple[Client, Database]
CLERK = Principal(user=7, group=5)
OTHER_CLERK = Principal(user=8, group=5)
STRANGER = Principal(user=9, group=9)


async def rows(client: Client, query: str) -> list[dict[str, Any]]:
    status, answer = await client.get(query)
    assert status == 200, answer
    return answer["data"]


async def stored(database: Database) -> dict[int, tuple[int, str, str]]:
    found = await database.fetch(raw("SELECT id, active, text, secret FROM notes ORDER BY id"))
    return {row["id"]: (row["active"], row["text"], row["secret"]) for row in found}


NOTES = {1: (1, "mine", "a"), 2: (2, "my draft", "b"), 3: (1, "theirs", "c"), 4: (0, "gone", "d")}


async def test_own_rows_only_on_every_way_to_a_row(shop: Client) -> None:
    clerk = shop.as_(CLERK)
    assert [row["id"] for row in await rows(clerk, "tables/notes/rows?preview=1")] == [1, 2, 4]
    assert await rows(clerk, "tables/notes/rows?ids=3") == []
    assert await rows(clerk, "tables/notes/rows?in[id]=3") == []
    query = "tables/notes/rows?filters[id][eq]=1&filters[id][logical]=or"
    assert [row["id"] for row in await rows(clerk, query)] == [1]
    query = "tables/notes/rows?filters[id]=1&filters[text][nnull]=1&filters[text][logical]=or"
    assert [row["id"] for row in await rows(clerk, query)] == [1]
    assert await rows(clerk, "tables/notes/rows?q=theirs") == []
    assert await rows(clerk, "tables/notes/rows/3") == []
    assert [row["id"] for row in await rows(shop.as_(OTHER_CLERK), "tables/notes/rows")] == [3]


async def test_counts_are_those_of_own_rows(shop: Client) -> None:
    _, answer = await shop.as_(CLERK).get("tables/notes/rows?limit=0")
    meta = answer["meta"]
    assert (meta["Active"], meta["Draft"], meta["Delete"], meta["total_entries"]) == (1, 1, 1, 3)


async def test_level_1_without_an_owner_column_shows_no_rows(shop: Client) -> None:
    _, answer = await shop.as_(CLERK).get("tables/labels/rows")
    assert (answer["data"], answer["meta"]["total_entries"]) == ([], 0)


@pytest.mark.parametrize(
    "query",
    [
        "filters[secret]=a",
        "filters[secret][null]=1",
        "in[secret]=a",
        "sort=secret",
        "orderBy=secret",
        "orders[secret]=ASC",
    ],
)
async def test_a_blacklisted_column_is_as_unknown_as_one_that_is_not_there(
    shop: Client, query: str
) -> None:
    clerk = shop.as_(CLERK)
    hidden = await clerk.get(f"tables/notes/rows?{query}")
    missing = await clerk.get(f"tables/notes/rows?{query.replace('secret', 'nope')}")
    assert hidden[0] == missing[0] == 400
    texts = [str(answer["error"]["message"]) for _, answer in (hidden, missing)]
    assert texts[0].replace("secret", "nope") == texts[1]


async def test_a_blacklisted_column_is_left_out_of_answers(shop: Client) -> None:
    clerk = shop.as_(CLERK)
    for query in ("tables/notes/rows", "tables/notes/rows?columns=id,secret,text"):
        assert all("secret" not in row for row in await rows(clerk, query))
    _, answer = await clerk.get("tables/notes/rows/1?columns=secret")
    assert answer["data"] == {}
    assert await rows(clerk, "tables/groceries/rows?q=12.0") == []


@pytest.mark.parametrize("table", ["notes", "nowhere", "directus_privileges", "foreign_rows"])
async def test_no_view_right_is_403_whether_the_table_exists_or_not(
    shop: Client, table: str
) -> None:
    stranger = shop.as_(STRANGER)
    status, answer = await stranger.get(f"tables/{table}/rows")
    del answer["error"]["request_id"]
    assert status == 403
    assert answer["error"] == {"message": "Permission denied", "code": "FORBIDDEN"}
    for method, path in (("GET", "rows/1"), ("PUT", "rows/1"), ("DELETE", "rows/1")):
        status, _ = await stranger.send(method, f"tables/{table}/{path}", json={"text": "x"})
        assert status == 403


async def test_administrators_are_told_that_a_table_is_missing(shop: Client) -> None:
    status, answer = await shop.get("tables/nowhere/rows")
    assert status == 404
    assert answer["error"]["message"] == 'Unable to find the table "nowhere"'


async def test_relations_into_what_is_hidden_are_refused(shop: Client) -> None:
    # groceries_labels is not viewable for clerks
    status, _ = await shop.as_(CLERK).get("tables/groceries/rows?filters[labels][has]=1")
    assert status == 403
    query = "tables/makers/rows?filters[groceries][has]=2"
    assert [row["id"] for row in await rows(shop.as_(CLERK), query)] == [1]


async def test_a_protected_key_refuses_the_whole_write(kept_shop: Shop) -> None:
    shop, database = kept_shop
    clerk = shop.as_(CLERK)
    body = {"text": "x", "secret": "y"}
    for method, path in (("POST", "rows"), ("PUT", "rows/1"), ("PATCH", "rows/1")):
        status, answer = await clerk.send(method, f"tables/notes/{path}", json=body)
        assert status == 403
        assert "secret" in answer["error"]["message"]
    bulk = {"rows": [{"id": 1, "text": "x"}, {"id": 2, "secret": "y"}]}
    status, _ = await clerk.send("PUT", "tables/notes/rows/bulk", json=bulk)
    assert status == 403
    assert await stored(database) == NOTES


async def test_rows_of_others_can_neither_be_changed_nor_deleted(kept_shop: Shop) -> None:
    shop, database = kept_shop
    clerk = shop.as_(CLERK)
    status, _ = await clerk.send("PUT", "tables/notes/rows/3", json={"text": "x"})
    assert status == 404
    status, _ = await clerk.send("PUT", "tables/notes/rows/3")
    assert status == 404
    for path in ("rows/3", "rows/3?soft=1"):
        _, answer = await clerk.send("DELETE", f"tables/notes/{path}")
        assert answer["success"] is False
    bulk = {"rows": [{"id": 1, "text": "x"}, {"id": 3, "text": "x"}]}
    status, _ = await clerk.send("PUT", "tables/notes/rows/bulk", json=bulk)
    assert status == 404
    # by a key in the body: the same 409 as any duplicate
    status, _ = await clerk.post("tables/notes/rows", {"id": 3, "text": "x"})
    assert status == 409
    assert await stored(database) == NOTES


async def test_own_rows_can_be_made_changed_and_deleted(own_shop: Shop) -> None:
    shop, database = own_shop
    clerk = shop.as_(CLERK)
    _, answer = await clerk.post("tables/notes/rows", {"text": "new", "author": 8})
    assert answer["data"]["author"] == 7
    assert "secret" not in answer["data"]
    _, answer = await clerk.send("PUT", "tables/notes/rows/1", json={"text": "x"})
    assert answer["data"]["text"] == "x"
    _, answer = await clerk.post("tables/notes/rows", {"id": 1, "text": "y"})
    assert answer["data"]["text"] == "y"
    _, answer = await clerk.send("DELETE", "tables/notes/rows/2")
    assert answer["success"] is True
    assert (await stored(database))[1] == (1, "y", "a")
    assert 2 not in await stored(database)


async def test_what_may_be_seen_but_not_changed_is_403(kept_shop: Shop) -> None:
    shop, database = kept_shop
    clerk = shop.as_(CLERK)
    before = await database.fetch(raw("SELECT * FROM groceries ORDER BY id"))
    attempts: list[tuple[str, str, object]] = [
        ("DELETE", "rows/1", None),
        ("DELETE", "rows/1?soft=1", None),
        ("PUT", "rows/1", {"active": 0}),
        ("DELETE", "rows/bulk", {"rows": [{"id": 1}]}),
        ("POST", "rows", {"id": 1, "active": 0}),
    ]
    for method, path, body in attempts:
        status, _ = await clerk.send(method, f"tables/groceries/{path}", json=body)
        assert status == 403, (method, path)
    for method, path in (("POST", "rows"), ("PUT", "rows/bread"), ("DELETE", "rows/bread")):
        body = {"word": "bread", "meaning": "x"}
        status, _ = await clerk.send(method, f"tables/words/{path}", json=body)
        assert status == 403
    assert await database.fetch(raw("SELECT * FROM groceries ORDER BY id")) == before


async def test_a_status_that_stays_needs_no_delete_right(own_shop: Shop) -> None:
    shop, _ = own_shop
    body = {"title": "still old", "active": 0}
    _, answer = await shop.as_(CLERK).send("PUT", "tables/groceries/rows/6", json=body)
    assert answer["data"]["title"] == "still old"


async def test_workflow_rights_replace_the_general_ones(own_shop: Shop) -> None:
    shop, database = own_shop
    await database.execute(
        raw(
            "INSERT INTO directus_privileges (group_id, table_name, status_id, allow_view,"
            " allow_add, allow_edit, allow_delete) VALUES (5, 'groceries', 1, 2, 0, 0, 0)"
        )
    )
    clerk = shop.as_(CLERK)
    status, _ = await clerk.send("PUT", "tables/groceries/rows/1", json={"title": "x"})
    assert status == 403
    status, _ = await clerk.send("PUT", "tables/groceries/rows/5", json={"title": "x"})
    assert status == 200
    # publishing needs the right in the new status too
    status, _ = await clerk.send("PUT", "tables/groceries/rows/5", json={"active": 1})
    assert status == 403
    status, _ = await clerk.post("tables/groceries/rows", {"title": "x", "active": 1})
    assert status == 403
    status, _ = await clerk.post("tables/groceries/rows", {"title": "x"})
    assert status == 200


async def test_answers_say_what_they_rest_on(shop: Client) -> None:
    async def headers(principal: Principal, path: str) -> tuple[str | None, str | None]:
        identity = {IDENTITY_HEADER: SIGNER.sign(principal)}
        async with shop.http.get(f"/api/1.1/{path}", headers=identity) as response:
            found = response.headers
            return found.get(DEPENDS_HEADER), found.get(SCOPE_HEADER)

    assert await headers(CLERK, "tables/groceries/rows?limit=1") == (
        "g:5 schema t:groceries",
        "group",
    )
    assert await headers(CLERK, "tables/groceries/rows") == (
        "g:5 schema t:directus_settings t:groceries",
        "group",
    )
    assert await headers(CLERK, "tables/notes/rows/1") == ("g:5 schema t:notes", "user")
    assert await headers(CLERK, "tables/makers/rows?limit=1&filters[groceries][has]=1") == (
        "g:5 schema t:groceries t:makers",
        "group",
    )
    assert await headers(Principal(1, 1), "tables/foreign_rows/rows") == (None, None)


async def test_who_may_add_but_not_look_is_told_the_key_only(own_shop: Shop) -> None:
    shop, database = own_shop
    await database.execute(
        raw(
            "INSERT INTO directus_privileges (group_id, table_name, allow_add)"
            " VALUES (9, 'notes', 1)"
        )
    )
    stranger = shop.as_(STRANGER)
    _, answer = await stranger.post("tables/notes/rows", {"text": "x"})
    assert answer["data"] == {"id": 5}
    for key in (1, 5):
        status, _ = await stranger.post("tables/notes/rows", {"id": key, "text": "y"})
        assert status == 409
    status, _ = await stranger.send("PUT", "tables/notes/rows/5", json={"text": "y"})
    assert status == 403
    assert (await stored(database))[5][1] == "x"
    assert (await stored(database))[1] == NOTES[1]
