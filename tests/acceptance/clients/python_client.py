"""PyPI directus-sdk 1.1.1: each method once, one JSON line for each.

The client uses the name ``async``, which is a keyword since Python 3.7: an import hook renames the
identifier in the source as it is read, and nothing else.
"""

import importlib.machinery
import io
import json
import os
import sys
import tokenize
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from typing import Any

PACKAGE = "directus_sdk"


def renamed(source: str) -> str:
    """The source with the identifier ``async`` spelt ``async_``."""
    tokens = [
        token._replace(string="async_") if token[:2] == (tokenize.NAME, "async") else token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
    ]
    return tokenize.untokenize(token[:2] for token in tokens)


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        source = renamed(self.get_source(fullname) or "")
        return compile(source, self.path, "exec", dont_inherit=True)


class Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and spec.origin:
            spec.loader = Loader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, Finder())
import directus_sdk  # noqa: E402  # pyright: ignore[reportMissingImports]

BASE_URL, TOKEN, TABLE = os.environ["BASE_URL"], os.environ["TOKEN"], os.environ["TABLE"]
IMAGE, MESSAGE = os.environ["IMAGE"], os.environ["MESSAGE"]
configuration = directus_sdk.Configuration()
configuration.host = f"{BASE_URL}/api/1.1"
configuration.api_key["access_token"] = TOKEN
client = directus_sdk.ApiClient(configuration)


def printed(line: object) -> None:
    sys.stdout.write(json.dumps(line, default=str) + "\n")


def plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def call(label: str, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Report what came of it; returns the JSON of the answer, whatever the client made of it."""
    client.last_response = None
    try:
        outcome, value = "returned", plain(method(*arguments, **options))
    except Exception as error:  # noqa: BLE001  (what the client raises is what is reported)
        outcome, value = type(error).__name__, getattr(error, "body", None) or str(error)
    answer = client.last_response
    raw = json.loads(answer.data) if answer else None
    printed({"call": label, "outcome": outcome, "value": value, "answer": raw})
    return (raw or {}).get("data") or {}


def call_each(area: Any) -> Callable[..., Any]:
    """``send("add_row: what is particular", …)`` on one of the client's classes."""

    def send(label: str, *arguments: Any, **options: Any) -> Any:
        return call(label, getattr(area, label.partition(":")[0]), *arguments, **options)

    return send


def tables() -> None:
    send = call_each(directus_sdk.TablesApi(client))
    send("add_table", name=f"{TABLE}_made")
    send("get_tables")
    send("get_table", TABLE)
    send("add_column", TABLE, table_name=TABLE, column_name="year", type="INT", ui="numeric",
         hidden_input=False, required=True, sort=7, comment="Year build")  # fmt: skip
    send("get_table_columns", TABLE)
    send("get_table_column", TABLE, "year")
    send("get_table_column: of the title", TABLE, "title")
    send("update_column", TABLE, "year", comment="Built in", required=False)
    send("delete_column", TABLE, "year")
    send("get_table_column: after delete_column", TABLE, "year")
    send("add_row", TABLE, {"title": "Lost", "active": 1})
    send("get_table_rows", TABLE)
    row = int(os.environ["ROW"])
    send("get_table_row", TABLE, row)
    send("update_row", TABLE, row, {"title": "Lost"})
    send("get_table_row: after update_row", TABLE, row)
    send("delete_row", TABLE, row)
    send("get_table_rows: after delete_row", TABLE)
    send("delete_table", f"{TABLE}_made")
    send("get_table: after delete_table", f"{TABLE}_made")
    send("get_table_rows: of no table", f"{TABLE}_nowhere")


def files() -> None:
    send = call_each(directus_sdk.FilesApi(client))
    file = send("create_file", name="image.png", type="image/png", data=IMAGE, title="Dot")
    send("get_files")
    send("get_file", file.get("id"))
    send("update_file", file.get("id"), title="Picture", tags="a,b")


def groups() -> None:
    send = call_each(directus_sdk.GroupsApi(client))
    group = send("add_group", name=f"{TABLE} group").get("id")
    send("get_group", group)
    send("get_groups")
    send("add_privilege", group, table_name=TABLE, allow_view=2, allow_add=1)
    send("get_privileges", group)
    send("get_privileges_for_table", group, TABLE)
    send("update_privileges", group, TABLE, allow_edit=1)
    send("get_privileges_for_table: after update_privileges", group, TABLE)


def others() -> None:
    send = call_each(directus_sdk.PreferencesApi(client))
    send("get_preferences", TABLE)
    send("update_preferences", TABLE, sort="id", sort_order="DESC", status="1")
    send("get_preferences: after update_preferences", TABLE)
    send = call_each(directus_sdk.MessagesApi(client))
    send("get_messages")
    send("get_message", MESSAGE)
    send = call_each(directus_sdk.ActivityApi(client))
    send("get_activity")
    send = call_each(directus_sdk.BookmarksApi(client))
    bookmark = send("add_bookmark", title=f"{TABLE} drafts", url="tables/x", section="search")
    send("get_bookmarks")
    send("get_bookmarks_self")
    send("get_bookmark", bookmark.get("id"))
    send("delete_bookmark", bookmark.get("id"))
    send("get_bookmarks_self: after delete_bookmark")
    send = call_each(directus_sdk.SettingsApi(client))
    send("get_settings")
    send("get_settings_for", "global")
    send("update_settings", "global", {"project_name": "Lost"})
    send("get_settings_for: after update_settings", "global")
    send = call_each(directus_sdk.UtilsApi(client))
    send("get_hash", string="secret", hasher="sha256")
    send("get_random", length=12)


def main() -> None:
    areas = (
        "TablesApi FilesApi GroupsApi PreferencesApi MessagesApi ActivityApi BookmarksApi"
        " SettingsApi UtilsApi"
    )
    methods = [
        name
        for area in areas.split()
        for name in vars(getattr(directus_sdk, area))
        if not name.startswith("_") and not name.endswith("_with_http_info")
    ]
    printed({"methods": methods, "missing": []})
    if os.environ.get("ONLY") == "files":
        files()
        return
    tables()
    files()
    groups()
    others()


main()
