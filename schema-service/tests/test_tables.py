"""Tables over HTTP: list, describe, create, change, drop."""

import asyncio
from typing import Any

from shared.database import Database
from shared.identity import Principal
from shared.sql import fixed, param, raw
from shared.testing import Client

EDITOR = Principal(user=2, group=2)


async def ask(service: Client, method: str, path: str, json: object = None) -> Any:
    status, body = await service.send(method, path, json=json)
    assert status == 200, body
    return body


async def create(service: Client, name: str = "projects") -> Any:
    return await ask(service, "POST", "tables", {"name": name})


async def editors(database: Database, **levels: int) -> None:
    await database.execute(raw("INSERT INTO directus_groups (id, name) VALUES (2, 'Editors')"))
    values = (levels.get("view", 0), levels.get("alter", 0))
    await database.execute(
        fixed(
            "INSERT INTO directus_privileges (table_name, group_id, allow_view, allow_alter)"
            " VALUES ('projects', 2, $1, $2)",
            *values,
        )
    )


async def tables_there(database: Database, name: str) -> int:
    return await database.fetchval(
        raw("SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = ")
        + param(name)
    )


async def test_a_new_table_has_a_key_and_a_status_and_is_described(service: Client) -> None:
    body = await create(service)
    assert body["success"] is True
    assert body["meta"] == {"table": "directus_tables", "type": "entry"}
    table = body["data"]
    assert (table["id"], table["name"], table["table_name"]) == ("projects",) * 3
    assert table["hidden"] is False
    assert (table["count"], table["row_count"], table["active"], table["trash"]) == (0, 0, 0, 0)
    assert table["preferences"]["sort"] == "id"
    key, status = table["columns"]
    assert (key["type"], key["column_type"], key["key"]) == ("INT", "int(11) unsigned", "PRI")
    assert (key["extra"], key["required"], key["ui"]) == ("auto_increment", True, "numeric")
    assert (status["column_name"], status["column_type"]) == ("active", "tinyint(1) unsigned")
    assert (status["default_value"], status["is_nullable"]) == ("2", "NO")
    assert status["options"] == []


async def test_version_1_0_answers_the_bare_table(service: Client) -> None:
    await create(service)
    table = await ask(service, "GET", "/api/1/tables/projects")
    assert table["table_name"] == "projects"
    assert [column["id"] for column in table["columns"]] == ["id", "active"]
    assert "default_value" not in table["columns"][0]


async def test_the_creators_group_gets_every_right(service: Client, database: Database) -> None:
    await create(service)
    (row,) = await database.fetch(raw("SELECT * FROM directus_privileges"))
    levels = [row[f"allow_{name}"] for name in ("view", "add", "edit", "delete", "alter")]
    assert (row["group_id"], row["table_name"], levels) == (1, "projects", [2, 1, 2, 2, 1])
    assert row["nav_listed"] == 1


async def test_the_creation_is_an_entry_of_its_actor(service: Client, database: Database) -> None:
    await create(service)
    entries = await database.fetch(raw("SELECT table_name, action, actor FROM directus_activity"))
    assert {entry["actor"] for entry in entries} == {"1"}
    assert ("directus_tables", "ADD") in {(e["table_name"], e["action"]) for e in entries}


async def test_a_new_table_is_recorded_and_counted(service: Client, database: Database) -> None:
    await create(service)
    await database.execute(raw("INSERT INTO projects (active) VALUES (1), (1), (2)"))
    table = (await ask(service, "GET", "tables/projects"))["data"]
    assert (table["count"], table["active"], table["inactive"]) == (3, 2, 1)


async def test_a_name_already_taken_is_refused_and_changes_nothing(
    service: Client, database: Database
) -> None:
    await create(service)
    body = await ask(service, "POST", "tables", {"name": "projects"})
    assert body["success"] is False
    assert body["error"]["message"] == 'Table "projects" already exists'
    assert await database.fetchval(raw("SELECT count(*) FROM directus_tables")) == 1


async def test_of_two_who_take_a_name_at_once_one_gets_it(
    service: Client, database: Database
) -> None:
    sent = {"name": "projects"}
    answers = await asyncio.gather(*(service.send("POST", "tables", json=sent) for _ in range(3)))
    assert [status for status, _ in answers] == [200] * 3
    assert sum(body["success"] for _, body in answers) == 1  # type: ignore[index]
    assert await database.fetchval(raw("SELECT count(*) FROM directus_tables")) == 1


async def test_the_name_of_an_index_is_taken_too(service: Client) -> None:
    await create(service)
    body = await ask(service, "POST", "tables", {"name": "projects_pkey"})
    assert body["success"] is False


async def test_a_bad_name_is_refused(service: Client) -> None:
    for name in ("", "a b", "a.b", 'a"b', "ä", "a/b", "directus_x", "x" * 64, None, 7):
        status, body = await service.send("POST", "tables", json={"name": name})
        assert status == 400, name
        assert body["error"]["message"] == "Invalid table name"  # type: ignore[index]


async def test_reserved_words_hyphens_and_case_are_names_too(service: Client) -> None:
    for name in ("order", "user-notes", "CamelCase", "2024", "-", "x" * 63):
        assert (await create(service, name))["data"]["name"] == name
        assert (await ask(service, "GET", f"tables/{name}"))["data"]["name"] == name


async def test_the_list_holds_what_the_caller_may_view(service: Client, database: Database) -> None:
    await create(service)
    await create(service, "secrets")
    await editors(database, view=1)
    body = await ask(service, "GET", "tables")
    assert [
        entry["name"] for entry in body["data"] if entry["name"] in ("projects", "secrets")
    ] == [
        "projects",
        "secrets",
    ]
    assert not [e for e in body["data"] if e["name"].startswith("directus_")]
    seen = await ask(service.as_(EDITOR), "GET", "/api/1/tables")
    assert seen == [{"name": "projects", "table_name": "projects"}]


async def test_system_tables_are_listed_on_request(service: Client) -> None:
    body = await ask(service, "GET", "tables?include_system=1")
    assert "directus_users" in [entry["name"] for entry in body["data"]]
    body = await ask(service, "GET", "tables?include_system=0")
    assert "directus_users" not in [entry["name"] for entry in body["data"]]


async def test_a_missing_and_a_hidden_table_look_alike(service: Client, database: Database) -> None:
    await create(service)
    await editors(database)
    hidden = await ask(service.as_(EDITOR), "GET", "tables/projects")
    missing = await ask(service.as_(EDITOR), "GET", "tables/nowhere")
    assert hidden["success"] is missing["success"] is False
    assert hidden["error"]["message"] == 'Unable to find the table "projects"'


async def test_only_administrators_create_tables(service: Client, database: Database) -> None:
    status, _ = await service.as_(EDITOR).send("POST", "tables", json={"name": "projects"})
    assert status == 403
    assert await tables_there(database, "projects") == 0


async def test_metadata_change_and_automatic_columns_must_fit(service: Client) -> None:
    await create(service)
    await ask(service, "POST", "tables/projects/columns", {"name": "owner", "type": "INT"})
    sent = {"hidden": "1", "single": True, "comment": "It's ours", "user_create_column": "owner"}
    table = (await ask(service, "PUT", "tables/projects", sent))["data"]
    assert (table["hidden"], table["single"], table["footer"]) == (True, True, False)
    assert (table["comment"], table["user_create_column"]) == ("It's ours", "owner")
    for wrong in ("nowhere", "id"):
        status, _ = await service.send(
            "PATCH", "tables/projects", json={"user_update_column": wrong}
        )
        assert status == 422
    table = (await ask(service, "GET", "tables/projects"))["data"]
    assert table["user_update_column"] is None


async def test_a_dropped_table_takes_rights_metadata_and_preferences_along(
    service: Client, database: Database
) -> None:
    await create(service)
    await editors(database, view=2)
    body = await ask(service, "DELETE", "tables/projects")
    assert body["success"] is True
    assert body["data"]["message"]
    assert await tables_there(database, "projects") == 0
    for name in ("directus_tables", "directus_columns", "directus_privileges"):
        left = await database.fetchval(raw("SELECT count(*) FROM ") + raw(name))
        assert left == 0
    assert (
        await database.fetchval(
            raw(
                "SELECT count(*) FROM directoire.managed m"
                " WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = m.tbl)"
            )
        )
        == 0
    )


async def test_a_table_made_anew_after_a_drop_is_empty(service: Client, database: Database) -> None:
    await create(service)
    await database.execute(raw("INSERT INTO projects (active) VALUES (1)"))
    await ask(service, "DELETE", "/api/1/tables/projects")
    assert (await create(service))["data"]["count"] == 0


async def test_dropping_needs_the_right_and_spares_the_system(
    service: Client, database: Database
) -> None:
    await create(service)
    await editors(database, view=2)
    for who, name, expected in (
        (EDITOR, "projects", 403),
        (EDITOR, "nowhere", 403),
        (service.principal, "nowhere", 404),
        (service.principal, "directus_users", 403),
    ):
        status, _ = await service.as_(who).send("DELETE", f"tables/{name}")
        assert status == expected
    assert await tables_there(database, "projects") == 1
    assert await tables_there(database, "directus_users") == 1


async def test_a_table_others_point_at_is_not_dropped(service: Client, database: Database) -> None:
    await create(service)
    await database.execute(
        raw("CREATE TABLE tasks (id int PRIMARY KEY, project int REFERENCES projects (id))")
    )
    status, _ = await service.send("DELETE", "tables/projects")
    assert status == 409
    assert (await ask(service, "GET", "tables/projects"))["data"]["columns"]
