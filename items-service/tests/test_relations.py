"""Related rows in answers: shapes, depth, rights on every table, one query a level."""

import re
from typing import Any

import pytest

from shared.database import Database, Session
from shared.identity import Principal
from shared.service import IDENTITY_HEADER
from shared.sql import FixedSql, Sql, raw
from shared.testing import SIGNER, Client

CLERK = Principal(user=7, group=5, token=1)
READER = Principal(user=8, group=6, token=1)


async def data(client: Client, path: str) -> Any:
    status, answer = await client.get(path)
    assert status == 200, answer
    return answer["data"] if isinstance(answer, dict) and "data" in answer else answer


async def test_many_to_one_is_an_item_in_1_1_and_the_bare_object_in_1_0(related: Client) -> None:
    row = await data(related, "tables/groceries/rows/1?columns=id,maker_id.name")
    maker = {"meta": {"table": "makers", "type": "item"}, "data": {"name": "Acme"}}
    assert row == {"id": 1, "maker_id": maker}
    row = await data(related, "/api/1/tables/groceries/rows/1?columns=id,maker_id.name")
    assert row == {"id": 1, "maker_id": {"name": "Acme"}}


async def test_one_to_many_is_a_collection_and_rows(related: Client) -> None:
    path = "tables/makers/rows?columns=id,groceries.title"
    rows = await data(related, path)
    assert rows[1]["groceries"] == {
        "meta": {"table": "groceries", "type": "collection", "total": 1},
        "data": [{"title": "wine"}],
    }
    assert set(rows[1]) == {"id", "groceries"}
    answer = await data(related, f"/api/1/{path}")
    assert [row["groceries"] for row in answer["rows"]] == [
        {"rows": [{"title": "Bread"}]},
        {"rows": [{"title": "wine"}]},
        {"rows": []},
    ]


async def test_many_to_many_brings_its_junction(related: Client) -> None:
    labels = (await data(related, "tables/groceries/rows/1"))["labels"]
    assert labels == {
        "meta": {"table": "labels", "type": "collection", "total": 2},
        "data": [{"id": 1, "word": "vegan"}, {"id": 2, "word": "cheap"}],
        "junction": {
            "meta": {"table": "groceries_labels", "type": "collection", "total": 2},
            "data": [
                {"id": 1, "grocery_id": 1, "label_id": 1},
                {"id": 2, "grocery_id": 1, "label_id": 2},
            ],
        },
    }
    labels = (await data(related, "/api/1/tables/groceries/rows/3"))["labels"]
    assert labels["rows"][0] == {"id": 4, "data": {"id": 3, "word": "rare"}}
    assert len(labels["rows"]) == 3


async def test_without_meta_inside_too(related: Client) -> None:
    row = await data(related, "tables/groceries/rows/1?meta=0&columns=maker_id.name,labels.word")
    assert row["maker_id"] == {"data": {"name": "Acme"}}
    assert row["labels"]["data"] == [{"word": "vegan"}, {"word": "cheap"}]
    assert "meta" not in row["labels"]


@pytest.mark.parametrize("version", ["", "/api/1/"])
async def test_depth_0_shows_keys(related: Client, version: str) -> None:
    row = await data(related, f"{version}tables/groceries/rows/1?depth=0")
    assert row["maker_id"] == 1
    assert "labels" not in row


async def test_depth_goes_as_far_as_asked(related: Client) -> None:
    path = "tables/groceries/rows/1"
    assert (await data(related, path))["maker_id"]["data"]["boss"] == 7
    two = (await data(related, f"{path}?depth=2"))["maker_id"]["data"]
    assert two["boss"]["data"]["first_name"] == "Ada"
    assert two["boss"]["data"]["avatar"].startswith("https://")
    assert "password" not in two["boss"]["data"]
    assert two["boss"]["data"]["group"] == 5
    assert [row["title"] for row in two["groceries"]["data"]] == ["Bread"]
    three = (await data(related, f"{path}?depth=3"))["maker_id"]["data"]
    assert three["boss"]["data"]["group"]["data"]["name"] == "clerks"
    status, answer = await related.get(f"{path}?depth=4")
    assert (status, answer["error"]["field"]) == (400, "depth")


async def test_dotted_columns_reach_further_than_depth(related: Client) -> None:
    row = await data(related, "tables/groceries/rows/1?columns=maker_id.boss.first_name&depth=0")
    assert row["maker_id"]["data"]["boss"]["data"] == {"first_name": "Ada"}


async def test_a_key_that_no_row_has_is_null(related: Client) -> None:
    assert (await data(related, "tables/groceries/rows/2"))["maker_id"] is None
    assert (await data(related, "tables/groceries/rows/4"))["maker_id"] is None


async def test_preview_embeds_rows_of_any_status(related: Client) -> None:
    path = "tables/labels/rows?limit=1"
    assert await data(related, path)
    row = await data(related, "tables/makers/rows/1?preview=1&columns=groceries.id")
    assert row["groceries"]["data"] == [{"id": 1}]


async def test_of_a_hidden_table_only_the_key_is_told(related: Client) -> None:
    reader = related.as_(READER)
    row = await data(reader, "tables/groceries/rows/1")
    assert row["maker_id"] == {"data": {"id": 1}}
    assert (await data(reader, "tables/groceries/rows/2"))["maker_id"] == {"data": {"id": 99}}
    assert (await data(reader, "/api/1/tables/groceries/rows/1"))["maker_id"] == 1


async def test_hidden_columns_and_rows_stay_hidden_inside(related: Client) -> None:
    reader, clerk = related.as_(READER), related.as_(CLERK)
    row = await data(reader, "tables/groceries/rows/1?columns=labels.word,labels.id")
    assert row["labels"]["data"] == [{"id": 1}, {"id": 2}]
    maker = await data(clerk, "tables/makers/rows/1")
    assert "price" not in maker["groceries"]["data"][0]
    # own rows only, of a table without owners: none; and no junction to look through
    row = await data(clerk, "tables/groceries/rows/1")
    assert row["labels"]["data"] == []


async def test_of_a_row_the_caller_may_not_see_only_the_key_is_told(related: Client) -> None:
    maker = await data(related.as_(CLERK), "tables/makers/rows/1")
    assert maker["boss"] == {"data": {"id": 7}}


async def test_an_answer_depends_on_the_tables_inside(related: Client) -> None:
    headers = {IDENTITY_HEADER: SIGNER.sign(related.principal)}
    path = "/api/1.1/tables/groceries/rows?columns=id,maker_id.name,labels.word"
    async with related.http.get(path, headers=headers) as response:
        topics = set(response.headers["X-Directoire-Depends"].split())
    assert {"t:groceries", "t:makers", "t:labels", "t:groceries_labels"} <= topics
    path = "/api/1.1/tables/makers/rows/1"
    async with related.http.get(path, headers=headers) as response:
        # a user's last login changes without a topic that tells
        assert "X-Directoire-Depends" not in response.headers


async def test_one_query_a_level(related: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Sql] = []
    fetch = Session.fetch

    async def counting(self: Session, sql: Sql) -> list[Any]:
        sent.append(sql)
        return await fetch(self, sql)

    monkeypatch.setattr(Session, "fetch", counting)
    await data(related, "tables/groceries/rows?depth=0&limit=7")
    sent.clear()
    for depth in (0, 1, 2, 3):
        await data(related, f"tables/groceries/rows?depth={depth}&limit=9")
        await data(related, f"tables/groceries/rows?depth={depth}&limit=8")
        assert len(sent) == 2 * (depth + 1)
        sent.clear()


async def test_of_a_parent_with_many_rows_no_more_are_read_than_shown(
    own_related: tuple[Client, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = own_related
    await database.execute(
        raw(
            "INSERT INTO groceries (active, title, maker_id)"
            " SELECT 1, 'one of many', 3 FROM generate_series(1, 20000)"
        )
    )
    await database.execute(raw("SELECT directoire.index_lists('groceries')"))
    await database.execute(raw("ANALYZE groceries"))
    sent: list[Sql] = []
    fetch = Session.fetch

    async def remembering(self: Session, sql: Sql) -> list[Any]:
        sent.append(sql)
        return await fetch(self, sql)

    monkeypatch.setattr(Session, "fetch", remembering)
    makers = await data(client, "tables/makers/rows?columns=id,groceries.id")
    assert makers[2]["groceries"]["meta"]["more"] is True
    assert len(makers[2]["groceries"]["data"]) == 1000
    text, values = sent[-1].render()
    explain = FixedSql((f"EXPLAIN (ANALYZE, TIMING off) {text}",), tuple(values))
    plan = "\n".join(row[0] for row in await database.fetch(explain))
    read = [int(rows) for rows in re.findall(r"actual rows=([0-9]+)", plan)]
    assert max(read) < 1100, plan


async def test_writes_answer_with_what_is_related(own_related: tuple[Client, Database]) -> None:
    client, _ = own_related
    body = {"title": "Rye", "maker_id": 1}
    status, answer = await client.post("tables/groceries/rows", body)
    assert status == 200
    assert answer["data"]["maker_id"]["data"]["name"] == "Acme"
    assert answer["data"]["labels"]["data"] == []
    path = f"tables/groceries/rows/{answer['data']['id']}"
    _, answer = await client.send("PUT", path, json={"maker_id": 2})
    assert answer["data"]["maker_id"]["data"]["name"] == "Mill"
    _, answer = await client.send("PUT", f"{path}?depth=0", json={"maker_id": 2})
    assert answer["data"]["maker_id"] == 2


THROUGH = [
    ("a column of a related row", "groceries", "filters[maker_id.name]=Mill", [3]),
    ("two steps", "groceries", "filters[maker_id.boss.first_name][contains]=AD", [1]),
    ("from many rows", "makers", "filters[groceries.title]=wine", [2]),
    ("through a junction", "groceries", "filters[labels.word]=rare", [3]),
    ("null behind a relation", "groceries", "filters[maker_id.boss][null]=1", [3]),
    ("to many, then to one", "makers", "filters[groceries.labels.word]=rare", [2]),
    ("how many, behind a relation", "groceries", "filters[maker_id.groceries][has]=2", []),
    ("contains on a key looks into its row", "groceries", "filters[maker_id][contains]=mil", [3]),
    ("ncontains on a key too", "groceries", "filters[maker_id][ncontains]=mil", [1]),
    ("or across tables", "groceries",
     "filters[maker_id.name]=Mill&filters[title][eq]=Bread&filters[title][logical]=or", [1, 3]),
    ("q looks behind a key", "groceries", "q=acme", [1]),
    ("q looks at the rows that point here", "makers", "q=bread", [1]),
    ("an inner join leaves rows out", "makers",
     "joins[groceries][on][]=makers.id&joins[groceries][on][]=groceries.maker_id", [1, 2]),
    ("joined columns are filtered by", "makers",
     ("joins[groceries][on][]=groceries.maker_id&joins[groceries][on][]=makers.id"
     "&filters[groceries.stock][gt]=4"), [1]),
    ("a left join leaves none out", "makers",
     ("joins[groceries][on][]=makers.id&joins[groceries][on][]=groceries.maker_id"
     "&joins[groceries][type]=LEFT&filters[groceries.id][null]=1"), [3]),
    ("group_by shows one row each", "groceries", "group_by=fresh&preview=1", [1, 3, 4]),
]  # fmt: skip


@pytest.mark.parametrize(("table", "query", "ids"), [case[1:] for case in THROUGH],
                         ids=[case[0] for case in THROUGH])  # fmt: skip
async def test_finds_through_relations(
    related: Client, table: str, query: str, ids: list[int]
) -> None:
    rows = await data(related, f"tables/{table}/rows?{query}&depth=0")
    assert [row["id"] for row in rows] == ids


REFUSED = [
    "groceries/rows?filters[maker_id.{}]=1",
    "groceries/rows?filters[maker_id.boss.{}]=1",
    "groceries/rows?filters[{}.name]=1",
    "groceries/rows?filters[title.{}]=1",
    "groceries/rows?joins[groceries][on][]=a&joins[groceries][on][]=b&filters[id]={}",
    "groceries/rows?joins[{}][on][]=groceries.id&joins[{}][on][]={}.id",
    "groceries/rows?group_by={}",
]


@pytest.mark.parametrize("query", REFUSED)
async def test_an_unknown_step_is_refused(related: Client, query: str) -> None:
    status, answer = await related.get("tables/" + query.replace("{}", "nothing"))
    assert status == 400, answer


@pytest.mark.parametrize(
    "query",
    [
        "groceries/rows?filters[maker_id.name]=Acme",
        "groceries/rows?filters[labels.word]=vegan",
        "groceries/rows?joins[makers][on][]=makers.id&joins[makers][on][]=groceries.maker_id",
        "groceries/rows?filters[maker_id.nothing]=Acme",
    ],
)
async def test_what_the_caller_may_not_see_is_as_unknown_as_what_is_not(
    related: Client, query: str
) -> None:
    status, answer = await related.as_(READER).get(f"tables/{query}")
    assert status == 400, answer
    assert answer["error"]["message"].startswith("unknown ")


async def test_hidden_rows_do_not_match_through_relations(related: Client) -> None:
    clerk = related.as_(CLERK)
    # of labels this clerk sees own rows only: none
    rows = await data(related.as_(READER), "tables/groceries/rows?q=acme&depth=0")
    assert rows == []
    status, _ = await clerk.get("tables/groceries/rows?filters[labels.word]=rare")
    assert status == 400  # no right to the junction
