"""Uploads and downloads over a real database and a folder."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from multidict import CIMultiDict

from files_service.app import make_app
from files_service.keys import CONTENTS
from files_service.operations import uploads
from files_service.settings import Settings
from files_service.store import files
from files_service.store.contents import LocalContents
from shared import failpoints
from shared.database import Database
from shared.identity import Principal
from shared.service import DATABASE
from shared.sql import join, param, raw
from shared.testing import Client, environment, serving

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DATA_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
STRANGER = Principal(user=9, group=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def app(database_url: str, redis_prefix: str, folder: Path) -> web.Application:
    more = {
        "store_url": folder.as_uri(),
        "body_limit": str(64 * 1024),
        "upload_limit": str(48 * 1024),
        "public_files": "1",
    }
    return make_app(Settings.model_validate(environment(database_url, redis_prefix, **more)))


@pytest_asyncio.fixture(loop_scope="session")
async def service(app: web.Application, database: Database) -> AsyncGenerator[Client]:
    await database.execute(
        raw("INSERT INTO directus_users (email, \"group\") VALUES ('root@example.com', 1)")
    )
    async with serving(app) as client:
        yield client


def stored_paths(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def stored_bytes(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in stored_paths(folder)]


async def traces(database: Database) -> tuple[int, int, int]:
    """Records, registrations and activity entries about files."""
    row = await database.fetchrow(
        raw(
            "SELECT (SELECT count(*) FROM directus_files),"
            " (SELECT count(*) FROM directoire.uploads),"
            " (SELECT count(*) FROM directus_activity WHERE table_name = 'directus_files')"
        )
    )
    assert row is not None
    return row[0], row[1], row[2]


async def create(service: Client, **body: object) -> tuple[int, Any]:
    return await service.send("POST", "files", json=body)


async def download(
    service: Client, url: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, CIMultiDict[str]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with service.http.request(method, url, headers=names) as response:
        return response.status, await response.read(), CIMultiDict(response.headers)


@pytest.mark.parametrize("way", ["data uri", "bare", "form"])
async def test_a_file_comes_back_as_it_was_sent(
    service: Client, database: Database, folder: Path, way: str
) -> None:
    data = DATA_URI if way != "bare" else DATA_URI.partition(",")[2]
    body = {"name": "site_shot.png", "data": data}
    sent = {"data": body} if way == "form" else {"json": body}
    status, answer = await service.send("POST", "files", **sent)
    assert status == 200, answer
    file = answer["data"]
    assert answer["meta"] == {"table": "directus_files", "type": "item"}
    expected = {
        "id": 1,
        "active": 1,
        "name": "00000000001.png",
        "url": "/storage/uploads/00000000001.png",
        "title": "Site Shot",
        "type": "image/png",
        "charset": "binary",
        "width": 1,
        "height": 1,
        "size": len(PNG),
        "user": 1,
        "storage_adapter": "local",
    }
    assert {name: file[name] for name in expected} == expected
    status, content, headers = await download(service, file["url"])
    assert (status, content) == (200, PNG)
    assert headers["Content-Type"] == "image/png"
    assert headers["ETag"] == f'"{sha256(PNG).hexdigest()}"'
    assert stored_bytes(folder) == [PNG]
    assert await traces(database) == (1, 0, 1)


async def test_1_0_answers_the_bare_record(service: Client) -> None:
    body = {"name": "a.png", "data": DATA_URI}
    _, answer = await service.send("POST", "/api/1/files", json=body)
    assert answer["name"] == "00000000001.png"
    _, listed = await service.get("/api/1/files")
    assert [row["id"] for row in listed["rows"]] == [1]
    _, one = await service.get("/api/1/files/1")
    assert one["title"] == "A"


async def test_what_a_client_says_overrides_only_what_it_may(service: Client) -> None:
    claims = {
        "title": "Mine",
        "caption": "C",
        "tags": ["a", "b"],
        "location": "Here",
        "charset": "x",
        "active": 2,
        "type": "text/html",
        "size": 7,
        "width": 99,
        "url": "http://elsewhere/",
        "storage_adapter": "S3",
        "storage_key": "x",
        "sha256": "0" * 64,
        "id": 77,
        "date_uploaded": "2000-01-01 00:00:00",
    }
    _, answer = await create(service, name="a.png", data=DATA_URI, **claims)
    file = answer["data"]
    taken = {name: file[name] for name in ("title", "caption", "tags", "location", "active")}
    assert taken == {
        "title": "Mine", "caption": "C", "tags": "a,b", "location": "Here", "active": 2,
    }  # fmt: skip
    assert (file["id"], file["type"], file["size"], file["width"]) == (1, "image/png", len(PNG), 1)
    assert file["url"] == "/storage/uploads/00000000001.png"
    assert not file["date_uploaded"].startswith("2000")
    assert "storage_key" not in file


@pytest.mark.parametrize(
    ("naming", "names"),
    [
        ("file_id", ["00000000001.png", "00000000002.png"]),
        ("file_hash", ["", ".png"]),
        ("file_name", ["my-shot.png", "my-shot-"]),
    ],
)
async def test_stored_names_follow_the_setting_and_are_never_taken_twice(
    service: Client, database: Database, naming: str, names: list[str]
) -> None:
    await database.execute(
        raw("INSERT INTO directus_settings (collection, name, value)")
        + raw(" VALUES ('files', 'file_naming', ")
        + param(naming)
        + raw(")")
    )
    answers = await asyncio.gather(
        *(create(service, name="../My Shot.PNG", data=DATA_URI) for _ in range(2))
    )
    found = sorted(
        (answer["data"]["name"] for _, answer in answers), key=lambda name: (len(name), name)
    )
    if naming == "file_hash":
        for name in found:  # an MD5 in hexadecimal, and neither tells of the other
            assert len(bytes.fromhex(name.removesuffix(".png"))) == 16
    else:
        assert found[0] in names
        assert names[1] in found[1]
    assert len(set(found)) == 2


async def test_a_file_without_bytes_is_a_record_only(
    service: Client, database: Database, folder: Path
) -> None:
    status, answer = await create(service, name="later.pdf", title="Later")
    assert (status, answer["data"]["title"]) == (200, "Later")
    assert stored_bytes(folder) == []
    assert await traces(database) == (1, 0, 1)
    assert (await download(service, answer["data"]["url"]))[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 200),
        ({"data": DATA_URI}, 200),
        ({"name": "  ", "data": DATA_URI}, 200),
        ({"name": "..//", "data": DATA_URI}, 200),
        ({"name": "a" * 256, "data": DATA_URI}, 400),
        ({"name": "a.png", "data": "data:image/png;base64,***"}, 400),
        ({"name": "a.png", "data": "data:text/plain,hello"}, 400),
        ({"name": "a.png", "data": DATA_URI + "=A"}, 400),
        ({"name": "a.png", "data": 5}, 400),
        ({"name": "a.png", "data": DATA_URI, "active": "x"}, 400),
        ({"name": "a.png", "data": DATA_URI, "active": 9}, 422),
        ({"name": "a.png", "data": DATA_URI, "title": {"a": 1}}, 400),
        ({"name": "a.png", "data": DATA_URI, "title": "a\0b"}, 400),
        ({"name": "a.png", "data": DATA_URI, "title": "t" * 300}, 422),
        ({"name": "a.png", "data": DATA_URI, "user": 4711}, 422),
        ({"name": "a.png", "data": "A" * (80 * 1024)}, 413),
    ],
)
async def test_a_refused_file_leaves_neither_bytes_nor_record(
    service: Client, database: Database, folder: Path, body: dict[str, object], status: int
) -> None:
    found, answer = await create(service, **body)
    assert (found, answer["success"]) == (status, False)
    assert stored_bytes(folder) == []
    assert await traces(database) == (0, 0, 0)


async def group_with(database: Database, **rights: object) -> int:
    group = await database.fetchval(
        raw("INSERT INTO directus_groups (name) VALUES ('Uploaders') RETURNING id")
    )
    await database.execute(
        raw("INSERT INTO directus_privileges (table_name, group_id, allow_view, allow_add,")
        + raw(" write_field_blacklist) VALUES ('directus_files', ")
        + join(
            ", ",
            [
                param(value)
                for value in (
                    group,
                    rights.get("view", 0),
                    rights.get("add", 0),
                    rights.get("blacklist"),
                )
            ],
        )
        + raw(")")
    )
    return group


async def test_who_may_not_add_stores_nothing(
    service: Client, database: Database, folder: Path
) -> None:
    viewer = Principal(user=1, group=await group_with(database, view=2))
    for caller in (STRANGER, viewer):
        status, _ = await create(service.as_(caller), name="a.png", data=DATA_URI)
        assert status == 403
    assert stored_bytes(folder) == []
    assert await traces(database) == (0, 0, 0)


async def test_a_protected_column_refuses_the_whole_file(
    service: Client, database: Database, folder: Path
) -> None:
    group = await group_with(database, view=2, add=1, blacklist="caption")
    caller = service.as_(Principal(user=1, group=group))
    status, answer = await create(caller, name="a.png", data=DATA_URI, caption="x")
    assert (status, answer["error"]["field"]) == (403, "caption")
    assert stored_bytes(folder) == []
    status, answer = await create(caller, name="a.png", data=DATA_URI, user=77)
    assert (status, answer["data"]["user"]) == (200, 1), "only administrators name another user"


async def test_who_may_add_but_not_view_learns_the_id_only(
    service: Client, database: Database
) -> None:
    caller = service.as_(Principal(user=1, group=await group_with(database, add=1)))
    status, answer = await create(caller, name="a.png", data=DATA_URI)
    assert (status, answer["data"]) == (200, {"id": 1})


async def test_metadata_is_changed_by_put_patch_and_post(
    service: Client, database: Database
) -> None:
    await create(service, name="a.png", data=DATA_URI)
    for method in ("PUT", "PATCH", "POST"):
        status, answer = await service.send(
            method, "files/1", json={"title": method, "size": 1, "name": "x.html"}
        )
        assert status == 200, answer
        file = answer["data"]
        assert (file["title"], file["size"], file["name"]) == (
            method, len(PNG), "00000000001.png",
        )  # fmt: skip
    status, _ = await service.send("PUT", "files/2", json={"title": "x"})
    assert status == 404


@pytest.mark.parametrize("path", ["files/1", "tables/directus_files/rows/1"])
async def test_a_deleted_file_takes_its_bytes_along(
    service: Client, app: web.Application, database: Database, folder: Path, path: str
) -> None:
    _, created = await create(service, name="a.png", data=DATA_URI)
    status, answer = await service.send("DELETE", path)
    assert (status, answer["success"]) == (200, True)
    if path == "files/1":
        assert answer["data"] == {"id": 1}
    else:
        await uploads.clear_abandoned(app[DATABASE], app[CONTENTS])
    assert stored_bytes(folder) == []
    assert await traces(database) == (0, 0, 2)
    assert (await download(service, created["data"]["url"]))[0] == 404
    _, again = await service.send("DELETE", path)
    assert again["success"] is False


async def test_a_soft_deleted_file_keeps_its_bytes(service: Client, folder: Path) -> None:
    await create(service, name="a.png", data=DATA_URI)
    status, answer = await service.send("DELETE", "files/1?soft=1")
    assert (status, answer["success"]) == (200, True)
    assert stored_bytes(folder) == [PNG]


async def test_a_death_between_bytes_and_record_leaves_only_what_the_sweep_finds(
    service: Client, app: web.Application, database: Database, folder: Path
) -> None:
    contents = LocalContents(folder)

    async def chunks() -> AsyncIterator[bytes]:
        yield PNG

    key = "00000000-0000-4000-8000-000000000001"
    await files.register(database, key, 1)
    await contents.write(key, chunks())
    assert await uploads.clear_abandoned(database, contents) == 0, "it may still be on its way"
    await database.execute(
        raw("UPDATE directoire.uploads SET created_at = now() - ")
        + param(uploads.ABANDONED_AFTER + timedelta(minutes=1))
        + raw("::interval")
    )
    assert await uploads.clear_abandoned(database, contents) == 1
    assert stored_bytes(folder) == []
    assert await traces(database) == (0, 0, 0)


async def test_a_fault_after_the_bytes_clears_them(
    service: Client, database: Database, folder: Path
) -> None:
    failpoints.arm("files.stored=raise", allowed=True)
    try:
        status, _ = await create(service, name="a.png", data=DATA_URI)
    finally:
        failpoints.arm("", allowed=True)
    assert status == 500
    assert stored_bytes(folder) == []
    assert await traces(database) == (0, 0, 0)


async def test_bytes_whose_registration_was_swept_become_no_record(
    service: Client, database: Database, folder: Path
) -> None:
    await database.execute(
        raw("CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    )
    await database.execute(
        raw("CREATE TRIGGER forget BEFORE INSERT ON directoire.uploads")
        + raw(" FOR EACH ROW EXECUTE FUNCTION forget()")
    )
    status, _ = await create(service, name="a.png", data=DATA_URI)
    assert status == 409
    assert (await traces(database))[0] == 0


HOSTILE = [
    ("evil.html", b"<html><script>alert(1)</script>", "text/html"),
    ("evil.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image/svg+xml"),
    ("evil.png", b"<html><script>alert(1)</script>", "text/html"),
    ("../../../etc/cron.d/x", b"* * * * * root x", "text/plain"),
    ('a";\r\nX-Evil: 1;.exe', b"MZ\0\0", "application/octet-stream"),
    ("con\u202egnp.exe", b"\0\0", "application/octet-stream"),
    (".htaccess", b"Options +ExecCGI", "text/plain"),
    ("x.php", b"<?php system($_GET[0]);", "text/plain"),
]


@pytest.mark.parametrize(("name", "content", "kind"), HOSTILE)
async def test_a_hostile_file_is_kept_under_a_server_made_name_and_never_run(
    service: Client, folder: Path, name: str, content: bytes, kind: str
) -> None:
    _, answer = await create(
        service, name=name, data=base64.b64encode(content).decode(), type="image/png"
    )
    file = answer["data"]
    assert file["type"] == kind
    assert file["name"].partition(".")[0] == "00000000001"
    status, received, headers = await download(service, file["url"])
    assert (status, received) == (200, content)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert "X-Evil" not in headers
    if kind != "text/plain":
        assert headers["Content-Disposition"].startswith("attachment")
    inside = stored_paths(folder.parent)
    assert [path.parent.parent for path in inside] == [folder]


@pytest.mark.parametrize(
    ("header", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=10-", 206, 10, None),
        ("bytes=-5", 206, -5, None),
        ("bytes=1000-", 416, 0, 0),
    ],
)
async def test_a_part_of_a_file_can_be_asked_for(
    service: Client, header: str, status: int, start: int, end: int | None
) -> None:
    _, answer = await create(service, name="a.png", data=DATA_URI)
    found, content, headers = await download(service, answer["data"]["url"], Range=header)
    assert (found, content) == (status, PNG[start:end])
    if status == 206:
        first = start % len(PNG)
        last = first + len(content) - 1
        assert headers["Content-Range"] == f"bytes {first}-{last}/{len(PNG)}"


async def test_head_and_conditions_spare_the_bytes(service: Client) -> None:
    _, answer = await create(service, name="a.png", data=DATA_URI)
    url = answer["data"]["url"]
    status, content, headers = await download(service, url, "HEAD")
    assert (status, content, headers["Content-Length"]) == (200, b"", str(len(PNG)))
    etag = headers["ETag"]
    assert (await download(service, url, If_None_Match=etag))[0] == 304
    assert (await download(service, url, If_None_Match='"x", W/' + etag))[0] == 304
    assert (await download(service, url, If_None_Match='"x"'))[0] == 200
    assert (await download(service, url, Range="bytes=0-0", If_Range=etag))[0] == 206
    assert (await download(service, url, Range="bytes=0-0", If_Range='"x"'))[0] == 200


@pytest.mark.parametrize(
    "name", ["nothing.png", "..%2F..%2Fetc%2Fpasswd", "%2e%2e", "00000000001.png%00", "'"]
)
async def test_a_name_nobody_stored_is_not_found(service: Client, name: str) -> None:
    await create(service, name="a.png", data=DATA_URI)
    status, content, _ = await download(service, f"/storage/uploads/{name}")
    assert status == 404
    assert b"PNG" not in content


async def test_a_record_whose_bytes_are_lost_is_not_found(service: Client, folder: Path) -> None:
    _, answer = await create(service, name="a.png", data=DATA_URI)
    for path in stored_paths(folder):
        path.unlink()
    assert (await download(service, answer["data"]["url"]))[0] == 404
