"""Files by ``curl`` through the gateway, on a folder and on an S3 server: every way in and out.

The published clients' calls about files are made on the S3 server here, on a folder with all their
other calls in ``clients/``.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pytest
import pytest_asyncio
from file_calls import DOT, FILE_RUNS
from office import Office
from published import run
from seen import Seen

from local_cluster.cluster import Cluster
from local_cluster.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore
from shared.testing import eventually, server, with_database

pytestmark = pytest.mark.xdist_group("acceptance")

PIECE = 3_000_000
TUS = "/api/1.1/files/tus"
CONTENT = bytes(range(256)) * (2 * PIECE // 256)


class Curl:
    """curl against one gateway, in a folder of its own; without a token it has no name."""

    def __init__(self, base_url: str, token: str | None, folder: Path) -> None:
        self.base_url = base_url
        self.folder = folder
        self._who = ("--header", f"Authorization: Bearer {token}") if token else ()

    def as_(self, token: str | None) -> "Curl":
        return Curl(self.base_url, token, self.folder)

    async def __call__(self, path: str, *args: str) -> tuple[int, dict[str, str], bytes]:
        """Status, the headers of the last reply by lower-case name, and the body."""
        heads, body = self.folder / "heads", self.folder / "body"
        body.write_bytes(b"")
        running = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--show-error", "--max-time", "60",
            "--dump-header", str(heads), "--output", str(body),
            *self._who, *args, self.base_url + path,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, told = await running.communicate()
        assert running.returncode == 0, told.decode()
        last = heads.read_text().replace("\r\n", "\n").strip().split("\n\n")[-1].splitlines()
        lines = (line.partition(":") for line in last[1:])
        return (
            int(last[0].split()[1]),
            {name.lower(): value.strip() for name, _, value in lines},
            body.read_bytes(),
        )

    async def json(self, path: str, *args: str) -> Any:
        answer = await self.bare(path, *args)
        return answer["data"]

    async def bare(self, path: str, *args: str) -> Any:
        """The JSON of an answer that has no envelope."""
        status, _, body = await self(path, *args)
        assert status == 200, body
        return json.loads(body)

    async def post(self, path: str, body: object, method: str = "POST") -> Any:
        """Send JSON."""
        sent = self.folder / "body.json"
        sent.write_text(json.dumps(body))
        kind = ("-H", "Content-Type: application/json")
        return await self.json(path, "-X", method, *kind, "--data-binary", f"@{sent}")

    async def tus(
        self, method: str, path: str, content: bytes = b"", /, **headers: str
    ) -> tuple[int, dict[str, str]]:
        """One request of the tus protocol; a header's underscores are hyphens."""
        words = ["--head"] if method == "HEAD" else ["-X", method]
        told = {"Tus_Resumable": "1.0.0", **headers}
        if content:
            (self.folder / "piece").write_bytes(content)
            words += ["--data-binary", f"@{self.folder}/piece"]
            told |= {"Content_Type": "application/offset+octet-stream"}
        for name, value in told.items():
            words += ["-H", f"{name.replace('_', '-')}: {value}"]
        status, answered, _ = await self(path, *words)
        return status, answered


@pytest.fixture(scope="module")
def s3_server() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def s3_cluster(s3_server: ObjectStore) -> AsyncGenerator[Cluster]:
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"s3_{uuid4().hex}"),
        redis_url=server("REDIS_URL"),
        amqp_url=server("AMQP_URL"),
        environment={
            "STORE_URL": s3_server.store_url,
            "STORE_ACCESS_KEY": ACCESS_KEY,
            "STORE_SECRET_KEY": SECRET_KEY,
            "PUBLIC_FILES": "0",
        },
    ) as cluster:
        yield cluster


@pytest.fixture(params=["folder", "s3"])
def curl(
    request: pytest.FixtureRequest, cluster: Cluster, s3_cluster: Cluster, tmp_path: Path
) -> Curl:
    used = s3_cluster if request.param == "s3" else cluster
    (tmp_path / "content.bin").write_bytes(CONTENT)
    return Curl(used.base_url, used.token, tmp_path)


@pytest.fixture(params=["folder", "s3"])
def private(
    request: pytest.FixtureRequest, office: Office, s3_cluster: Cluster, tmp_path: Path
) -> Curl:
    """Where files are not for everybody."""
    used = s3_cluster if request.param == "s3" else office.cluster
    return Curl(used.base_url, used.token, tmp_path)


def named(name: str) -> str:
    """As ``Upload-Metadata`` has it."""
    return f"filename {b64encode(name.encode()).decode()}"


def summed(content: bytes) -> str:
    """As ``Upload-Checksum`` has it."""
    return f"sha256 {b64encode(sha256(content).digest()).decode()}"


async def check(curl: Curl, file: dict[str, Any], content: bytes = CONTENT) -> None:
    digest = sha256(content).hexdigest()
    status, headers, body = await curl(file["url"])
    assert (status, body == content, headers["etag"]) == (200, True, f'"{digest}"')


async def test_multipart_and_every_way_out(curl: Curl) -> None:
    file = await curl.json("/api/1.1/files", "-F", f"upload=@{curl.folder}/content.bin")
    assert file["size"] == len(CONTENT)
    await check(curl, file)
    etag = f'"{sha256(CONTENT).hexdigest()}"'
    status, headers, body = await curl(file["url"], "-r", "1000-1999")
    assert (status, body) == (206, CONTENT[1000:2000])
    assert headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    status, headers, body = await curl(file["url"], "-r", "0-9,5000000-5000009")
    assert status == 206
    assert headers["content-type"].startswith("multipart/byteranges")
    assert CONTENT[5_000_000:5_000_010] in body
    assert (await curl(file["url"], "-H", f"If-None-Match: {etag}"))[0] == 304
    assert (await curl(file["url"], "-r", f"{len(CONTENT)}-"))[0] == 416
    status, headers, body = await curl(file["url"], "--head")
    assert (status, headers["content-length"]) == (200, str(len(CONTENT)))
    assert headers["x-content-type-options"] == "nosniff"


async def test_base64_in_json_and_form(curl: Curl) -> None:
    text = b64encode(CONTENT).decode()
    await check(curl, await curl.post("/api/1.1/files", {"name": "a.bin", "data": text}))
    (curl.folder / "data").write_text(f"data:application/octet-stream;base64,{text}")
    form = ("--data-urlencode", "name=a.bin", "--data-urlencode", f"data@{curl.folder}/data")
    await check(curl, await curl.json("/api/1.1/files", *form))


async def test_a_resumable_upload_in_two_pieces(curl: Curl) -> None:
    told = {"Upload_Length": str(len(CONTENT)), "Upload_Metadata": named("resumed.bin")}
    status, headers = await curl.tus("POST", TUS, **told)
    assert status == 201
    upload = headers["location"]
    for start in (0, PIECE):
        headers = (await curl.tus("HEAD", upload))[1]
        assert headers["upload-offset"] == str(start)
        piece = CONTENT[start : start + PIECE]
        status, headers = await curl.tus("PATCH", upload, piece, Upload_Offset=str(start))
        assert status == 204
    await check(curl, await curl.json(f"/api/1.1/files/{headers['directus-file-id']}"))


async def test_a_resumable_upload_of_unknown_length(curl: Curl) -> None:
    """Begun with its first bytes, each piece with its checksum; the length comes last."""
    first, last = CONTENT[:PIECE], CONTENT[PIECE:]
    told = {"Upload_Defer_Length": "1", "Upload_Metadata": named("later.bin")}
    status, headers = await curl.tus("POST", TUS, first, **told, Upload_Checksum=summed(first))
    assert (status, headers["upload-offset"]) == (201, str(PIECE))
    upload = headers["location"]
    status, headers = await curl.tus("HEAD", upload)
    assert (status, headers["upload-defer-length"]) == (200, "1")
    assert parsedate_to_datetime(headers["upload-expires"]) > datetime.now(UTC)
    told = {"Upload_Offset": str(PIECE), "Upload_Length": str(len(CONTENT))}
    wrong = summed(first[:-1])
    assert (await curl.tus("PATCH", upload, last, **told, Upload_Checksum=wrong))[0] == 460
    assert (await curl.tus("HEAD", upload))[1]["upload-offset"] == str(PIECE)
    status, headers = await curl.tus("PATCH", upload, last, **told, Upload_Checksum=summed(last))
    assert status == 204
    await check(curl, await curl.json(f"/api/1.1/files/{headers['directus-file-id']}"))


async def test_a_resumable_upload_is_given_up(curl: Curl) -> None:
    status, headers = await curl.tus("POST", TUS, CONTENT[:10], Upload_Length="20")
    assert status == 201
    upload = headers["location"]
    assert (await curl.tus("DELETE", upload))[0] == 204
    assert (await curl.tus("HEAD", upload))[0] == 404
    assert (await curl.tus("PATCH", upload, CONTENT[10:20], Upload_Offset="10"))[0] == 404


async def test_bytes_ahead_of_their_records(curl: Curl) -> None:
    """``upload`` and then POST ``files``; several parts straight to records; a linked video."""
    (curl.folder / "small.txt").write_bytes(b"small")
    two = ("-F", f"a=@{curl.folder}/content.bin", "-F", f"b=@{curl.folder}/small.txt")
    for info, content in zip(
        await curl.bare("/api/1.1/upload", *two), (CONTENT, b"small"), strict=True
    ):
        assert info["size"] == len(content)
        await check(curl, await curl.post("/api/1.1/files", info), content)
    for file, content in zip(
        await curl.json("/api/1.1/files", *two), (CONTENT, b"small"), strict=True
    ):
        await check(curl, file, content)
    link = ("--data-urlencode", "link=https://youtu.be/dQw4w9WgXcQ")
    [video] = await curl.bare("/api/1.1/upload/link", *link)
    made = await curl.post("/api/1.1/files", video)
    assert (made["type"], made["embed_id"]) == ("embed/youtube", "dQw4w9WgXcQ")
    assert made["html"] == video["html"]


async def test_other_bytes_for_a_file(curl: Curl) -> None:
    file = await curl.post("/api/1.1/files", {"name": "a.bin", "data": "AAEC"})
    etag = (await curl(file["url"]))[1]["etag"]
    new = await curl.json(
        f"/api/1.1/files/{file['id']}", "-X", "PUT", "-F", f"upload=@{curl.folder}/content.bin"
    )
    assert (new["id"], new["size"]) == (file["id"], len(CONTENT))
    await check(curl, new)
    assert (await curl(new["url"], "-H", f"If-None-Match: {etag}"))[0] == 200
    assert (await curl(new["url"], "-H", f"If-Match: {etag}"))[0] == 412


async def test_thumbnails(curl: Curl) -> None:
    import pyvips  # noqa: PLC0415 - libvips is loaded where pictures are

    noise: Any = pyvips.Image.gaussnoise(320, 200, mean=128, sigma=60).cast("uchar")
    picture = curl.folder / "picture.jpg"
    picture.write_bytes(noise.write_to_buffer(".jpg"))
    file = await curl.json("/api/1.1/files", "-F", f"upload=@{picture}")
    assert (file["width"], file["height"]) == (320, 200)

    async def size_of(url: str) -> tuple[int, int, int]:
        status, headers, body = await curl(url)
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        thumb: Any = pyvips.Image.new_from_buffer(body, "")
        return thumb.width, thumb.height, len(body)

    assert (await size_of(file["thumbnail_url"]))[:2] == (200, 200)
    name = file["url"].rpartition("/")[2]
    await curl.json("/api/1.1/settings/files", "-X", "PUT", "-d", "allowed_thumbnails=64x32")
    try:
        cropped = await size_of(f"/thumbnail/64/32/crop/{name}")
        assert (cropped[:2], await size_of(f"/thumbnail/64/32/{name}")) == ((64, 32), cropped)
        assert (await size_of(f"/thumbnail/64/32/contain/{name}"))[:2] == (51, 32)
        poor = await size_of(f"/thumbnail/64/32/crop/poor/{name}")
        best = await size_of(f"/thumbnail/64/32/crop/best/{name}")
        assert poor[2] < cropped[2] < best[2], "bytes of the same size at three qualities"
        status, headers, _ = await curl(f"/thumbnail/64/33/{name}")
        assert (status, headers["content-type"]) == (200, "image/png"), "a placeholder"
    finally:
        await curl.json("/api/1.1/settings/files", "-X", "PUT", "-d", "allowed_thumbnails=")


async def test_private_files_and_addresses_that_run_out(private: Curl) -> None:
    import pyvips  # noqa: PLC0415 - libvips is loaded where pictures are

    dot = pyvips.Image.black(30, 20, bands=3).write_to_buffer(".png")
    sent = {"name": "dot.png", "data": b64encode(dot).decode()}
    file = await private.post("/api/1.1/files", sent)
    nobody, name = private.as_(None), file["url"].rpartition("/")[2]
    for url in (file["url"], file["thumbnail_url"], f"/thumbnail/20/20/{name}"):
        assert (await nobody(url))[0] == 401, url
        assert (await private(url))[0] == 200, url
    link = f"/api/1.1/files/{file['id']}/link"
    assert (await nobody(link))[0] == 401
    lasting = await private.bare(f"{link}?for=3600")
    status, headers, body = await nobody(lasting["url"])
    assert (status, body, headers["cache-control"]) == (200, dot, "private, no-cache")
    later = lasting["url"].replace(str(lasting["expires"]), str(lasting["expires"] + 1))
    assert (await nobody(later))[0] == 401, "signed for another moment"
    short = await private.bare(f"{link}?for=1")

    async def has_run_out() -> bool:
        return (await nobody(short["url"]))[0] == 401

    await eventually(has_run_out, what="an address that lasts a second")
    assert (await nobody(lasting["url"]))[0] == 200
    assert (await private(short["url"]))[0] == 200, "who may read it needs no signature"


async def test_what_is_not_taken(curl: Curl, unique: str) -> None:
    """Too large, by its header; of another type than is taken; beyond the group's quota."""
    largest = 5 * 1024**3  # UPLOAD_LIMIT, as it is by default
    assert (await curl.tus("POST", TUS, Upload_Length=str(largest + 1)))[0] == 413
    content = f"upload=@{curl.folder}/content.bin"
    announced = f"Content-Length: {200 * largest}"  # of which no byte is waited for
    assert (await curl("/api/1.1/files", "-H", announced, "-F", content))[0] == 413
    group = (await curl.post("/api/1.1/groups", {"name": f"Small {unique}"}))["id"]
    right = {"table_name": "directus_files", "group_id": group, "allow_view": 2, "allow_add": 1}
    await curl.post(f"/api/1.1/privileges/{group}", right)
    person = {"email": f"{unique}@example.com", "group": group}
    user = (await curl.post("/api/1.1/users", person))["id"]
    token = (await curl.post(f"/api/1.1/users/{user}/tokens", {"name": "curl"}))["token"]
    settings = {f"quota_{group}": "1000", "allowed_types": "text/plain"}
    await curl.post("/api/1.1/settings/files", settings, "PUT")
    try:
        small, text = curl.as_(token), curl.folder / "a.txt"
        text.write_text("a" * 600)
        assert (await small("/api/1.1/files", "-F", content))[0] == 415
        assert (await small("/api/1.1/files", "-F", f"upload=@{text}"))[0] == 200
        for way in (
            ("/api/1.1/files", "-F", f"upload=@{text}"),
            (TUS, "-H", "Tus-Resumable: 1.0.0", "-X", "POST", "-H", "Upload-Length: 600"),
        ):
            status, _, body = await small(*way)
            assert (status, json.loads(body)["error"]["code"]) == (413, "QUOTA_EXCEEDED")
    finally:
        await curl.post("/api/1.1/settings/files", dict.fromkeys(settings, ""), "PUT")


async def test_a_file_column_of_a_row(curl: Curl, unique: str) -> None:
    table = f"cover_{unique}"
    await curl.json("/api/1.1/tables", "-d", f"name={table}")
    column = {"column_name": "cover", "data_type": "INT", "ui": "single_file"}
    column |= {"relationship_type": "MANYTOONE", "related_table": "directus_files"}
    await curl.post(f"/api/1.1/tables/{table}/columns", column)
    cover = {"name": "a.bin", "type": "application/octet-stream"}
    cover |= {"data": b64encode(CONTENT[:100_000]).decode()}
    row = await curl.post(f"/api/1.1/tables/{table}/rows", {"active": 1, "cover": cover})
    found = await curl.json(f"/api/1.1/tables/{table}/rows/{row['id']}")
    await check(curl, found["cover"]["data"], CONTENT[:100_000])


@pytest.mark.parametrize(("client", "version"), FILE_RUNS, ids=lambda name: name)
async def test_the_published_client_has_its_files_on_s3(
    s3_cluster: Cluster, s3_server: ObjectStore, client: str, version: str, unique: str
) -> None:
    picture = b64decode(DOT.partition(",")[2]) + unique.encode()
    environment = {
        "ONLY": "files",
        "CLIENT": client.split()[1],
        "BASE_URL": s3_cluster.base_url,
        "TOKEN": s3_cluster.token,
        "VERSION": version,
        "IMAGE": f"data:image/png;base64,{b64encode(picture).decode()}",
        "TABLE": "",
        "MESSAGE": "",
    }
    done = await run(client, environment)
    cases = FILE_RUNS[client, version]
    for call, (_, holds) in cases.items():
        assert holds(Seen(done[call], version, "")), done[call]
    assert (set(done.outcomes), done.said) == (set(cases), "")
    kept = [] if "deleteFile" in cases else [picture]
    assert held(s3_server, len(picture), ending=unique.encode()) == kept


def held(s3: ObjectStore, size: int, ending: bytes) -> list[bytes]:
    """What the S3 server itself says it keeps of this size and with this end."""
    bucket = s3.bucket()
    listed = [entry for page in obstore.list(bucket, "files/bytes/") for entry in page]
    read = [
        bytes(obstore.get(bucket, entry["path"]).bytes())
        for entry in listed
        if entry["size"] == size
    ]
    return [content for content in read if content.endswith(ending)]
