"""Columns that change, options of interfaces, relations, privileges in all shapes, adoption."""

import asyncio
import os
import sys
from typing import Any

import asyncpg
import pytest
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")


def bare(reply_json: object, version: str) -> dict[str, object]:
    assert isinstance(reply_json, dict)
    return reply_json["data"] if version == "1.1" else reply_json


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_options_of_an_interface_are_set_merged_and_read(
    api: Api, unique: str, version: str
) -> None:
    table = await api.make_table(f"ui_{unique}", slug="VARCHAR:50")
    caller = api if version == "1.1" else api.v1()
    path = f"tables/{table}/columns/slug/textinput"
    missing = await caller.get(path)
    assert (missing.status, missing.json["success"]) == (404, False)
    assert "[textinput]" in missing.json["error"]["message"]
    reply = await caller.post(path, form="readonly=1&placeholder=Title+slug")
    assert bare(reply.json, version) == {
        "id": "textinput", "readonly": "1", "placeholder": "Title slug",
    }  # fmt: skip
    await caller.put(path, {"readonly": 0})
    expected = {"id": "textinput", "readonly": 0, "placeholder": "Title slug"}
    assert bare((await caller.get(path)).json, version) == expected
    column = (await api.get(f"tables/{table}/columns/slug")).data
    assert column["options"] == {"readonly": 0, "placeholder": "Title slug"}
    # another interface brings options of its own
    await caller.post(f"tables/{table}/columns/slug/slug", {"mirror": "title"})
    assert (await caller.get(path)).status == 404
    column = (await api.get(f"tables/{table}/columns/slug")).data
    assert (column["ui"], column["options"]) == ("slug", {"mirror": "title"})


async def test_a_column_takes_another_type_when_its_values_fit(api: Api, unique: str) -> None:
    table = await api.make_table(f"alter_{unique}", code="VARCHAR:10", amount="VARCHAR:10")
    await api.post(f"tables/{table}/rows", {"code": "12345678", "amount": "7", "active": 1})
    path = f"tables/{table}/columns/amount"
    changed = (await api.put(path, {"data_type": "INT", "default_value": "3"})).data
    assert (changed["type"], changed["default_value"]) == ("INT", "3")
    created = (await api.post(f"tables/{table}/rows", {"code": "x", "active": 1})).data
    assert created["amount"] == 3
    row = (await api.get(f"tables/{table}/rows/1")).data
    assert row["amount"] == 7
    longer = (await api.patch(f"tables/{table}/columns/code", {"length": 20})).data
    assert (longer["char_length"], longer["column_type"]) == ("20", "varchar(20)")
    assert (await api.v1().post(path, {"default_value": ""})).json.get("default_value") is None


@pytest.mark.parametrize(
    "change",
    [
        {"length": 3},
        {"data_type": "INT"},
        {"data_type": "DATE"},
        {"data_type": "CHAR", "length": 2},
    ],
)
async def test_a_column_whose_values_do_not_fit_stays_as_it_is(
    api: Api, unique: str, change: dict[str, object]
) -> None:
    table = await api.make_table(f"keep_{unique}", code="VARCHAR:10")
    await api.post(f"tables/{table}/rows", {"code": "abcdef", "active": 1})
    reply = await api.put(f"tables/{table}/columns/code", change)
    assert reply.status == 422, reply.json
    assert "does not fit" in reply.json["error"]["message"]
    column = (await api.get(f"tables/{table}/columns/code")).data
    assert column["column_type"] == "varchar(10)"
    assert (await api.get(f"tables/{table}/rows/1")).data["code"] == "abcdef"


async def test_metadata_of_many_columns_change_together_or_not_at_all(
    api: Api, unique: str
) -> None:
    table = await api.make_table(f"bulk_{unique}", one="INT", two="INT")
    path = f"tables/{table}/columns/bulk"
    rows = [{"id": "one", "sort": 2, "required": 1}, {"id": "two", "sort": 1, "hidden_list": True}]
    assert (await api.patch(path, {"rows": rows})).status == 200
    columns = {c["id"]: c for c in (await api.get(f"tables/{table}/columns")).data}
    assert (columns["one"]["sort"], columns["one"]["required"]) == (2, True)
    assert (columns["two"]["sort"], columns["two"]["hidden_list"]) == (1, True)
    assert list(columns).index("two") < list(columns).index("one")
    reply = await api.patch(path, {"rows": [{"id": "one", "sort": 7}, {"id": "no", "sort": 1}]})
    assert reply.json["success"] is False
    assert (await api.get(f"tables/{table}/columns/one")).data["sort"] == 2


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_a_column_is_dropped_also_with_the_path_parts_of_the_php_client(
    api: Api, unique: str, version: str
) -> None:
    caller = api if version == "1.1" else api.v1()
    table = await api.make_table(f"drop_{unique}", one="INT", two="INT")
    assert (await caller.delete(f"tables/{table}/columns/one")).json["success"] is True
    assert (await caller.delete(f"tables/two/columns/{table}")).json["success"] is True
    names = [column["id"] for column in (await api.get(f"tables/{table}/columns")).data]
    assert names == ["id", "active"]
    again = await caller.delete(f"tables/{table}/columns/two")
    assert (again.status, again.json["success"]) == (200, False)
    assert (await caller.delete(f"tables/{table}/columns/id")).status == 409


async def test_relations_are_metadata_that_columns_carry(api: Api, unique: str) -> None:
    parent = await api.make_table(f"parent_{unique}", name="VARCHAR:20")
    child = await api.make_table(f"child_{unique}", name="VARCHAR:20")
    path = f"tables/{child}/columns"
    file = (await api.post(path, {"column_name": "cover", "ui": "single_file"})).data
    assert file["relationship"]["type"] == "MANYTOONE"
    assert file["relationship"]["related_table"] == "directus_files"
    assert file["relationship"]["junction_key_right"] == "cover"
    one = (
        await api.post(
            path, {"name": "parent", "type": "INT", "ui": "many_to_one", "related_table": parent}
        )
    ).data
    assert (one["type"], one["relationship"]["related_table"]) == ("INT", parent)
    many = (
        await api.v1().post(
            f"tables/{parent}/columns",
            {"column_name": "children", "data_type": "ALIAS", "relationship_type": "ONETOMANY",
             "related_table": child, "junction_key_right": "parent"},
        )
    ).json  # fmt: skip
    assert (many["type"], many["is_nullable"]) == ("ALIAS", "YES")
    assert many["relationship"]["type"] == "ONETOMANY"
    both = (
        await api.post(
            f"tables/{parent}/columns",
            {"column_name": "friends", "data_type": "MANYTOMANY", "related_table": child,
             "relationship_type": "MANYTOMANY", "junction_table": f"j_{unique}",
             "junction_key_left": "parent_id", "junction_key_right": "child_id"},
        )
    ).data  # fmt: skip
    assert both["relationship"]["junction_table"] == f"j_{unique}"
    assert (await api.delete(f"tables/{parent}/columns/friends")).json["success"] is True


async def test_a_tables_metadata_name_columns_that_fit(api: Api, unique: str) -> None:
    table = await api.make_table(f"meta_{unique}", owner="INT", made="DATETIME", name="TEXT")
    body = {"user_create_column": "owner", "date_create_column": "made", "hidden": 1,
            "columns": [{"id": "name", "comment": "What it is called"}]}  # fmt: skip
    info = (await api.put(f"tables/{table}", body)).data
    assert (info["user_create_column"], info["hidden"]) == ("owner", True)
    column = next(column for column in info["columns"] if column["id"] == "name")
    assert column["comment"] == "What it is called"
    for wrong in ({"user_create_column": "name"}, {"date_create_column": "nowhere"}):
        reply = await api.put(f"tables/{table}", wrong)
        assert reply.status == 422
        assert (
            "name" in reply.json["error"]["message"] or "nowhere" in reply.json["error"]["message"]
        )


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_metadata_never_rename_what_they_describe(
    api: Api, unique: str, version: str
) -> None:
    """Clients send whole objects back, sometimes edited: names in them move nothing."""
    caller = api if version == "1.1" else api.v1()
    table = await api.make_table(f"name_{unique}", slug="VARCHAR:20")
    other = f"other_{unique}"
    sent = {"name": other, "table_name": other, "id": other, "comment": "kept", "footer": 1}
    info = bare((await caller.put(f"tables/{table}", sent)).json, version)
    assert (info["table_name"], info["comment"], info["footer"]) == (table, "kept", True)
    sent = {"column_name": "other", "name": "other", "id": "other", "comment": "too", "sort": 3}
    column = bare((await caller.put(f"tables/{table}/columns/slug", sent)).json, version)
    assert (column["id"], column["comment"], column["sort"]) == ("slug", "too", 3)
    names = {entry["name"] for entry in (await api.get("tables")).data}
    assert table in names
    assert other not in names
    columns = {c["id"] for c in (await api.get(f"tables/{table}/columns")).data}
    assert columns == {"id", "active", "slug"}
    refused = await caller.put(f"tables/directus_tables/rows/{table}", {"table_name": other})
    assert refused.status in {400, 422}
    await api.post(f"tables/{table}/rows", {"slug": "s", "active": 1})
    assert (await api.get(f"tables/{table}/rows/1")).data["slug"] == "s"


FLAGS = ["hidden_input", "hidden_list", "required"]


@pytest.mark.parametrize("flag", FLAGS)
async def test_flags_and_sort_of_a_column_by_every_way_they_are_set(
    api: Api, unique: str, flag: str
) -> None:
    table = await api.make_table(f"flag_{unique}", slug="VARCHAR:20")
    path = f"tables/{table}/columns/slug"
    ways: list[tuple[str, dict[str, Any]]] = [
        ("PUT", {"json": {flag: True}}),
        ("PATCH", {"json": {flag: "0"}}),
        ("POST", {"form": f"{flag}=True"}),
    ]
    for method, body in ways:
        await api.send(method, path, **body)
        expected = method != "PATCH"
        assert (await api.get(path)).data[flag] is expected
        assert (await api.v1().get(path)).json[flag] is expected
    rows = {"rows": [{"id": "slug", flag: 0, "sort": 1}, {"id": "id", "sort": 2}]}
    await api.patch(f"tables/{table}/columns/bulk", rows)
    await api.put(f"tables/{table}", {"hidden": 1, "columns": [{"id": "active", "sort": 3}]})
    columns = (await api.get(f"tables/{table}/columns")).data
    assert [(c["id"], c["sort"]) for c in columns] == [("slug", 1), ("id", 2), ("active", 3)]
    assert columns[0][flag] is False
    assert (await api.get(f"tables/{table}")).data["hidden"] is True


PRIVILEGES = [
    ("the group in the body", "privileges/undefined", True),
    ("the group in the path", "privileges/{group}", False),
    ("a path that the PHP client did not fill", "privileges/%s", True),
]


@pytest.mark.parametrize(("_name", "path", "in_body"), PRIVILEGES, ids=[p[0] for p in PRIVILEGES])
async def test_a_privilege_is_created_in_the_shapes_clients_send(
    api: Api, unique: str, _name: str, path: str, in_body: bool
) -> None:
    table = await api.make_table(f"p_{unique}")
    group = (await api.post("groups", {"name": f"G {unique}"})).data["id"]
    body = {"table_name": table, "allow_view": "2", "nav_listed": "1", "allow_alter": True}
    if in_body:
        body["group_id"] = str(group)
    created = (await api.post(path.replace("{group}", str(group)), body)).data
    assert (created["group_id"], created["allow_view"], created["nav_listed"]) == (group, 2, 1)
    for which in (created["id"], table):
        changed = (await api.put(f"privileges/{group}/{which}", {"allow_add": 1})).data
        assert (changed["id"], changed["allow_add"], changed["allow_view"]) == (created["id"], 1, 2)
    old = (await api.v1().get(f"privileges/{group}/{table}")).json
    assert (old["allow_view"], old["status_id"]) == (2, None)
    state = await api.put(
        f"privileges/{group}/{created['id']}", {"activeState": 2, "allow_edit": 1}
    )
    assert (state.data["status_id"], state.data["allow_edit"]) == (2, 1)
    rows = (await api.get(f"privileges/{group}")).data
    assert [row["status_id"] for row in rows if row["table_name"] == table] == [None, 2]
    assert (await api.put(f"privileges/{group}/nowhere", {"allow_add": 1})).status == 404
    wrong = await api.put(f"privileges/{group}/{table}", {"allow_view": 3})
    assert (wrong.status, "0, 1 or 2" in wrong.json["error"]["message"]) == (400, True)


async def test_a_privilege_may_be_said_in_the_words_of_the_time_before_1_0(
    api: Api, unique: str
) -> None:
    table = await api.make_table(f"w_{unique}")
    group = (await api.post("groups", {"name": f"W {unique}"})).data["id"]
    body = {"table_name": table, "permissions": "add,edit,bigedit,delete,alter,view,bigview"}
    created = (await api.post(f"privileges/{group}", body)).data
    levels = {name: created[f"allow_{name}"] for name in ("view", "add", "edit", "delete", "alter")}
    assert levels == {"view": 2, "add": 1, "edit": 2, "delete": 1, "alter": 1}
    wrong = await api.post(f"privileges/{group}", {**body, "permissions": "view,fly"})
    assert (wrong.status, "fly" in wrong.json["error"]["message"]) == (400, True)


async def test_add_table_with_nothing_but_its_name_as_the_php_client_does(
    api: Api, unique: str
) -> None:
    reply = await api.post("privileges/1", form=f"addTable=1&table_name=php_{unique}")
    assert (reply.data["table_name"], reply.data["group_id"]) == (f"php_{unique}", 1)
    assert (await api.get(f"tables/php_{unique}/rows")).data == []


FOREIGN = {
    "a_int": ("integer", "INT"), "a_big": ("bigint", "BIGINT"), "a_small": ("smallint", "SMALLINT"),
    "a_bool": ("boolean", "TINYINT"), "a_real": ("real", "FLOAT"),
    "a_double": ("double precision", "DOUBLE"), "a_num": ("numeric(8,2)", "DECIMAL"),
    "a_char": ("varchar(9)", "VARCHAR"), "a_text": ("text", "TEXT"), "a_date": ("date", "DATE"),
    "a_stamp": ("timestamp", "DATETIME"), "a_zone": ("timestamptz", "DATETIME"),
    "a_time": ("time", "TIME"), "a_bytes": ("bytea", "BLOB"), "a_json": ("json", "TEXT"),
    "a_jsonb": ("jsonb", "TEXT"), "a_uuid": ("uuid", "CHAR"),
    # what MySQL has no name for is text
    "a_padded": ("char(3)", "CHAR"), "a_list": ("int[]", "TEXT"), "an_address": ("inet", "TEXT"),
    "a_span": ("interval", "TEXT"), "a_range": ("int4range", "TEXT"), "money": ("money", "TEXT"),
    "a_vector": ("tsvector", "TEXT"), "a_point": ("point", "TEXT"), "a_mask": ("bit(3)", "TEXT"),
}  # fmt: skip


SHOWN: dict[str, object] = {
    "id": 1, "a_int": 1, "a_big": 2, "a_small": 3, "a_bool": 1, "a_real": 0.1, "a_double": 0.2,
    "a_num": "1.50", "a_char": "c", "a_text": "t", "a_date": "2020-01-02",
    "a_stamp": "2020-01-02 03:04:05", "a_zone": "2020-01-01 10:00:00", "a_time": "03:04:00",
    "a_bytes": "AP8=", "a_json": "[1]", "a_jsonb": "{}",
    "a_uuid": "6f0e0f4a-8f1c-4a86-93a5-6d2f4f0d4a11", "a_padded": "ab ", "a_list": "{1,2}",
    "an_address": "10.0.0.1/32", "a_span": "2 days", "a_range": "[1,5)", "money": "$3.00",
    "a_vector": "'cat'", "a_point": "(1,2)", "a_mask": "101",
}  # fmt: skip


@pytest.mark.parametrize("way", ["command", "request"])
async def test_a_table_of_any_types_is_adopted_with_its_rows(
    api: Api, cluster: Cluster, unique: str, way: str
) -> None:
    table = f"legacy_{unique}"
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    columns = ", ".join(f"{name} {pg}" for name, (pg, _reported) in FOREIGN.items())
    try:
        await connection.execute(f"CREATE TABLE {table} (id serial PRIMARY KEY, {columns})")
        await connection.execute(
            f"INSERT INTO {table} VALUES (1, 1, 2, 3, true, 0.1, 0.2, 1.5, 'c', 't', '2020-01-02',"
            " '2020-01-02 03:04:05', '2020-01-01 12:00+02', '03:04', '\\x00ff', '[1]', '{}',"
            " '6f0e0f4a-8f1c-4a86-93a5-6d2f4f0d4a11', 'ab', '{1,2}', '10.0.0.1', '2 days',"
            " '[1,5)', 3, 'cat', '(1,2)', '101')"
        )
        await connection.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1)")
        await connection.execute(f"CREATE TABLE {table}_two (a int, b int, PRIMARY KEY (a, b))")
    finally:
        await connection.close()
    if way == "command":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schema_service.adopt", table, f"{table}_two",
            env={**os.environ, **cluster.urls}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 1
        assert f"{table}: adopted" in output.decode()
        assert f"{table}_two: has no primary key of one column: read only" in output.decode()
    else:
        adopted = await api.post("tables", {"name": table, "adopt": 1})
        assert adopted.data["count"] == 1
        refused = await api.post("tables", {"name": f"{table}_two", "adopt": 1})
        assert refused.status == 409
    created = (await api.post(f"tables/{table}/rows", {"a_int": 1, "a_bool": "true"})).data
    assert (created["id"], created["a_bool"]) == (2, 1)
    [row, _] = (await api.get(f"tables/{table}/rows")).data
    assert row == SHOWN
    types = {c["id"]: c["type"] for c in (await api.get(f"tables/{table}/columns")).data}
    assert types == {"id": "INT", **{name: reported for name, (_, reported) in FOREIGN.items()}}
    assert (await api.get(f"tables/{table}_two/rows")).data == []
    read_only = await api.post(f"tables/{table}_two/rows", {"a": 1, "b": 2})
    assert read_only.status == 400
    assert "primary key" in read_only.json["error"]["message"]
    assert {"name": table, "table_name": table} in (await api.get("tables")).data


async def test_only_administrators_adopt_and_only_what_is_there(api: Api, unique: str) -> None:
    assert (await api.post("tables", {"name": f"no_{unique}", "adopt": 1})).status == 404
    assert (await api.post("tables", {"name": "directus_users", "adopt": 1})).status == 403
