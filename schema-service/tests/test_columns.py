"""Columns over HTTP: every type of the mapping, aliases of keys, relations, changes."""

from dataclasses import dataclass
from typing import Any

import pytest

from shared.database import Database
from shared.identity import Principal
from shared.sql import param, raw
from shared.testing import Client

STRANGER = Principal(user=9, group=9)


async def ask(service: Client, method: str, path: str, json: object = None) -> Any:
    status, body = await service.send(method, path, json=json)
    assert status == 200, body
    return body


async def add(service: Client, **body: object) -> Any:
    if not (await ask(service, "GET", "tables/things"))["success"]:
        await ask(service, "POST", "tables", {"name": "things"})
    return (await ask(service, "POST", "tables/things/columns", body))["data"]


async def pg_type(database: Database, column: str) -> str | None:
    return await database.fetchval(
        raw(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'things'::regclass AND attname = "
        )
        + param(column)
    )


@dataclass(frozen=True)
class Case:
    type: str
    length: str | None
    column_type: str
    postgres: str
    reported: str
    char_length: str | None = None


CASES = [
    Case("INT", None, "int(11)", "integer", "INT"),
    Case("int", "4", "int(4)", "integer", "INT", "4"),
    Case("BIGINT", None, "bigint(20)", "bigint", "BIGINT"),
    Case("MEDIUMINT", None, "mediumint(9)", "integer", "MEDIUMINT"),
    Case("SMALLINT", None, "smallint(6)", "smallint", "SMALLINT"),
    Case("TINYINT", None, "tinyint(1)", "smallint", "TINYINT"),
    Case("BOOLEAN", None, "tinyint(1)", "smallint", "TINYINT"),
    Case("BIT", None, "bit(1)", "smallint", "BIT"),
    Case("YEAR", None, "year(4)", "smallint", "YEAR"),
    Case("FLOAT", None, "float", "double precision", "FLOAT"),
    Case("DOUBLE", None, "double", "double precision", "DOUBLE"),
    Case("DECIMAL", "10,2", "decimal(10,2)", "numeric(10,2)", "DECIMAL", "10,2"),
    Case("CHAR", "3", "char(3)", "character varying(3)", "CHAR", "3"),
    Case("VARCHAR", None, "varchar(255)", "character varying(255)", "VARCHAR", "255"),
    Case("TEXT", None, "text", "text", "TEXT", "65535"),
    Case("LONGTEXT", None, "longtext", "text", "LONGTEXT", "4294967295"),
    Case("DATE", None, "date", "date", "DATE"),
    Case("DATETIME", None, "datetime", "timestamp(0) without time zone", "DATETIME"),
    Case("TIMESTAMP", None, "timestamp", "timestamp(0) without time zone", "TIMESTAMP"),
    Case("TIME", None, "time", "time(0) without time zone", "TIME"),
    Case("ENUM", "a,b", "enum('a','b')", "character varying", "ENUM", "1"),
    Case("SET", "a,b", "set('a','b')", "text", "SET", "3"),
    Case("BLOB", None, "blob", "bytea", "BLOB"),
    Case("POINT", None, "point", "text", "POINT"),
]


async def test_declared_types_are_reported_as_they_were_declared(
    service: Client, database: Database
) -> None:
    for number, case in enumerate(CASES):
        name = f"x{number}"
        column = await add(service, column_name=name, data_type=case.type, char_length=case.length)
        assert (column["type"], column["column_type"]) == (case.reported, case.column_type), case
        assert column.get("char_length") == case.char_length, case
        assert await pg_type(database, name) == case.postgres, case


@pytest.mark.parametrize(
    "body",
    [
        {"column_name": "year", "data_type": "int", "char_length": "4", "comment": "Year"},
        {"name": "year", "table": "other", "type": "int", "length": 4, "comment": "Year"},
        {"column_name": "year", "table_name": "other", "type": "INT(4)", "comment": "Year"},
    ],
)
async def test_every_spelling_of_the_keys_is_taken(service: Client, body: dict[str, Any]) -> None:
    column = await add(service, **body)
    assert (column["column_name"], column["column_type"]) == ("year", "int(4)")
    assert (column["comment"], column["sort"], column["ui"]) == ("Year", 9999, "numeric")


async def test_a_form_body_is_taken_too(service: Client) -> None:
    await service.send("POST", "tables", data={"name": "things"})
    status, body = await service.send(
        "POST",
        "/api/1/tables/things/columns",
        data={"column_name": "year", "data_type": "int", "char_length": "4", "required": "1"},
    )
    assert status == 200
    assert (body["id"], body["required"]) == ("year", True)  # type: ignore[index]


async def test_names_are_made_fit(service: Client) -> None:
    for given, stored in (("my col", "my_col"), ("2nd-name", "nd-name"), ("größe", "gr__e")):
        assert (await add(service, name=given, type="INT"))["name"] == stored


async def test_a_column_without_name_or_type_is_refused(service: Client) -> None:
    await service.send("POST", "tables", json={"name": "things"})
    for body in ({"name": "1"}, {"name": "x" * 64, "type": "INT"}, {"name": "x"}):
        status, _ = await service.send("POST", "tables/things/columns", json=body)
        assert status == 400
    listed = await ask(service, "GET", "tables/things/columns")
    assert [column["name"] for column in listed["data"]] == ["id", "active"]


async def test_a_type_that_cannot_be_is_a_conflict(service: Client) -> None:
    await service.send("POST", "tables", json={"name": "things"})
    for data_type, length in (
        ("NONSENSE", None),
        ("VARCHAR", "x"),
        ("DECIMAL", "3,5"),
        ("ENUM", None),
        ("int); --", None),
    ):
        sent = {"name": "x", "type": data_type, "length": length}
        status, _ = await service.send("POST", "tables/things/columns", json=sent)
        assert status == 409, sent


async def test_a_name_already_taken_is_refused(service: Client) -> None:
    await add(service, name="x", type="INT")
    body = await ask(service, "POST", "tables/things/columns", {"name": "x", "type": "TEXT"})
    assert body["success"] is False
    assert (await ask(service, "GET", "tables/things/columns/x"))["data"]["type"] == "INT"


async def test_defaults_are_shown_in_mysqls_manner(service: Client) -> None:
    text = await add(service, name="a", type="VARCHAR", default_value="it's \\ $1")
    assert text["default_value"] == "it's \\ $1"
    assert (await add(service, name="b", type="INT", default_value=7))["default_value"] == "7"
    now = await add(service, name="c", type="TIMESTAMP")
    assert now["default_value"] == "CURRENT_TIMESTAMP"
    status, _ = await service.send(
        "POST", "tables/things/columns", json={"name": "d", "type": "INT", "default_value": "x"}
    )
    assert status == 422


async def test_a_relation_to_many_is_metadata_only(service: Client, database: Database) -> None:
    column = await add(
        service, name="tasks", relationship_type="ONETOMANY", related_table="tasks",
        junction_key_right="project",
    )  # fmt: skip
    assert (column["type"], column["is_nullable"], column["column_type"]) == ("ALIAS", "YES", None)
    assert column["relationship"]["type"] == "ONETOMANY"
    assert column["junction_key_right"] == "project"
    assert await pg_type(database, "tasks") is None


async def test_a_file_column_points_at_the_files(service: Client, database: Database) -> None:
    column = await add(service, name="image", type="INT", ui="single_file")
    assert column["relationship"] == {
        "type": "MANYTOONE", "related_table": "directus_files", "junction_table": None,
        "junction_key_left": None, "junction_key_right": "image",
    }  # fmt: skip
    assert await pg_type(database, "image") == "integer"


async def test_a_missing_column_is_a_business_failure(service: Client) -> None:
    await add(service, name="x", type="INT")
    body = await ask(service, "GET", "tables/things/columns/nowhere")
    assert body["success"] is False
    assert body["error"]["message"] == "Unable to find the column [nowhere]"


async def test_metadata_change_and_the_type_does_not(service: Client) -> None:
    await add(service, name="x", type="INT")
    sent = {"type": "TEXT", "comment": "c", "hidden_list": True, "options": {"a": 1}, "sort": "3"}
    column = (await ask(service, "PUT", "tables/things/columns/x", sent))["data"]
    assert (column["type"], column["comment"], column["hidden_list"]) == ("INT", "c", True)
    assert (column["options"], column["sort"]) == ({"a": 1}, 3)


async def test_a_new_data_type_alters_the_column(service: Client, database: Database) -> None:
    await add(service, name="x", type="INT", default_value="3")
    sent = {"data_type": "VARCHAR", "length": "20"}
    column = (await ask(service, "PATCH", "tables/things/columns/x", sent))["data"]
    assert (column["column_type"], column["default_value"]) == ("varchar(20)", "3")
    assert await pg_type(database, "x") == "character varying(20)"


async def test_a_deleted_column_goes_from_blacklists_and_metadata(
    service: Client, database: Database
) -> None:
    await add(service, name="x", type="INT")
    await database.execute(
        raw("UPDATE directus_privileges SET read_field_blacklist = 'x,y' WHERE group_id = 1")
    )
    body = await ask(service, "DELETE", "tables/things/columns/x")
    assert body == {"meta": {"table": "things", "column": "x"}, "success": True}
    assert await pg_type(database, "x") is None
    left = await database.fetchval(raw("SELECT read_field_blacklist FROM directus_privileges"))
    assert left == "y"


async def test_the_status_can_go_and_the_rows_are_still_counted(
    service: Client, database: Database
) -> None:
    await add(service, name="x", type="INT")
    await database.execute(raw("INSERT INTO things (x) VALUES (1), (2)"))
    await ask(service, "DELETE", "tables/things/columns/active")
    table = (await ask(service, "GET", "tables/things"))["data"]
    assert (table["count"], table["status_column"]) == (2, None)
    status, _ = await service.send("DELETE", "tables/things/columns/id")
    assert status == 409


async def test_strangers_neither_see_nor_alter(service: Client, database: Database) -> None:
    await add(service, name="x", type="INT")
    other = service.as_(STRANGER)
    for method, path in (
        ("GET", "tables/things/columns"),
        ("GET", "tables/nowhere/columns"),
        ("POST", "tables/things/columns"),
        ("PUT", "tables/things/columns/x"),
        ("DELETE", "tables/things/columns/x"),
    ):
        status, _ = await other.send(method, path, json={"name": "y", "type": "INT"})
        assert status == 403
    assert await pg_type(database, "x") == "integer"
