"""Every way in and out, on both stores."""

import asyncio
import base64
import io
import json
import os
import random
import re
import struct
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import pyvips
from aiohttp import web
from multidict import CIMultiDict

from files_service.app import make_app
from files_service.keys import CONTENTS
from files_service.operations import thumbnailer
from files_service.operations.incoming import Incoming, Sending, json_body
from files_service.operations.pictures import picture_of
from files_service.operations.reconcile import reconcile
from files_service.operations.uploads import IN_FLIGHT_NAME
from files_service.settings import Settings
from local_cluster.object_store import ACCESS_KEY, SECRET_KEY
from shared import failpoints
from shared.database import Database
from shared.errors import InvalidRequest
from shared.identity import Principal
from shared.service import DATABASE, IDENTITY_HEADER
from shared.sql import param, raw
from shared.testing import SIGNER, Client, environment, eventually, serving

MEGABYTE = 1024 * 1024
BYTES = random.Random(5).randbytes(2 * MEGABYTE + 77)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(request: pytest.FixtureRequest, folder: Path) -> dict[str, str]:
    if getattr(request, "param", "local") == "local":
        return {"store_url": folder.as_uri()}
    return {
        "store_url": request.getfixturevalue("s3_url"),
        "store_access_key": ACCESS_KEY,
        "store_secret_key": SECRET_KEY,
    }


@pytest.fixture
def more() -> dict[str, str]:
    return {"public_files": "1"}


@pytest_asyncio.fixture(loop_scope="session")
async def service(
    database_url: str,
    redis_prefix: str,
    database: Database,
    store: dict[str, str],
    more: dict[str, str],
) -> AsyncGenerator[Client]:
    told = environment(database_url, redis_prefix, part_size="262144", **store, **more)
    app = make_app(Settings.model_validate(told))
    await database.execute(
        raw("INSERT INTO directus_users (email, \"group\") VALUES ('root@example.com', 1)")
    )
    async with serving(app) as client:
        yield client


both = pytest.mark.parametrize(
    "store", ["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3"))], indirect=True
)


def application(service: Client) -> web.Application:
    app = service.http.app
    assert app is not None
    return app


async def compare(service: Client, grace: float = -1.0) -> tuple[int, int, int]:
    """What reconcile finds: cleared, bytes without record, records without bytes."""
    app = application(service)
    found = await reconcile(app[DATABASE], app[CONTENTS], grace=grace)
    return found.cleared, found.bytes_without_record, len(found.records_without_bytes)


async def call(
    service: Client, method: str, url: str, body: object = None, **headers: str
) -> tuple[int, bytes, CIMultiDict[str]]:
    """As the administrator; a header's underscores are hyphens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if "anonymous" not in sent:
        sent[IDENTITY_HEADER] = SIGNER.sign(service.principal)
    sent.pop("anonymous", None)
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    async with service.http.request(method, url, data=data, headers=sent) as response:
        return response.status, await response.read(), CIMultiDict(response.headers)


async def get(service: Client, url: str, **headers: str) -> bytes:
    status, content, _ = await call(service, "GET", url, **headers)
    assert status == 200, content
    return content


def picture(width: int = 64, height: int = 48, ending: str = ".jpg", **fields: str) -> bytes:
    image: Any = pyvips.Image.black(width, height, bands=3).copy()
    for name, value in fields.items():
        image.set_type(pyvips.GValue.gstr_type, name.replace("_", "-"), value)
    if "iptc" in fields:
        image.set_type(pyvips.GValue.blob_type, "iptc-data", fields["iptc"].encode("latin-1"))
    return image.write_to_buffer(ending)


# ── ways in ───────────────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize("way", ["json", "json with escapes", "form", "multipart"])
async def test_large_bytes_come_back_whatever_the_way_in(service: Client, way: str) -> None:
    text = base64.b64encode(BYTES).decode()
    form = aiohttp.FormData()
    body: object
    if way == "multipart":
        form.add_field("title", "T")
        form.add_field("file", io.BytesIO(BYTES), filename="a.bin")
        body, kind = form, None
    elif way == "form":
        body = b"name=a.bin&data=" + text.replace("+", "%2B").encode() + b"&title=T"
        kind = "application/x-www-form-urlencoded"
    else:
        written = json.dumps({"name": "a.bin", "data": text, "title": "T"})
        body = (written.replace("/", "\\/") if "escapes" in way else written).encode()
        kind = "application/json"
    headers = {"Content_Type": kind} if kind else {}
    status, answer, _ = await call(service, "POST", "/api/1.1/files", body, **headers)
    assert status == 200, answer
    file = json.loads(answer)["data"]
    assert (file["title"], file["size"]) == ("T", len(BYTES))
    assert await get(service, file["url"]) == BYTES
    assert await compare(service) == (0, 0, 0)


async def drained(body: Incoming) -> None:
    async for part in body:
        if isinstance(part, Sending):
            _ = [chunk async for chunk in part.chunks]


async def test_the_data_of_a_json_body_is_cut_out_wherever_it_is() -> None:
    async def split(body: bytes, size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    inner = {"data": "no", "x": ['"', "\\", {"data": "b"}]}
    sent = {"a": inner, "name": 'q"\\', "data": "data:x/y;base64,aGVsbG8rLz8+", "z": 1}
    body = json.dumps(sent).replace("/", "\\/").replace("+", "\\u002b").encode()
    for size in (1, 2, 3, 7, 1000):
        fields: dict[str, object] = {}
        found = b""
        async for part in json_body(split(body, size), 10_000):
            if isinstance(part, Sending):
                assert part.claimed == "x/y"
                found = b"".join([chunk async for chunk in part.chunks])
            else:
                fields[part.name] = part.value
        assert found == b"hello+/?>"
        assert fields == {"a": inner, "name": 'q"\\', "z": 1}
    for broken in (b'{"data": "aGVs', b'{"data": "aGVs"', b'{"a": "\\', b"[1]"):
        with pytest.raises(InvalidRequest):
            await drained(json_body(split(broken, 3), 10_000))


async def test_bytes_sent_ahead_become_a_record_later(service: Client, database: Database) -> None:
    form = aiohttp.FormData()
    for name in ("One.txt", "two.png"):
        form.add_field("file[]", picture(ending=".png") if "png" in name else b"1", filename=name)
    status, body, _ = await call(service, "POST", "/api/1.1/upload", form)
    assert status == 200, body
    infos = json.loads(body)
    assert [(one["name"], one["type"], one["width"]) for one in infos] == [
        ("One.txt", "text/plain", None), ("two.png", "image/png", 64),
    ]  # fmt: skip
    assert await database.fetchval(raw("SELECT count(*) FROM directus_files")) == 0
    status, answer = await service.post("files", infos[0] | {"title": "Mine"})
    assert (status, answer["data"]["title"]) == (200, "Mine")
    assert await get(service, answer["data"]["url"]) == b"1"
    status, _ = await service.post("files", infos[0])
    assert status == 404, "bytes have one record"
    stranger = service.as_(Principal(user=99, group=1))
    status, _ = await stranger.post("files", infos[1])
    assert status == 404, "and are their sender's"


async def test_several_files_of_one_body_are_recorded_together(service: Client) -> None:
    form = aiohttp.FormData()
    for number in range(3):
        form.add_field("f", f"{number}".encode(), filename=f"{number}.txt")
    status, body, _ = await call(service, "POST", "/api/1.1/files", form)
    assert status == 200
    assert [row["title"] for row in json.loads(body)["data"]] == ["0", "1", "2"]


@both
async def test_the_bytes_of_a_file_are_replaced(service: Client, database: Database) -> None:
    _, made = await service.post("files", {"name": "a.txt", "data": "b25l"})
    file = made["data"]
    before = (await call(service, "GET", file["url"]))[2]
    data = base64.b64encode(picture(ending=".png")).decode()
    status, answer = await service.send("PUT", "files/1", json={"data": data, "title": "New"})
    assert status == 200, answer
    new = answer["data"]
    assert (new["type"], new["width"], new["title"]) == ("image/png", 64, "New")
    assert new["name"] == "00000000001.png"
    assert new["date_uploaded"] == file["date_uploaded"]
    after = (await call(service, "GET", new["url"]))[2]
    assert before["ETag"] != after["ETag"]
    assert await compare(service) == (1, 0, 0), "the old bytes go"
    status, _ = await service.send("PUT", "files/77", json={"data": data})
    assert status == 404
    reader = service.as_(Principal(user=9, group=9))
    status, _ = await reader.send("PUT", "files/1", json={"data": data})
    assert status == 403
    assert await compare(service) == (0, 0, 0)


async def test_bytes_that_are_refused_leave_the_record_as_it_was(
    service: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = await service.post("files", {"name": "a.txt", "data": "b25l", "title": "Old"})
    tagged = (await call(service, "GET", "/api/1.1/files/1"))[2]["ETag"]

    async def replacing(**headers: str) -> int:
        body = json.dumps({"data": "dHdv", "title": "New", "caption": "New"}).encode()
        kind = {"Content_Type": "application/json"} | headers
        return (await call(service, "PUT", "/api/1.1/files/1", body, **kind))[0]

    async def is_as_it_was() -> bool:
        _, now = await service.get("files/1")
        return now["data"] == made["data"] and await get(service, now["data"]["url"]) == b"one"

    await setting(database, "quota_1", "5")
    assert (await replacing(), await is_as_it_was()) == (413, True)
    await database.execute(raw("DELETE FROM directus_settings WHERE name = 'quota_1'"))
    with monkeypatch.context() as patched:
        patched.setattr("files_service.operations.files.files.replace", _cleared)
        assert (await replacing(), await is_as_it_was()) == (409, True)
    assert (await replacing(If_Match='"1.00"'), await is_as_it_was()) == (412, True)
    assert await compare(service) == (0, 0, 0)
    assert await replacing(If_Match=tagged) == 200
    _, now = await service.get("files/1")
    assert (now["data"]["title"], now["data"]["caption"]) == ("New", "New")
    assert await get(service, now["data"]["url"]) == b"two"
    assert (await replacing(If_Match=tagged), await compare(service)) == (412, (1, 0, 0))


async def _cleared(*_: object) -> bool:
    """The registration of the bytes is gone."""
    return False


LINKS = [
    ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "embed/youtube", "dQw4w9WgXcQ"),
    ("youtu.be/dQw4w9WgXcQ", "embed/youtube", "dQw4w9WgXcQ"),
    ("http://vimeo.com/76979871", "embed/vimeo", "76979871"),
    ("http://169.254.169.254/latest", None, None),
    ("https://youtube.com.evil.example/watch?v=x", None, None),
    ("file:///etc/passwd", None, None),
    ("https://vimeo.com/../x", None, None),
    ('https://youtu.be/a"onload="x', None, None),
]


@pytest.mark.parametrize(("link", "kind", "embed_id"), LINKS)
async def test_a_link_is_read_and_never_opened(
    service: Client, link: str, kind: str | None, embed_id: str | None
) -> None:
    status, answer = await service.post("upload/link", {"link": link})
    if kind is None:
        assert status == 400
        return
    assert (answer[0]["type"], answer[0]["embed_id"]) == (kind, embed_id)
    status, made = await service.post("files", answer[0])
    assert status == 200, made
    assert (made["data"]["type"], made["data"]["html"]) == (kind, answer[0]["html"])


# ── limits ────────────────────────────────────────────────────────────────────────────────────────


async def setting(database: Database, name: str, value: str) -> None:
    await database.execute(
        raw("INSERT INTO directus_settings (collection, name, value) VALUES ('files', ")
        + param(name)
        + raw(", ")
        + param(value)
        + raw(")")
    )


async def told(service: Client, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and code of the answer to a head alone: none of the body it announces is sent."""
    reader, writer = await asyncio.open_connection(service.http.host, service.http.port)
    headers |= {"Host": "x", "Connection": "close"}
    lines = [f"{method} {path} HTTP/1.1", f"{IDENTITY_HEADER}: {SIGNER.sign(service.principal)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            [size] = re.findall(rb"(?i)content-length: ([0-9]+)", head)
            body = await reader.readexactly(int(size))
    finally:
        writer.close()
    return int(head[9:12]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize("more", [{"upload_limit": "2048", "body_limit": "4096"}])
async def test_what_is_too_large_is_refused_by_its_header(service: Client) -> None:
    as_json = {"Content_Type": "application/json", "Content_Length": "999999999"}
    assert await told(service, "POST", "/api/1.1/files", **as_json) == (413, "TOO_LARGE")
    data = base64.b64encode(b"x" * 2049).decode()
    status, _ = await service.post("files", {"name": "a", "data": data})
    assert status == 413
    status, _, _ = await call(service, "POST", "/api/1.1/files/tus", Upload_Length="2049")
    assert status == 413
    url = await begin(service, Upload_Defer_Length="1")
    sent = TUS | PART | {"Upload_Offset": "0"}
    large = sent | {"Content_Length": "999999999"}
    assert await told(service, "PATCH", url, **large) == (413, "TOO_LARGE")
    long = sent | {"Content_Length": "5", "Upload_Length": "2049"}
    assert await told(service, "PATCH", url, **long) == (413, "TOO_LARGE")
    assert await offset_of(service, url) == 0
    assert await compare(service) == (0, 0, 0)


async def test_what_is_beyond_a_quota_is_refused_by_its_header(
    service: Client, database: Database
) -> None:
    """50 MB are within every other limit."""
    await setting(database, "quota_1", "1000000")
    length = {"Content_Length": "50000000"}
    await service.post("files", {"name": "a.txt", "data": "b25l"})
    refused = (413, "QUOTA_EXCEEDED")
    for kind in ("application/json", "multipart/form-data; boundary=b"):
        for method, path in (("POST", "files"), ("PUT", "files/1"), ("POST", "upload")):
            head = length | {"Content_Type": kind}
            assert await told(service, method, f"/api/1.1/{path}", **head) == refused, (kind, path)
    tus, known = "/api/1.1/files/tus", {"Upload_Length": "50000000"}
    assert await told(service, "POST", tus, Content_Length="0", **TUS, **known) == refused
    deferred = {"Upload_Defer_Length": "1", **length}
    assert await told(service, "POST", tus, **TUS, **PART, **deferred) == refused
    url = await begin(service, Upload_Defer_Length="1")
    part = TUS | PART | {"Upload_Offset": "0"}
    assert await told(service, "PATCH", url, **part, **length) == refused
    assert await told(service, "PATCH", url, Content_Length="5", **part, **known) == refused
    assert await offset_of(service, url) == 0
    assert (await append(service, url, 0, BYTES[:5], Upload_Length="5"))[0] == 204


async def test_the_bytes_of_an_upload_of_unknown_length_are_within_the_quota(
    service: Client, database: Database
) -> None:
    """Nothing announces them: they are counted as they come, a part (256 KB) at a time."""
    await setting(database, "quota_1", str(MEGABYTE))
    url = await begin(service, Upload_Defer_Length="1")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield BYTES[:65536]

    assert (await append(service, url, 0, pieces()))[0] == 413
    assert MEGABYTE < await offset_of(service, url) <= MEGABYTE + 262_144


async def test_the_bytes_of_unfinished_uploads_are_shown(service: Client) -> None:
    goes_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + BYTES
        await goes_on.wait()
        yield b"\r\n--b--"

    async def in_flight() -> float:
        text = (await get(service, "/metrics")).decode()
        [line] = [line for line in text.splitlines() if line.startswith(f"{IN_FLIGHT_NAME} ")]
        return float(line.rpartition(" ")[2])

    async def has_come() -> bool:
        return await in_flight() >= len(BYTES) // 2

    sent = {"Content_Type": "multipart/form-data; boundary=b"}
    sending = asyncio.create_task(call(service, "POST", "/api/1.1/files", body(), **sent))
    await eventually(has_come)
    goes_on.set()
    assert (await sending)[0] == 200
    assert await in_flight() == 0


@pytest.mark.parametrize("more", [{"upload_count": "2"}])
async def test_too_many_files_of_one_request_are_none(service: Client, database: Database) -> None:
    for count, wanted in ((2, 200), (3, 400)):
        form = aiohttp.FormData()
        for number in range(count):
            form.add_field("f", b"x", filename=f"{number}.txt")
        status, body, _ = await call(service, "POST", "/api/1.1/files", form)
        assert status == wanted, body
    assert b"2 files at most" in body
    assert await database.fetchval(raw("SELECT count(*) FROM directus_files")) == 2
    assert await compare(service) == (0, 0, 0)


async def test_types_and_quotas_are_kept(service: Client, database: Database) -> None:
    await setting(database, "allowed_types", "image/*, text/csv")
    data = picture(1, 1, ".png")
    await setting(database, "quota_1", str(len(data) + 10))
    png = base64.b64encode(data).decode()
    assert (await service.post("files", {"name": "a.png", "data": "aGVsbG8="}))[0] == 415
    assert (await service.post("files", {"name": "a.png", "data": png}))[0] == 200
    status, answer = await service.post("files", {"name": "b.png", "data": png})
    assert (status, answer["error"]["code"]) == (413, "QUOTA_EXCEEDED")
    assert await database.fetchval(raw("SELECT count(*) FROM directus_files")) == 1

    async def nothing_amiss() -> bool:
        return await compare(service) == (0, 0, 0)

    # what was refused half-way is cleared; the thumbnail may be under way meanwhile
    await eventually(nothing_amiss)


# ── resumable ─────────────────────────────────────────────────────────────────────────────────────


TUS = {"Tus_Resumable": "1.0.0"}
PART = {"Content_Type": "application/offset+octet-stream"}


async def begin(service: Client, **headers: str) -> str:
    name = base64.b64encode(b"holiday.bin").decode()
    status, body, answered = await call(
        service, "POST", "/api/1.1/files/tus", **TUS, **headers, Upload_Metadata=f"filename {name}"
    )
    assert status == 201, body
    assert "Upload-Expires" in answered
    return answered["Location"]


async def offset_of(service: Client, url: str) -> int:
    status, _, headers = await call(service, "HEAD", url, **TUS)
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    return int(headers["Upload-Offset"])


async def append(
    service: Client, url: str, offset: int, data: object, **headers: str
) -> tuple[int, CIMultiDict[str]]:
    status, _, answered = await call(
        service, "PATCH", url, data, **TUS, **PART, Upload_Offset=str(offset), **headers
    )
    return status, answered


@both
async def test_a_resumable_upload_ends_as_a_file(service: Client) -> None:
    url = await begin(service, Upload_Length=str(len(BYTES)))
    assert await offset_of(service, url) == 0
    status, headers = await append(service, url, 0, BYTES[: MEGABYTE + 5])
    assert (status, headers["Upload-Offset"]) == (204, str(MEGABYTE + 5))
    assert (await append(service, url, 7, b"x"))[0] == 409
    status, headers = await append(service, url, MEGABYTE + 5, BYTES[MEGABYTE + 5 :])
    assert (status, headers["Upload-Offset"]) == (204, str(len(BYTES)))
    _, file = await service.get(f"files/{headers['Directus-File-Id']}")
    assert (file["data"]["title"], file["data"]["size"]) == ("Holiday", len(BYTES))
    assert await get(service, file["data"]["url"]) == BYTES
    assert await offset_of(service, url) == len(BYTES)
    assert (await append(service, url, len(BYTES), b""))[0] == 204, "the reply may have been lost"
    stranger = service.as_(Principal(user=99, group=1))
    assert (await call(stranger, "HEAD", url, **TUS))[0] == 404
    assert await compare(service) == (0, 0, 0)


async def test_an_upload_may_end_where_a_part_does(service: Client) -> None:
    parts = BYTES[: 3 * 262144]  # PART_SIZE here
    url = await begin(service, Upload_Length=str(len(parts)))
    status, headers = await append(service, url, 0, parts)
    assert (status, headers["Upload-Offset"]) == (204, str(len(parts)))
    _, file = await service.get(f"files/{headers['Directus-File-Id']}")
    assert await get(service, file["data"]["url"]) == parts
    assert [
        kept.key async for kept in application(service)[CONTENTS].everything() if "." in kept.key
    ] == []
    assert await compare(service) == (0, 0, 0)


async def test_creation_brings_bytes_and_the_length_may_come_later(service: Client) -> None:
    status, _, headers = await call(
        service, "POST", "/api/1.1/files/tus", b"hello ", **TUS, **PART, Upload_Defer_Length="1"
    )
    assert (status, headers["Upload-Offset"]) == (201, "6")
    url = headers["Location"]
    assert (await call(service, "HEAD", url, **TUS))[2]["Upload-Defer-Length"] == "1"
    status, headers = await append(service, url, 6, b"world", Upload_Length="11")
    assert status == 204
    _, file = await service.get(f"files/{headers['Directus-File-Id']}")
    assert await get(service, file["data"]["url"]) == b"hello world"
    status, _, headers = await call(service, "POST", "/api/1.1/files/tus", Upload_Length="0")
    assert (status, headers["Directus-File-Id"]) == (201, "2"), "no bytes are a file at once"


async def test_the_length_may_be_told_by_any_patch_and_is_then_the_length(
    service: Client,
) -> None:
    url = await begin(service, Upload_Defer_Length="1")
    assert await offset_of(service, url) == 0
    assert (await append(service, url, 0, b"hello"))[0] == 204
    assert (await append(service, url, 5, b" wo"))[0] == 204
    assert (await append(service, url, 8, b"", Upload_Length="7"))[0] == 400, "there are more"
    assert (await append(service, url, 8, b"rld!", Upload_Length="11"))[0] == 400
    assert (await call(service, "HEAD", url, **TUS))[2]["Upload-Defer-Length"] == "1"
    assert (await append(service, url, 8, b"r", Upload_Length="11"))[0] == 204
    looked = (await call(service, "HEAD", url, **TUS))[2]
    assert (looked["Upload-Length"], "Upload-Defer-Length" in looked) == ("11", False)
    for other in ("9", "12"):
        assert (await append(service, url, 9, b"", Upload_Length=other))[0] == 400
    assert await offset_of(service, url) == 9
    status, headers = await append(service, url, 9, b"ld", Upload_Length="11")
    assert (status, headers["Upload-Offset"]) == (204, "11")
    _, file = await service.get(f"files/{headers['Directus-File-Id']}")
    assert await get(service, file["data"]["url"]) == b"hello world"

    url = await begin(service, Upload_Defer_Length="1")
    assert (await append(service, url, 0, b"hello"))[0] == 204
    status, headers = await append(service, url, 5, b"", Upload_Length="5")
    assert (status, headers["Directus-File-Id"]) == (204, "2"), "told when all bytes are there"
    both = {"Upload_Length": "5", "Upload_Defer_Length": "1"}
    for told_badly in (both, {"Upload_Defer_Length": "0"}, {}):
        assert (await call(service, "POST", "/api/1.1/files/tus", **TUS, **told_badly))[0] == 400
    assert await compare(service) == (0, 0, 0)


@pytest.mark.parametrize("length", [{"Upload_Length": "5"}, {"Upload_Defer_Length": "1"}])
async def test_a_creation_that_brings_bytes_is_held_to_its_checksum(
    service: Client, database: Database, length: dict[str, str]
) -> None:
    tus = "/api/1.1/files/tus"
    digest = base64.b64encode(sha256(b"hello").digest()).decode()
    sent = TUS | PART | length | {"Upload_Checksum": f"sha256 {digest}"}
    assert (await call(service, "POST", tus, b"hellO", **sent))[0] == 460
    assert await database.fetchval(raw("SELECT count(*) FROM directus_files")) == 0
    assert await database.fetchval(raw("SELECT max(received) FROM directoire.resumable")) == 0
    status, _, headers = await call(service, "POST", tus, b"hello", **sent)
    assert (status, headers["Upload-Offset"]) == (201, "5")
    assert await compare(service) == (0, 0, 0)


async def test_a_wrong_checksum_is_refused_and_nothing_moves(service: Client) -> None:
    url = await begin(service, Upload_Length="10")
    digest = base64.b64encode(sha256(b"hello").digest()).decode()
    assert (await append(service, url, 0, b"hellO", Upload_Checksum=f"sha256 {digest}"))[0] == 460
    assert await offset_of(service, url) == 0
    assert (await append(service, url, 0, b"hello", Upload_Checksum=f"sha256 {digest}"))[0] == 204
    assert (await append(service, url, 5, b"hello", Upload_Checksum="md7 AA=="))[0] == 400
    assert (await append(service, url, 5, b"hello", Upload_Checksum=f"sha256 {digest}"))[0] == 204
    assert await compare(service) == (0, 0, 0)


@both
async def test_a_terminated_or_expired_upload_leaves_nothing(
    service: Client, database: Database
) -> None:
    first, second = [await begin(service, Upload_Length="600000") for _ in range(2)]
    for url in (first, second):
        assert (await append(service, url, 0, BYTES[:500_000]))[0] == 204
    assert (await call(service, "DELETE", first, **TUS))[0] == 204
    assert (await call(service, "HEAD", first, **TUS))[0] == 404
    assert await offset_of(service, second) == 500_000
    await database.execute(raw("UPDATE directoire.resumable SET expires_at = now()"))
    assert (await append(service, second, 500_000, b"x"))[0] == 404
    assert await compare(service) == (1, 0, 0)
    assert [kept async for kept in application(service)[CONTENTS].everything()] == []


async def test_a_writer_that_wakes_up_late_changes_nothing(service: Client) -> None:
    """He has stored his part and sleeps; another one goes on; then he wakes up."""
    url = await begin(service, Upload_Length="20")
    failpoints.arm("files.part_stored=sleep:1.0", allowed=True)
    late = asyncio.create_task(append(service, url, 0, b"WRONG"))
    await asyncio.sleep(0.3)
    failpoints.arm("", allowed=True)
    assert (await append(service, url, 0, b"0123456789"))[0] == 204
    assert (await late)[0] == 409
    status, headers = await append(service, url, 10, b"0123456789")
    assert status == 204
    _, file = await service.get(f"files/{headers['Directus-File-Id']}")
    assert await get(service, file["data"]["url"]) == b"0123456789" * 2
    assert await compare(service) == (0, 0, 0)


async def test_what_came_before_a_cut_is_kept(service: Client) -> None:
    url = await begin(service, Upload_Length=str(len(BYTES)))
    reader, writer = await asyncio.open_connection(service.http.host, service.http.port)
    writer.write(
        b"PATCH %b HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        b"Content-Type: application/offset+octet-stream\r\nContent-Length: %d\r\n%b: %b\r\n\r\n"
        % (
            url.encode(), len(BYTES), IDENTITY_HEADER.encode(),
            SIGNER.sign(service.principal).encode(),
        )
    )  # fmt: skip
    writer.write(BYTES[:MEGABYTE])
    await writer.drain()

    async def half() -> bool:
        return await offset_of(service, url) >= 512 * 1024

    await eventually(half, what="half of the bytes")
    writer.close()
    offset = await offset_of(service, url)
    async with asyncio.timeout(60):
        while (await append(service, url, offset, BYTES[offset:]))[0] != 204:
            offset = await offset_of(service, url)
    assert await get(service, "/storage/uploads/00000000001.bin") == BYTES
    del reader


async def test_options_tell_what_is_spoken(service: Client) -> None:
    status, _, headers = await call(service, "OPTIONS", "/api/1.1/files/tus", anonymous="1")
    assert status == 204
    assert headers["Tus-Version"] == "1.0.0"
    assert sorted(headers["Tus-Extension"].split(",")) == [
        "checksum", "creation", "creation-defer-length", "creation-with-upload", "expiration",
        "termination",
    ]  # fmt: skip
    assert "sha256" in headers["Tus-Checksum-Algorithm"].split(",")
    status, _, _ = await call(
        service, "POST", "/api/1.1/files/tus", Tus_Resumable="0.2.2", Upload_Length="1"
    )
    assert status == 412


# ── ways out ──────────────────────────────────────────────────────────────────────────────────────


@both
async def test_ranges_conditions_and_head(service: Client) -> None:
    text = base64.b64encode(BYTES).decode()
    sent = json.dumps({"name": "a.bin", "data": text}).encode()
    _, made, _ = await call(
        service, "POST", "/api/1.1/files", sent, Content_Type="application/json"
    )
    url = json.loads(made)["data"]["url"]
    status, content, headers = await call(service, "GET", url, Range="bytes=5-1000004")
    assert (status, content) == (206, BYTES[5:1000005])
    assert headers["Content-Range"] == f"bytes 5-1000004/{len(BYTES)}"
    status, content, headers = await call(service, "GET", url, Range="bytes=0-1,10-11,-2")
    assert status == 206
    boundary = headers["Content-Type"].partition("boundary=")[2]
    pieces = [part.partition(b"\r\n\r\n")[2] for part in content.split(f"--{boundary}".encode())]
    assert [piece.removesuffix(b"\r\n") for piece in pieces[1:4]] == [
        BYTES[:2], BYTES[10:12], BYTES[-2:],
    ]  # fmt: skip
    status, content, headers = await call(service, "HEAD", url)
    assert (status, content, headers["Content-Length"]) == (200, b"", str(len(BYTES)))
    modified, etag = headers["Last-Modified"], headers["ETag"]
    assert (await call(service, "GET", url, If_Modified_Since=modified))[0] == 304
    assert (await call(service, "GET", url, If_Match='"x"'))[0] == 412
    assert (await call(service, "GET", url, If_Match=etag))[0] == 200
    old = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert (await call(service, "GET", url, If_Unmodified_Since=old))[0] == 412
    part = {"Range": "bytes=0-0"}
    assert (await call(service, "GET", url, If_Range=modified, **part))[0] == 206
    assert (await call(service, "GET", url, If_Range=old, **part))[0] == 200


async def test_the_kernel_sends_what_lies_in_a_folder(
    service: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the first bytes, which are read when a file is opened."""
    sendfile, sent = os.sendfile, [0]

    def counting(into: int, file: int, offset: int, count: int) -> int:
        sent[0] += (gone := sendfile(into, file, offset, count))
        return gone

    monkeypatch.setattr(os, "sendfile", counting)
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(BYTES), filename="a.bin")
    _, made, _ = await call(service, "POST", "/api/1.1/files", form)
    url = json.loads(made)["data"]["url"]
    assert await get(service, url) == BYTES
    assert sent[0] >= len(BYTES) - 65_536
    sent[0] = 0
    status, content, _ = await call(service, "GET", url, Range="bytes=5-1000004")
    assert (status, content) == (206, BYTES[5:1000005])
    assert sent[0] >= 1_000_000 - 65_536


@pytest.mark.parametrize("more", [{"public_files": "0"}])
async def test_private_files_need_a_token_or_a_signed_address(service: Client) -> None:
    _, made = await service.post("files", {"name": "a.txt", "data": "b25l"})
    url = made["data"]["url"]
    assert (await call(service, "GET", url, anonymous="1"))[0] == 401
    thumbs = ("/storage/uploads/thumbs/1.txt", f"/thumbnail/20/20/{url.rpartition('/')[2]}")
    for thumb in thumbs:
        assert (await call(service, "GET", thumb, anonymous="1"))[0] == 401
        assert (await call(service, "GET", thumb))[0] == 200
    assert await get(service, url) == b"one"
    stranger = service.as_(Principal(user=9, group=9))
    assert (await call(stranger, "GET", url))[0] == 404
    assert (await stranger.get("files/1/link"))[0] == 403
    status, signed = await service.get("files/1/link?for=60")
    assert status == 200
    assert await get(service, signed["url"], anonymous="1") == b"one"
    forged = signed["url"].replace("expires=", "expires=9")
    assert (await call(service, "GET", forged, anonymous="1"))[0] == 401
    assert (await call(service, "GET", url + "?expires=1&signature=", anonymous="1"))[0] == 401
    assert (await service.get("files/1/link?for=0"))[0] == 400
    _, short = await service.get("files/1/link?for=1")

    async def has_run_out() -> bool:
        return (await call(service, "GET", short["url"], anonymous="1"))[0] == 401

    await eventually(has_run_out, what="an address that lasts a second")
    assert await get(service, signed["url"], anonymous="1") == b"one", "the other one lasts"


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────


async def test_what_a_picture_says_of_itself_becomes_its_record(service: Client) -> None:
    def words(record: int, text: str) -> str:
        return "\x1c\x02" + chr(record) + "\0" + chr(len(text)) + text

    records = words(5, "Sunset") + words(120, "Over the sea") + words(25, "sea") + words(25, "sun")
    records += words(90, "Lisbon") + words(101, "Portugal")
    head = "Photoshop 3.0\0" + "8BIM\x04\x04\0\0\0\0\0"
    data = picture(iptc=head + chr(len(records)) + records)
    body = {"name": "x.jpg", "data": base64.b64encode(data).decode(), "caption": "Mine"}
    _, made = await service.post("files", body)
    file = made["data"]
    assert (file["title"], file["tags"], file["location"], file["caption"]) == (
        "Sunset", "sea,sun", "Lisbon, Portugal", "Mine",
    )  # fmt: skip


async def test_what_a_camera_wrote_becomes_its_record(service: Client) -> None:
    data = picture(
        exif_ifd0_ImageDescription="A dog",
        exif_ifd3_GPSLatitude="52/1 31/1 1200/100",
        exif_ifd3_GPSLatitudeRef="N",
        exif_ifd3_GPSLongitude="13/1 24/1 1800/100",
        exif_ifd3_GPSLongitudeRef="W",
    )
    _, made = await service.post(
        "files", {"name": "dog.jpg", "data": base64.b64encode(data).decode()}
    )
    file = made["data"]
    assert (file["caption"], file["location"]) == ("A dog", "52.5200, -13.4050")
    assert (file["title"], file["width"], file["height"]) == ("Dog", 64, 48)


async def test_what_windows_wrote_becomes_its_record(service: Client) -> None:
    data = picture(
        exif_ifd0_XPTitle="Strand (Süd) 01",
        exif_ifd0_XPKeywords="sea; sun",
        exif_ifd0_ImageDescription="A beach [in May)",
    ).replace("01".encode("utf-16-le"), "🌊".encode("utf-16-le"))
    data = data.replace(b"[in", b"(in")  # libvips would leave it out
    _, made = await service.post(
        "files", {"name": "x.jpg", "data": base64.b64encode(data).decode()}
    )
    file = made["data"]
    assert (file["title"], file["tags"], file["caption"]) == (
        "Strand (Süd) 🌊", "sea,sun", "A beach (in May)",
    )  # fmt: skip


def noise(width: int, height: int) -> Any:
    """A picture that no format makes small."""
    grey: Any = pyvips.Image.gaussnoise(width, height, mean=128, sigma=60).cast("uchar")
    colours = grey.bandjoin([grey.rot180(), grey.fliphor()])
    return colours.copy(interpretation="srgb").copy_memory()


def large_gif(width: int, height: int) -> bytes:
    """Of 128 colours; the table is emptied so often that each code is a byte."""
    dots = bytes(byte & 127 for byte in random.Random(1).randbytes(width * height))
    codes = b"".join(b"\x80" + dots[at : at + 120] for at in range(0, len(dots), 120)) + b"\x81"
    blocks = [codes[at : at + 255] for at in range(0, len(codes), 255)]
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF6, 0, 0) + dots[: 3 * 128]
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x07"
    return head + image + b"".join(bytes([len(one)]) + one for one in blocks) + b"\0;"


@both
async def test_large_pictures_have_their_size_in_all_formats(service: Client) -> None:
    """Most bytes of them are never looked at: what tells the size may stand at the end."""
    made = noise(720, 640)
    pictures = {
        "image/jpeg": made.write_to_buffer(".jpg", Q=100),
        "image/png": made.write_to_buffer(".png", compression=0),
        "image/gif": large_gif(1300, 900),
        "image/webp": made.write_to_buffer(".webp", lossless=True, effort=0),
        "image/avif": made.write_to_buffer(".avif", Q=99, effort=0),
        "image/tiff": made.write_to_buffer(".tif"),
    }
    for kind, data in pictures.items():
        assert len(data) > MEGABYTE + 64 * 1024
        form = aiohttp.FormData()
        form.add_field("file", io.BytesIO(data), filename="large")
        status, answer, _ = await call(service, "POST", "/api/1.1/files", form)
        assert status == 200, answer
        file = json.loads(answer)["data"]
        size = (1300, 900) if kind == "image/gif" else (720, 640)
        assert (file["type"], file["width"], file["height"]) == (kind, *size)


def test_a_directory_in_the_midst_of_a_large_tiff_is_found() -> None:
    """Behind its pixels come many other bytes, as where it has several pages."""
    made: bytes = noise(720, 640).write_to_buffer(".tif") + bytes(2 * MEGABYTE)
    read: list[tuple[int, int]] = []

    async def between(start: int, end: int) -> AsyncIterator[bytes]:
        read.append((start, end))
        yield made[start:end]

    found = asyncio.run(picture_of(between, len(made)))
    assert (found.width, found.height) == (720, 640)
    assert sum(end - start for start, end in read) < 1.5 * MEGABYTE, "the rest is not looked at"


@both
@pytest.mark.parametrize("ending", [".jpg", ".png", ".gif", ".webp", ".avif", ".tif"])
async def test_thumbnails_are_made_once_and_go_with_their_picture(
    service: Client, database: Database, ending: str
) -> None:
    await setting(database, "allowed_thumbnails", "20x10")
    data = base64.b64encode(picture(400, 300, ending)).decode()
    _, made = await service.post("files", {"name": f"x{ending}", "data": data})
    file = made["data"]
    assert (file["width"], file["height"]) == (400, 300)

    async def is_made() -> bool:
        return await database.fetchval(raw("SELECT count(*) FROM directoire.thumbnails")) == 1

    await eventually(is_made, what="the thumbnail that nobody asked for yet")
    seen: Any = pyvips.Image.new_from_buffer(await get(service, file["thumbnail_url"]), "")
    assert (seen.width, seen.height) == (200, 200)
    name = file["name"]
    for path, size in ((f"20/10/{name}", (20, 10)), (f"20/10/contain/best/{name}", (13, 10))):
        content = await get(service, f"/thumbnail/{path}")
        seen = pyvips.Image.new_from_buffer(content, "")
        assert (abs(seen.width - size[0]) <= 1, seen.height) == (True, size[1])
        assert content == await get(service, f"/thumbnail/{path}")
    assert await database.fetchval(raw("SELECT count(*) FROM directoire.thumbnails")) == 3
    status, content, headers = await call(service, "GET", f"/thumbnail/999/10/{name}")
    assert (status, headers["Content-Type"], len(content) < 200) == (200, "image/png", True)
    assert await compare(service) == (0, 0, 0)
    await service.send("DELETE", "files/1")
    await compare(service)
    assert [kept async for kept in application(service)[CONTENTS].everything()] == []


@pytest.mark.parametrize("more", [{"public_files": "1", "pixel_limit": "1000"}])
async def test_a_picture_of_too_many_pixels_is_never_decoded(service: Client) -> None:
    data = base64.b64encode(picture(400, 300)).decode()
    _, made = await service.post("files", {"name": "x.jpg", "data": data})
    _, _, headers = await call(service, "GET", made["data"]["thumbnail_url"])
    assert headers["Cache-Control"] == "no-store", "a placeholder"


@pytest.mark.parametrize(
    ("limit", "status"),
    [(50 * 40 - 1, thumbnailer.TOO_LARGE), (50 * 40, thumbnailer.NOT_MADE)],
)
def test_of_a_picture_of_too_many_pixels_the_header_alone_is_read(
    tmp_path: Path, limit: int, status: int
) -> None:
    """Of this one there is nothing else: who wants its pixels cannot read it."""
    whole: bytes = noise(50, 40).write_to_buffer(".webp", lossless=True, strip=True)
    path = tmp_path / "picture"
    path.write_bytes(whole[:40] + bytes(len(whole) - 40))
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", thumbnailer.__name__, "20", "20", "crop", "50", ".png",
             str(limit)],
            stdin=file, capture_output=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, b"")


class Decoders:
    """Counts the processes that make thumbnails."""

    def __init__(self) -> None:
        self._start = asyncio.create_subprocess_exec
        self._beginning = 0
        self._begun: list[asyncio.subprocess.Process] = []
        self.widths: list[str] = []
        self.most = 0  # at once

    async def __call__(self, *words: str, **more: Any) -> asyncio.subprocess.Process:
        self.widths.append(words[3])
        self._beginning += 1
        alive = sum(one.returncode is None for one in self._begun)
        self.most = max(self.most, self._beginning + alive)
        try:
            process = await self._start(*words, **more)
        finally:
            self._beginning -= 1
        self._begun.append(process)
        return process


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Decoders:
    counting = Decoders()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", counting)
    return counting


@pytest.mark.parametrize("more", [{"public_files": "1", "thumbnail_workers": "2"}])
async def test_a_thumbnail_is_made_once_however_many_ask_by_so_many_workers(
    service: Client, database: Database, decoders: Decoders
) -> None:
    widths = ["30", "31", "32", "33", "34"]
    await setting(database, "allowed_thumbnails", ",".join(f"{width}x20" for width in widths))
    data = base64.b64encode(picture(400, 300)).decode()
    _, made = await service.post("files", {"name": "x.jpg", "data": data})
    name = made["data"]["name"]
    same = await asyncio.gather(*(get(service, f"/thumbnail/30/20/{name}") for _ in range(30)))
    assert (len(set(same)), decoders.widths.count("30")) == (1, 1)
    await asyncio.gather(*(get(service, f"/thumbnail/{width}/20/{name}") for width in widths))
    assert sorted(set(decoders.widths) - {"200"}) == widths
    assert decoders.most == 2


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": "100", "quality": "30", "crop_enabled": "0"}, (100, 75)),
        ({"size": "64", "quality": "90", "crop_enabled": "1"}, (64, 64)),
    ],
)
async def test_thumbnails_are_as_the_settings_say(
    service: Client, database: Database, settings: dict[str, str], size: tuple[int, int]
) -> None:
    for name, value in settings.items():
        await setting(database, f"thumbnail_{name}", value)
    data = noise(400, 300).write_to_buffer(".jpg", Q=90)
    _, made = await service.post("files", {"name": "x", "data": base64.b64encode(data).decode()})
    content = await get(service, made["data"]["thumbnail_url"])
    seen: Any = pyvips.Image.new_from_buffer(content, "")
    assert (seen.width, seen.height) == size
    crop = "centre" if settings["crop_enabled"] == "1" else "none"
    small: Any = pyvips.Image.thumbnail_buffer(data, size[0], height=size[0], crop=crop)
    small = small.copy_memory()
    quality = int(settings["quality"])
    worse, better = (
        len(small.write_to_buffer(".jpeg", Q=near, strip=True))
        for near in (quality - 8, quality + 8)
    )
    assert worse < len(content) < better


def exchange_for_a_stray(folder: Path) -> None:
    for path in folder.rglob("*-*"):
        path.unlink()
    stray = folder / "aa" / "aaaaaaaa-0000-4000-8000-000000000000"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")


async def test_reconcile_finds_what_was_lost(service: Client, folder: Path) -> None:
    await service.post("files", {"name": "a.txt", "data": "b25l"})
    exchange_for_a_stray(folder)
    assert await compare(service, grace=3600) == (0, 0, 1), "it may be on its way"
    assert await compare(service) == (0, 1, 1)
    assert await compare(service) == (0, 0, 1)


async def test_a_full_disk_takes_uploads_away_and_nothing_else(
    service: Client, database_url: str, redis_prefix: str, folder: Path
) -> None:
    sent = {"name": "a.bin", "data": base64.b64encode(b"abc").decode()}
    body = json.dumps(sent).encode()
    root = "/api/1.1/files"
    status, answer, _ = await call(service, "POST", root, body, Content_Type="application/json")
    assert status == 200, answer
    url = json.loads(answer)["data"]["url"]
    told = environment(
        database_url, redis_prefix, store_url=folder.as_uri(), public_files="1",
        upload_reserve=str(1 << 60),
    )  # fmt: skip
    async with serving(make_app(Settings.model_validate(told))) as full:
        status, answer, _ = await call(full, "POST", root, body, Content_Type="application/json")
        assert status == 503, answer
        assert len(json.loads(await get(full, root))["data"]) == 1
        assert await get(full, url) == b"abc"
        assert (await call(full, "GET", "/readyz"))[0] == 200
        assert (await call(full, "GET", "/readyz/uploads"))[0] == 503
        assert (await call(full, "GET", "/readyz/downloads"))[0] == 404
    assert (await call(service, "GET", "/readyz/uploads"))[0] == 200
    assert await compare(service) == (0, 0, 0)
