"""Rows of a table, in both versions of the API."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")

EVE = "50% Eve"
SHOP = [
    {"name": "Ada", "country": "us", "state": "ny", "orders": 5, "spent": "12.50", "active": 1},
    {"name": "Ben", "country": "us", "state": "nm", "orders": 0, "spent": "0.00", "active": 1},
    {"name": "Chloe", "country": "us", "state": "or", "orders": 9, "spent": "7.25", "active": 1},
    {"name": "Dan", "country": "de", "state": "", "orders": 3, "spent": None, "active": 1},
    {"name": EVE, "country": "gb", "state": None, "orders": None, "spent": "3.00", "active": 1},
    {"name": "Finn", "country": "us", "state": "ny", "orders": 1, "spent": "1.00", "active": 2},
    {"name": "Gone", "country": "us", "state": "ny", "orders": 1, "spent": "1.00", "active": 0},
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(api: Api) -> str:
    """A small table of customers: five active, one draft, one deleted."""
    name = await api.make_table(
        f"shop_{uuid4().hex[:8]}",
        name="VARCHAR:100",
        country="CHAR:2",
        state="CHAR:2",
        orders="INT",
        spent="DECIMAL:10,2",
        since="DATETIME",
    )
    reply = await api.post(f"tables/{name}/rows/bulk", {"rows": SHOP})
    assert [row["name"] for row in reply.data] == [row["name"] for row in SHOP]
    return name


@dataclass(frozen=True)
class Case:
    name: str
    query: str
    names: list[str]


ALL = ["Ada", "Ben", "Chloe", "Dan", "50% Eve"]
FINDS = [
    Case("a list shows active rows in the order of their keys", "", ALL),
    Case("equal, in its short form", "filters[country]=de", ["Dan"]),
    Case("eq", "filters[country][eq]=us", ["Ada", "Ben", "Chloe"]),
    Case("= as a symbol", "filters[orders][=]=5", ["Ada"]),
    Case("neq leaves nulls out", "filters[orders][neq]=5", ["Ben", "Chloe", "Dan"]),
    Case("!= and <> are neq", "filters[orders][!=]=5", ["Ben", "Chloe", "Dan"]),
    Case("lt", "filters[orders][lt]=3", ["Ben"]),
    Case("<= encoded", "filters%5Borders%5D%5B%3C%3D%5D=3", ["Ben", "Dan"]),
    Case("gt", "filters[orders][gt]=5", ["Chloe"]),
    Case(">=", "filters[orders][>=]=5", ["Ada", "Chloe"]),
    Case("in as CSV", "filters[state][in]=ny,nm", ["Ada", "Ben"]),
    Case("in as an array", "filters[state][in][]=ny&filters[state][in][]=or", ["Ada", "Chloe"]),
    Case("nin", "filters[state][nin]=ny,nm", ["Chloe", "Dan"]),
    Case("null", "filters[orders][null]=1", ["50% Eve"]),
    Case("nnull", "filters[orders][nnull]=1", ["Ada", "Ben", "Chloe", "Dan"]),
    Case("contains ignores case", "filters[name][contains]=AD", ["Ada"]),
    Case("like is contains", "filters[name][like]=hlo", ["Chloe"]),
    Case("a % in the value is only a %", "filters[name][contains]=%25", ["50% Eve"]),
    Case("ncontains", "filters[name][ncontains]=a", ["Chloe", "50% Eve", "Ben"]),
    Case("between", "filters[orders][between]=3,5", ["Ada", "Dan"]),
    Case("nbetween", "filters[orders][nbetween]=3,5", ["Ben", "Chloe"]),
    Case("empty is null or ''", "filters[state][empty]=1", ["Dan", "50% Eve"]),
    Case("nempty", "filters[state][nempty]=1", ["Ada", "Ben", "Chloe"]),
    Case(
        "and binds tighter than or",
        "filters[country]=de&filters[name][eq]=Ada&filters[name][logical]=or",
        ["Ada", "Dan"],
    ),
    Case("conditions on two columns are and-ed", "filters[country]=us&filters[state]=nm", ["Ben"]),
    Case("a quote in a value ends nothing", "filters[name]=x' OR '1'='1", []),
    Case("a value the column cannot have matches nothing", "filters[orders]=many", []),
    Case("a decimal is compared as a number", "filters[spent][gt]=7.5", ["Ada"]),
    Case("drafts when asked for", "status=2", ["Finn"]),
    Case("several statuses", "status=0,2", ["Finn", "Gone"]),
    Case("preview shows all statuses", "preview=1", [*ALL, "Finn", "Gone"]),
    Case("in by column", "in[country]=de,gb", ["Dan", "50% Eve"]),
    Case("perPage and currentPage count from 0", "perPage=2&currentPage=1", ["Chloe", "Dan"]),
    Case("limit and offset", "limit=2&offset=1", ["Ben", "Chloe"]),
    Case("limit 0 is no rows", "limit=0", []),
    Case(
        "nulls come last descending",
        "sort=orders&sort_order=DESC",
        ["Chloe", "Ada", "Dan", "Ben", "50% Eve"],
    ),
    Case("nulls come first ascending", "orderBy=orders&limit=2", ["50% Eve", "Ben"]),
    Case("orders by several columns", "orders[country]=ASC&orders[name]=DESC&limit=3",
         ["Dan", "50% Eve", "Chloe"]),
    Case("order is orders", "order[name]=DESC&limit=1", ["Dan"]),
    Case("search text", "q=chl", ["Chloe"]),
]  # fmt: skip


@pytest.mark.parametrize("case", FINDS, ids=lambda case: case.name)
async def test_finds(api: Api, shop: str, case: Case) -> None:
    reply = await api.get(f"tables/{shop}/rows?{case.query.replace(' ', '+')}")
    names = [row["name"] for row in reply.data]
    if "order" in case.query or "sort" in case.query or not case.query:
        assert names == case.names
    else:
        assert sorted(names) == sorted(case.names)


async def test_ids_take_csv_and_arrays(api: Api, shop: str) -> None:
    rows = (await api.get(f"tables/{shop}/rows")).data
    first, second = rows[0]["id"], rows[1]["id"]
    for query in (
        f"ids={first},{second}",
        f"ids[]={first}&ids[]={second}",
        f"ids[0]={second}&ids[1]={first}",
    ):
        found = (await api.get(f"tables/{shop}/rows?{query}")).data
        assert {row["id"] for row in found} == {first, second}


async def test_version_1_1_wraps_with_counts_of_the_whole_table(api: Api, shop: str) -> None:
    reply = await api.get(f"tables/{shop}/rows?limit=2")
    assert reply.json["meta"] == {
        "table": shop, "type": "collection", "total": 2, "total_entries": 7,
        "Active": 5, "Draft": 1, "Delete": 1,
    }  # fmt: skip
    bare = await api.get(f"tables/{shop}/rows?limit=2&meta=0")
    assert list(bare.json) == ["data"]


async def test_version_1_0_is_flat(api: Api, shop: str) -> None:
    reply = await api.v1().get(f"tables/{shop}/rows?perPage=2")
    assert {key: value for key, value in reply.json.items() if key != "rows"} == {
        "Active": 5, "Draft": 1, "Delete": 1, "total": 7,
    }  # fmt: skip
    assert [row["name"] for row in reply.json["rows"]] == ["Ada", "Ben"]


async def test_values_have_the_types_old_clients_expect(api: Api, shop: str) -> None:
    (row,) = (await api.get(f"tables/{shop}/rows?filters[name]=Ada")).data
    assert row["orders"] == 5
    assert row["spent"] == "12.50"
    assert row["active"] == 1
    assert row["since"] is None


async def test_columns_cut_the_answer(api: Api, shop: str) -> None:
    (row,) = (await api.get(f"tables/{shop}/rows?columns=name,orders&filters[name]=Ada")).data
    assert row == {"name": "Ada", "orders": 5}


REFUSED = [
    ("an unknown column in a filter", "filters[altitude]=5", "altitude"),
    ("an unknown operator", "filters[name][resembles]=5", "resembles"),
    ("an unknown column in sort", "sort=altitude", "altitude"),
    ("an unknown column in in[]", "in[altitude]=1", "altitude"),
    ("a limit that is no number", "limit=many", "many"),
    ("a page size beyond the limit", "perPage=1000000", "1000000"),
]


@pytest.mark.parametrize(
    ("query", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_a_mistake_is_named(api: Api, shop: str, query: str, named: str) -> None:
    reply = await api.get(f"tables/{shop}/rows?{query}")
    assert reply.status == 400
    assert reply.json["success"] is False
    assert named in reply.json["error"]["message"]
    assert reply.json["error"]["request_id"]


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_a_row_is_created_read_changed_and_deleted(api: Api, shop: str, version: str) -> None:
    caller = api if version == "1.1" else api.v1()

    def row_of(body: Any) -> Any:
        return body["data"] if version == "1.1" else body

    created = await caller.send(
        "POST", f"tables/{shop}/rows", form="name=Hal+9000&country=us&orders=7&active=1"
    )
    row = row_of(created.json)
    assert row["name"] == "Hal 9000"
    assert row["orders"] == 7
    path = f"tables/{shop}/rows/{row['id']}"
    assert row_of((await caller.get(path)).json) == row
    for method, title in (("PUT", "a"), ("PATCH", "b"), ("POST", "c")):
        changed = await caller.send(method, path, json={"name": title})
        assert changed.status == 200
        assert row_of(changed.json) == row | {"name": title}
        assert row_of((await caller.get(path)).json)["name"] == title
    assert (await caller.delete(path)).json["success"] is True
    assert row_of((await caller.get(path)).json) == []
    assert (await caller.delete(path)).json["success"] is False


async def test_posting_an_existing_key_updates(api: Api, shop: str) -> None:
    row = (await api.post(f"tables/{shop}/rows", {"name": "first"})).data
    again = (await api.post(f"tables/{shop}/rows", {"id": row["id"], "name": "second"})).data
    assert again["id"] == row["id"]
    assert again["name"] == "second"
    await api.delete(f"tables/{shop}/rows/{row['id']}")


async def test_soft_delete_keeps_the_row(api: Api, shop: str) -> None:
    row = (await api.post(f"tables/{shop}/rows", {"name": "soft", "active": 1})).data
    path = f"tables/{shop}/rows/{row['id']}"
    assert (await api.delete(f"{path}?soft=1")).json["success"] is True
    assert (await api.get(path)).data["active"] == 0
    await api.delete(path)


async def test_many_rows_at_once(api: Api, unique: str) -> None:
    table = await api.make_table(f"many_{unique}", title="VARCHAR:50")
    rows = [{"title": f"t{n}", "active": 1} for n in range(300)]
    created = (await api.post(f"tables/{table}/rows/bulk", {"rows": rows})).data
    assert len(created) == 300
    changes = [{"id": row["id"], "title": "same"} for row in created[:10]]
    changed = await api.send("PATCH", f"tables/{table}/rows/bulk", json={"rows": changes})
    assert {row["title"] for row in changed.data} == {"same"}
    ids = [{"id": row["id"]} for row in created[:5]]
    deleted = await api.send("DELETE", f"tables/{table}/rows/bulk", json={"rows": ids})
    assert deleted.json["data"]["success"] is True
    assert (await api.get(f"tables/{table}/rows?limit=1")).json["meta"]["total_entries"] == 295


async def test_a_bulk_with_one_bad_row_changes_nothing(api: Api, unique: str) -> None:
    table = await api.make_table(f"whole_{unique}", n="SMALLINT")
    reply = await api.post(f"tables/{table}/rows/bulk", {"rows": [{"n": 1}, {"n": 99999}]})
    assert reply.status == 422
    assert (await api.get(f"tables/{table}/rows?preview=1")).data == []


async def test_a_bulk_delete_without_body_deletes_nothing(api: Api, shop: str) -> None:
    before = (await api.get(f"tables/{shop}/rows")).json["meta"]["total_entries"]
    reply = await api.delete(f"tables/{shop}/rows/bulk")
    assert reply.status in {400, 500}
    assert reply.json["success"] is False
    assert (await api.get(f"tables/{shop}/rows")).json["meta"]["total_entries"] == before


@pytest.mark.parametrize(
    ("body", "status"),
    [({"json": {}}, 400), ({"json": {"state": "new york"}}, 422), ({"json": {"orders": "x"}}, 422),
     ({"json": {"orders": 2**40}}, 422), ({"form": ""}, 400)],
    ids=["empty", "too long", "a word for a number", "out of range", "empty form"],
)  # fmt: skip
async def test_a_bad_row_is_refused_and_nothing_stored(
    api: Api, shop: str, body: dict[str, Any], status: int
) -> None:
    before = (await api.get(f"tables/{shop}/rows")).json["meta"]["total_entries"]
    reply = await api.send("POST", f"tables/{shop}/rows", **body)
    assert reply.status == status, reply.json
    assert reply.json["error"]["message"]
    assert (await api.get(f"tables/{shop}/rows")).json["meta"]["total_entries"] == before
