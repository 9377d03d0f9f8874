"""How users look at tables: preferences with a fall-back, saved views, bookmarks."""

from dataclasses import dataclass

import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")


@dataclass(frozen=True)
class Desk:
    """A table, and two users who may view it."""

    table: str
    ann: Api
    bob: Api
    ann_id: int


@pytest_asyncio.fixture(loop_scope="session")
async def desk(api: Api, unique: str) -> Desk:
    table = await api.make_table(f"desk_{unique}", title="VARCHAR:50", price="INT")
    group = await make_group(api, f"Desk {unique}", {table: {"allow_view": 2}})
    ann, ann_id = await make_user(api, f"ann-{unique}", group)
    bob, _ = await make_user(api, f"bob-{unique}", group)
    return Desk(table, ann, bob, ann_id)


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_without_stored_preferences_defaults_are_answered(desk: Desk, version: str) -> None:
    ann = desk.ann if version == "1.1" else desk.ann.v1()
    reply = await ann.get(f"tables/{desk.table}/preferences")
    assert reply.status == 200
    shown = reply.json["data"] if version == "1.1" else reply.json
    assert shown["columns_visible"] == "title,price"
    assert (shown["sort"], shown["sort_order"], shown["status"]) == ("id", "ASC", "1,2")
    assert (shown["title"], shown["user"], shown["table_name"]) == (None, desk.ann_id, desk.table)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_preferences_are_kept_for_each_user_of_his_own(desk: Desk, method: str) -> None:
    path = f"tables/{desk.table}/preferences"
    assert (await desk.ann.get(path)).data["sort"] == "id"  # the default is remembered, then void
    reply = await desk.ann.send(method, path, form="sort=price&sort_order=desc&user=1")
    assert reply.data["user"] == desk.ann_id
    first = reply.data["id"]
    reply = await desk.ann.send(method, path, json={"columns_visible": ["title"]})
    assert reply.data["id"] == first
    shown = (await desk.ann.get(path)).data
    assert (shown["sort"], shown["sort_order"], shown["columns_visible"]) == (
        "price", "DESC", "title",
    )  # fmt: skip
    assert (await desk.bob.get(path)).data["sort"] == "id"
    of_the_table = (await desk.ann.get(f"tables/{desk.table}")).data["preferences"]
    assert of_the_table["columns_visible"] == "title"


async def test_posting_nothing_reads_as_the_php_client_does(desk: Desk) -> None:
    reply = await desk.ann.post(f"tables/{desk.table}/preferences", form="")
    assert reply.data["id"] is None
    assert reply.data["sort"] == "id"


async def test_titled_views_stand_beside_the_untitled_one(desk: Desk) -> None:
    path = f"tables/{desk.table}/preferences"
    await desk.ann.post(path, {"title": "Cheap", "sort": "price", "search_string": "x"})
    await desk.ann.post(path, {"title": "By name", "sort": "title"})
    for ann in (desk.ann, desk.ann.v1()):
        titled = await ann.get(f"preferences/{desk.table}")
        assert [view["title"] for view in titled.json] == ["By name", "Cheap"]
    assert (await desk.ann.get(f"{path}?title=Cheap")).data["search_string"] == "x"
    assert (await desk.ann.get(f"{path}?newTitle=Cheap")).data["sort"] == "price"
    assert (await desk.ann.get(path)).data["sort"] == "id"
    assert (await desk.bob.get(f"preferences/{desk.table}")).json == []


async def test_a_view_is_deleted_by_id_or_title_and_only_by_its_user(desk: Desk) -> None:
    path = f"tables/{desk.table}/preferences"
    stored = (await desk.ann.post(path, {"sort": "price"})).data
    await desk.ann.post(path, {"title": "Cheap"})
    reply = await desk.bob.send("DELETE", path, json={"id": stored["id"]})
    assert reply.json["success"] is False
    reply = await desk.bob.send("DELETE", path, json={"id": stored["id"], "user": desk.ann_id})
    assert reply.status == 403
    reply = await desk.ann.send("DELETE", path)
    assert reply.status == 400
    assert "title" in reply.json["error"]["message"]
    reply = await desk.ann.send("DELETE", path, json={"title": "Cheap", "table_name": desk.table})
    assert reply.json["success"] is True
    reply = await desk.ann.send("DELETE", path, form=f"user={desk.ann_id}&id={stored['id']}")
    assert reply.json["success"] is True
    assert (await desk.ann.get(path)).data["sort"] == "id"
    assert (await desk.ann.get(f"preferences/{desk.table}")).json == []


async def test_a_sort_column_that_is_gone_falls_back_to_the_key(api: Api, desk: Desk) -> None:
    path = f"tables/{desk.table}/preferences"
    await desk.ann.post(path, {"sort": "price"})
    await api.delete(f"tables/{desk.table}/columns/price")
    assert (await desk.ann.get(path)).data["sort"] == "id"


async def test_preferences_of_a_hidden_table_and_a_wrong_direction_are_refused(
    api: Api, desk: Desk, unique: str
) -> None:
    hidden = await api.make_table(f"hidden_{unique}")
    assert (await desk.ann.get(f"tables/{hidden}/preferences")).status == 403
    assert (await desk.ann.post(f"tables/{hidden}/preferences", {"sort": "id"})).status == 403
    assert (await api.get("tables/nowhere/preferences")).status == 404
    reply = await desk.ann.post(f"tables/{desk.table}/preferences", {"sort_order": "UP"})
    assert reply.status == 400
    assert reply.json["error"]["message"] == 'sort_order must be ASC or DESC, not "UP"'


async def test_a_bookmark_of_a_table_saves_its_view_and_both_go_together(desk: Desk) -> None:
    reply = await desk.ann.post(
        "bookmarks", {"title": "Drafts", "table_name": desk.table, "status": "2"}
    )
    bookmark = reply.data
    assert bookmark["url"] == f"tables/{desk.table}/pref/Drafts"
    assert (bookmark["section"], bookmark["user"]) == ("search", desk.ann_id)
    [view] = (await desk.ann.get(f"preferences/{desk.table}")).json
    assert (view["title"], view["status"]) == ("Drafts", "2")
    assert (await desk.ann.delete(f"bookmarks/{bookmark['id']}")).json["success"] is True
    assert (await desk.ann.get(f"preferences/{desk.table}")).json == []


async def test_deleting_a_bookmark_by_the_row_route_forgets_its_view_too(desk: Desk) -> None:
    body = {"title": "Old", "table_name": desk.table}
    kept = (await desk.bob.post("bookmarks", body)).data
    bookmark = (await desk.ann.post("bookmarks", body)).data
    reply = await desk.ann.delete(f"tables/directus_bookmarks/rows/{bookmark['id']}?soft=1")
    assert reply.json["success"] is True
    assert (await desk.ann.get(f"preferences/{desk.table}")).json == []
    await desk.ann.delete(f"tables/directus_bookmarks/rows/{kept['id']}")
    assert len((await desk.bob.get(f"preferences/{desk.table}")).json) == 1


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_bookmarks_are_listed_read_and_changed(desk: Desk, version: str) -> None:
    ann = desk.ann if version == "1.1" else desk.ann.v1()
    key = "data" if version == "1.1" else "rows"
    body = {"title": "Home", "url": "/home", "section": "other", "user": 1}
    created = (await ann.post("bookmarks", body)).json
    bookmark = created["data"] if version == "1.1" else created
    assert bookmark["user"] == desk.ann_id
    for path in ("bookmarks", "bookmarks/self", f"bookmarks/user/{desk.ann_id}"):
        listed = (await ann.get(path)).json
        assert [row["id"] for row in listed[key]] == [bookmark["id"]], path
    one = (await ann.get(f"bookmarks/{bookmark['id']}")).json
    assert (one["data"] if version == "1.1" else one)["title"] == "Home"
    reply = await ann.put(f"bookmarks/{bookmark['id']}", {"title": "House"})
    changed = reply.json["data"] if version == "1.1" else reply.json
    assert (changed["title"], changed["url"]) == ("House", "/home")
    assert (await desk.bob.get("bookmarks")).data == []
    assert (await desk.bob.get(f"bookmarks/user/{desk.ann_id}")).data == []
    assert (await desk.bob.get(f"bookmarks/{bookmark['id']}")).data == []
    assert (await desk.bob.put(f"bookmarks/{bookmark['id']}", {"title": "Mine"})).status == 404


async def test_a_bookmark_is_deleted_by_its_user_only(api: Api, desk: Desk) -> None:
    bookmark = (await desk.ann.post("bookmarks", {"title": "Home", "url": "/"})).data
    for caller in (desk.bob, api):
        reply = await caller.delete(f"bookmarks/{bookmark['id']}")
        assert reply.status == 200
        assert reply.json["success"] is False
        assert reply.json["error"]["message"] == "bookmark_not_found"
    assert (await desk.ann.get(f"bookmarks/{bookmark['id']}")).data["title"] == "Home"
    reply = await api.v1().delete("bookmarks/999999")
    assert (reply.json["success"], reply.json["message"]) == (False, "bookmark_not_found")
    reply = await api.delete("bookmarks/x", headers={"Accept": "application/problem+json"})
    assert (reply.status, reply.json["detail"]) == (404, "bookmark_not_found")


async def test_a_saved_view_without_a_title_is_refused(desk: Desk) -> None:
    reply = await desk.ann.post("bookmarks", {"table_name": desk.table})
    assert reply.status == 400
    assert (await desk.ann.get("bookmarks")).data == []
