"""The rules of the system tables, over the row routes: they hold whichever service has them."""

import asyncio
from collections.abc import AsyncGenerator
from hashlib import md5, sha256
from typing import Any

import pytest_asyncio

from shared.database import Database
from shared.http import DEPENDS_HEADER
from shared.identity import Principal
from shared.passwords import set_cost, verify_password
from shared.row_routes import row_routes
from shared.service import IDENTITY_HEADER, create_app
from shared.settings import PasswordSettings, ServiceSettings
from shared.sql import param, raw
from shared.testing import ADMINISTRATOR, SIGNER, Client, environment, serving

EDITOR = Principal(user=2, group=2)
LONG = "correct horse battery staple"
SERVED = ("users", "groups", "files", "privileges", "tables", "columns", "settings", "preferences")


@pytest_asyncio.fixture(loop_scope="session")
async def service(
    database: Database, database_url: str, redis_prefix: str
) -> AsyncGenerator[Client]:
    """Ann (1) is the only administrator, Ed (2) and Eve (3) are editors."""
    for statement in (
        raw("INSERT INTO directus_groups (id, name) VALUES (2, 'Editors')"),
        raw(
            'INSERT INTO directus_users (id, email, "group", active) VALUES'
            " (1, 'Ann@example.org', 1, 1), (2, 'ed@example.org', 2, 1),"
            " (3, 'eve@example.org', 2, 1)"
        ),
        raw("SELECT setval('directus_users_id_seq', 3), setval('directus_groups_id_seq', 2)"),
    ):
        await database.execute(statement)
    settings = ServiceSettings.model_validate(environment(database_url, redis_prefix))
    routes = row_routes(*(f"directus_{name}" for name in SERVED))
    async with serving(create_app(settings, routes)) as client:
        yield client


async def allow(database: Database, table: str, **columns: object) -> None:
    values = {"allow_view": 2, "allow_add": 1, "allow_edit": 2, "allow_delete": 2} | columns
    await database.execute(
        raw(
            "INSERT INTO directus_privileges (table_name, group_id, allow_view, allow_add,"
            " allow_edit, allow_delete, read_field_blacklist) VALUES ("
        )
        + param(table)
        + raw(", 2, ")
        + param(values["allow_view"])
        + raw(", ")
        + param(values["allow_add"])
        + raw(", ")
        + param(values["allow_edit"])
        + raw(", ")
        + param(values["allow_delete"])
        + raw(", ")
        + param(values.get("blacklist"))
        + raw(")")
    )


async def ask(
    service: Client, method: str, path: str, json: object = None, expected: int = 200
) -> Any:
    status, body = await service.send(method, f"tables/directus_{path}", json=json)
    assert status == expected, body
    return body


async def value(database: Database, column: str, user: int) -> Any:
    row = await database.fetchrow(raw("SELECT * FROM directus_users WHERE id = ") + param(user))
    return None if row is None else row[column]


async def test_a_password_becomes_a_hash_and_is_never_seen_again(
    service: Client, database: Database
) -> None:
    body = await ask(service, "POST", "users/rows", {"email": "new@example.org", "password": LONG})
    assert "password" not in body["data"]
    stored = await database.fetchval(raw("SELECT password_hash FROM directoire.credentials"))
    assert stored.startswith("$argon2id$")
    assert verify_password(stored, LONG)
    entries = await database.fetch(raw("SELECT before::text, after::text FROM directus_activity"))
    assert all(
        LONG not in str(tuple(entry)) and "argon2" not in str(tuple(entry)) for entry in entries
    )


async def test_a_hash_costs_what_the_settings_say_whichever_service_makes_it(
    database: Database, database_url: str, redis_prefix: str
) -> None:
    told = environment(database_url, redis_prefix, argon2_memory="32768")
    settings = ServiceSettings.model_validate(told)
    try:
        async with serving(create_app(settings, row_routes("directus_users"))) as service:
            sent = {"email": "new@example.org", "password": LONG, "group": 1}
            await ask(service, "POST", "users/rows", sent)
    finally:
        set_cost(PasswordSettings())
    stored = await database.fetchval(raw("SELECT password_hash FROM directoire.credentials"))
    assert stored.startswith("$argon2id$v=19$m=32768,t=2,p=1$")


async def test_a_weak_password_stores_nothing(service: Client, database: Database) -> None:
    for password in ("short", "aaaaaaaaaaaaaaaaaaaa", 5, ["x"]):
        sent = {"email": "new@example.org", "password": password}
        await ask(service, "POST", "users/rows", sent, expected=422)
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 3


async def test_a_token_is_kept_as_a_hash_and_echoed_once(
    service: Client, database: Database
) -> None:
    body = await ask(service, "PUT", "users/rows/2", {"token": "a-token-of-ed"})
    assert body["data"]["token"] == "a-token-of-ed"
    (row,) = await database.fetch(raw("SELECT user_id, sha256 FROM directoire.tokens"))
    assert (row["user_id"], row["sha256"]) == (2, sha256(b"a-token-of-ed").digest())
    assert (await ask(service, "GET", "users/rows/2"))["data"]["token"] is None
    await ask(service, "PUT", "users/rows/2", {"token": None, "city": "Kiel"})
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.tokens")) == 1
    await ask(service, "PUT", "users/rows/3", {"token": "a-token-of-ed"}, expected=409)
    await ask(service, "PUT", "users/rows/2", {"token": "another-token"})
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.tokens")) == 1


async def test_an_address_must_be_one_and_is_unique_however_capitalised(
    service: Client, database: Database
) -> None:
    for email in ("", "nobody", "a@b", "a b@example.org", "a@exa\nmple.org", None):
        await ask(service, "POST", "users/rows", {"email": email, "city": "x"}, expected=422)
    await ask(service, "POST", "users/rows", {"city": "x"}, expected=422)
    await ask(service, "POST", "users/rows", {"email": "ED@example.org"}, expected=409)
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 3


async def test_an_avatar_is_the_gravatar_until_there_is_another(service: Client) -> None:
    digest = md5(b"ann@example.org").hexdigest()
    shown = (await ask(service, "GET", "users/rows/1"))["data"]
    assert f"/avatar/{digest}" in shown["avatar"]
    assert shown["last_login"] is None
    await ask(service, "PUT", "users/rows/1", shown)  # sent back as it was read
    await ask(service, "PUT", "users/rows/1", {"avatar": "https://example.org/a.png"})
    shown = (await ask(service, "GET", "users/rows/1"))["data"]
    assert shown["avatar"] == "https://example.org/a.png"


async def test_what_rests_on_the_last_access_is_not_kept(service: Client) -> None:
    identity = {IDENTITY_HEADER: SIGNER.sign(ADMINISTRATOR)}
    path = "/api/1.1/tables/directus_users/rows"
    async with service.http.get(path, headers=identity) as response:
        assert DEPENDS_HEADER not in response.headers
    async with service.http.get(f"{path}?columns=id,email", headers=identity) as response:
        assert DEPENDS_HEADER in response.headers


async def test_the_last_administrator_stays_one(service: Client, database: Database) -> None:
    for sent in ({"active": 0}, {"active": 2}, {"group": 2}, {"group": None}):
        await ask(service, "PUT", "users/rows/1", sent, expected=403)
    await ask(service, "DELETE", "users/rows/1", expected=403)
    await ask(service, "DELETE", "users/rows/1?soft=1", expected=403)
    assert await value(database, "active", 1) == 1
    assert await value(database, "group", 1) == 1
    await ask(service, "PUT", "users/rows/3", {"group": 1})
    await ask(service, "PUT", "users/rows/1", {"active": 0})
    assert await value(database, "active", 1) == 0


async def test_of_two_last_administrators_that_leave_at_once_one_stays(
    service: Client, database: Database
) -> None:
    await ask(service, "PUT", "users/rows/3", {"group": 1})
    answers = await asyncio.gather(
        service.send("PUT", "tables/directus_users/rows/1", json={"group": 2}),
        service.send("DELETE", "tables/directus_users/rows/3"),
    )
    assert sorted(status for status, _ in answers) == [200, 403]
    left = raw('SELECT count(*) FROM directus_users WHERE "group" = 1 AND active = 1')
    assert await database.fetchval(left) == 1


async def test_nobody_raises_himself(service: Client, database: Database) -> None:
    await allow(database, "directus_users")
    editor = service.as_(EDITOR)
    await ask(editor, "PUT", "users/rows/2", {"group": 1}, expected=403)
    await ask(editor, "PUT", "users/rows/3", {"group": 2}, expected=403)
    await ask(editor, "POST", "users/rows", {"email": "x@example.org", "group": 1}, expected=403)
    for name, sent in (("email", "x@y.org"), ("password", LONG), ("token", "a-token-of-x")):
        await ask(editor, "PUT", "users/rows/3", {name: sent}, expected=403)
    await ask(editor, "PUT", "users/rows/1", {"city": "Kiel"}, expected=403)
    await ask(editor, "DELETE", "users/rows/1", expected=403)
    assert (await value(database, "group", 2), await value(database, "city", 1)) == (2, "")
    await ask(editor, "PUT", "users/rows/2", {"password": LONG, "token": "a-token-of-ed"})
    created = await ask(editor, "POST", "users/rows", {"email": "x@example.org"})
    assert await value(database, "group", created["data"]["id"]) == 2


async def test_rights_and_schema_are_for_administrators_whatever_their_rows_say(
    service: Client, database: Database
) -> None:
    await allow(database, "directus_privileges")
    await allow(database, "directus_tables")
    sent = {"table_name": "directus_users", "group_id": 2, "allow_edit": 2}
    await ask(service.as_(EDITOR), "POST", "privileges/rows", sent, expected=403)
    await ask(service.as_(EDITOR), "PUT", "privileges/rows/1", {"allow_edit": 2}, expected=403)
    sent = {"table_name": "directus_users", "user_create_column": "id"}
    await ask(service.as_(EDITOR), "POST", "tables/rows", sent, expected=403)
    assert await database.fetchval(raw("SELECT count(*) FROM directus_privileges")) == 2


async def test_others_do_not_see_what_is_private(service: Client, database: Database) -> None:
    await allow(database, "directus_users", blacklist="email")
    shown = (await ask(service.as_(EDITOR), "GET", "users/rows?columns_visible="))["data"]
    messages = {row["id"]: row["email_messages"] for row in shown}
    assert messages == {1: None, 2: 1, 3: None}
    assert all("email" not in row and row["avatar"] is None for row in shown)
    path = "users/rows?filters[email_messages]=1"
    await ask(service.as_(EDITOR), "GET", path, expected=400)


async def test_a_new_group_may_edit_its_own_records(service: Client, database: Database) -> None:
    group = (await ask(service, "POST", "groups/rows", {"name": "Readers"}))["data"]["id"]
    row = await database.fetchrow(
        raw("SELECT * FROM directus_privileges WHERE group_id = ") + param(group)
    )
    assert row is not None
    assert (row["table_name"], row["allow_view"], row["allow_edit"]) == ("directus_users", 1, 1)
    assert row["write_field_blacklist"] == "group,token,active,email"
    await ask(service, "DELETE", f"groups/rows/{group}")
    await ask(service, "DELETE", "groups/rows/1", expected=403)


async def test_metadata_of_tables_must_fit(service: Client) -> None:
    await ask(service, "POST", "tables/rows", {"table_name": "nowhere", "hidden": 1}, expected=422)
    sent = {"table_name": "directus_files", "user_create_column": "title"}
    await ask(service, "POST", "tables/rows", sent, expected=422)
    sent = {"table_name": "directus_files", "column_name": "nowhere", "ui": "x"}
    await ask(service, "POST", "columns/rows", sent, expected=422)


async def test_a_known_setting_takes_only_what_it_can_be(service: Client) -> None:
    sent = {"collection": "global", "name": "rows_per_page", "value": "many"}
    await ask(service, "POST", "settings/rows", sent, expected=400)
    await ask(service, "POST", "settings/rows", {**sent, "value": 50})


async def test_files_have_their_address_and_keep_what_the_bytes_say(
    service: Client, database: Database
) -> None:
    await database.execute(
        raw(
            'INSERT INTO directus_files (id, name, type, embed_id, storage_key, "user") VALUES'
            " (5, 'a b.PDF', 'application/pdf', NULL, 'k', 1),"
            " (6, '', 'embed/youtube', 'abc', NULL, 1),"
            " (7, '', 'embed/youtube', '\"><script>', NULL, 1)"
        )
    )
    pdf = (await ask(service, "PUT", "files/rows/5", {"title": "T", "size": 9, "name": "x"}))[
        "data"
    ]
    assert (pdf["title"], pdf["size"], pdf["name"]) == ("T", 0, "a b.PDF")
    assert pdf["url"] == "/storage/uploads/a b.PDF"
    assert pdf["thumbnail_url"] == "/storage/uploads/thumbs/5.jpeg"
    video = (await ask(service, "GET", "files/rows/6"))["data"]
    assert (video["url"], video["thumbnail_url"]) == (None, None)
    assert 'src="https://www.youtube.com/embed/abc"' in video["html"]
    assert video["embed_url"] == "https://www.youtube.com/watch?v=abc"
    assert (await ask(service, "GET", "files/rows/7"))["data"]["html"] is None


async def test_preferences_belong_to_who_stores_them(service: Client) -> None:
    sent = {"user": 1, "table_name": "books", "sort": "id"}
    body = await ask(service.as_(EDITOR), "POST", "preferences/rows", sent)
    assert body["data"]["user"] == 2
    key = body["data"]["id"]
    body = await ask(
        service.as_(EDITOR), "PUT", f"preferences/rows/{key}", {"user": 1, "sort": "t"}
    )
    assert (body["data"]["user"], body["data"]["sort"]) == (2, "t")
    mine = await ask(service, "GET", "preferences/rows")
    assert [row["id"] for row in mine["data"]] == [key]
    other = Principal(user=3, group=2)
    assert (await ask(service.as_(other), "GET", "preferences/rows"))["data"] == []
