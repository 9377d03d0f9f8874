r"""Every curl line of the API's documentation, from top to bottom, on the demo's data.

Only host and token are changed, and ``<base64-data>`` is filled in. Lines that are printed without
a token are sent once as printed and once with one.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")

JPEG = (
    "/9j/2wBDAP//////////////////////////////////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAI"
    "AQEAAD8AN//Z"
)


@dataclass(frozen=True)
class Answer:
    status: int
    json: Any

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.json["rows"]

    @property
    def data(self) -> Any:
        return self.json["data"]


Holds = Callable[[Answer], object]

# the line as printed; what then holds
SAMPLES: list[tuple[str, str, Holds]] = [
    (
        "Request API Key",
        (
            'curl -d "email=user@directus.local&password=pass123"'
            " https://account-instance.directus.io/api/1.1/auth/request-token"
        ),
        lambda a: (
            a.status == 401
            and a.json["success"] is False
            and a.json["error"]["message"] == "Incorrect email or password"
        ),
    ),
    (
        "HTTP Basic Auth",
        "curl -u Py8RumuLD7HE5juFrOR5: https://account-instance.directus.io/api/1.1/tables",
        lambda a: "projects" in {table["name"] for table in a.data},
    ),
    (
        "Bearer Auth",
        (
            'curl -H "Authorization: Bearer Py8RumuLD7HE5juFrOR5"'
            " https://account-instance.directus.io/api/1.1/tables"
        ),
        lambda a: "projects" in {table["name"] for table in a.data},
    ),
    (
        "Query String",
        "curl https://account-instance.directus.io/api/1.1/tables?access_token=Py8RumuLD7HE5juFrOR5",
        lambda a: "projects" in {table["name"] for table in a.data},
    ),
    (
        "GET privileges/:groupId/",
        "curl http://directus.dev/api/1/privileges/1",
        lambda a: {"id", "table_name", "group_id", "read_field_blacklist"} <= set(a.json[0]),
    ),
    (
        "GET tables/:table/rows/",
        "curl http://directus.dev/api/1/tables/directus_users/rows",
        lambda a: (
            {"Active", "Delete", "Draft", "total", "rows"} <= set(a.json)
            and a.rows[0]["group"]["name"] == "Administrator"
            and not {"password", "salt"} & set(a.rows[0])
        ),
    ),
    (
        "Fetching customers from United States",
        (
            "curl -u usrSTeeornngkti: -g"
            " 'https://account.directus.io/api/1.1/tables/customers/rows?filters[country][eq]=us'"
        ),
        lambda a: len(a.data) == 5 and {row["country"] for row in a.data} == {"us"},
    ),
    (
        "filters[country][eq]=us simplified",
        (
            "curl -u usrSTeeornngkti: -g"
            " 'https://account.directus.io/api/1.1/tables/customers/rows?filters[country]=us'"
        ),
        lambda a: len(a.data) == 5 and {row["country"] for row in a.data} == {"us"},
    ),
    (
        "Fetching customers from New York, United States",
        (
            "curl -u usrSTeeornngkti: -g 'https://account.directus.io/api/1.1/tables/customers/rows"
            "?filters[country][eq]=us&filters[state][eq]=ny'"
        ),
        lambda a: [row["state"] for row in a.data] == ["ny", "ny"],
    ),
    (
        "Fetching customers from New York and New Mexico, United States",
        (
            "curl -u usrSTeeornngkti: -g 'https://account.directus.io/api/1.1/tables/customers/rows"
            "?filters[country][eq]=us&filters[state][in]=ny,nm'"
        ),
        lambda a: [row["state"] for row in a.data] == ["ny", "ny", "nm"],
    ),
    (
        "Fetching customers from New York and New Mexico OR Oregon and Louisiana",
        (
            "curl -u usrSTeeornngkti: -g 'https://account.directus.io/api/1.1/tables/customers/rows"
            "?filters[country][eq]=us&filters[state][in]=ny,nm&filters[state][logical]=or"
            "&filters[state][in]=or,la'"
        ),
        # of the key that is there twice the last counts: country = us OR state IN (or, la)
        lambda a: len(a.data) == 5 and {row["country"] for row in a.data} == {"us"},
    ),
    (
        "Create Item",
        (
            'curl --data "active=1&title=School+Website"'
            " https://database.account.directus.io/api/1/tables/projects/rows -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["active"], a.json["title"]) == (1, "School Website") and a.json["id"] > 0,
    ),
    (
        "Get Items",
        "curl https://database.account.directus.io/api/1/tables/projects/rows -u usrSTeeornngkti:",
        lambda a: (
            {"Delete", "Active", "Draft", "total", "rows"} == set(a.json)
            and a.rows[0]["title"] == "John's website"
        ),
    ),
    (
        "Get Item",
        (
            "curl https://database.account.directus.io/api/1/tables/projects/rows/1"
            " -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["id"], a.json["title"]) == (1, "John's website"),
    ),
    (
        "Update Item",
        (
            'curl --data "active=1&title=Example"'
            " https://database.account.directus.io/api/1/tables/projects/rows/1 -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["id"], a.json["active"], a.json["title"]) == (1, 1, "Example"),
    ),
    (
        "Delete Item, softly",
        (
            'curl -X PATCH --data "active=0"'
            " https://database.account.directus.io/api/1/tables/projects/rows/1 -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["id"], a.json["active"]) == (1, 0),
    ),
    (
        "Delete Item",
        (
            "curl -X DELETE https://database.account.directus.io/api/1/tables/projects/rows/1"
            " -u usrSTeeornngkti:"
        ),
        lambda a: a.json == {"success": True},
    ),
    (
        "Delete Item, the same line a second time",
        (
            "curl -X DELETE https://database.account.directus.io/api/1/tables/projects/rows/1"
            " -u usrSTeeornngkti:"
        ),
        lambda a: a.status == 200 and a.json["success"] is False,
    ),
    (
        "Create File",
        (
            'curl --data "name=image.jpg&type=image/jpeg&data=data:image/jpeg;base64,<base64-data>"'
            " https://instance--key.directus.io/api/1/files"
        ),
        lambda a: (
            a.json["type"] == "image/jpeg"
            and a.json["name"] == f"{a.json['id']:011}.jpg"
            and a.json["storage_adapter"] == "local"
        ),
    ),
    (
        "Get Files",
        "curl https://database.account.directus.io/api/1/files",
        lambda a: {"Active", "Delete", "Draft", "total", "rows"} <= set(a.json),
    ),
    (
        "Get File",
        "curl https://database.account.directus.io/api/1/files/1",
        lambda a: (
            {
                "id",
                "active",
                "name",
                "url",
                "title",
                "location",
                "caption",
                "type",
                "charset",
                "tags",
                "width",
                "height",
                "size",
                "embed_id",
                "user",
                "date_uploaded",
                "storage_adapter",
            }
            <= set(a.json)
        ),
    ),
    (
        "Update File",
        (
            'curl --data "title=My+New+File+Title"'
            " https://database.account.directus.io/api/1/files/2 -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["id"], a.json["title"]) == (2, "My New File Title"),
    ),
    (
        "Create Table",
        (
            'curl -d "table_name=Projects&group_id=1&addTable=true&allow_add=1&allow_alter=1'
            '&allow_delete=1&allow_edit=1&allow_view=1"'
            " https://database.account.directus.io/api/1/privileges/1 -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["table_name"], a.json["group_id"]) == ("Projects", 1),
    ),
    (
        "Get Tables",
        "curl https://database.account.directus.io/api/1/tables -u [user-token]:",
        lambda a: {"projects", "Projects"} <= {table["table_name"] for table in a.json},
    ),
    (
        "Get Table",
        "curl https://database.account.directus.io/api/1/tables/projects -u [user-token]:",
        lambda a: (
            {
                "id",
                "table_name",
                "date_created",
                "comment",
                "hidden",
                "single",
                "is_junction_table",
                "user_create_column",
                "user_update_column",
                "date_create_column",
                "date_update_column",
                "footer",
                "count",
                "active",
                "inactive",
                "trash",
                "columns",
                "preferences",
            }
            <= set(a.json)
            and a.json["preferences"]["sort"] == "id"
        ),
    ),
    (
        "Create Column",
        (
            'curl -X POST -d "column_name=year&data_type=int&char_length=4&ui=numeric'
            '&comment=Year+build" https://database.account.directus.io/api/1/tables/projects/columns'
            " -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["id"], a.json["type"]) == ("year", "INT"),
    ),
    (
        "Get Columns",
        (
            "curl https://database.account.directus.io/api/1/tables/projects/columns"
            " -u usrSTeeornngkti:"
        ),
        lambda a: {"id", "active", "title", "year"} <= {column["id"] for column in a.json},
    ),
    (
        "Get Column",
        (
            "curl https://database.account.directus.io/api/1/tables/projects/columns/title"
            " -u usrSTeeornngkti:"
        ),
        lambda a: (
            {
                "id",
                "column_name",
                "type",
                "char_length",
                "is_nullable",
                "comment",
                "sort",
                "system",
                "master",
                "hidden_list",
                "hidden_input",
                "required",
                "column_type",
                "is_writable",
                "ui",
                "options",
            }
            <= set(a.json)
            and a.json["column_type"] == "varchar(100)"
        ),
    ),
    (
        "Update Column, at an address that never was",
        (
            'curl --data "comment=Project+name"'
            " https://database.account.directus.io/api/1/tables/projects/title -u usrSTeeornngkti:"
        ),
        lambda a: a.status == 404 and a.json["success"] is False,
    ),
    (
        "Update Column, at the address above the sample",
        (
            'curl --data "comment=Project+name"'
            " https://database.account.directus.io/api/1/tables/projects/columns/title"
            " -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["id"], a.json["comment"]) == ("title", "Project name"),
    ),
    (
        "Create Group",
        "curl --data \"name='Manager'\" https://database.account.directus.io/api/1/groups",
        lambda a: (
            {
                "id",
                "name",
                "description",
                "restrict_to_ip_whitelist",
                "nav_override",
                "show_activity",
                "show_messages",
                "show_users",
                "show_files",
                "nav_blacklist",
            }
            <= set(a.json)
            and a.json["name"] == "'Manager'"
        ),
    ),
    (
        "Get Groups",
        "curl https://database.account.directus.io/api/1/groups",
        lambda a: a.json["total"] == len(a.rows) and a.rows[0]["name"] == "Administrator",
    ),
    (
        "Get Group",
        "curl https://database.account.directus.io/api/1/groups/1",
        lambda a: (a.json["id"], a.json["name"]) == (1, "Administrator"),
    ),
    (
        "Create Privileges, whose line reads them",
        "curl https://database.account.directus.io/api/1/privileges/1",
        lambda a: "projects" in {row["table_name"] for row in a.json},
    ),
    (
        "Get Privileges",
        "curl https://database.account.directus.io/api/1/privileges/1",
        lambda a: (
            {
                "id",
                "table_name",
                "group_id",
                "read_field_blacklist",
                "write_field_blacklist",
                "nav_listed",
                "status_id",
                "allow_view",
                "allow_add",
                "allow_edit",
                "allow_delete",
                "allow_alter",
            }
            <= set(next(row for row in a.json if row["table_name"] == "projects"))
        ),
    ),
    (
        "Get Table Privileges",
        "curl https://database.account.directus.io/api/1/privileges/1/projects",
        lambda a: (a.json["table_name"], a.json["allow_view"]) == ("projects", 2),
    ),
    (
        "Update Privileges, whose line makes a group that is there by now",
        "curl --data \"name='Manager'\" https://database.account.directus.io/api/1/groups",
        lambda a: a.status == 200 and a.json["success"] is False,
    ),
    (
        "Get Preferences",
        (
            "curl https://database.account.directus.io/api/1/tables/projects/preferences"
            " -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["table_name"], a.json["sort_order"]) == ("projects", "ASC"),
    ),
    (
        "Update Preference",
        (
            "curl -d sort_order=DESC"
            " https://database.account.directus.io/api/1/tables/projects/preferences"
            " -u usrSTeeornngkti:"
        ),
        lambda a: (a.json["table_name"], a.json["sort_order"]) == ("projects", "DESC"),
    ),
    (
        "Get Settings",
        "curl https://database.account.directus.io/api/1/settings",
        lambda a: set(a.json) == {"global", "files"} and a.json["files"]["thumbnail_size"] == "200",
    ),
    (
        "Get Settings By Type",
        "curl https://database.account.directus.io/api/1/settings/global",
        lambda a: a.json["rows_per_page"] == "200",
    ),
    (
        "Update Settings",
        'curl --data "rows_per_page=100" https://database.account.directus.io/api/1/settings/global',
        lambda a: a.json["rows_per_page"] == "100",
    ),
]
TOKENS = ("usrSTeeornngkti", "Py8RumuLD7HE5juFrOR5", "[user-token]")
WITHOUT_A_TOKEN = [
    (name, line)
    for name, line, _ in SAMPLES
    if not any(token in line for token in TOKENS) and "request-token" not in line
]


async def send(demo: Api, line: str, token: str | None) -> Answer:
    """The line as a reader would send it, to this server and by this caller."""
    for printed in TOKENS:
        line = line.replace(printed, token or "")
    if token and token not in line and "request-token" not in line:
        line += f" -u {token}:"
    line = re.sub(r"https?://[\w.-]+/api/", f"{demo.base_url}/api/", line)
    line = line.replace("<base64-data>", quote(JPEG))
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", line + r" --silent --show-error --write-out '\n%{http_code}'",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    body, _, status = out.decode().rpartition("\n")
    return Answer(int(status), json.loads(body))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def answers(demo: Api) -> dict[str, Answer]:
    """Every sample's answer, in the order of the document."""
    answers = {name: await send(demo, line, demo.token) for name, line, _ in SAMPLES}
    restored = await demo.put("settings/global", {"rows_per_page": "200"})
    assert restored.status == 200
    return answers


@pytest.mark.parametrize(("name", "holds"), [(name, holds) for name, _, holds in SAMPLES], ids=[
    name for name, _, _ in SAMPLES
])  # fmt: skip
def test_the_sample_works(answers: dict[str, Answer], name: str, holds: Holds) -> None:
    assert holds(answers[name]), answers[name]


@pytest.mark.parametrize(
    ("name", "line"), WITHOUT_A_TOKEN, ids=[name for name, _ in WITHOUT_A_TOKEN]
)
async def test_the_sample_without_a_token_is_refused_as_printed(
    demo: Api, name: str, line: str
) -> None:
    answer = await send(demo, line, None)
    assert answer.status == 401, name
    assert answer.json["message"] == "You must be logged in to access the API"


async def test_a_token_is_given_for_the_password_of_a_user(demo: Api) -> None:
    email, password = "user@directus.example", "pass123 was too short"
    user = {"email": email, "password": password, "group": 1}
    assert (await demo.post("users", user)).status == 200
    line = (
        f'curl -d "email={email}&password={quote(password)}"'
        " https://account-instance.directus.io/api/1.1/auth/request-token"
    )
    answer = await send(demo, line, None)
    assert answer.json["success"] is True
    assert (await demo.as_(answer.data["token"]).get("tables")).status == 200
