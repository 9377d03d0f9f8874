"""GET tables/<t>/rows: which rows, in which order, with which counts."""

from dataclasses import dataclass
from typing import Any

import pytest
from yarl import URL

from shared.database import Database
from shared.service import IDENTITY_HEADER
from shared.sql import raw
from shared.testing import ADMINISTRATOR, SIGNER, Client


@dataclass(frozen=True)
class Case:
    name: str
    query: str
    ids: list[int]


async def ids(shop: Client, query: str, table: str = "groceries") -> list[int]:
    status, answer = await shop.get(f"tables/{table}/rows?{query}")
    assert status == 200, answer
    rows: list[dict[str, Any]] = answer["data"]
    return [row["id"] for row in rows]


ANY = "preview=1&"
LOW = [1, 2, 4, 5, 6]  # titles before Z


@pytest.mark.parametrize(
    "case",
    [
        Case("active rows by key are the default", "", [1, 2, 3, 4]),
        Case("a status list opens up", "status=1,2", [1, 2, 3, 4, 5]),
        Case("a status array opens up", "status[]=0&status[1]=2", [5, 6]),
        Case("preview ignores the status", "preview=1", [1, 2, 3, 4, 5, 6]),
        Case("an unknown status matches nothing", "status=7", []),
        Case("a status that is no number matches nothing", "status=x", []),
        Case("perPage and currentPage count from 0", "perPage=2&currentPage=1", [3, 4]),
        Case("perPage wins over limit and offset", "perPage=2&limit=1&offset=3", [1, 2]),
        Case("currentPage alone steps by the default", "currentPage=1", []),
        Case("limit and offset", "limit=2&offset=1", [2, 3]),
        Case("limit 0 is no rows", "limit=0", []),
        Case("a negative limit is all", "limit=-1", [1, 2, 3, 4]),
        Case("sort descends by sort_order", "sort=id&sort_order=DESC", [4, 3, 2, 1]),
        Case("directions in any case", "sort=id&sort_order=desc", [4, 3, 2, 1]),
        Case("orderBy with orderDirection", "orderBy=id&orderDirection=DESC", [4, 3, 2, 1]),
        Case("orders in brackets", "orders[id]=DESC", [4, 3, 2, 1]),
        Case("order, the other spelling", "order[stock]=DESC&order[id]=ASC", [4, 1, 3, 2]),
        Case("sort wins over order", "sort=id&order[id]=DESC", [1, 2, 3, 4]),
        Case("nulls come first going up", "sort=stock", [2, 3, 1, 4]),
        Case("text sorts without regard to case", "sort=title&sort_order=DESC", [3, 2, 1, 4]),
        Case("ids as words", "ids=3,1", [1, 3]),
        Case("ids as an array", "ids[]=3&ids[]=1", [1, 3]),
        Case("ids that are no numbers find nothing", "ids=a,2", [2]),
        Case("in one column", "in[title]=Bread,wine", [1, 3]),
        Case("in two columns", "in[title]=Bread,wine&in[stock]=5", [1]),
        Case("q is part of a text in any case", "q=BREAD", [1]),
        Case("q looks into numbers", "q=12.0", [3]),
        Case("a percent sign in q is only one", "q=2%25", [2]),
        Case("an underscore in q is only one", "q=_read", []),
        Case("search without q", "search=wine", [3]),
        Case("search is not asked beside q", "q=bread&search=wine", [1]),
        Case("unknown parameters are ignored", "skip=2&foo=bar&depth=0", [1, 2, 3, 4]),
    ],
    ids=lambda case: case.name,
)
async def test_lists(shop: Client, case: Case) -> None:
    assert await ids(shop, case.query) == case.ids


@pytest.mark.parametrize(
    "case",
    [
        Case("without operator equal", "filters[title]=Bread", [1]),
        Case("eq is exact", "filters[title][eq]=bread", []),
        Case("= is eq", "filters[stock][%3D]=5", [1, 5]),
        Case("numbers as text", "filters[stock][eq]= 5 ", [1, 5]),
        Case("a number with a fraction equals no whole one", "filters[stock]=5.5", []),
        Case(
            "a number beyond the column compares",
            "filters[stock][lt]=99999999999",
            [1, 3, 4, 5, 6],
        ),
        Case("a decimal beyond the column compares", "filters[price][lt]=1e9", [1, 2, 3, 5, 6]),
        Case("a float beyond the column compares", "filters[weight][lt]=1e99", [1, 2]),
        Case("a text longer than the column compares", "filters[title][lt]=" + "Z" * 50, LOW),
        Case("a number beyond every type too", "filters[id][gt]=1e30", []),
        Case("what is no number equals nothing", "filters[stock]=abc", []),
        Case("what is no number is not unequal either", "filters[stock][neq]=abc", []),
        Case("neq leaves NULL out", "filters[stock][neq]=5", [3, 4, 6]),
        Case("!= is neq", "filters[stock][!%3D]=5", [3, 4, 6]),
        Case("<> is neq", "filters[stock][<>]=5", [3, 4, 6]),
        Case("lt", "filters[stock][lt]=5", [3, 6]),
        Case("< is lt", "filters[stock][<]=5", [3, 6]),
        Case("<= is lte", "filters[stock][<%3D]=5", [1, 3, 5, 6]),
        Case("lte", "filters[stock][lte]=5", [1, 3, 5, 6]),
        Case("gt", "filters[price][gt]=2.50", [3, 5]),
        Case("> is gt", "filters[price][>]=2.50", [3, 5]),
        Case("gte", "filters[price][gte]=2.5", [1, 3, 5]),
        Case(">= is gte", "filters[price][>%3D]=2.5", [1, 3, 5]),
        Case("in words", "filters[stock][in]=0,7,x", [3, 4]),
        Case("in an array", "filters[title][in][]=Bread&filters[title][in][]=wine", [1, 3]),
        Case("in nothing", "filters[title][in]=", []),
        Case("nin", "filters[stock][nin]=5,7", [3, 6]),
        Case("nin with what is no number", "filters[stock][nin]=5,x", []),
        Case("null", "filters[stock][null]=1", [2]),
        Case("nnull whatever the value", "filters[stock][nnull]=0", [1, 3, 4, 5, 6]),
        Case("contains in any case", "filters[title][contains]=BR", [1]),
        Case("like is contains", "filters[title][like]=e", [1, 3, 5]),
        Case("like takes % for itself", "filters[title][like]=2%25", [2]),
        Case("contains on a number", "filters[price][contains]=.50", [1, 6]),
        Case("ncontains", "filters[title][ncontains]=e", [2, 4, 6]),
        Case("nlike", "filters[title][nlike]=e", [2, 4, 6]),
        Case("between is inclusive", "filters[stock][between]=1,5", [1, 5, 6]),
        Case(
            "between as an array",
            "filters[stock][between][0]=1&filters[stock][between][1]=5",
            [1, 5, 6],
        ),
        Case("nbetween", "filters[stock][nbetween]=1,5", [3, 4]),
        Case("between dates", "filters[baked][between]=2024-02-01,2024-02-01", [1]),
        Case("empty is NULL or nothing", "filters[title][empty]=1", [4]),
        Case("empty of a number is NULL", "filters[stock][empty]=1", [2]),
        Case("nempty", "filters[title][nempty]=1", [1, 2, 3, 5, 6]),
        Case(
            "or, and binds tighter",
            "filters[stock]=7&filters[id]=4&filters[title][eq]=wine"
            "&filters[title][logical]=or",
            [3, 4],
        ),
        Case(
            "or works for every operator",
            "filters[stock][gt]=6&filters[title][contains]=fish&filters[title][logical]=OR",
            [4, 6],
        ),
        Case(
            "logical of the first is nothing",
            "filters[stock][eq]=7&filters[stock][logical]=or",
            [4],
        ),
        Case(
            "the same operator twice, the last wins",
            "filters[id][in]=1&filters[id][in]=2,3",
            [2, 3],
        ),
        Case("dates", "filters[baked]=2024-02-01", [1]),
        Case("a date against date and time", "filters[baked][gt]=2024-02-01 12:00:00", [2]),
        Case("what is no date", "filters[baked][gt]=yesterday", []),
        Case("date and time with T and Z", "filters[sold]=2024-02-01T10:00:00Z", [1]),
        Case("a zone is counted in", "filters[seen]=2024-02-01T11:00:00%2B01:00", [1]),
        Case("times", "filters[opens][lte]=08:00", [1]),
        Case("booleans as 0 and 1", "filters[fresh]=1", [1, 2]),
        Case("booleans as words", "filters[fresh]=False", [3]),
        Case("a boolean is not 5", "filters[fresh]=5", []),
        Case("bytes as base64", "filters[picture]=AP8=", [1]),
        Case("bytes hold no text", "filters[picture][contains]=a", []),
        Case("uuids", "filters[code]=00000000-0000-0000-0000-000000000001", [1]),
        Case("what is no uuid", "filters[code]=x", []),
        Case("json as text", 'filters[facts]={"a": 1}', [1]),
        Case("float4 equals what it shows", "filters[weight]=0.1", [1]),
        Case("a quote ends nothing", "filters[title]=x' OR '1'='1", []),
        Case("has one of many to many", "filters[labels][has]=1", [1, 2, 3]),
        Case("has two", "filters[labels][has]=2", [1, 3]),
        Case("has 0 means none", "filters[labels][has]=0", [4, 5, 6]),
        Case("nhas 0 means some", "filters[labels][nhas]=0", [1, 2, 3]),
        Case("nhas two", "filters[labels][nhas]=2", [2, 4, 5, 6]),
        Case("has what is no number", "filters[labels][has]=x", []),
        Case("empty relation", "filters[labels][empty]=1", [4, 5, 6]),
        Case("relation that is not empty", "filters[labels][nempty]=1", [1, 2, 3]),
        Case("related to all of", "filters[labels][all]=1,2", [1, 3]),
        Case("related to all of, one unknown", "filters[labels][all]=1,99", []),
        Case("has beside another filter", "filters[labels][has]=1&filters[stock]=5", [1]),
    ],
    ids=lambda case: case.name,
)  # fmt: skip
async def test_filters(shop: Client, case: Case) -> None:
    assert await ids(shop, ANY + case.query.replace(" ", "%20")) == case.ids


async def test_has_follows_one_to_many(shop: Client) -> None:
    assert await ids(shop, "filters[groceries][has]=2", "makers") == [1]
    assert await ids(shop, "filters[groceries][empty]=1", "makers") == [3]


@pytest.mark.parametrize(
    ("query", "status", "named"),
    [
        ("filters[nope]=1", 400, "nope"),
        ("filters[title][frobnicate]=1", 400, "frobnicate"),
        ("filters[title][logical]=or", 400, "title"),
        ("filters[title][eq]=x&filters[title][logical]=xor", 400, "title"),
        ("filters[title][has]=1", 400, "has"),
        ("filters[labels][eq]=1", 400, "eq"),
        ("filters[maker.name]=x", 400, "maker.name"),
        ("filters=x", 400, "filters"),
        ("filters[title][eq][]=x", 422, "title"),
        ("in[nope]=1", 400, "nope"),
        ("in[labels]=1", 400, "labels"),
        ("in=1", 400, "in"),
        ("sort=nope", 400, "nope"),
        ("sort=labels", 400, "labels"),
        ("orderBy=nope", 400, "nope"),
        ("orders[nope]=ASC", 400, "nope"),
        ("orders[id]=sideways", 400, "id"),
        ("limit=many", 400, "limit"),
        ("limit=10001", 400, "limit"),
        ("perPage=10001", 400, "perPage"),
        ("offset=-1", 400, "offset"),
        ("offset=99999999999999999999999", 400, "offset"),
        ("joins[makers][on][]=a&joins[makers][on][]=b", 400, "joins"),
        ("q[]=x", 422, "q"),
    ],
)
async def test_refuses_and_names(shop: Client, query: str, status: int, named: str) -> None:
    got, answer = await shop.get(f"tables/groceries/rows?{query}")
    assert got == status
    assert named in answer["error"]["message"]


async def test_a_relation_that_leads_nowhere_is_named(shop: Client) -> None:
    status, answer = await shop.get("tables/makers/rows?filters[lost][has]=1")
    assert status == 400
    assert "lost" in answer["error"]["message"]


async def test_the_1_1_envelope_counts_the_answer_and_the_table(shop: Client) -> None:
    _, answer = await shop.get("tables/groceries/rows?limit=2&filters[stock]=5")
    assert answer["meta"] == {
        "table": "groceries",
        "type": "collection",
        "total": 1,
        "Active": 4,
        "Draft": 1,
        "Delete": 1,
        "total_entries": 6,
    }


async def test_a_list_without_rows_has_counts_too(shop: Client) -> None:
    _, answer = await shop.get("tables/groceries/rows?ids=99")
    assert answer["data"] == []
    assert answer["meta"]["total"] == 0
    assert answer["meta"]["total_entries"] == 6


async def test_meta_can_be_left_out(shop: Client) -> None:
    _, answer = await shop.get("tables/makers/rows?meta=0&limit=1&depth=0")
    assert answer == {"data": [{"id": 1, "name": "Acme"}]}
    _, answer = await shop.get("tables/makers/rows/1?meta=0&depth=0")
    assert answer == {"data": {"id": 1, "name": "Acme"}}


async def test_the_1_0_envelope_is_flat(shop: Client) -> None:
    _, answer = await shop.get("/api/1/tables/groceries/rows?columns=id,title&perPage=1")
    assert answer == {
        "Active": 4,
        "Draft": 1,
        "Delete": 1,
        "total": 6,
        "rows": [{"id": 1, "title": "Bread"}],
    }
    _, answer = await shop.get("/api/1/tables/makers/rows?perPage=1&depth=0")
    assert answer == {"total": 3, "rows": [{"id": 1, "name": "Acme"}]}


async def test_a_filter_works_on_1_0_too(shop: Client) -> None:
    _, answer = await shop.get("/api/1/tables/makers/rows?filters[name]=Mill&depth=0")
    assert answer["rows"] == [{"id": 2, "name": "Mill"}]


async def test_single_is_the_first_match_as_an_item(shop: Client) -> None:
    _, answer = await shop.get("tables/makers/rows?single=1&sort=id&sort_order=DESC&depth=0")
    assert answer == {
        "meta": {"table": "makers", "type": "item"},
        "data": {"id": 3, "name": "Nobody"},
    }
    _, answer = await shop.get("tables/makers/rows?single=1&ids=99")
    assert answer["data"] == []


async def test_values_look_as_mysql_showed_them(shop: Client) -> None:
    _, answer = await shop.get("tables/groceries/rows/1?depth=0")
    assert answer["data"] == {
        "id": 1,
        "active": 1,
        "title": "Bread",
        "price": "2.50",
        "weight": 0.1,
        "stock": 5,
        "fresh": 1,
        "baked": "2024-02-01",
        "sold": "2024-02-01 10:00:00",
        "seen": "2024-02-01 10:00:00",
        "opens": "08:00:00",
        "picture": "AP8=",
        "facts": '{"a": 1}',
        "code": "00000000-0000-0000-0000-000000000001",
        "barcode": 9007199254740993,
        "maker_id": 1,
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("columns=title,id", {"title", "id"}),
        ("columns[]=title", {"title"}),
        ("columns_visible=title", {"title"}),
        ("columns=id&columns_visible=title", {"title", "id"}),
        ("columns=title,nope,labels", {"title", "labels"}),
        ("columns=nope", set[str]()),
    ],
)
async def test_columns_choose_what_is_shown(shop: Client, query: str, names: set[str]) -> None:
    _, answer = await shop.get(f"tables/groceries/rows?limit=1&{query}")
    assert set(answer["data"][0]) == names
    _, answer = await shop.get(f"tables/groceries/rows/1?{query}")
    assert set(answer["data"]) == names


@pytest.mark.parametrize("key", ["99", "x", "1.5", "99999999999999999999", "1%20or%201=1"])
async def test_a_missing_row_is_an_empty_list(shop: Client, key: str) -> None:
    assert await shop.get(f"tables/groceries/rows/{key}") == (
        200,
        {"meta": {"table": "groceries", "type": "item"}, "data": []},
    )
    assert await shop.get(f"/api/1/tables/groceries/rows/{key}") == (200, [])


async def test_a_draft_is_found_by_its_key(shop: Client) -> None:
    _, answer = await shop.get("tables/groceries/rows/5")
    assert answer["data"]["title"] == "Draft beer"


async def test_a_key_may_be_text(shop: Client) -> None:
    _, answer = await shop.get("tables/words/rows/a%2Fb")
    assert answer["data"] == {"word": "a/b", "meaning": "two letters"}


async def test_the_default_limit_is_the_setting(own_shop: tuple[Client, Database]) -> None:
    shop, database = own_shop
    await database.execute(
        raw(
            "INSERT INTO directus_settings (collection, name, value)"
            " VALUES ('global', 'rows_per_page', '2')"
        )
    )
    assert await ids(shop, "") == [1, 2]
    assert await ids(shop, "currentPage=1") == [3, 4]


async def test_a_table_nobody_adopted_is_read_and_counted(shop: Client) -> None:
    _, answer = await shop.get("tables/foreign_rows/rows")
    assert answer["meta"]["total_entries"] == 2
    _, answer = await shop.get("tables/pairs/rows")
    assert answer["data"] == []


async def test_a_list_cut_at_the_largest_answer_says_where_it_goes_on(
    own_shop: tuple[Client, Database],
) -> None:
    shop, database = own_shop
    await database.execute(raw("INSERT INTO labels SELECT g, 'x' FROM generate_series(4, 10001) g"))
    path = "/api/1.1/tables/labels/rows?columns=id&perPage=-1&q=x"
    identity = {IDENTITY_HEADER: SIGNER.sign(ADMINISTRATOR)}
    async with shop.http.get(path, headers=identity) as response:
        assert "Link" not in response.headers
    await database.execute(
        raw("INSERT INTO labels SELECT g, 'x' FROM generate_series(10002, 10005) g")
    )
    async with shop.http.get(path, headers=identity) as response:
        link = URL(str(response.links["next"]["url"]))
        assert len((await response.json())["data"]) == 10_000
    _, answer = await shop.get(link.path_qs)
    assert [row["id"] for row in answer["data"]] == [10004, 10005]
