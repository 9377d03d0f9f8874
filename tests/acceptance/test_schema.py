"""Tables, columns and privileges."""

import pytest
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")


async def test_a_new_table_has_a_key_and_a_status(api: Api, unique: str) -> None:
    name = f"fresh-{unique}"
    created = await api.post("tables", {"name": name})
    assert created.json["success"] is True
    info = (await api.get(f"tables/{name}")).data
    assert info["id"] == info["table_name"] == info["name"] == name
    assert [column["column_name"] for column in info["columns"]] == ["id", "active"]
    old = (await api.v1().get(f"tables/{name}")).json
    assert old["table_name"] == name
    assert old["hidden"] is False
    listed = (await api.get("tables")).data
    assert {"name": name, "table_name": name} in listed
    assert {"name": name, "table_name": name} in (await api.v1().get("tables")).json


async def test_the_other_way_to_create_a_table_answers_its_privileges(
    api: Api, unique: str
) -> None:
    name = f"Projects_{unique}"
    form = (
        f"table_name={name}&group_id=1&addTable=true&allow_add=1&allow_alter=1&allow_delete=1"
        "&allow_edit=1&allow_view=1"
    )
    reply = await api.v1().send("POST", "privileges/1", form=form)
    assert reply.status == 200
    assert reply.json["table_name"] == name
    assert reply.json["group_id"] == 1
    assert (await api.get(f"tables/{name}/rows")).data == []


async def test_a_name_already_taken_is_refused(api: Api, unique: str) -> None:
    name = f"taken_{unique}"
    await api.post("tables", {"name": name})
    again = await api.post("tables", {"name": name})
    assert again.status == 200
    assert again.json["success"] is False
    assert again.json["error"]["message"] == f'Table "{name}" already exists'
    truth = await api.post("tables", {"name": name}, headers={"Accept": "application/problem+json"})
    assert truth.status == 409


@pytest.mark.parametrize(
    "name", ["", "a b", "x" * 64, 'a"b', "é", "directus_users"],
    ids=["empty", "blank", "too long", "quote", "accent", "a system table"],
)  # fmt: skip
async def test_a_bad_table_name_is_refused(api: Api, name: str) -> None:
    reply = await api.post("tables", {"name": name})
    assert reply.status in {200, 400}
    assert reply.json["success"] is False


COLUMNS = [
    ("INT", "4", "INT", "int(4)"),
    ("VARCHAR", "100", "VARCHAR", "varchar(100)"),
    ("TEXT", None, "TEXT", "text"),
    ("DECIMAL", "10,2", "DECIMAL", "decimal(10,2)"),
    ("DATETIME", None, "DATETIME", "datetime"),
    ("DATE", None, "DATE", "date"),
    ("TIME", None, "TIME", "time"),
    ("FLOAT", None, "FLOAT", "float"),
    ("DOUBLE", None, "DOUBLE", "double"),
    ("TINYINT", "1", "TINYINT", "tinyint(1)"),
    ("BIGINT", None, "BIGINT", "bigint(20)"),
    ("SMALLINT", None, "SMALLINT", "smallint(6)"),
    ("CHAR", "3", "CHAR", "char(3)"),
    ("ENUM", "a,b", "ENUM", "enum('a','b')"),
    ("BLOB", None, "BLOB", "blob"),
]


async def test_every_type_can_be_declared_and_is_reported(api: Api, unique: str) -> None:
    table = await api.make_table(f"types_{unique}")
    for number, (data_type, length, reported, column_type) in enumerate(COLUMNS):
        body = {"column_name": f"c{number}", "data_type": data_type.lower()}
        if length:
            body["char_length"] = length
        created = await api.post(f"tables/{table}/columns", body)
        assert created.status == 200, created.json
        column = (await api.get(f"tables/{table}/columns/c{number}")).data
        assert (column["type"], column["column_type"]) == (reported, column_type)
    listed = (await api.v1().get(f"tables/{table}/columns")).json
    assert [c["column_name"] for c in listed][:2] == ["id", "active"]
    assert len(listed) == len(COLUMNS) + 2


async def test_a_column_in_the_spelling_of_the_later_clients(api: Api, unique: str) -> None:
    table = await api.make_table(f"alias_{unique}")
    body = {"name": "title", "table": table, "type": "varchar", "ui": "textinput", "length": 255}
    column = (await api.post(f"tables/{table}/columns", body)).data
    assert column["column_name"] == "title"
    assert column["char_length"] == "255"
    assert column["ui"] == "textinput"
    row = (await api.post(f"tables/{table}/rows", {"title": "x"})).data
    assert row["title"] == "x"


async def test_a_missing_column_or_table_is_told_in_the_old_way(api: Api, unique: str) -> None:
    table = await api.make_table(f"miss_{unique}")
    for path in (f"tables/{table}/columns/none", f"tables/none_{unique}"):
        reply = await api.get(path)
        assert reply.status == 200
        assert reply.json["success"] is False
    unknown_type = await api.post(
        f"tables/{table}/columns", {"column_name": "x", "data_type": "colour"}
    )
    assert unknown_type.status == 409
    assert "colour" in unknown_type.json["error"]["message"].lower()


async def test_a_dropped_table_is_gone_with_its_rights(api: Api, unique: str) -> None:
    name = await api.make_table(f"drop_{unique}", n="INT")
    await api.post(f"tables/{name}/rows", {"n": 1})
    assert (await api.delete(f"tables/{name}")).json["success"] is True
    assert (await api.get(f"tables/{name}/rows")).status == 404
    await api.post("tables", {"name": name})
    assert (await api.get(f"tables/{name}/rows?preview=1")).data == []


async def test_a_new_column_is_there_for_the_next_request(api: Api, unique: str) -> None:
    table = await api.make_table(f"live_{unique}")
    for number in range(5):
        name = f"c{number}"
        await api.get(f"tables/{table}/rows")
        reply = await api.post(f"tables/{table}/columns", {"column_name": name, "data_type": "INT"})
        assert reply.status == 200
        row = (await api.post(f"tables/{table}/rows", {name: number})).data
        assert row[name] == number
        assert name in (await api.get(f"tables/{table}/rows?preview=1")).data[0]


async def test_privileges_are_listed_with_stubs_and_read_one_by_one(api: Api, unique: str) -> None:
    table = await api.make_table(f"priv_{unique}")
    group = (await api.post("groups", {"name": f"g {unique}"})).data["id"]
    stubs = {row["table_name"]: row for row in (await api.get(f"privileges/{group}")).data}
    assert stubs[table]["status_id"] is None
    assert "id" not in stubs[table] or stubs[table]["id"] is None
    assert (await api.get(f"privileges/{group}/{table}")).status == 404
    body = {"table_name": table, "group_id": group, "allow_view": 2, "read_field_blacklist": "n"}
    created = (await api.post(f"privileges/{group}", body)).data
    assert (created["allow_view"], created["allow_edit"]) == (2, 0)
    read = await api.v1().get(f"privileges/{group}/{table}")
    assert read.json["id"] == created["id"]
