"""Every write that carries an Idempotency-Key acts once: one case for each handler of a service.

The clients send it to one gateway and again to the other one.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import pytest
from wire import Api

import auth_service.routes as auth
import files_service.routes as files
import items_service.routes as items
import schema_service.routes as schema
import settings_service.routes as settings
from auth_service.handlers import sessions
from local_cluster.cluster import Cluster
from shared.database import Database
from shared.service import RequestHandler, Route
from shared.sql import param, raw
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")

SERVED: Final[list[Route]] = [
    *auth.ROUTES, *schema.ROUTES, *files.ROUTES, *settings.ROUTES, *items.ROUTES,
]  # fmt: skip
# Its own token is refused from then on, the second time before the key is looked at.
NEVER_TWICE: Final[set[RequestHandler]] = {sessions.logout}
TEXT: Final = b64encode(b"a few bytes").decode()
CLAIMED: Final = raw("SELECT count(*) FROM directoire.idempotency WHERE body IS NULL AND key = ")
TUS: Final = {"Tus-Resumable": "1.0.0"}
PART: Final = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}


@dataclass(frozen=True)
class Case:
    """``{name}`` in path and texts is what ``Prepared`` made. One kind of body at most."""

    method: str
    path: str
    json: object = None
    file: tuple[str, str] | None = None  # name and content of a multipart part "file"
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


CASES: Final = (
    Case("POST", "tables/{table}/rows", {"n": 1, "active": 1}),
    Case("POST", "tables/{table}/rows/bulk", {"rows": [{"n": 2}, {"n": 3}]}),
    Case("PUT", "tables/{table}/rows/bulk", {"rows": [{"id": 1, "n": 5}]}),
    Case("DELETE", "tables/{table}/rows/bulk", {"rows": [{"id": 3}]}),
    Case("PUT", "tables/{table}/rows/1", {"n": 6}),
    Case("DELETE", "tables/{table}/rows/2"),
    Case("POST", "utils/sort/{sorted}", {"item": 1, "to": 2}),
    Case("POST", "utils/import/{table}", file=("rows.csv", "n\n7\n8\n")),
    Case("POST", "utils/import/{table}?background=true", file=("rows.csv", "n\n7\n")),
    Case("POST", "utils/import/{table}?dry_run=true", file=("rows.csv", "n\n7\n")),
    Case("POST", "utils/export/{table}", {"query": {}, "format": "json"}),
    Case("DELETE", "utils/jobs/{job}"),
    Case("POST", "tables", {"name": "twice_{unique}"}),
    Case("PUT", "tables/{table}", {"hidden": 1}),
    Case("DELETE", "tables/{table_to_go}"),
    Case("POST", "tables/{table}/columns", {"column_name": "m", "data_type": "INT"}),
    Case("PUT", "tables/{table}/columns/n", {"comment": "a number"}),
    Case("PATCH", "tables/{table}/columns/bulk", {"rows": [{"id": "n", "sort": 3}]}),
    Case("PUT", "tables/{table}/columns/n/numeric", {"size": "large"}),
    Case("DELETE", "tables/{table}/columns/column_to_go"),
    Case("POST", "privileges/{group}", {"group_id": "{group}", "table_name": "{sorted}"}),
    Case("PUT", "privileges/{group}/{table}", {"allow_view": 1}),
    Case("POST", "users", {"email": "{unique}@example.org", "group": 1, "token": "tok-{unique}"}),
    Case("PUT", "users/{user}", {"first_name": "Ann"}),
    Case("POST", "users/{user}/tokens", {"name": "one"}),
    Case("DELETE", "users/{user}/tokens/{token}"),
    Case("POST", "users/invite", {"email": "invited-{unique}@example.org"}),
    Case("DELETE", "users/{user_to_go}"),
    Case("POST", "groups", {"name": "twice {unique}"}),
    Case("PUT", "groups/{group}", {"description": "Twice"}),
    Case("DELETE", "groups/{group_to_go}"),
    Case("PUT", "settings/global", {"cms_user_auto_sign_out": "60"}),
    Case("PUT", "tables/{table}/preferences", {"sort": "id"}),
    Case("DELETE", "tables/{table}/preferences?title=Old"),
    Case("POST", "bookmarks", {"title": "Home", "url": "/{unique}"}),
    Case("PUT", "bookmarks/{bookmark}", {"title": "House"}),
    Case("DELETE", "bookmarks/{bookmark_to_go}"),
    Case("POST", "messages/rows", {"subject": "Hi", "message": "There", "recipients": "0_1"}),
    Case("PUT", "messages/rows/{message}", {"message": "Well"}),
    Case("PATCH", "messages/rows/{message}", {"read": 1}),
    Case("DELETE", "messages/rows/{message_to_go}"),
    Case("DELETE", "messages/rows/bulk", {"rows": [{"id": "{message_gone}"}]}),
    Case("POST", "comments", {"comment_metadata": "{table}:1", "message": "Good"}),
    Case("POST", "utils/cache/clear"),
    Case("POST", "files", {"name": "a-{unique}.txt", "data": TEXT}),
    Case("POST", "files?form=multipart", file=("b.txt", "b-{unique}")),
    Case("PUT", "files/{file}", {"title": "Changed"}),
    Case("PUT", "files/{replaced}", file=("d.txt", "d-{unique}")),
    Case("DELETE", "files/{file_to_go}"),
    Case("POST", "upload", file=("c.txt", "c-{unique}")),
    Case("POST", "files/tus", headers={**TUS, "Upload-Length": "5"}),
    Case("POST", "files/tus?with=upload", raw=b"12345", headers={**PART, "Upload-Length": "5"}),
    Case("PATCH", "files/tus/{upload}", raw=b"12345", headers=PART),
    Case("DELETE", "files/tus/{upload_to_go}", headers=TUS),
)


def handler_of(case: Case) -> RequestHandler:
    for route in SERVED:
        pattern = re.sub(r"\{\w+:([^}]+)\}", r"(?:\1)", route.path)
        pattern = re.sub(r"\{\w+\}", "[^/]+", pattern)
        if route.method == case.method and re.fullmatch(pattern, case.path.partition("?")[0]):
            return route.handler
    raise AssertionError(f"nobody serves {case}")


def test_every_handler_that_writes_has_a_case() -> None:
    shown = {handler_of(case) for case in CASES} | NEVER_TWICE
    missing = {
        f"{route.method} {route.path}"
        for route in SERVED
        if route.method in {"POST", "PUT", "PATCH", "DELETE"}
        and route.versioned
        and not (route.public or route.pure or route.handler in shown)
    }
    assert missing == set()


def filled(value: Any, names: Mapping[str, object]) -> Any:
    """The value with each ``{name}`` in its texts."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: str(names[found[1]]), value)
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, names) for key, item in value.items()}
    return value


async def prepared(api: Api, unique: str) -> dict[str, object]:
    """One thing of each kind for every case that needs one."""

    async def made(path: str, body: Mapping[str, object]) -> Any:
        return (await api.post(path, body)).data["id"]

    table = await api.make_table(f"first_{unique}", n="INT", column_to_go="INT")
    for n in range(3):
        await api.post(f"tables/{table}/rows", {"n": n, "active": 1})
    sorted_ = await api.make_table(f"sorted_{unique}", sort="INT")
    await api.put(f"tables/{sorted_}", {"sort_column": "sort"})
    for n in (1, 2):
        await api.post(f"tables/{sorted_}/rows", {"sort": n, "active": 1})
    await api.put(f"tables/{table}/preferences", {"title": "Old", "sort": "n"})
    export = {"query": {}, "format": "json"}
    job = (await api.post(f"utils/export/{table}", export)).headers["Location"]
    names: dict[str, object] = {
        "unique": unique,
        "table": table,
        "sorted": sorted_,
        "table_to_go": await api.make_table(f"gone_{unique}"),
        "job": job.rpartition("/")[2],
    }
    for name in ("user", "user_to_go"):
        body = {"email": f"{name}-{unique}@example.org", "group": 1}
        names[name] = await made("users", body)
    names["token"] = await made(f"users/{names['user']}/tokens", {"name": "old"})
    for name in ("group", "group_to_go"):
        names[name] = await made("groups", {"name": f"{name} {unique}"})
    body = {"group_id": names["group"], "table_name": table, "allow_view": 2}
    assert (await api.post(f"privileges/{names['group']}", body)).status == 200
    for name in ("bookmark", "bookmark_to_go"):
        names[name] = await made("bookmarks", {"title": name, "url": f"/{name}/{unique}"})
    for name in ("message", "message_to_go", "message_gone"):
        body = {"subject": name, "message": "x", "recipients": "0_1"}
        names[name] = await made("messages/rows", body)
    for name in ("file", "replaced", "file_to_go"):
        names[name] = await made("files", {"name": f"{name}-{unique}.txt", "data": TEXT})
    for name in ("upload", "upload_to_go"):
        reply = await api.send("POST", "files/tus", headers={**TUS, "Upload-Length": "5"})
        names[name] = reply.headers["Location"].rpartition("/")[2]
    return names


async def send(
    api: Api, case: Case, key: str, names: Mapping[str, object], *, other: bool = False
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers; ``other``: with the same key something else is asked."""
    path = filled(case.path, names)
    headers = {"Authorization": f"Bearer {api.token}", "Idempotency-Key": key, **case.headers}
    more: dict[str, Any] = {"json": filled(case.json, names)}
    if other and case.json is not None:
        more["json"] = {**more["json"], "other": 1}
    if case.file is not None:
        content = filled(case.file[1], names) + ("9" if other else "")
        form = aiohttp.FormData()
        form.add_field("file", content.encode(), filename=case.file[0], content_type="text/csv")
        more = {"data": form}
    elif case.raw is not None:
        more = {"data": case.raw[::-1] if other else case.raw}
    elif other and case.json is None:
        path += "&x=1" if "?" in path else "?x=1"
    url = f"{api.base_url.rstrip('/')}/api/1.1/{path}"
    async with api.session.request(case.method, url, headers=headers, **more) as response:
        return response.status, await response.read(), dict(response.headers)


async def test_every_write_acts_once(api: Api, cluster: Cluster, unique: str) -> None:
    names = await prepared(api, unique)
    one, two = (api.at(url) for url in cluster.gateway_urls)
    for number, case in enumerate(CASES):
        key = f"{unique}-{number}"
        status, body, headers = await send(one, case, key, names)
        assert status in {200, 201, 202, 204}, (str(case), status, body)
        assert b'"success":false' not in body, (str(case), body)
        assert "Idempotency-Replayed" not in headers, str(case)
        again, repeated, told = await send(two, case, key, names)
        assert (again, told.get("Idempotency-Replayed")) == (status, "true"), (str(case), repeated)
        assert repeated == body or b"tok" in body, str(case)
        for header in ("Location", "ETag", "Content-Type", "Upload-Offset", "Directus-File-Id"):
            assert told.get(header) == headers.get(header), (str(case), header)
        status, body, _ = await send(one, case, key, names, other=True)
        assert status == 422, (str(case), body)
    rows = (await api.get(f"tables/{names['table']}/rows?preview=1&limit=100")).data
    assert sorted(row["n"] for row in rows if row["n"] in {1, 2, 3, 8}) == [1, 2, 3, 8]


async def test_an_answer_is_kept_without_its_token(api: Api, unique: str) -> None:
    """The second time it is not shown, and no row of the table holds it."""
    names = await prepared(api, unique)
    case = Case("POST", "users/{user}/tokens", {"name": "mine"})
    _, first, _ = await send(api, case, unique, names)
    token = re.findall(rb'"token":"([^"]{20,})"', first)[0]
    status, second, _ = await send(api, case, unique, names)
    assert (status, second) == (200, first.replace(b'"%b"' % token, b"null"))


async def slowly(content: bytes, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield content[:100]
    await go_on.wait()
    yield content[100:]


async def test_an_upload_that_is_still_running(api: Api, cluster: Cluster, unique: str) -> None:
    """409 while it runs, through the other gateway too, with no transaction open; once it is done
    the same bytes in another multipart frame get its answer.
    """
    go_on = asyncio.Event()
    headers = {"Authorization": f"Bearer {api.token}", "Idempotency-Key": unique}
    one, two = (f"{url.rstrip('/')}/api/1.1/files" for url in cluster.gateway_urls)

    def framed(boundary: str) -> tuple[bytes, dict[str, str]]:
        part = f'Content-Disposition: form-data; name="file"; filename="{unique}.txt"\r\n\r\n'
        body = f"--{boundary}\r\n{part}{'x' * 300_000}\r\n--{boundary}--\r\n".encode()
        return body, headers | {"Content-Type": f"multipart/form-data; boundary={boundary}"}

    async def sent(url: str, data: object, headers: Mapping[str, str]) -> tuple[int, bytes]:
        async with api.session.post(url, data=data, headers=headers) as response:
            return response.status, await response.read()

    body, kind = framed("first")
    first = asyncio.create_task(sent(one, slowly(body, go_on), kind))
    database = Database(cluster.urls["DATABASE_URL"], size=1)

    async def claimed() -> bool:
        return await database.fetchval(CLAIMED + param(unique)) == 1

    await eventually(claimed, what="the claim")
    await database.close()
    status, answer = await sent(two, *framed("second"))
    assert status == 409, answer
    go_on.set()
    assert (await first)[0] == 200
    assert await sent(two, *framed("third")) == await first
    named: Iterable[Any] = (await api.get("files?limit=1000")).data
    assert len([one for one in named if one["title"] and unique in str(one["title"]).lower()]) == 1
