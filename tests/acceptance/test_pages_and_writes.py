"""Pages, counts, suggestions, upserts, bulk changes, quiet entries, automatic columns."""

from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import Api, Reply

from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")


def rows_of(reply: Reply) -> Any:
    """The rows of either version."""
    assert reply.status == 200, reply.json
    return reply.json["data"] if "data" in reply.json else reply.json["rows"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stock(api: Api) -> str:
    """Nine rows in use, one draft, one deleted."""
    table = await api.make_table(f"stock_{uuid4().hex[:8]}", title="VARCHAR:40", n="INT")
    rows = [{"title": f"Thing {n}", "n": n % 4, "active": 1} for n in range(1, 10)]
    rows += [{"title": "Draft", "n": 5, "active": 2}, {"title": "Gone", "n": 5, "active": 0}]
    assert (await api.post(f"tables/{table}/rows/bulk", {"rows": rows})).status == 200
    return table


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────


def links(reply: Reply) -> dict[str, str]:
    """Where the Link header leads, by relation, relative to the server."""
    found: dict[str, str] = {}
    for part in reply.headers.get("Link", "").split(", "):
        if part:
            address, _, rel = part.partition(">; rel=")
            found[rel.strip('"')] = address.lstrip("<")
    return found


async def walk(api: Api, path: str) -> list[list[int]]:
    pages: list[list[int]] = []
    following: str | None = path
    while following is not None:
        reply = await api.get(following)
        pages.append([row["id"] for row in rows_of(reply)])
        address = links(reply).get("next")
        following = None if address is None else address[address.index("/api/") :]
        assert len(pages) < 20
    return pages


BY_THREE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
WALKS = [
    ("by offset", "limit=3", [*BY_THREE, []]),
    ("by offset from a place", "limit=4&offset=2", [[3, 4, 5, 6], [7, 8, 9]]),
    ("by page", "perPage=5&currentPage=0", [[1, 2, 3, 4, 5], [6, 7, 8, 9]]),
    ("by cursor", "limit=4&cursor=start", [[1, 2, 3, 4], [5, 6, 7, 8], [9]]),
    ("by cursor in another order", "limit=4&cursor=start&orders[n]=DESC&orders[id]=DESC",
     [[7, 3, 6, 2], [9, 5, 1, 8], [4]]),
]  # fmt: skip


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize(("query", "pages"), [w[1:] for w in WALKS], ids=[w[0] for w in WALKS])
async def test_links_lead_through_every_page(
    api: Api, stock: str, version: str, query: str, pages: list[list[int]]
) -> None:
    assert await walk(api, f"/api/{version}/tables/{stock}/rows?{query}") == pages


async def test_a_page_knows_the_one_before_and_the_first(api: Api, stock: str) -> None:
    found = links(await api.get(f"tables/{stock}/rows?limit=2&offset=4&filters[n][gt]=0"))
    assert set(found) == {"next", "prev", "first"}
    assert all("filters" in address for address in found.values())


async def test_a_cursor_keeps_its_place_while_rows_come_and_go(api: Api, unique: str) -> None:
    table = await api.make_table(f"moving_{unique}", n="INT")
    rows = [{"n": n, "active": 1} for n in range(6)]
    await api.post(f"tables/{table}/rows/bulk", {"rows": rows})
    path = f"tables/{table}/rows?limit=2&orders[id]=DESC"
    by_cursor, by_offset = await api.get(f"{path}&cursor=start"), await api.get(path)
    await api.post(f"tables/{table}/rows", {"n": 6, "active": 1})
    address = links(by_cursor)["next"]
    following = await api.get(address[address.index("/api/") :])
    assert [row["id"] for row in following.data] == [4, 3]
    address = links(by_offset)["next"]
    shifted = await api.get(address[address.index("/api/") :])
    assert [row["id"] for row in shifted.data] == [5, 4]  # why there are cursors


COUNTS = [
    ("", None, 11, 11),
    ("count=exact", "exact", 11, 11),
    ("count=estimated", "exact", 11, 11),  # they are kept: nothing to estimate
    ("count=none", "none", None, 2),  # 1.0 always has a total: then of this page
]


@pytest.mark.parametrize(
    ("query", "said", "total", "old_total"), COUNTS, ids=[c[0] or "none" for c in COUNTS]
)
async def test_the_answer_says_how_its_counts_came_about(
    api: Api, stock: str, query: str, said: str | None, total: int | None, old_total: int
) -> None:
    meta = (await api.get(f"tables/{stock}/rows?limit=2&{query}")).json["meta"]
    assert (meta.get("count"), meta.get("total_entries"), meta["total"]) == (said, total, 2)
    old = (await api.v1().get(f"tables/{stock}/rows?limit=2&{query}")).json
    assert (old.get("count"), old["total"]) == (said, old_total)


async def test_an_unknown_way_of_counting_is_refused(api: Api, stock: str) -> None:
    reply = await api.get(f"tables/{stock}/rows?count=all")
    assert (reply.status, reply.json["error"]["field"]) == (400, "count")


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_single_preview_and_meta(api: Api, stock: str, version: str) -> None:
    caller = api if version == "1.1" else api.v1()
    path = f"tables/{stock}/rows"
    first = (await caller.get(f"{path}?single=1&filters[n]=3")).json
    row = first["data"] if version == "1.1" else first
    assert (row["id"], row["title"]) == (3, "Thing 3")
    assert len(rows_of(await caller.get(f"{path}?preview=1"))) == 11
    assert len(rows_of(await caller.get(f"{path}?status=0,2"))) == 2
    bare = (await caller.get(f"{path}?meta=0&limit=1")).json
    assert "meta" not in bare


# ── suggestions ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_typeahead_suggests_at_most_fifty(api: Api, unique: str, version: str) -> None:
    caller = api if version == "1.1" else api.v1()
    table = await api.make_table(f"words_{unique}", word="VARCHAR:20", more="VARCHAR:20")
    rows = [{"word": f"Apple {n}", "more": "pie", "active": 1} for n in range(55)]
    await api.post(f"tables/{table}/rows/bulk", {"rows": [*rows, {"word": "Pear", "active": 1}]})
    found = (await caller.get(f"tables/{table}/typeahead?columns=word,more&q=aPPle+7")).json
    assert [(row["value"], row["id"]) for row in found] == [("Apple 7 pie", 8)]
    assert set(found[0]["tokens"]) >= {"Apple 7", "pie"}
    assert len((await caller.get(f"tables/{table}/typeahead?columns=word&q=app")).json) == 50
    refused = await caller.get(f"tables/{table}/typeahead?columns=shoe&q=a")
    assert (refused.status, "shoe" in refused.json["error"]["message"]) == (400, True)


# ── writes ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_a_key_in_the_body_decides_between_create_and_update(
    api: Api, unique: str, version: str
) -> None:
    caller = api if version == "1.1" else api.v1()
    path = f"tables/{await api.make_table(f'upsert_{unique}', word='VARCHAR:9', n='INT')}/rows"
    await caller.post(path, {"id": 41, "word": "new", "n": 1})
    await caller.post(path, {"id": 41, "n": 2})
    row = (await api.get(f"{path}/41")).data
    assert (row["word"], row["n"]) == ("new", 2)
    following = (await api.post(path, {"word": "next"})).data
    assert following["id"] == 42  # the sequence has moved on
    mixed = {"rows": [{"id": 41, "n": 3}, {"word": "third", "n": 3}]}
    created = await caller.post(f"{path}/bulk", mixed)
    assert [(row["id"], row["n"]) for row in rows_of(created)] == [(41, 3), (43, 3)]


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_rows_are_changed_in_bulk_by_every_address(
    api: Api, unique: str, version: str, method: str
) -> None:
    caller = api if version == "1.1" else api.v1()
    path = f"tables/{await api.make_table(f'some_{unique}', n='INT')}/rows"
    await api.post(f"{path}/bulk", {"rows": [{"n": n} for n in range(4)]})
    await caller.send(method, f"{path}/bulk", json={"rows": [{"id": 1, "n": 7}, {"id": 2, "n": 7}]})
    await caller.send("PUT", path, json=[{"id": 3, "n": 8}])
    await caller.send("PUT", path, json={"id": 4, "n": 9})
    await caller.send(method, f"{path}/bulk", form="rows[0][id]=4&rows[0][n]=10")
    assert [row["n"] for row in (await api.get(f"{path}?preview=1")).data] == [7, 7, 8, 10]
    missing = await caller.send(
        method, f"{path}/bulk", json={"rows": [{"id": 1, "n": 1}, {"id": 9}]}
    )
    assert missing.status == 404
    keyless = await caller.send(method, f"{path}/bulk", json={"rows": [{"n": 1}]})
    assert keyless.json["error"]["message"].startswith("Row without primary key field")
    assert (await api.get(f"{path}/1")).data["n"] == 7


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize("body", [{}, {"json": {}}, {"form": ""}, {"json": {"rows": []}}])
async def test_a_bulk_delete_that_names_no_rows_deletes_none(
    api: Api, stock: str, version: str, body: dict[str, Any]
) -> None:
    caller = api if version == "1.1" else api.v1()
    reply = await caller.delete(f"tables/{stock}/rows/bulk", **body)
    assert (reply.status, reply.json["success"]) == (400, False)
    assert "Rows no specified" in reply.json["error"]["message"]
    assert len((await api.get(f"tables/{stock}/rows?preview=1")).data) == 11


async def test_a_bulk_delete_answers_the_keys(api: Api, unique: str) -> None:
    table = await api.make_table(f"less_{unique}", n="INT")
    await api.post(f"tables/{table}/rows/bulk", {"rows": [{"n": n} for n in range(3)]})
    reply = await api.delete(f"tables/{table}/rows/bulk", form="rows[0][id]=1&rows[1][id]=3")
    assert reply.json["meta"] == {"table": table, "ids": [1, 3]}
    assert [row["id"] for row in (await api.get(f"tables/{table}/rows?preview=1")).data] == [2]


async def test_soft_delete_keeps_and_hard_delete_removes(api: Api, unique: str) -> None:
    table = await api.make_table(f"soft_{unique}", n="INT")
    path = f"tables/{table}/rows"
    await api.post(f"{path}/bulk", {"rows": [{"n": n, "active": 1} for n in range(3)]})
    assert (await api.delete(f"{path}/1?soft=1")).json["success"] is True
    assert (await api.put(f"{path}/2", {"active": 0})).data["active"] == 0  # as npm 1.1.3 does
    assert (await api.delete(f"{path}/3")).json["success"] is True
    left = (await api.get(f"{path}?status=0")).data
    assert [row["id"] for row in left] == [1, 2]
    assert (await api.get(f"{path}/3")).data == []
    entries = (await api.get(f"activity?filters[table_name]={table}&filters[action]=DELETE")).data
    assert {entry["row_id"] for entry in entries} == {1, 2, 3}
    await api.delete(f"tables/{table}/columns/active")
    refused = await api.delete(f"{path}/1?soft=1")
    assert refused.json["error"]["message"].startswith("Cannot soft delete.")


async def whole_feed(api: Api, query: str) -> list[dict[str, Any]]:
    """From its beginning: an answer looks through some of it and says how far it got."""
    found: list[dict[str, Any]] = []
    position = 0
    while True:
        answer = (await api.get(f"activity?after={position}&limit=1000&{query}")).json
        found += answer["data"]
        if answer["meta"]["position"] == position:
            return found
        position = answer["meta"]["position"]


async def test_a_skipped_entry_is_quiet_and_leaves_no_hole(api: Api, unique: str) -> None:
    table = await api.make_table(f"quiet_{unique}", n="INT")
    path = f"tables/{table}/rows"
    await api.post(path, {"n": 1})
    await api.post(f"{path}?skip_activity_log=1", {"n": 2})
    await api.put(f"{path}/1?skip_activity_log=1", {"n": 3})
    await api.put(f"{path}/1", {"n": 4})
    shown = (await api.get(f"activity?filters[table_name]={table}")).data
    assert [entry["action"] for entry in shown] == ["UPDATE", "ADD"]
    quiet = (await api.get(f"activity?filters[table_name]={table}&filters[quiet]=1")).data
    assert [entry["action"] for entry in quiet] == ["UPDATE", "ADD"]
    assert {entry["id"] for entry in quiet}.isdisjoint(entry["id"] for entry in shown)
    named = f"filters[table_name]={table}&columns=position,quiet,action"

    async def told() -> bool:
        return len(await whole_feed(api, named)) == 4

    await eventually(told, what="four entries in the feed")
    entries = await whole_feed(api, named)
    assert [bool(entry["quiet"]) for entry in entries] == [False, True, True, False]
    first, last = entries[0]["position"], entries[-1]["position"]
    between = (await api.get(f"activity?after={first - 1}&limit=1000&columns=position")).data
    positions = [entry["position"] for entry in between]
    assert positions[: last - first + 1] == list(range(first, last + 1))


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_the_server_fills_in_who_and_when(api: Api, unique: str, version: str) -> None:
    table = await api.make_table(
        f"auto_{unique}", n="INT", maker="INT", changer="INT", made="DATETIME", changed="DATETIME"
    )
    columns = {"user_create_column": "maker", "user_update_column": "changer",
               "date_create_column": "made", "date_update_column": "changed"}  # fmt: skip
    assert (await api.put(f"tables/{table}", columns)).status == 200
    group = await make_group(
        api, f"makers {unique}", {table: {"allow_view": 2, "allow_add": 1, "allow_edit": 2}}
    )
    maker, maker_id = await make_user(api, f"maker{unique}", group)
    changer, changer_id = await make_user(api, f"changer{unique}", group)
    if version == "1":
        maker, changer = maker.v1(), changer.v1()
    path = f"tables/{table}/rows"
    forged = {"n": 1, "maker": 1, "changer": 1, "made": "2001-01-01 00:00:00"}
    await maker.post(path, forged)
    row = (await api.get(f"{path}/1")).data
    assert (row["maker"], row["changer"]) == (maker_id, maker_id)
    assert row["made"] == row["changed"] > "2020"
    await changer.put(f"{path}/1", {**forged, "n": 2})
    after = (await api.get(f"{path}/1")).data
    assert (after["maker"], after["changer"], after["n"]) == (maker_id, changer_id, 2)
    assert (after["made"], after["changed"] >= row["changed"]) == (row["made"], True)
    audit = (await api.get(f"tables/{table}/meta/1")).data
    assert (audit["created_by"], audit["updated_by"]) == (maker_id, changer_id)
