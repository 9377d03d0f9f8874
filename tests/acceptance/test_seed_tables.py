"""The tables of the API's documentation, line by line: methods, attributes and parameters.

The requests are those the documented PHP client sends for a method (it cannot be run here).
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from wire import Api, Reply

pytestmark = pytest.mark.xdist_group("acceptance")

DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)


# --- what there is to ask about -------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """One of everything, and its id; what a method makes is kept in ``replies``."""

    api: Api
    name: str
    ids: dict[str, int]
    replies: dict[str, Reply]

    def path(self, path: str) -> str:
        return path.format(t=self.name, **self.ids)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(api: Api) -> Site:
    """Calls every method of ``METHODS`` in their order."""
    name = f"articles_{uuid4().hex[:6]}"
    await api.make_table(name, title="VARCHAR:100", author="INT", published_date="DATE")
    site = Site(api, name, {}, {})
    for method, (verb, path, body, kept) in METHODS.items():
        sent = {
            key: site.path(value) if isinstance(value, str) else value
            for key, value in (body or {}).items()
        }
        reply = await api.send(verb, site.path(path), json=sent if body is not None else None)
        site.replies[method] = reply
        if kept:  # what was refused leaves a key of nothing, and a test of its own that fails
            site.ids[kept] = reply.json.get("data", {}).get("id", 0)
    return site


Method = tuple[str, str, Mapping[str, Any] | None, str | None]

# method → what it sends, and the name its id is kept by
METHODS: Mapping[str, Method] = {
    "createItem": ("POST", "tables/{t}/rows", {"title": "New Article", "active": 1}, "item"),
    "createTable, the later way": ("POST", "tables", {"name": "{t}_authors"}, None),
    "createGroup": (
        "POST", "groups",
        {"name": "{t} editors", "restrict_to_ip_whitelist": "10.0.0.0/8,127.0.0.1"}, "group",
    ),
    "createUser": (
        "POST", "tables/directus_users/rows",
        {"email": "{t}@desk.example", "first_name": "John", "last_name": "Bohannon",
         "password": "plain-text-password", "token": "secret-token-of-{t}", "active": 1,
         "email_messages": True, "language": "de", "timezone": "Europe/Berlin",
         "position": "Editor", "location": "Berlin", "phone": "030", "address": "Main street 1",
         "city": "Berlin", "state": "BE", "zip": "10115", "group": 1,
         "avatar": "http://a.example/x.png"},
        "user",
    ),
    "createActivity": ("POST", "tables/directus_activity/rows", {"action": "ADD"}, None),
    "createBookmark, its view": (
        "POST", "tables/{t}/preferences",
        {"title": "Draft Articles", "status": "2", "columns_visible": "title,author",
         "search_string": "title:like:a", "sort": "title", "sort_order": "DESC"}, None,
    ),
    "createBookmark": (
        "POST", "bookmarks",
        {"section": "search", "title": "Draft Articles", "url": "tables/{t}/pref/Draft Articles"},
        "bookmark",
    ),
    "createColumn": (
        "POST", "tables/{t}/columns",
        {"name": "slug", "table": "{t}", "type": "varchar", "ui": "textinput", "length": 255,
         "hidden_input": True, "hidden_list": True, "required": True, "sort": "8",
         "comment": "In the address"}, None,
    ),
    "createColumn of a file": (
        "POST", "tables/{t}/columns",
        {"name": "image", "table": "{t}", "type": "int", "ui": "single_file",
         "related_table": "directus_files", "junction_key_right": "image"}, None,
    ),
    "createColumn of a relation": (
        "POST", "tables/{t}_authors/columns",
        {"name": "posts", "table": "{t}_authors", "type": "ALIAS", "ui": "one_to_many",
         "relationship_type": "ONETOMANY", "related_table": "{t}",
         "junction_key_right": "author"}, None,
    ),
    "createColumn through a junction": (
        "POST", "tables/{t}/columns",
        {"name": "tags", "table": "{t}", "type": "ALIAS", "ui": "many_to_many",
         "relationship_type": "MANYTOMANY", "related_table": "{t}", "junction_table": "{t}",
         "junction_key_left": "author", "junction_key_right": "id"}, None,
    ),
    "createFile": (
        "POST", "files",
        {"name": "file.png", "data": DOT, "title": "Company Group picture", "location": "Berlin",
         "tags": "company, employees, team", "caption": "Whole company at Christmas party",
         "charset": "binary", "active": 1}, "file",
    ),
    "createMessage": (
        "POST", "messages/rows",
        {"from": 1, "to": "{user},1", "subject": "New Design review",
         "message": "I want feedback."},
        "message",
    ),
    "sendMessage": (
        "POST", "messages/rows",
        {"from": 1, "toGroup": "1", "subject": "Tomorrow Meeting", "message": "It is cancelled.",
         "attachment": "{file}"}, "circular",
    ),
    "createPreferences": (
        "POST", "tables/{t}/preferences",
        {"user": 1, "table_name": "{t}", "columns_visible": "title,author,published_date",
         "status": "2", "sort": "title", "sort_order": "DESC"}, None,
    ),
    "createPrivileges": (
        "POST", "privileges/%25s",
        {"group_id": "{group}", "table_name": "{t}", "allow_add": 1, "allow_edit": 2,
         "allow_delete": 0, "allow_view": 2, "allow_alter": 0, "nav_listed": True,
         "read_field_blacklist": "author", "write_field_blacklist": "title,published_date",
         "status_id": 0}, "privilege",
    ),
    "createSettings": ("POST", "settings/global", {"project_name": "Directoire"}, None),
    "createTable": ("POST", "privileges/1", {"addTable": True, "table_name": "{t}_comments"}, None),
    "createUIOptions": (
        "POST", "tables/{t}/columns/slug/textinput",
        {"readonly": 1, "placeholder": "Title slug"}, None,
    ),
    "getEntries": ("GET", "tables/{t}/rows", None, None),
    "getItem": ("GET", "tables/{t}/rows/{item}", None, None),
    "getUsers": ("GET", "tables/directus_users/rows?orders[email]=ASC", None, None),
    "getUser": ("GET", "tables/directus_users/rows/{user}", None, None),
    "getFiles": ("GET", "files?orders[size]=DESC", None, None),
    "getFile": ("GET", "files/{file}", None, None),
    "getGroups": ("GET", "groups?orders[name]=ASC", None, None),
    "getGroup": ("GET", "groups/{group}", None, None),
    "getGroupPrivileges": ("GET", "privileges/{group}", None, None),
    "getSettings": ("GET", "settings", None, None),
    "getSettingsByCollection": ("GET", "settings/global", None, None),
    "getMessages": ("GET", "messages/user/1", None, None),
    "getMessage": ("GET", "messages/rows/{message}", None, None),
    "getTables": ("GET", "tables?include_system=1", None, None),
    "getTable": ("GET", "tables/directus_groups", None, None),
    "getColumns": ("GET", "tables/{t}/columns", None, None),
    "getColumn": ("GET", "tables/{t}/columns/title", None, None),
    "updateItem": ("PUT", "tables/{t}/rows/{item}", {"title": "Newer"}, None),
    "updateUser": (
        "PUT", "tables/directus_users/rows/{user}", {"city": "Bonn", "avatar_file_id": "{file}"},
        None,
    ),
    "updateFile": ("POST", "files/{file}", {"title": "New Design"}, None),
    "updateFile with new bytes": (
        "POST", "files/{file}", {"name": "b.txt", "data": "aGVsbG8="}, None,
    ),
    "deleteItem": ("DELETE", "tables/{t}/rows/{item}?soft=1", None, None),
    "deleteBookmark": ("DELETE", "tables/directus_bookmarks/rows/{bookmark}?soft=1", None, None),
    "deleteColumn": ("DELETE", "tables/{t}/columns/slug", None, None),
    "deleteFile": ("DELETE", "tables/directus_files/rows/{file}?soft=1", None, None),
    "deleteUser": ("DELETE", "tables/directus_users/rows/{user}?soft=1", None, None),
    "deleteGroup": ("DELETE", "tables/directus_groups/rows/{group}?soft=1", None, None),
    "deleteTable": ("DELETE", "tables/{t}_comments", None, None),
}  # fmt: skip


# --- the methods ----------------------------------------------------------------------------------

Holds = Callable[[Site, Any], object]  # what holds of the 1.1 data (or the whole answer without it)

ANSWERS: Mapping[str, Holds] = {
    "createItem": lambda s, d: d["title"] == "New Article",
    "createBookmark": lambda s, d: d["title"] == "Draft Articles",
    "createColumn": lambda s, d: (d["column_name"], d["type"]) == ("slug", "VARCHAR"),
    "createColumn of a file": lambda s, d: d["relationship"]["related_table"] == "directus_files",
    "createFile": lambda s, d: d["url"].startswith("/storage/uploads/"),
    "createGroup": lambda s, d: d["name"] == f"{s.name} editors",
    "createMessage": lambda s, d: d["subject"] == "New Design review",
    "sendMessage": lambda s, d: d["subject"] == "Tomorrow Meeting",
    "createPreferences": lambda s, d: d["columns_visible"] == "title,author,published_date",
    "createPrivileges": lambda s, d: d["allow_edit"] == 2,
    "createSettings": lambda s, d: d["project_name"] == "Directoire",
    "createTable": lambda s, d: (d["table_name"], d["allow_edit"]) == (f"{s.name}_comments", 2),
    "createUser": lambda s, d: d["email"] == f"{s.name}@desk.example",
    "getEntries": lambda s, d: [row["title"] for row in d] == ["New Article"],
    "getItem": lambda s, d: d["title"] == "New Article",
    "getUsers": lambda s, d: [r["email"] for r in d] == sorted(r["email"] for r in d),
    "getUser": lambda s, d: d["email"] == f"{s.name}@desk.example",
    "getFiles": lambda s, d: [r["size"] for r in d] == sorted((r["size"] for r in d), reverse=True),
    "getFile": lambda s, d: d["name"].endswith(".png"),
    "getGroups": lambda s, d: f"{s.name} editors" in {row["name"] for row in d},
    "getGroup": lambda s, d: d["name"] == f"{s.name} editors",
    "getGroupPrivileges": lambda s, d: s.name in {row["table_name"] for row in d},
    "getSettings": lambda s, d: d["global"]["project_name"] == "Directoire",
    "getSettingsByCollection": lambda s, d: d["project_name"] == "Directoire",
    "getMessages": lambda s, d: "New Design review" in {row["subject"] for row in d},
    "getMessage": lambda s, d: d["subject"] == "New Design review",
    "getTables": lambda s, d: {s.name, "directus_groups"} <= {row["name"] for row in d},
    "getTable": lambda s, d: d["name"] == "directus_groups",
    "getColumns": lambda s, d: {"title", "slug"} <= {row["name"] for row in d},
    "getColumn": lambda s, d: d["required"] is False,
    "updateItem": lambda s, d: d["title"] == "Newer",
    "updateUser": lambda s, d: d["city"] == "Bonn",
    "updateFile": lambda s, d: d["title"] == "New Design",
    "updateFile with new bytes": lambda s, d: (d["type"], d["size"]) == ("text/plain", 5),
    "deleteItem": lambda s, d: d["success"] is True,
    "deleteBookmark": lambda s, d: d["success"] is True,
    "deleteColumn": lambda s, d: d["success"] is True,
    "deleteFile": lambda s, d: d["success"] is True,
    "deleteUser": lambda s, d: d["success"] is True,
    "deleteGroup": lambda s, d: d["success"] is True,
    "deleteTable": lambda s, d: "message" in d,
}  # fmt: skip


@pytest.mark.parametrize(("method", "holds"), ANSWERS.items(), ids=ANSWERS)
def test_the_method_of_the_php_client(site: Site, method: str, holds: Holds) -> None:
    reply = site.replies[method]
    assert reply.status == 200, reply.json
    assert holds(site, reply.json.get("data", reply.json)), reply.json


def test_create_activity_is_refused_because_the_database_writes_the_activity(site: Site) -> None:
    reply = site.replies["createActivity"]
    assert reply.status in {400, 403}
    assert reply.json["success"] is False


# --- the attributes -------------------------------------------------------------------------------

FILE = (
    "id", "active", "name", "title", "location", "type", "url", "tags", "caption", "width",
    "height", "size", "embed_id", "user", "date_uploaded", "storage_adapter", "charset",
)  # fmt: skip
USER = (
    "id", "active", "email", "first_name", "last_name", "token", "group", "email_messages",
    "avatar", "avatar_file_id", "language", "timezone", "position", "location", "phone", "address",
    "city", "state", "zip",
)  # fmt: skip
MESSAGE = ("id", "from", "recipients", "subject", "message", "responses", "response_to", "read")
ATTRIBUTES = {
    **{f"File, {name}": ("getFile", name) for name in FILE},
    **{f"User, {name}": ("getUser", name) for name in USER},
    **{f"Message, {name}": ("getMessage", name) for name in MESSAGE},
}


@pytest.mark.parametrize(("method", "attribute"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_the_attribute_is_answered(site: Site, method: str, attribute: str) -> None:
    assert attribute in site.replies[method].data


def test_a_password_is_never_answered(site: Site) -> None:
    assert not {"password", "salt"} & set(site.replies["getUser"].data)
    assert site.replies["getUser"].data["token"] is None


# --- the parameters -------------------------------------------------------------------------------


def says(name: str, value: object) -> Holds:
    return lambda _site, data: data[name] == value


# table of the document, parameter → the method that sends it, what its answer says
PARAMETERS: Mapping[str, tuple[str, Holds]] = {
    "Create Item, table": ("createItem", lambda s, d: d["id"] > 0),
    "Create Item, data": ("createItem", lambda s, d: d["title"] == "New Article"),
    **{
        f"Create Bookmark, {name}": ("createBookmark, its view", says(name, value))
        for name, value in {
            "title": "Draft Articles", "columns_visible": "title,author", "sort": "title",
            "search_string": "title:like:a", "sort_order": "DESC", "status": "2",
        }.items()
    },
    "Create Bookmark, table_name": (
        "createBookmark, its view", lambda s, d: d["table_name"] == s.name,
    ),
    **{
        f"Create Column, {name}": ("createColumn", says(key, value))
        for name, key, value in (
            ("name", "column_name", "slug"), ("type", "type", "VARCHAR"), ("ui", "ui", "textinput"),
            ("hidden_input", "hidden_input", True), ("hidden_list", "hidden_list", True),
            ("required", "required", True), ("sort", "sort", 8),
            ("comment", "comment", "In the address"),
        )
    },
    "Create Column, table": ("createColumn", lambda s, d: d["table_name"] == s.name),
    "Create Column, relationship_type": (
        "createColumn of a relation", lambda s, d: d["relationship"]["type"] == "ONETOMANY",
    ),
    "Create Column, related_table": (
        "createColumn of a relation", lambda s, d: d["relationship"]["related_table"] == s.name,
    ),
    "Create Column, junction_table": (
        "createColumn through a junction",
        lambda s, d: d["relationship"]["junction_table"] == s.name,
    ),
    "Create Column, junction_key_left": (
        "createColumn through a junction",
        lambda s, d: d["relationship"]["junction_key_left"] == "author",
    ),
    "Create Column, junction_key_right": (
        "createColumn of a relation",
        lambda s, d: d["relationship"]["junction_key_right"] == "author",
    ),
    "Create Group, name": ("createGroup", lambda s, d: d["name"] == f"{s.name} editors"),
    "Create Group, restrict_to_ip_whitelist": (
        "createGroup", lambda s, d: d["restrict_to_ip_whitelist"] == "10.0.0.0/8,127.0.0.1",
    ),
    "Send Messages, from": ("createMessage", lambda s, d: d["from"] == 1),
    "Send Messages, to": (
        "getMessage", lambda s, d: {"1", str(s.ids["user"])} <= set(d["recipients"].split(",")),
    ),
    "Send Messages, toGroup": ("sendMessage", lambda s, d: "1" in d["recipients"].split(",")),
    "Send Messages, subject": ("createMessage", lambda s, d: d["subject"] == "New Design review"),
    "Send Messages, message": ("createMessage", lambda s, d: d["message"] == "I want feedback."),
    "Send Messages, attachements": (
        "sendMessage", lambda s, d: str(d["attachment"]) == str(s.ids["file"]),
    ),
    **{
        f"Create Preferences, {name}": ("createPreferences", says(name, value))
        for name, value in {
            "user": 1, "columns_visible": "title,author,published_date", "sort": "title",
            "sort_order": "DESC", "status": "2",
        }.items()
    },
    "Create Preferences, table_name": ("createPreferences", lambda s, d: d["table_name"] == s.name),
    "Create Privileges, group_id": (
        "createPrivileges", lambda s, d: d["group_id"] == s.ids["group"],
    ),
    "Create Privileges, table_name": ("createPrivileges", lambda s, d: d["table_name"] == s.name),
    **{
        f"Create Privileges, {name}": ("createPrivileges", says(name, value))
        for name, value in {
            "allow_add": 1, "allow_edit": 2, "allow_delete": 0, "allow_view": 2, "allow_alter": 0,
            "nav_listed": 1, "read_field_blacklist": "author",
            "write_field_blacklist": "title,published_date",
        }.items()
    },
    "Create Privileges, status_id": ("createPrivileges", lambda s, d: d["status_id"] in {0, None}),
    "Create Table, name": ("createTable", lambda s, d: d["table_name"] == f"{s.name}_comments"),
    **{
        f"Create User, {name}": ("createUser", says(name, value))
        for name, value in {
            "active": 1, "first_name": "John", "last_name": "Bohannon", "email_messages": 1,
            "language": "de", "timezone": "Europe/Berlin", "position": "Editor",
            "location": "Berlin", "phone": "030", "address": "Main street 1", "city": "Berlin",
            "state": "BE", "zip": "10115", "avatar": "http://a.example/x.png",
        }.items()
    },
    "Create User, email": ("createUser", lambda s, d: d["email"] == f"{s.name}@desk.example"),
    "Create User, token": ("createUser", lambda s, d: d["token"] == f"secret-token-of-{s.name}"),
    "Create User, avatar_file_id": (
        "updateUser", lambda s, d: d["avatar_file_id"] == s.ids["file"],
    ),
    **{
        f"Create File, {name}": ("createFile", says(name, value))
        for name, value in {
            "title": "Company Group picture", "tags": "company, employees, team",
            "caption": "Whole company at Christmas party", "active": 1, "charset": "binary",
            "size": len(base64.b64decode(DOT)), "type": "image/png", "height": 1, "width": 1,
            "user": 1, "storage_adapter": "local", "embed_id": None,
        }.items()
    },
    "Create File, name": ("createFile", lambda s, d: d["name"] == f"{s.ids['file']:011}.png"),
    "Create File, date_uploaded": ("createFile", lambda s, d: d["date_uploaded"][:2] == "20"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "holds"), PARAMETERS.values(), ids=PARAMETERS)
def test_the_parameter_is_taken(site: Site, method: str, holds: Holds) -> None:
    reply = site.replies[method]
    assert holds(site, reply.data), reply.json


async def test_the_password_of_a_new_user_signs_in(api: Api, unique: str) -> None:
    user = {"email": f"{unique}@desk.example", "password": "plain-text-password", "group": 1}
    assert (await api.post("tables/directus_users/rows", user)).status == 200
    reply = await api.as_(None).post("auth/request-token", user)
    assert reply.json["success"] is True


# --- the parameters of updates --------------------------------------------------------------------


async def test_the_parameter_of_update_file(api: Api) -> None:
    """What describes a file is taken, what the bytes say stays."""
    file = (await api.post("files", {"name": "a.png", "data": DOT})).data
    own = {
        "title": "t",
        "tags": "a,b",
        "caption": "c",
        "active": 2,
        "charset": "x",
        "embed_id": "e",
    }
    other = {
        "name": "b.gif", "size": 9, "type": "image/gif", "height": 7, "width": 7,
        "date_uploaded": "2001-01-01 00:00:00", "storage_adapter": "ftp",
    }  # fmt: skip
    assert (await api.put(f"files/{file['id']}", own)).data.items() >= own.items()
    for name, value in other.items():
        await api.put(f"files/{file['id']}", {name: value})
    now = (await api.get(f"files/{file['id']}")).data
    assert {name: now[name] for name in other} == {name: file[name] for name in other}


async def test_the_parameter_of_update_column(api: Api, unique: str) -> None:
    table = await api.make_table(f"cars_{unique}", year="INT", name="VARCHAR:20")
    sent = {"column_name": "name", "data_type": "varchar", "char_length": 40, "ui": "textarea"}
    reply = await api.post(f"tables/{table}/columns/name", {**sent, "comment": "Its name"})
    data = reply.data
    assert (data["column_name"], data["type"], data["ui"]) == ("name", "VARCHAR", "textarea")
    assert (data["char_length"], data["comment"]) == ("40", "Its name")


async def test_the_parameter_of_update_privileges(api: Api, unique: str) -> None:
    table = await api.make_table(f"cars_{unique}")
    group = (await api.post("groups", {"name": f"Drivers {unique}"})).data["id"]
    made = (await api.post(f"privileges/{group}", {"table_name": table, "allow_view": 1})).data
    levels = {
        "allow_add": 1, "allow_alter": 1, "allow_delete": 1, "allow_edit": 2, "allow_view": 2,
        "nav_listed": 1,
    }  # fmt: skip
    for which in (made["id"], table):
        body = {"table_name": table, "group_id": group, **levels}
        assert (await api.put(f"privileges/{group}/{which}", body)).data.items() >= body.items()


# --- the parameters of lists ----------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def films(api: Api) -> str:
    """Three films: the second of both directors, the third a draft without a year."""
    films, people, table = (f"{name}_{uuid4().hex[:6]}" for name in ("films", "people", "roles"))
    await api.make_table(people, name="VARCHAR:50")
    await api.make_table(films, title="VARCHAR:50", year="INT", note="VARCHAR:50", director="INT")
    await api.make_table(table, film="INT", person="INT")
    cast = {
        "column_name": "roles", "data_type": "ALIAS", "ui": "one_to_many",
        "relationship_type": "ONETOMANY", "related_table": table, "junction_key_right": "film",
    }  # fmt: skip
    assert (await api.post(f"tables/{films}/columns", cast)).status == 200
    for name in ("James", "Maria"):
        await api.post(f"tables/{people}/rows", {"name": name, "active": 1})
    rows = [
        {"title": "Alpha", "year": 1990, "note": "", "director": 1, "active": 1},
        {"title": "Beta", "year": 2000, "note": "Good movies", "director": 2, "active": 1},
        {"title": "Gamma", "year": None, "note": None, "director": 2, "active": 2},
    ]
    assert (await api.post(f"tables/{films}/rows/bulk", {"rows": rows})).status == 200
    assert (
        await api.post(f"tables/{table}/rows", {"film": 2, "person": 1, "active": 1})
    ).status == 200
    return films


ALL = "preview=1&"
LISTS: Mapping[str, tuple[str, list[str]]] = {
    "nothing": ("", ["Alpha", "Beta"]),
    "currentPage": ("perPage=1&currentPage=1", ["Beta"]),
    "perPage": ("perPage=1", ["Alpha"]),
    "sort": ("sort=year&sort_order=DESC", ["Beta", "Alpha"]),
    "sort_order": ("sort=title&sort_order=DESC", ["Beta", "Alpha"]),
    "status": ("status=2", ["Gamma"]),
    "status, several": ("status=1,2", ["Alpha", "Beta", "Gamma"]),
    "status, as an array": ("status[]=1&status[]=2", ["Alpha", "Beta", "Gamma"]),
    "ids": ("ids=2,1", ["Alpha", "Beta"]),
    "ids, as an array": ("ids[0]=2&ids[1]=9", ["Beta"]),
    "in[field]": ("in[title]=Beta,Gamma", ["Beta"]),
    "orders": ("orders[active]=ASC&orders[title]=DESC", ["Beta", "Alpha"]),
    "orderBy": ("orderBy=title", ["Alpha", "Beta"]),
    "orderDirection": ("orderBy=title&orderDirection=DESC", ["Beta", "Alpha"]),
    "limit": ("limit=1", ["Alpha"]),
    "offset": ("limit=1&offset=1", ["Beta"]),
    "filters": ("filters[note][like]=movies", ["Beta"]),
    "=": (f"{ALL}filters[year][=]=2000", ["Beta"]),
    "eq": (f"{ALL}filters[year][eq]=2000", ["Beta"]),
    "<>": (f"{ALL}filters[year][<>]=2000", ["Alpha"]),
    "!=": (f"{ALL}filters[year][!=]=2000", ["Alpha"]),
    "neq": (f"{ALL}filters[year][neq]=2000", ["Alpha"]),
    "<": (f"{ALL}filters[year][<]=2000", ["Alpha"]),
    "lt": (f"{ALL}filters[year][lt]=2000", ["Alpha"]),
    "<=": (f"{ALL}filters[year][<=]=2000", ["Alpha", "Beta"]),
    "lte": (f"{ALL}filters[year][lte]=2000", ["Alpha", "Beta"]),
    ">": (f"{ALL}filters[year][>]=1990", ["Beta"]),
    "gt": (f"{ALL}filters[year][gt]=1990", ["Beta"]),
    ">=": (f"{ALL}filters[year][>=]=1990", ["Alpha", "Beta"]),
    "gte": (f"{ALL}filters[year][gte]=1990", ["Alpha", "Beta"]),
    "in": (f"{ALL}filters[year][in]=1990,2001", ["Alpha"]),
    "nin": (f"{ALL}filters[year][nin]=1990,2001", ["Beta"]),
    "null": (f"{ALL}filters[year][null]=1", ["Gamma"]),
    "nnull": (f"{ALL}filters[year][nnull]=1", ["Alpha", "Beta"]),
    "contains": (f"{ALL}filters[title][contains]=ET", ["Beta"]),
    "ncontains": (f"{ALL}filters[title][ncontains]=ET", ["Alpha", "Gamma"]),
    "between": (f"{ALL}filters[year][between]=1995,2005", ["Beta"]),
    "empty": (f"{ALL}filters[note][empty]=1", ["Alpha", "Gamma"]),
    "nempty": (f"{ALL}filters[note][nempty]=1", ["Beta"]),
    "has": (f"{ALL}filters[roles][has]=1", ["Beta"]),
    "joins": (
        ("preview=1&joins[@people][on][]=@people.id&joins[@people][on][]=@films.director"
        "&joins[@people][type]=INNER&filters[@people.name][=]=James"), ["Alpha"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize(("query", "titles"), LISTS.values(), ids=LISTS)
async def test_the_list_parameter(
    api: Api, films: str, query: str, titles: list[str], version: str
) -> None:
    caller = api if version == "1.1" else api.v1()
    people = next(
        table["name"] for table in (await api.get("tables")).data
        if table["name"].startswith("people_")
    )  # fmt: skip
    query = query.replace("@films", films).replace("@people", people)
    reply = await caller.get(f"tables/{films}/rows?{query}")
    assert reply.status == 200, reply.json
    rows = reply.data if version == "1.1" else reply.json["rows"]
    assert [row["title"] for row in rows] == titles


@pytest.mark.parametrize("name", ["columns_visible", "columns"])
async def test_columns_are_chosen_and_of_a_repeated_parameter_the_last_counts(
    api: Api, films: str, name: str
) -> None:
    rows = (await api.get(f"tables/{films}/rows?{name}=title,year")).data
    assert {*rows[0]} == {"title", "year"}
    rows = (await api.get(f"tables/{films}/rows?{name}=title&{name}=year")).data
    assert {*rows[0]} == {"year"}


async def test_a_list_has_200_rows_unless_asked_otherwise(api: Api, unique: str) -> None:
    table = await api.make_table(f"many_{unique}", n="INT")
    rows = [{"n": n, "active": 1} for n in range(203)]
    assert (await api.post(f"tables/{table}/rows/bulk", {"rows": rows})).status == 200
    assert len((await api.get(f"tables/{table}/rows")).data) == 200
    assert len((await api.get(f"tables/{table}/rows?currentPage=1")).data) == 3
