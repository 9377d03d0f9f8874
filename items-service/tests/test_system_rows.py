"""Rows of system tables on the row routes: their rules, all in one transaction."""

import pytest

from shared.database import Database
from shared.identity import Principal
from shared.sql import raw
from shared.testing import Client

Shop = tuple[Client, Database]
PASSWORD = "correct horse battery staple"


async def user(shop: Client, **more: object) -> int:
    body = {"email": "ann@example.com", "group": 5, "password": PASSWORD, **more}
    status, answer = await shop.post("tables/directus_users/rows", body)
    assert status == 200, answer
    return answer["data"]["id"]


async def test_a_user_is_stored_with_his_secrets_elsewhere(own_shop: Shop) -> None:
    shop, database = own_shop
    body = {"email": "ann@example.com", "group": 5, "password": PASSWORD, "token": "tokentoken"}
    _, answer = await shop.post("tables/directus_users/rows", body)
    row = answer["data"]
    assert row["token"] == "tokentoken"  # this once
    assert "password" not in row
    assert row["avatar"].startswith("https://www.gravatar.com/")
    stored = await database.fetchval(raw("SELECT password_hash FROM directoire.credentials"))
    assert stored.startswith("$argon2id$")
    _, answer = await shop.get(f"tables/directus_users/rows/{row['id']}")
    assert answer["data"]["token"] is None
    shown = await database.fetchval(
        raw("SELECT string_agg(after::text, '') FROM directus_activity")
    )
    assert PASSWORD not in shown
    assert "tokentoken" not in shown


async def test_a_taken_address_is_409_and_nothing_is_stored(own_shop: Shop) -> None:
    shop, database = own_shop
    await user(shop)
    body = {"email": "ann@example.com", "group": 5, "password": PASSWORD}
    status, _ = await shop.post("tables/directus_users/rows", body)
    assert status == 409
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 1


async def test_a_weak_password_stores_no_user(own_shop: Shop) -> None:
    shop, database = own_shop
    body = {"email": "ann@example.com", "group": 5, "password": "x"}
    status, _ = await shop.post("tables/directus_users/rows", body)
    assert status == 422
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 0


async def test_a_bulk_with_one_bad_row_stores_no_user(own_shop: Shop) -> None:
    shop, database = own_shop
    good = {"email": "bob@example.com", "group": 5}
    for bad in ({"email": "x", "group": 5}, {"email": "bob@example.com", "group": 5}):
        status, _ = await shop.post("tables/directus_users/rows/bulk", {"rows": [good, bad]})
        assert status in {409, 422}
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 0


async def test_the_last_administrator_stays(own_shop: Shop) -> None:
    shop, database = own_shop
    key = await user(shop, group=1)
    attempts: list[tuple[str, str, object]] = [
        ("DELETE", f"rows/{key}", None),
        ("DELETE", f"rows/{key}?soft=1", None),
        ("DELETE", "rows/bulk", {"rows": [{"id": key}]}),
        ("PUT", f"rows/{key}", {"active": 0}),
        ("PUT", f"rows/{key}", {"group": 5}),
        ("PUT", "rows/bulk", {"rows": [{"id": key, "active": 2}]}),
        ("POST", "rows", {"id": key, "active": 0}),
    ]
    for method, path, body in attempts:
        status, _ = await shop.send(method, f"tables/directus_users/{path}", json=body)
        assert status == 403, (method, path)
    row = await database.fetchrow(raw('SELECT active, "group" FROM directus_users'))
    assert row is not None
    assert tuple(row) == (1, 1)


async def test_a_user_who_is_no_administrator_cannot_rise(own_shop: Shop) -> None:
    shop, database = own_shop
    key = await user(shop)
    await database.execute(
        raw(
            "INSERT INTO directus_privileges (group_id, table_name, allow_view, allow_edit)"
            " VALUES (5, 'directus_users', 2, 2)"
        )
    )
    clerk = shop.as_(Principal(user=key, group=5))
    status, _ = await clerk.send("PUT", f"tables/directus_users/rows/{key}", json={"group": 1})
    assert status == 403
    body = {"table_name": "notes", "group_id": 5, "allow_view": 2}
    status, _ = await clerk.post("tables/directus_privileges/rows", body)
    assert status == 403
    assert await database.fetchval(raw('SELECT "group" FROM directus_users')) == 5


async def test_rights_changed_on_the_row_routes_hold_at_once(own_shop: Shop) -> None:
    shop, _ = own_shop
    stranger = shop.as_(Principal(user=9, group=9))
    status, _ = await stranger.get("tables/makers/rows")
    assert status == 403
    body = {"table_name": "makers", "group_id": 9, "allow_view": 2}
    _, answer = await shop.post("tables/directus_privileges/rows", body)
    status, _ = await stranger.get("tables/makers/rows")
    assert status == 200
    key = answer["data"]["id"]
    await shop.send("DELETE", f"tables/directus_privileges/rows/{key}")
    status, _ = await stranger.get("tables/makers/rows")
    assert status == 403


async def test_a_system_table_without_status_is_deleted_though_soft_is_asked(
    own_shop: Shop,
) -> None:
    shop, database = own_shop
    _, answer = await shop.send("DELETE", "tables/directus_groups/rows/9?soft=1")
    assert answer["success"] is True
    assert await database.fetchval(raw("SELECT count(*) FROM directus_groups WHERE id = 9")) == 0
    status, _ = await shop.send("DELETE", "tables/directus_groups/rows/1")
    assert status == 403


async def test_dates_are_iso_8601_there(own_shop: Shop) -> None:
    shop, database = own_shop
    await database.execute(
        raw(
            "INSERT INTO directus_files (name, date_uploaded)"
            " VALUES ('a.jpg', '2013-11-15 04:30:52')"
        )
    )
    _, answer = await shop.get("tables/directus_files/rows?preview=1")
    row = answer["data"][0]
    assert row["date_uploaded"] == "2013-11-15T04:30:52+00:00"
    assert row["url"] == "/storage/uploads/a.jpg"


@pytest.mark.parametrize("name", ["password", "salt", "reset_token"])
async def test_secrets_are_no_columns(shop: Client, name: str) -> None:
    status, answer = await shop.get(f"tables/directus_users/rows?filters[{name}][contains]=a")
    assert status == 400
    assert name in answer["error"]["message"]


async def test_what_is_computed_cannot_be_asked_for(shop: Client) -> None:
    for query in ("filters[token]=x", "sort=last_login", "filters[ip][contains]=1"):
        status, _ = await shop.get(f"tables/directus_users/rows?{query}")
        assert status == 400


async def test_the_activity_is_read_newest_first_and_never_written(own_shop: Shop) -> None:
    shop, _ = own_shop
    for title in "ab":
        await shop.post("tables/groceries/rows", {"title": title})
    _, answer = await shop.get("tables/directus_activity/rows?limit=2")
    assert [row["row_id"] for row in answer["data"]] == [8, 7]
    status, _ = await shop.post("tables/directus_activity/rows", {"action": "ADD"})
    assert status == 400
    status, _ = await shop.send("DELETE", "tables/directus_activity/rows/1")
    assert status == 400
