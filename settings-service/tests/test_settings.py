"""The settings of the instance, over a real database."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from settings_service.app import make_app
from settings_service.settings import Settings
from shared.database import Database
from shared.http import DEPENDS_HEADER, SCOPE_HEADER
from shared.identity import Principal
from shared.service import IDENTITY_HEADER
from shared.sql import join, param, raw
from shared.testing import ADMINISTRATOR, SIGNER, Client, environment, serving

STRANGER = Principal(user=9, group=9)


@pytest_asyncio.fixture(loop_scope="session")
async def service(database_url: str, redis_prefix: str) -> AsyncGenerator[Client]:
    settings = Settings.model_validate(environment(database_url, redis_prefix))
    async with serving(make_app(settings)) as client:
        yield client


async def stored(database: Database) -> dict[str, str]:
    rows = await database.fetch(
        raw("SELECT collection || '.' || name AS name, value FROM directus_settings ORDER BY id")
    )
    return {row["name"]: row["value"] for row in rows}


async def ask(service: Client, method: str, path: str, json: object = None) -> tuple[int, Any]:
    return await service.send(method, path, json=json)


async def test_an_untouched_instance_answers_the_defaults_as_strings(service: Client) -> None:
    status, answer = await ask(service, "GET", "settings")
    assert status == 200
    assert answer["meta"] == {"table": "directus_settings", "type": "item"}
    assert answer["data"]["global"]["rows_per_page"] == "200"
    assert answer["data"]["files"]["file_naming"] == "file_id"
    assert all(isinstance(v, str) for values in answer["data"].values() for v in values.values())
    _, bare = await ask(service, "GET", "/api/1/settings")
    assert bare == answer["data"]


async def test_one_collection_is_wrapped_in_1_1_and_bare_in_1_0(service: Client) -> None:
    _, answer = await ask(service, "GET", "settings/global")
    assert answer["meta"]["settings_collection"] == "global"
    _, bare = await ask(service, "GET", "/api/1/settings/global")
    assert bare == answer["data"]


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_named_values_are_stored_as_strings_and_the_others_kept(
    service: Client, database: Database, method: str
) -> None:
    await ask(service, "PUT", "settings/global", {"project_name": "Harbour"})
    body = {"rows_per_page": 100, "mine": True, "none": None, "ratio": 1.5}
    status, answer = await ask(service, method, "settings/global", body)
    assert status == 200
    assert answer["data"]["rows_per_page"] == "100"
    assert answer["data"]["project_name"] == "Harbour"
    assert await stored(database) == {
        "global.project_name": "Harbour",
        "global.rows_per_page": "100",
        "global.mine": "1",
        "global.none": "",
        "global.ratio": "1.5",
    }
    _, again = await ask(service, "GET", "settings/global")
    assert again["data"] == answer["data"]


async def test_a_form_is_stored_and_the_change_recorded_for_its_actor(
    service: Client, database: Database
) -> None:
    form = {"project_name": "Über & Co"}
    status, answer = await service.send("POST", "/api/1/settings/global", data=form)
    assert (status, answer["project_name"]) == (200, "Über & Co")
    entries = await database.fetch(
        raw("SELECT action, actor FROM directus_activity WHERE table_name = 'directus_settings'")
    )
    assert [tuple(entry) for entry in entries] == [("ADD", "1")]


async def test_a_body_without_values_leaves_all_as_it_is(
    service: Client, database: Database
) -> None:
    status, answer = await ask(service, "PUT", "settings/files")
    assert (status, answer["data"]["thumbnail_size"]) == (200, "200")
    assert await stored(database) == {}


@pytest.mark.parametrize(
    ("collection", "body", "field"),
    [
        ("global", {"rows_per_page": "many"}, "rows_per_page"),
        ("global", {"rows_per_page": 0}, "rows_per_page"),
        ("global", {"rows_per_page": "10001"}, "rows_per_page"),
        ("global", {"project_name": "x", "rows_per_page": ""}, "rows_per_page"),
        ("global", {"project_name": {"a": 1}}, "project_name"),
        ("global", {"project_name": "a\0b"}, "project_name"),
        ("global", {"n" * 65: "x"}, "n" * 65),
        ("files", {"thumbnail_quality": 101}, "thumbnail_quality"),
        ("files", {"thumbnail_crop_enabled": "yes"}, "thumbnail_crop_enabled"),
        ("files", {"file_naming": "../x"}, "file_naming"),
    ],
)
async def test_a_value_that_cannot_be_meant_is_named_and_nothing_is_stored(
    service: Client, database: Database, collection: str, body: dict[str, object], field: str
) -> None:
    status, answer = await ask(service, "PUT", f"settings/{collection}", body)
    assert (status, answer["error"]["field"]) == (400, field)
    assert await stored(database) == {}


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_an_unknown_collection_is_missing(
    service: Client, database: Database, method: str
) -> None:
    body = {"a": "b"} if method == "PUT" else None
    status, answer = await ask(service, method, "settings/nothing", body)
    assert (status, answer["success"]) == (200, False)
    status, answer = await ask(service, method, "/api/1/settings/nothing", body)
    assert (status, answer["success"]) == (200, False)
    assert "nothing" in answer["message"]
    assert await stored(database) == {}


async def test_who_has_no_right_reads_and_writes_nothing(
    service: Client, database: Database
) -> None:
    stranger = service.as_(STRANGER)
    assert (await ask(stranger, "GET", "settings"))[0] == 403
    assert (await ask(stranger, "GET", "settings/global"))[0] == 403
    assert (await ask(stranger, "PUT", "settings/global", {"project_name": "x"}))[0] == 403
    assert await stored(database) == {}


@pytest.mark.parametrize(
    ("rights", "reads", "writes"),
    [
        ((2, 0, 0), 200, 403),
        ((1, 1, 2), 403, 200),
        ((2, 1, 1), 200, 403),
        ((2, 0, 2), 200, 403),
        ((2, 1, 2), 200, 200),
    ],
)
async def test_writing_needs_add_and_edit_of_all_and_reading_view_of_all(
    service: Client, database: Database, rights: tuple[int, int, int], reads: int, writes: int
) -> None:
    view, add, edit = rights
    group = await database.fetchval(
        raw("INSERT INTO directus_groups (name) VALUES ('Editors') RETURNING id")
    )
    await database.execute(
        raw(
            "INSERT INTO directus_privileges"
            " (table_name, group_id, allow_view, allow_add, allow_edit)"
            " VALUES ('directus_settings', "
        )
        + join(", ", [param(value) for value in (group, view, add, edit)])
        + raw(")")
    )
    editor = service.as_(Principal(user=5, group=group))
    assert (await ask(editor, "GET", "settings/global"))[0] == reads
    assert (await ask(editor, "PUT", "settings/global", {"project_name": "x"}))[0] == writes
    assert bool(await stored(database)) is (writes == 200)


async def test_an_answer_says_what_it_rests_on(service: Client) -> None:
    headers = {IDENTITY_HEADER: SIGNER.sign(ADMINISTRATOR)}
    async with service.http.get("/api/1.1/settings", headers=headers) as response:
        assert response.headers[DEPENDS_HEADER].split() == ["g:1", "schema", "t:directus_settings"]
        assert response.headers[SCOPE_HEADER] == "group"


async def test_a_stored_value_that_cannot_be_meant_does_not_break_lists(
    service: Client, database: Database
) -> None:
    await database.execute(
        raw("INSERT INTO directus_settings (collection, name, value)")
        + raw(" VALUES ('global', 'rows_per_page', 'lots'), ('other', 'a', NULL)")
    )
    status, answer = await ask(service, "GET", "settings")
    assert status == 200
    assert answer["data"]["other"] == {"a": ""}
    status, _ = await ask(service, "GET", "tables/directus_settings/rows")
    assert status == 200
