"""Pages of lists, and the small questions about rows."""

import re
from typing import Any

import pytest
from yarl import URL

from shared.database import Database
from shared.identity import Principal
from shared.service import IDENTITY_HEADER
from shared.sql import FixedSql, Sql, raw
from shared.testing import ADMINISTRATOR, SIGNER, Client

Shop = tuple[Client, Database]
CLERK = Principal(user=7, group=5)


async def page(client: Client, path: str) -> tuple[Any, dict[str, str]]:
    """The answer, and the addresses in its Link header."""
    identity = {IDENTITY_HEADER: SIGNER.sign(client.principal)}
    async with client.http.get(path, headers=identity) as response:
        assert response.status == 200, await response.text()
        links = {str(rel): URL(str(link["url"])).path_qs for rel, link in response.links.items()}
        return await response.json(), links


def ids(answer: Any) -> list[int]:
    return [row["id"] for row in answer.get("data", answer.get("rows"))]


async def walk(client: Client, path: str, most: int = 20) -> list[list[int]]:
    """The ids of all pages from this one on."""
    pages: list[list[int]] = []
    next_: str | None = path
    while next_ is not None:
        answer, links = await page(client, next_)
        pages.append(ids(answer))
        next_ = links.get("next")
        assert len(pages) < most
    return pages


ALL = "/api/1.1/tables/groceries/rows?preview=1&depth=0"


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_links_lead_through_the_pages(shop: Client, version: str) -> None:
    path = f"/api/{version}/tables/groceries/rows?preview=1&depth=0"
    assert await walk(shop, f"{path}&perPage=4") == [[1, 2, 3, 4], [5, 6]]
    assert await walk(shop, f"{path}&limit=4&offset=1") == [[2, 3, 4, 5], [6]]
    _, links = await page(shop, f"{path}&perPage=2&currentPage=1")
    assert "currentPage=2" in links["next"]
    assert "currentPage=0" in links["prev"]
    assert "currentPage=0" in links["first"]


async def test_a_link_keeps_the_other_parameters(shop: Client) -> None:
    _, links = await page(shop, f"{ALL}&limit=1&filters[stock][gt]=1&ids[]=1&ids[]=4")
    answer, _ = await page(shop, links["next"])
    assert ids(answer) == [4]


async def test_a_short_page_has_no_next(shop: Client) -> None:
    _, links = await page(shop, ALL)
    assert links == {}
    _, links = await page(shop, f"{ALL}&limit=0")
    assert links == {}


@pytest.mark.parametrize(
    "order",
    [
        "",
        "orders[id]=DESC",
        "orders[title]=ASC",
        "orders[title]=DESC",
        "orders[stock]=ASC",
        "orders[stock]=DESC",
        "orders[fresh]=DESC&orders[stock]=ASC",
        "orders[price]=DESC",
        "orders[weight]=ASC",
        "orders[sold]=DESC&orders[seen]=ASC",
        "orders[baked]=ASC&orders[code]=DESC",
        "orders[picture]=ASC&orders[facts]=DESC&orders[opens]=ASC",
    ],
)
async def test_a_cursor_walks_in_any_order(shop: Client, order: str) -> None:
    """The same rows in the same order as one large page, nulls and all."""
    answer, _ = await page(shop, f"{ALL}&{order}")
    for size in (1, 2, 4):
        pages = await walk(shop, f"{ALL}&{order}&limit={size}&cursor=start")
        assert [row for some in pages for row in some] == ids(answer)


async def test_the_answer_names_the_next_cursor_and_no_helping_fields(shop: Client) -> None:
    answer, links = await page(shop, f"{ALL}&limit=2&cursor=start&columns=id")
    assert answer["data"] == [{"id": 1}, {"id": 2}]
    assert URL(links["next"]).query["cursor"] == answer["meta"]["next_cursor"]
    answer, links = await page(shop, f"{ALL}&limit=9&cursor=start")
    assert (answer["meta"]["next_cursor"], links) == (None, {})
    answer, _ = await page(shop, "/api/1/tables/makers/rows?limit=2&cursor=start&depth=0")
    assert answer["next_cursor"]


async def test_a_cursor_stays_where_it_was_when_rows_come(own_shop: Shop) -> None:
    client, database = own_shop
    _, links = await page(client, f"{ALL}&limit=2&cursor=start&orders[id]=DESC")
    await database.execute(raw("INSERT INTO groceries (title) VALUES ('new')"))
    answer, _ = await page(client, links["next"])
    assert ids(answer) == [4, 3]


async def test_a_page_deep_inside_is_found_by_the_index_of_its_order(
    own_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = own_shop
    for statement in (
        raw("ALTER TABLE notes ADD sort int"),
        raw("INSERT INTO notes (active, sort) SELECT 1, n FROM generate_series(1, 20000) n"),
        raw("SELECT directoire.index_lists('notes')"),
        raw("ANALYZE notes"),
    ):
        await database.execute(statement)
    sent: list[Sql] = []
    fetch = Database.fetch

    async def remembering(self: Database, sql: Sql) -> list[Any]:
        sent.append(sql)
        return await fetch(self, sql)

    monkeypatch.setattr(Database, "fetch", remembering)
    path = "/api/1.1/tables/notes/rows?limit=10&cursor="
    _, links = await page(client, f"{path}start&filters[sort]=10000")
    assert links == {}
    answer, _ = await page(client, f"{path}start&filters[sort][gte]=10000&limit=2")
    sent.clear()
    answer, _ = await page(client, path + answer["meta"]["next_cursor"])
    assert [row["sort"] for row in answer["data"]] == list(range(10002, 10012))
    text, values = sent[-1].render()
    explain = FixedSql((f"EXPLAIN (ANALYZE, TIMING off) {text}",), tuple(values))
    plan = "\n".join(row[0] for row in await database.fetch(explain))
    passed_over = [int(rows) for rows in re.findall(r"Rows Removed by Filter: ([0-9]+)", plan)]
    assert max(passed_over, default=0) < 100, plan


@pytest.mark.parametrize("cursor", ["x", "%00", "a" * 5000, "W10", "ü", "WyJpZCJdLFsiMSJd"])
async def test_what_is_no_cursor_is_refused(shop: Client, cursor: str) -> None:
    status, answer = await shop.get(f"tables/groceries/rows?cursor={cursor}")
    assert status == 400, answer


async def test_a_cursor_of_another_order_is_refused(shop: Client) -> None:
    answer, _ = await page(shop, f"{ALL}&limit=1&cursor=start")
    cursor = answer["meta"]["next_cursor"]
    status, answer = await shop.get(f"tables/groceries/rows?cursor={cursor}&sort=title")
    assert (status, answer["error"]["field"]) == (400, "cursor")
    status, _ = await shop.get("tables/groceries/rows?cursor=start&offset=3")
    assert status == 400
    status, _ = await shop.get("tables/pairs/rows?cursor=start")
    assert status == 400


async def test_counts_say_how_they_came_about(shop: Client) -> None:
    answer, _ = await page(shop, f"{ALL}&count=exact")
    assert (answer["meta"]["count"], answer["meta"]["total_entries"]) == ("exact", 6)
    answer, _ = await page(shop, f"{ALL}&count=estimated")
    assert answer["meta"]["count"] == "exact"  # it is kept: nothing to estimate
    answer, _ = await page(shop, f"{ALL}&count=none")
    assert answer["meta"]["count"] == "none"
    assert "total_entries" not in answer["meta"]
    answer, _ = await page(shop, ALL)
    assert "count" not in answer["meta"]
    answer, _ = await page(shop, "/api/1/tables/groceries/rows?count=exact&limit=1")
    assert (answer["count"], answer["total"]) == ("exact", 6)
    status, _ = await shop.get("tables/groceries/rows?count=all")
    assert status == 400


async def test_past_a_budget_counts_are_estimates(
    own_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = own_shop
    monkeypatch.setattr("shared.rows.plan.BUDGET", 3)
    await database.execute(
        raw("INSERT INTO notes (active, text, author) SELECT 1, 'x', 7 FROM generate_series(1, 9)")
    )
    clerk = client.as_(CLERK)
    answer, _ = await page(clerk, "/api/1.1/tables/notes/rows?limit=1")
    assert answer["meta"]["count"] == "estimated"
    answer, _ = await page(clerk, "/api/1.1/tables/notes/rows?limit=1&count=exact")
    assert (answer["meta"]["count"], answer["meta"]["total_entries"]) == ("exact", 12)


# ── typeahead and audit ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_typeahead_suggests(shop: Client, version: str) -> None:
    path = f"/api/{version}/tables/groceries/typeahead?columns=title,stock&q=BR"
    answer, _ = await page(shop, path)
    assert answer == [{"value": "Bread 5", "tokens": ["Bread", "5"], "id": 1}]
    answer, _ = await page(shop, "/api/1.1/tables/groceries/typeahead?columns=title&q=milk")
    assert answer == [{"value": "Milk 2%", "tokens": ["Milk 2%", "Milk", "2%"], "id": 2}]


async def test_typeahead_obeys_rights(shop: Client) -> None:
    clerk = shop.as_(CLERK)
    answer, _ = await page(clerk, "/api/1.1/tables/notes/typeahead?columns=text&q=e")
    assert [row["id"] for row in answer] == [1]
    assert (await clerk.get("tables/notes/typeahead?columns=secret&q=a"))[0] == 400
    assert (await clerk.get("tables/foreign_rows/typeahead?columns=name&q=o"))[0] == 403
    assert (await shop.get("tables/groceries/typeahead?q=x"))[0] == 400


async def test_audit_tells_who_and_when(own_shop: Shop) -> None:
    client, _ = own_shop
    _, answer = await client.post("tables/notes/rows", {"text": "new", "active": 1})
    key = answer["data"]["id"]
    user = ADMINISTRATOR.user
    await client.send("PUT", f"tables/notes/rows/{key}", json={"text": "newer"})
    _, answer = await client.get(f"tables/notes/meta/{key}")
    data = answer["data"]
    assert set(data) == {"created_on", "created_by", "updated_on", "updated_by"}
    assert (data["created_by"], data["updated_by"]) == (user, user)
    assert data["updated_on"] >= data["created_on"]
    _, bare = await client.get(f"/api/1/tables/notes/meta/{key}")
    assert bare == data
    assert (await client.as_(CLERK).get(f"tables/notes/meta/{key}"))[1]["data"] == []
    assert (await client.get("tables/notes/meta/99"))[1]["data"] == []
