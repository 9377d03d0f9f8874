"""The clients published for API 1.0 and 1.1, unmodified: each of their methods does what it says.

Where a client has a fault of its own, the fault is what is asserted: it must not become worse, and
nobody should look for it here.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from file_calls import DOT, EVERY_NPM_FILES, FIRST_FILES, LAST_FILES, PYTHON_FILES
from published import Run, run
from seen import Cases, Holds, Seen
from wire import Api

pytestmark = pytest.mark.xdist_group("clients")

PASSWORD = "correct horse battery"
SHA256 = hashlib.sha256(b"secret").hexdigest()


EVERY_NPM: Cases = {
    "createTable": ("makes a table", lambda s: s.item["name"] == f"{s.table}_made"),
    "getTables": ("lists the tables", lambda s: s.table in s.tables),
    "getTable": (
        "describes a table and its columns",
        lambda s: (
            s.item["table_name"] == s.table
            and {"id", "active", "title"} <= {column["id"] for column in s.item["columns"]}
        ),
    ),
    "createColumn": (
        "makes a column",
        lambda s: (s.item["column_name"], s.item["type"]) == ("year", "INT"),
    ),
    "getColumns": ("lists the columns", lambda s: "year" in {row["id"] for row in s.rows}),
    "getColumn": ("describes a column", lambda s: s.item["comment"] == "Year Build"),
    "updateColumn": ("changes a column", lambda s: s.item["comment"] == "Built in"),
    "deleteColumn": ("drops a column", lambda s: s.value["success"] is True),
    "createItem": ("makes an item", lambda s: s.item["title"] == "School Website"),
    "createItem: another": ("makes another item", lambda s: s.item["title"] == "Museum"),
    "getItems": (
        "lists the items",
        lambda s: [row["title"] for row in s.rows] == ["Kept", "School Website", "Museum"],
    ),
    "getItems: with parameters": (
        "lists the second of two ids in descending order, by its title alone",
        lambda s: s.rows == [{"title": "Museum"}],
    ),
    "getItems: with filters": (
        "lists the items that pass two filters",
        lambda s: [row["title"] for row in s.rows] == ["School Website"],
    ),
    "getItem": ("gets an item", lambda s: s.item["title"] == "School Website"),
    "updateItem": ("changes an item", lambda s: s.item["title"] == "School"),
    **EVERY_NPM_FILES,
    "getMessages": (
        "lists the messages",
        lambda s: "Hello" in {row["subject"] for row in s.rows},
    ),
    "getMessage": ("gets a message", lambda s: s.item["subject"] == "Hello"),
    "getActivity": ("lists what was done", lambda s: {"action", "row_id"} <= set(s.rows[0])),
    "createBookmark": (
        "makes a bookmark of a table's view",
        lambda s: s.item["url"] == f"tables/{s.table}/pref/{s.item['title']}",
    ),
    "getBookmarks": ("lists the bookmarks", lambda s: len(s.rows) >= 1),
    "getUserBookmarks": (
        "lists the caller's bookmarks",
        lambda s: {row["user"] for row in s.rows} == {1},
    ),
    "getBookmark": ("gets a bookmark", lambda s: s.item["section"] == "search"),
    "deleteBookmark": ("deletes a bookmark", lambda s: s.value["success"] is True),
    "getSettings": ("gets all settings", lambda s: set(s.item) >= {"global", "files"}),
    "getSettingsByCollection": (
        "gets the settings of a collection, which are strings",
        lambda s: s.item["rows_per_page"] == "200",
    ),
    "updateSettings": (
        "changes a setting",
        lambda s: s.item["project_name"] in {"First client", "Client 2.5.1", "Client 2.15.0"},
    ),
}  # fmt: skip

FIRST: Cases = {
    **EVERY_NPM,
    "getItems: with a callback": ("answers by a callback too", lambda s: len(s.rows) == 3),
    "getItems: of no table": (
        "rejects a list of a table that is not there, naming address and status",
        lambda s: "returned not found (404)" in s.rejection,
    ),
    "deleteItem": ("hides an item", lambda s: s.item["active"] == 0),
    "getItem: after deleteItem": ("can still get a hidden item", lambda s: s.item["active"] == 0),
    "deleteItem: from the database": ("deletes an item", lambda s: s.value["success"] is True),
    "getItem: after deleteItem from the database": (
        "gets nothing where an item was deleted",
        lambda s: s.item == [],
    ),
    **FIRST_FILES,
    "createPrivilege": ("has lost its privileges", lambda s: "not a function" in s.thrown),
    "getPreference": ("has lost its preferences", lambda s: "not a function" in s.thrown),
    "getTables: by a stranger": (
        "rejects an unknown token",
        lambda s: "returned not authorized (401)" in s.rejection,
    ),
}


def refuses_old(s: Seen) -> bool:
    return "can't be used with api version 1" in s.thrown


FIRST_OLD: Cases = {
    **FIRST,
    "createTable": ("refuses to make a table under 1.0", refuses_old),
    "getActivity": ("refuses to list what was done under 1.0", refuses_old),
    "createBookmark": ("refuses to make a bookmark under 1.0", refuses_old),
    "getUserBookmarks": ("refuses to list the caller's bookmarks under 1.0", refuses_old),
    "deleteBookmark": ("refuses to delete a bookmark under 1.0", refuses_old),
}

LATER: Cases = {
    **EVERY_NPM,
    "createTable: once more": (
        "is told that a table is there already",
        lambda s: "already exists" in s.refusal,
    ),
    "getTables: with the system tables": (
        "lists the system tables when it asks for them",
        lambda s: {"directus_users", s.table} <= s.tables,
    ),
    "getTable: of no table": (
        "is told that a table is not there",
        lambda s: "Unable to find the table" in s.refusal,
    ),
    "deleteItem": ("deletes an item", lambda s: s.value["success"] is True),
    "getItem: after deleteItem": ("gets nothing where an item was", lambda s: s.item == []),
    "deleteItem: once more": (
        "is told that there is no item to delete",
        lambda s: s.value["success"] is False,
    ),
    "createBulk": ("makes many items", lambda s: [r["title"] for r in s.rows] == ["A", "B"]),
    "updateBulk": ("changes many items", lambda s: [r["title"] for r in s.rows] == ["a", "b"]),
    "updateBulk: of no list": (
        "throws before sending what is no list",
        lambda s: "should be an array" in s.thrown,
    ),
    "deleteBulk": (
        "sends its bulk delete without a body, which is refused",
        lambda s: "rows" in s.error.lower(),
    ),
    "getItems: after deleteBulk": (
        "has deleted nothing by that",
        lambda s: [row["title"] for row in s.rows] == ["a", "b"],
    ),
    "getItems: of no table": (
        "rejects a list of a table that is not there, with the error body",
        lambda s: "Unable to find the table" in s.error,
    ),
    "createItem: of no table": (
        "throws before sending when an argument is missing",
        lambda s: "Missing parameter [table]" in s.thrown,
    ),
    "createGroup": ("makes a group", lambda s: s.item["name"] == f"{s.table} group"),
    "getGroups": ("lists the groups", lambda s: f"{s.table} group" in {r["name"] for r in s.rows}),
    "getGroup": ("gets a group", lambda s: s.item["name"] == f"{s.table} group"),
    "createPrivileges": (
        "gives a group privileges on a table",
        lambda s: (s.item["allow_view"], s.item["allow_add"]) == (2, 1),
    ),
    "getPrivileges": (
        "lists a group's privileges",
        lambda s: s.table in {row["table_name"] for row in s.rows},
    ),
    "getTablePrivileges": (
        "gets a group's privileges on a table",
        lambda s: s.item["allow_add"] == 1,
    ),
    "updatePrivileges": (
        "only reads the privileges it should change",
        lambda s: s.item["allow_add"] == 1,
    ),
    "getPreferences": (
        "gets the preferences of a table, by default its own sort column",
        lambda s: (s.item["table_name"], s.item["sort"]) == (s.table, "id"),
    ),
    "updatePreference": (
        "throws instead of changing preferences",
        lambda s: "_update is not a function" in s.thrown,
    ),
    "deleteBookmark: once more": (
        "is told that there is no bookmark to delete",
        lambda s: s.refusal == "bookmark_not_found",
    ),
    "getHash": (
        "never sends the text to hash, and is told so",
        lambda s: "string" in s.refusal.lower(),
    ),
    "getHash: with the text where it is sent": (
        "gets a hash of the text it does send",
        lambda s: SHA256 in s.item.values(),
    ),
    "getRandom": ("gets a random text", lambda s: len(s.item["random"]) == 12),
    "getUsers": (
        "lists the users",
        lambda s: [r["email"] for r in s.rows] == sorted(r["email"] for r in s.rows),
    ),
    "getUser": ("gets a user", lambda s: s.item["id"] == 1),
    "authenticate": ("gets a token for a password", lambda s: s.value["data"]["token"]),
    "getTables: with the token of authenticate": (
        "goes on with the token it got",
        lambda s: s.table in s.tables,
    ),
    "authenticate: with a wrong password": (
        "is told that e-mail or password are wrong",
        lambda s: s.error == "Incorrect email or password",
    ),
    "getTables: by a stranger": (
        "rejects an unknown token, with the error body",
        lambda s: s.error == "You must be logged in to access the API",
    ),
}  # fmt: skip

LAST: Cases = {
    **LATER,
    "createItem: quietly": (
        "makes an item without an entry for readers of the activity",
        lambda s: s.item["title"] == "Quiet",
    ),
    "createItem: to be hidden": ("makes a third item", lambda s: s.item["title"] == "Hidden"),
    "deleteItem: softly": ("hides an item", lambda s: s.value.get("success") is not False),
    "getItem: after deleteItem softly": (
        "can still get a hidden item",
        lambda s: s.item["active"] == 0,
    ),
    "deleteBulk": (
        "deletes many items",
        lambda s: s.value.get("success") is True or s.item["success"] is True,
    ),
    "getItems: after deleteBulk": ("finds none of them", lambda s: s.rows == []),
    **LAST_FILES,
    "sendMessage": ("sends a message", lambda s: s.item["subject"] == "Review"),
    "getMe": ("gets the caller", lambda s: s.item["id"] == 1),
    "createUser": (
        "makes a user, whose password stays here",
        lambda s: "password" not in s.item and s.item["first_name"] == "Ada",
    ),
    "updateUser": ("changes a user", lambda s: s.item["last_name"] == "Baker"),
    "authenticate: as the new user": ("gets the user a token", lambda s: s.value["data"]["token"]),
    "updateMe": ("lets a user change his own row", lambda s: s.item["city"] == "Oslo"),
    "updatePassword": ("lets a user change his password", lambda s: "password" not in s.item),
    "getApi": ("gets any address", lambda s: "title" in {row["id"] for row in s.rows}),
    "postApi": ("posts to any address", lambda s: s.item["title"] == "By address"),
    "putApi": ("puts to any address", lambda s: s.item["project_name"] == "By address"),
    "deleteApi": ("deletes at any address", lambda s: s.refusal == "bookmark_not_found"),
    "getTables: with the token in the address": (
        "may send its token in the address",
        lambda s: s.table in s.tables,
    ),
    "setAccessTokenParam": (
        "puts the token among parameters",
        lambda s: s.outcome.how == "nothing",
    ),
    "deauthenticate": ("forgets its token", lambda s: s.outcome.how == "nothing"),
    "getTables: after deauthenticate": (
        "is a stranger without its token",
        lambda s: s.error == "You must be logged in to access the API",
    ),
}  # fmt: skip

AFTER_SENDING = "unexpected keyword argument"
PYTHON: Cases = {
    "add_table": ("makes a table", lambda s: s.sent["name"] == f"{s.table}_made"),
    "get_tables": ("lists the tables", lambda s: s.table in s.tables),
    "get_table": (
        "describes a table, its columns a list",
        lambda s: s.model["table_name"] == s.table and isinstance(s.model["columns"], list),
    ),
    "add_column": (
        "makes a column of its `type`",
        lambda s: (s.sent["type"], s.sent["sort"], s.sent["required"]) == ("INT", 7, True),
    ),
    "get_table_columns": ("lists the columns", lambda s: "year" in s.tables),
    "get_table_column": ("describes a column", lambda s: s.model["comment"] == "Year build"),
    "get_table_column: of the title": (
        "describes a column of text, its length a string",
        lambda s: (s.model["char_length"], s.model["is_nullable"]) == ("100", "YES"),
    ),
    "update_column": ("changes a column", lambda s: s.sent["comment"] == "Built in"),
    "delete_column": ("raises after it deleted a column", lambda s: AFTER_SENDING in s.type_error),
    "get_table_column: after delete_column": (
        "finds no column where it deleted one",
        lambda s: s.model is None,
    ),
    "add_row": (
        "loses the body of a new row, which is refused",
        lambda s: s.outcome.how == "ApiException" and "message" in s.outcome.value,
    ),
    "get_table_rows": ("lists the rows", lambda s: len(s.model) == 1),
    "get_table_row": ("gets a row", lambda s: s.model["active"] == 1),
    "update_row": (
        "loses the body of a change, which changes nothing",
        lambda s: s.sent["title"] == "Kept",
    ),
    "get_table_row: after update_row": (
        "gets the row as it was",
        lambda s: s.outcome.answer["data"]["title"] == "Kept",
    ),
    "delete_row": ("raises after it deleted a row", lambda s: AFTER_SENDING in s.type_error),
    "get_table_rows: after delete_row": ("finds no row any more", lambda s: s.model == []),
    "delete_table": ("raises after it deleted a table", lambda s: AFTER_SENDING in s.type_error),
    "get_table: after delete_table": (
        "finds no table where it deleted one",
        lambda s: s.model is None,
    ),
    "get_table_rows: of no table": (
        "raises for a table that is not there, with the error body",
        lambda s: "Unable to find the table" in s.outcome.value,
    ),
    **PYTHON_FILES,
    "add_group": ("makes a group", lambda s: s.sent["name"] == f"{s.table} group"),
    "get_group": ("gets a group", lambda s: s.model["name"] == f"{s.table} group"),
    "get_groups": (
        "expects the groups nested once more, and reads none of them",
        lambda s: s.model == {"meta": None, "data": None} and len(s.outcome.answer["data"]) > 1,
    ),
    "add_privilege": (
        "gives the group of the address privileges",
        lambda s: (s.sent["table_name"], s.sent["allow_view"]) == (s.table, 2),
    ),
    "get_privileges": (
        "lists a group's privileges",
        lambda s: s.table in {row["table_name"] for row in s.model},
    ),
    "get_privileges_for_table": (
        "gets a group's privileges on a table",
        lambda s: (s.model["allow_view"], s.model["allow_edit"]) == (2, 0),
    ),
    "update_privileges": (
        "changes privileges by the table's name",
        lambda s: s.sent["allow_edit"] == 1,
    ),
    "get_privileges_for_table: after update_privileges": (
        "gets the changed privileges",
        lambda s: (s.model["allow_view"], s.model["allow_edit"]) == (2, 1),
    ),
    "get_preferences": ("gets a table's preferences", lambda s: s.model["sort_order"] == "ASC"),
    "update_preferences": ("changes preferences", lambda s: s.sent["sort_order"] == "DESC"),
    "get_preferences: after update_preferences": (
        "gets the changed preferences",
        lambda s: (s.model["sort_order"], s.model["user"]) == ("DESC", 1),
    ),
    "get_messages": (
        "lists the messages, their counts numbers",
        lambda s: isinstance(s.value["meta"]["unread"], int) and len(s.model) >= 1,
    ),
    "get_message": (
        "gets a message and its replies as rows",
        lambda s: s.model["subject"] == "Hello" and s.model["responses"]["rows"] == [],
    ),
    "get_activity": ("lists what was done", lambda s: len(s.model) >= 1),
    "add_bookmark": ("makes a bookmark", lambda s: s.sent["title"] == f"{s.table} drafts"),
    "get_bookmarks": ("lists the bookmarks", lambda s: len(s.model) >= 1),
    "get_bookmarks_self": (
        "lists the caller's bookmarks",
        lambda s: f"{s.table} drafts" in {row["title"] for row in s.model},
    ),
    "get_bookmark": ("gets a bookmark", lambda s: s.model["title"] == f"{s.table} drafts"),
    "delete_bookmark": ("deletes a bookmark", lambda s: s.outcome.answer["success"] is True),
    "get_bookmarks_self: after delete_bookmark": (
        "finds no bookmark where it deleted one",
        lambda s: f"{s.table} drafts" not in {row["title"] for row in s.model},
    ),
    "get_settings": (
        "gets all settings, which are strings",
        lambda s: s.model["files"]["thumbnail_quality"] == "100",
    ),
    "get_settings_for": (
        "gets the settings of a collection",
        lambda s: s.model["rows_per_page"] == "200",
    ),
    "update_settings": (
        "loses the body of its settings, which changes nothing",
        lambda s: s.sent["project_name"] != "Lost",
    ),
    "get_settings_for: after update_settings": (
        "gets the settings as they were",
        lambda s: s.model["project_name"] != "Lost",
    ),
    "get_hash": ("gets a hash", lambda s: s.sent["hash"] == SHA256),
    "get_random": ("gets a random text", lambda s: len(s.sent["random"]) == 12),
}

RUNS: Mapping[tuple[str, str], Cases] = {
    ("npm 1.1.3", "1"): FIRST_OLD,
    ("npm 1.1.3", "1.1"): FIRST,
    ("npm 2.5.1", "1"): LATER,
    ("npm 2.5.1", "1.1"): LATER,
    ("npm 2.15.0", "1"): LAST,
    ("npm 2.15.0", "1.1"): LAST,
    ("PyPI 1.1.1", "1.1"): PYTHON,
}
INSIDE = {"buildPath", "performRequest"}  # what 1.1.3 shows of itself; each method goes through it


@pytest.fixture(scope="session")
def runs() -> dict[tuple[str, str], tuple[Run, str]]:
    """What each client did, and the table it did it to; filled when first asked for."""
    return {}


@pytest.fixture
def let(api: Api, runs: dict[tuple[str, str], tuple[Run, str]]) -> Callable[..., Any]:
    """Let a client call its methods, once."""

    async def let(client: str, version: str) -> tuple[Run, str]:
        if (client, version) not in runs:
            table = f"c{client}_{version}".replace(" ", "").replace(".", "").lower()
            environment = await prepared(api, client, version, table)
            runs[client, version] = await run(client, environment), table
        return runs[client, version]

    return let


async def prepared(api: Api, client: str, version: str, table: str) -> dict[str, str]:
    """What is there before a client begins, as its environment."""
    await api.make_table(table, title="VARCHAR:100")
    row = (await api.post(f"tables/{table}/rows", {"title": "Kept", "active": 1})).data
    bookmark = {"title": table, "url": "tables/x", "section": "search"}
    message = {"subject": "Hello", "message": "Welcome", "recipients": "0_1"}
    email = f"{table}@desk.example"
    await api.post("users", {"email": email, "password": PASSWORD, "group": 1})
    return {
        "CLIENT": client.split()[1],
        "BASE_URL": api.base_url,
        "TOKEN": api.token or "",
        "VERSION": version,
        "TABLE": table,
        "ROW": str(row["id"]),
        "IMAGE": DOT,
        "EMAIL": email,
        "PASSWORD": PASSWORD,
        "BOOKMARK": str((await api.post("bookmarks", bookmark)).data["id"]),
        "MESSAGE": str((await api.post("messages/rows", message)).data["id"]),
    }


@pytest.mark.parametrize(
    ("client", "version", "call", "holds"),
    [
        pytest.param(*key, call, holds, id=f"{key[0]} on {key[1]}, {call.partition(':')[0]} {does}")
        for key, cases in RUNS.items()
        for call, (does, holds) in cases.items()
    ],
)
async def test_the_method(
    let: Callable[..., Any], client: str, version: str, call: str, holds: Holds
) -> None:
    run, table = await let(client, version)
    assert holds(Seen(run[call], version, table)), run[call]


@pytest.mark.parametrize(("client", "version"), RUNS, ids=lambda name: name)
async def test_every_method_is_called_and_every_call_looked_at(
    let: Callable[..., Any], client: str, version: str
) -> None:
    run, _ = await let(client, version)
    assert run.methods - INSIDE - run.called == set()
    assert set(run.outcomes) == set(RUNS[client, version])
    assert run.said == ""


async def test_the_first_client_was_published_without_four_privileges_and_two_preferences(
    let: Callable[..., Any],
) -> None:
    run, _ = await let("npm 1.1.3", "1.1")
    assert run.missing == {
        "createPrivilege", "getGroupPrivilege", "getTablePrivilege", "updatePrivilege",
        "getPreference", "updatePreference",
    }  # fmt: skip
