"""Every family of reads is answered from memory, and never once a write that it shows has answered.

A case is a read and a write that changes what it shows. Both gateways must know at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")


@dataclass(frozen=True)
class Case:
    """``{name}`` in paths is what ``prepared`` made."""

    read: str
    method: str
    path: str
    body: Mapping[str, object] | None = None


CASES: Final = (
    Case("tables/{table}/rows", "PUT", "tables/{table}/rows/1", {"n": 2}),
    Case("tables/{table}/rows?limit=1", "POST", "tables/{table}/rows", {"n": 9, "active": 1}),
    Case("tables/{table}/rows/1", "PUT", "tables/{table}/rows/1", {"n": 3}),
    Case("tables/{table}/typeahead?columns=word&q=a", "PUT", "tables/{table}/rows/1",
         {"word": "ab"}),
    Case("tables", "POST", "tables", {"name": "kept_too_{unique}"}),
    Case("tables/{table}", "PUT", "tables/{table}", {"footer": 1}),
    Case("tables/{table}/columns", "PUT", "tables/{table}/columns/n", {"comment": "new"}),
    Case("tables/{table}/columns/n", "PUT", "tables/{table}/columns/n", {"comment": "newer"}),
    Case("tables/{table}/rows/1", "POST", "tables/{table}/columns",
         {"column_name": "more", "data_type": "INT"}),
    Case("settings", "PUT", "settings/global", {"cms_user_auto_sign_out": "62"}),
    Case("settings/global", "PUT", "settings/global", {"cms_user_auto_sign_out": "63"}),
    Case("files", "PUT", "files/{file}", {"title": "Another"}),
    Case("files/{file}", "PUT", "files/{file}", {"title": "And another"}),
    Case("activity?limit=3", "PUT", "tables/{table}/rows/1", {"n": 4}),
    Case("activity?limit=3", "POST", "users/{user}/tokens", {"name": "told"}),
    Case("users?columns=id,first_name", "PUT", "users/{user}", {"first_name": "Ann"}),
    Case("users/{user}?columns=id,first_name", "PUT", "users/{user}", {"first_name": "Bea"}),
    Case("groups", "PUT", "groups/{group}", {"description": "One"}),
    Case("groups/{group}", "PUT", "groups/{group}", {"description": "Two"}),
    Case("privileges/{group}", "PUT", "privileges/{group}/{table}", {"allow_view": 1}),
    Case("tables/{table}/preferences", "PUT", "tables/{table}/preferences", {"sort": "n"}),
    Case("bookmarks", "POST", "bookmarks", {"title": "Home", "url": "/{unique}"}),
    Case("messages/rows", "POST", "messages/rows",
         {"subject": "Hi", "message": "There", "recipients": "0_1"}),
)  # fmt: skip


async def prepared(api: Api, unique: str) -> dict[str, object]:
    table = await api.make_table(f"kept_{unique}", n="INT", word="VARCHAR")
    await api.post(f"tables/{table}/rows", {"n": 1, "word": "aa", "active": 1})
    user = {"email": f"{unique}@example.org", "group": 1}
    group = (await api.post("groups", {"name": f"kept {unique}"})).data["id"]
    privilege = {"group_id": group, "table_name": table, "allow_view": 2}
    assert (await api.post(f"privileges/{group}", privilege)).status == 200
    return {
        "unique": unique,
        "table": table,
        "user": (await api.post("users", user)).data["id"],
        "group": group,
        "file": (await api.post("files", {"name": f"{unique}.txt", "data": "YWJj"})).data["id"],
    }


async def test_each_is_remembered_until_a_write_has_answered(
    api: Api, cluster: Cluster, unique: str
) -> None:
    names = await prepared(api, unique)
    gateways = [api.at(url) for url in cluster.gateway_urls]
    for case in CASES:
        path = case.read.format_map(names)
        before: Any = None
        for gateway in gateways:
            told = ""
            for _ in range(50):
                reply = await gateway.get(path)
                before, told = reply.content, reply.headers["Cache-Status"]
                if told.endswith("; hit"):
                    break
            assert told.endswith("; hit"), f"{path} is never remembered: {told}"
        body = None
        if case.body is not None:
            body = {
                name: value.format_map(names) if isinstance(value, str) else value
                for name, value in case.body.items()
            }
        changed = await api.send(case.method, case.path.format_map(names), json=body)
        assert changed.status == 200, (case, changed.json)
        for gateway in reversed(gateways):
            reply = await gateway.get(path)
            assert reply.status == 200, reply.json
            assert reply.content != before, (case, reply.headers["Cache-Status"])
