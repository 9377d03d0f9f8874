"""Creating, changing and deleting rows, by all verbs and in both envelopes."""

from typing import Any

import pytest

from shared.database import Database
from shared.sql import param, raw
from shared.testing import Client

Shop = tuple[Client, Database]


async def count(database: Database) -> int:
    return await database.fetchval(raw("SELECT count(*) FROM groceries"))


async def column(database: Database, key: int, table: str = "groceries") -> dict[str, Any]:
    rows = {
        "groceries": raw("SELECT * FROM groceries WHERE id = "),
        "notes": raw("SELECT * FROM notes WHERE id = "),
    }
    record = await database.fetchrow(rows[table] + param(key))
    return dict(record) if record else {}


async def entries(database: Database) -> list[tuple[str, str, str, bool]]:
    rows = await database.fetch(
        raw(
            "SELECT action, row_id, actor, quiet FROM directus_activity"
            " WHERE table_name = 'groceries' AND actor !~ '^db:' ORDER BY id"
        )
    )
    return [tuple(row) for row in rows]


async def test_creates_a_row_and_answers_it_as_stored(own_shop: Shop) -> None:
    shop, database = own_shop
    status, answer = await shop.post("tables/groceries/rows", {"title": "Salt", "price": 1.5})
    assert status == 200
    assert answer["meta"] == {"table": "groceries", "type": "item"}
    assert answer["data"]["id"] == 7
    assert answer["data"]["active"] == 2
    assert answer["data"]["price"] == "1.50"
    assert await entries(database) == [("ADD", "7", "1", False)]
    _, bare = await shop.post("/api/1/tables/groceries/rows", {"title": "Oil"})
    assert (bare["id"], bare["title"]) == (8, "Oil")


async def test_a_form_creates_like_json(own_shop: Shop) -> None:
    shop, _ = own_shop
    form = {
        "title": "Rice",
        "active": "True",
        "fresh": "on",
        "price": "",
        "baked": "",
        "sold": "2024-03-01T10:00:00Z",
        "stock": " 3 ",
        "picture": "AP8=",
        "facts": '{"b": 2}',
    }
    _, answer = await shop.send("POST", "tables/groceries/rows", data=form)
    row = answer["data"]
    shown = {name: row[name] for name in form}
    assert shown == {
        "title": "Rice",
        "active": 1,
        "fresh": 1,
        "price": None,
        "baked": None,
        "sold": "2024-03-01 10:00:00",
        "stock": 3,
        "picture": "AP8=",
        "facts": '{"b": 2}',
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stock", "many"),
        ("stock", 2**31),
        ("stock", 1.5),
        ("active", 40000),
        ("price", "1000000"),
        ("price", "NaN"),
        ("weight", 1e300),
        ("title", "x" * 41),
        ("title", ["a"]),
        ("title", "a\0b"),
        ("title", "\ud800"),
        ("fresh", 2),
        ("baked", "2024-02-30"),
        ("baked", 5),
        ("sold", "now"),
        ("opens", "25:00"),
        ("picture", "###"),
        ("facts", "{"),
        ("facts", "\\u0000"),
        ("code", "x"),
        ("maker_id", {"name": "New"}),
    ],
)
async def test_a_value_its_column_cannot_hold_is_422_and_named(
    kept_shop: Shop, name: str, value: object
) -> None:
    shop, database = kept_shop
    status, answer = await shop.send("POST", "tables/groceries/rows", json={name: value})
    assert status in {400, 422}
    if value != "\ud800":
        assert status == 422
        assert answer["error"]["field"] == name
    status, _ = await shop.send("PUT", "tables/groceries/rows/1", json={name: value})
    assert status in {400, 422}
    assert await count(database) == 6
    assert await entries(database) == []


async def test_a_duplicate_is_409_and_stores_nothing(kept_shop: Shop) -> None:
    shop, database = kept_shop
    status, _ = await shop.post("tables/groceries/rows", {"barcode": 9007199254740993})
    assert status == 409
    assert await count(database) == 6


@pytest.mark.parametrize("body", [None, {}, {"nope": 1}, {"id": 5}])
async def test_a_body_without_columns_creates_nothing(kept_shop: Shop, body: object) -> None:
    shop, database = kept_shop
    status, answer = await shop.post("tables/groceries/rows", body)
    assert (status, answer["success"]) == (400, False)
    assert await count(database) == 6


async def test_a_key_that_exists_updates(own_shop: Shop) -> None:
    shop, database = own_shop
    _, answer = await shop.post("tables/groceries/rows", {"id": 3, "stock": 9})
    assert (answer["data"]["title"], answer["data"]["stock"]) == ("wine", 9)
    assert await entries(database) == [("UPDATE", "3", "1", False)]


async def test_an_explicit_key_moves_the_sequence_on(own_shop: Shop) -> None:
    shop, _ = own_shop
    _, answer = await shop.post("tables/groceries/rows", {"id": 500, "title": "Far"})
    assert answer["data"]["id"] == 500
    _, answer = await shop.post("tables/groceries/rows", {"title": "Next"})
    assert answer["data"]["id"] == 501


async def test_a_key_that_is_too_far_leaves_the_sequence(own_shop: Shop) -> None:
    shop, _ = own_shop
    for key in (2_000_000, 2_147_483_647):
        _, answer = await shop.post("tables/groceries/rows", {"id": key, "title": "Far"})
        assert answer["data"]["id"] == key
    _, answer = await shop.post("tables/groceries/rows", {"title": "Next"})
    assert answer["data"]["id"] == 7


async def test_unknown_keys_are_ignored_unless_handling_is_strict(own_shop: Shop) -> None:
    shop, database = own_shop
    status, _ = await shop.post("tables/groceries/rows", {"title": "x", "nope": 1})
    assert status == 200
    status, answer = await shop.send(
        "POST",
        "tables/groceries/rows",
        json={"title": "y", "nope": 1},
        headers={"Prefer": "handling=strict"},
    )
    assert status == 400
    assert "nope" in answer["error"]["message"]
    assert await count(database) == 7


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
async def test_every_update_verb_changes_what_is_named(own_shop: Shop, method: str) -> None:
    shop, database = own_shop
    _, answer = await shop.send(method, "tables/groceries/rows/1", json={"title": "Rye", "id": 1})
    assert (answer["data"]["title"], answer["data"]["price"]) == ("Rye", "2.50")
    assert await entries(database) == [("UPDATE", "1", "1", False)]
    _, bare = await shop.send(method, "/api/1/tables/groceries/rows/1", data={"title": "Bun"})
    assert (bare["id"], bare["title"]) == (1, "Bun")


async def test_an_empty_update_changes_nothing(kept_shop: Shop) -> None:
    shop, database = kept_shop
    status, answer = await shop.send("PUT", "tables/groceries/rows/1")
    assert (status, answer["data"]["title"]) == (200, "Bread")
    assert await entries(database) == []


async def test_the_key_of_a_row_stays(kept_shop: Shop) -> None:
    shop, database = kept_shop
    status, _ = await shop.send("PUT", "tables/groceries/rows/1", json={"id": 9, "title": "x"})
    assert status == 400
    assert (await column(database, 1))["title"] == "Bread"


@pytest.mark.parametrize("key", ["99", "x", "99999999999999999999"])
async def test_updating_what_is_missing_is_404(kept_shop: Shop, key: str) -> None:
    shop, _ = kept_shop
    for body in ({"title": "x"}, {}):
        status, answer = await shop.send("PUT", f"tables/groceries/rows/{key}", json=body)
        assert status == 404
        expected = f"Unable to find the record in [groceries] with ID [{key}]"
        assert answer["error"]["message"] == expected


async def test_a_row_is_deleted_once(own_shop: Shop) -> None:
    shop, database = own_shop
    assert await shop.send("DELETE", "tables/groceries/rows/1") == (
        200,
        {"meta": {"table": "groceries"}, "success": True},
    )
    assert await shop.send("DELETE", "tables/groceries/rows/1", json={}) == (
        200,
        {"meta": {"table": "groceries"}, "success": False},
    )
    assert await shop.send("DELETE", "/api/1/tables/groceries/rows/2") == (200, {"success": True})
    assert await entries(database) == [("DELETE", "1", "1", False), ("DELETE", "2", "1", False)]


async def test_a_soft_delete_sets_the_status(own_shop: Shop) -> None:
    shop, database = own_shop
    _, answer = await shop.send("DELETE", "tables/groceries/rows/1?soft=1")
    assert answer["success"] is True
    assert (await column(database, 1))["active"] == 0
    _, answer = await shop.send("DELETE", "tables/groceries/rows/99?soft=1")
    assert answer["success"] is False


async def test_a_table_without_status_cannot_soft_delete(kept_shop: Shop) -> None:
    shop, database = kept_shop
    status, answer = await shop.send("DELETE", "tables/makers/rows/1?soft=1")
    assert status == 400
    assert answer["error"]["message"] == "Cannot soft delete. Table has not status column."
    assert await database.fetchval(raw("SELECT count(*) FROM makers")) == 3


async def test_skip_activity_log_marks_the_entry(own_shop: Shop) -> None:
    shop, database = own_shop
    await shop.send("PUT", "tables/groceries/rows/1?skip_activity_log=1", json={"title": "q"})
    assert await entries(database) == [("UPDATE", "1", "1", True)]


# ── many rows ─────────────────────────────────────────────────────────────────────────────────────


async def test_bulk_creates_rows_of_any_shape_in_order(own_shop: Shop) -> None:
    shop, database = own_shop
    rows: list[dict[str, Any]] = [
        {"title": "a", "stock": 1},
        {"title": "b", "stock": 2},
        {"title": "c"},
        {"id": 600, "title": "d", "stock": 4},
        {"id": 601, "title": "e", "stock": "5"},
        {"id": 1, "title": "f", "stock": 6},
        {"title": "g", "facts": {"x": [1.5, None]}},
    ]
    status, answer = await shop.post("tables/groceries/rows/bulk", {"rows": rows})
    assert status == 200
    assert [row["title"] for row in answer["data"]] == list("abcdefg")
    assert [row["id"] for row in answer["data"]] == [7, 8, 9, 600, 601, 1, 602]
    assert answer["data"][-1]["facts"] == '{"x": [1.5, null]}'
    assert answer["meta"] == {"table": "groceries", "type": "collection", "total": 7}
    assert len(await entries(database)) == 7
    assert {actor for _, _, actor, _ in await entries(database)} == {"1"}


async def test_a_bulk_with_one_bad_row_stores_none(kept_shop: Shop) -> None:
    shop, database = kept_shop
    for bad in ({"stock": "x"}, {"barcode": 9007199254740993}, {}):
        rows = [{"title": "a"}, {"title": "b", "stock": 3}, bad]
        status, _ = await shop.post("tables/groceries/rows/bulk", {"rows": rows})
        assert status in {400, 409, 422}
    assert await count(database) == 6
    assert await entries(database) == []


async def test_a_form_may_hold_rows(own_shop: Shop) -> None:
    shop, _ = own_shop
    form = {"rows[0][title]": "a", "rows[1][title]": "b"}
    _, answer = await shop.send("POST", "tables/groceries/rows/bulk", data=form)
    assert [row["title"] for row in answer["data"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "rows/bulk"), ("PATCH", "rows/bulk"), ("PUT", "rows"), ("PATCH", "rows")],
)
async def test_updates_many_rows(own_shop: Shop, method: str, path: str) -> None:
    shop, database = own_shop
    rows = [{"id": 3, "stock": 30}, {"id": 1, "stock": 10}, {"id": 1, "title": "Rye"}]
    body = {"rows": rows} if path == "rows/bulk" else rows
    _, answer = await shop.send(method, f"tables/groceries/{path}", json=body)
    assert [row["id"] for row in answer["data"]] == [3, 1, 1]
    assert answer["data"][2]["stock"] == 10
    assert (await column(database, 1))["title"] == "Rye"


async def test_rows_that_name_only_their_keys_stay_as_they_are(own_shop: Shop) -> None:
    shop, database = own_shop
    rows = [{"id": 3}, {"id": 1, "nope": 2}, {"id": 2, "stock": 8}]
    _, answer = await shop.send("PUT", "tables/groceries/rows/bulk", json={"rows": rows})
    assert [row["id"] for row in answer["data"]] == [3, 1, 2]
    assert await entries(database) == [("UPDATE", "2", "1", False)]


async def test_put_on_rows_takes_one_row_too(own_shop: Shop) -> None:
    shop, database = own_shop
    _, answer = await shop.send("PUT", "tables/groceries/rows", json={"id": 1, "title": "Rye"})
    assert answer["data"][0]["title"] == "Rye"
    assert (await column(database, 1))["title"] == "Rye"


async def test_updating_many_with_one_missing_changes_none(kept_shop: Shop) -> None:
    shop, database = kept_shop
    rows = [{"id": 1, "stock": 99}, {"id": 77, "stock": 99}]
    status, answer = await shop.send("PUT", "tables/groceries/rows/bulk", json={"rows": rows})
    assert status == 404
    assert "[77]" in answer["error"]["message"]
    assert (await column(database, 1))["stock"] == 5


async def test_deletes_many_rows(own_shop: Shop) -> None:
    shop, database = own_shop
    body = {"rows": [{"id": 1}, {"id": "3"}, {"id": 99}]}
    status, answer = await shop.send("DELETE", "tables/groceries/rows/bulk", json=body)
    assert status == 200
    assert answer == {
        "meta": {"table": "groceries", "ids": [1, 3]},
        "data": {"success": True},
    }
    assert await count(database) == 4


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("body", [None, {}, {"rows": []}, {"rows": [5]}, {"rows": 5}])
async def test_a_bulk_without_rows_is_an_error_and_does_nothing(
    kept_shop: Shop, method: str, body: object
) -> None:
    shop, database = kept_shop
    status, _ = await shop.send(method, "tables/groceries/rows/bulk", json=body)
    assert status == 400
    assert await count(database) == 6


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_bulk_row_needs_its_key(kept_shop: Shop, method: str) -> None:
    shop, database = kept_shop
    body = {"rows": [{"id": 1, "title": "x"}, {"title": "y"}]}
    status, answer = await shop.send(method, "tables/groceries/rows/bulk", json=body)
    assert status == 400
    assert answer["error"]["message"] == "Row without primary key field"
    assert (await column(database, 1))["title"] == "Bread"


# ── what the server fills in, what is read only ───────────────────────────────────────────────────


async def test_the_server_fills_in_who_and_when(own_shop: Shop) -> None:
    shop, database = own_shop
    _, answer = await shop.post(
        "tables/notes/rows", {"text": "x", "author": 99, "made": "2000-01-01"}
    )
    row = await column(database, answer["data"]["id"], "notes")
    assert (row["author"], row["changed_by"]) == (1, 1)
    assert row["made"].year > 2000
    await database.execute(raw("UPDATE notes SET changed = NULL, changed_by = NULL"))
    body = {"text": "y", "author": 99, "changed_by": 99}
    _, answer = await shop.send("PUT", "tables/notes/rows/3", json=body)
    row = await column(database, 3, "notes")
    assert (row["author"], row["changed_by"], row["text"]) == (8, 1, "y")
    assert row["changed"] is not None
    assert row["made"] is None


async def test_keys_of_text_work_everywhere(own_shop: Shop) -> None:
    shop, _ = own_shop
    _, answer = await shop.post("tables/words/rows", {"word": "rye", "meaning": "grain"})
    assert answer["data"] == {"word": "rye", "meaning": "grain"}
    _, answer = await shop.send("PUT", "tables/words/rows/a%2Fb", json={"meaning": "2"})
    assert answer["data"] == {"word": "a/b", "meaning": "2"}
    _, answer = await shop.send("DELETE", "tables/words/rows/rye")
    assert answer["success"] is True


@pytest.mark.parametrize("table", ["foreign_rows", "pairs"])
async def test_a_table_nobody_adopted_is_read_only(kept_shop: Shop, table: str) -> None:
    shop, database = kept_shop
    attempts = [
        ("POST", "rows", {"name": "x", "a": 1}),
        ("PUT", "rows/1", {"name": "x"}),
        ("DELETE", "rows/1", None),
        ("POST", "rows/bulk", {"rows": [{"name": "x"}]}),
        ("DELETE", "rows/bulk", {"rows": [{"id": 1}]}),
    ]
    for method, path, body in attempts:
        status, answer = await shop.send(method, f"tables/{table}/{path}", json=body)
        assert status == 400
        assert "read only" in answer["error"]["message"]
    assert await database.fetchval(raw("SELECT count(*) FROM foreign_rows")) == 2


async def test_rows_for_a_relation_that_leads_nowhere_are_refused(kept_shop: Shop) -> None:
    shop, database = kept_shop
    status, answer = await shop.post("tables/makers/rows", {"name": "x", "lost": [{"id": 1}]})
    assert status == 400
    assert answer["error"]["field"] == "lost"
    assert await database.fetchval(raw("SELECT count(*) FROM makers")) == 3


async def test_counts_follow_writes(own_shop: Shop) -> None:
    shop, _ = own_shop
    await shop.post("tables/groceries/rows", {"title": "x", "active": 1})
    await shop.send("DELETE", "tables/groceries/rows/2?soft=1")
    await shop.send("DELETE", "tables/groceries/rows/5")
    _, answer = await shop.get("tables/groceries/rows?limit=0")
    meta = answer["meta"]
    assert (meta["Active"], meta["Draft"], meta["Delete"], meta["total_entries"]) == (4, 0, 2, 6)
