"""Files by ``curl`` through the gateway, on a folder and on an S3 server: every way in and out.

The published clients' calls about files are made on the S3 server here, on a folder with all their
other calls in ``clients/``.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pytest
import pytest_asyncio
from file_calls import DOT, FILE_RUNS
from published import run
from seen import Seen

from local_cluster.cluster import Cluster
from local_cluster.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore
from shared.testing import server, with_database

pytestmark = pytest.mark.xdist_group("acceptance")

PIECE = 3_000_000
CONTENT = bytes(range(256)) * (2 * PIECE // 256)


class Curl:
    """curl against one gateway, in a folder of its own."""

    def __init__(self, base_url: str, token: str, folder: Path) -> None:
        self.base_url = base_url
        self.folder = folder
        self._token = token

    async def __call__(self, path: str, *args: str) -> tuple[int, dict[str, str], bytes]:
        """Status, the headers of the last reply by lower-case name, and the body."""
        heads, body = self.folder / "heads", self.folder / "body"
        body.write_bytes(b"")
        running = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--show-error", "--max-time", "60",
            "--dump-header", str(heads), "--output", str(body),
            "--header", f"Authorization: Bearer {self._token}",
            *args, self.base_url + path,
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
        status, _, body = await self(path, *args)
        assert status == 200, body
        return json.loads(body)["data"]


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
    sent = curl.folder / "body.json"
    sent.write_text(json.dumps({"name": "a.bin", "data": text}))
    as_json = ("-H", "Content-Type: application/json", "--data-binary", f"@{sent}")
    await check(curl, await curl.json("/api/1.1/files", *as_json))
    (curl.folder / "data").write_text(f"data:application/octet-stream;base64,{text}")
    form = ("--data-urlencode", "name=a.bin", "--data-urlencode", f"data@{curl.folder}/data")
    await check(curl, await curl.json("/api/1.1/files", *form))


async def test_a_resumable_upload_in_two_pieces(curl: Curl) -> None:
    tus = ("-H", "Tus-Resumable: 1.0.0")
    name = b64encode(b"resumed.bin").decode()
    told = ("-H", f"Upload-Length: {len(CONTENT)}", "-H", f"Upload-Metadata: filename {name}")
    status, headers, _ = await curl("/api/1.1/files/tus", "-X", "POST", *tus, *told)
    assert status == 201
    upload = headers["location"]
    for start in (0, PIECE):
        piece = curl.folder / "piece"
        piece.write_bytes(CONTENT[start : start + PIECE])
        headers = (await curl(upload, "--head", *tus))[1]
        assert headers["upload-offset"] == str(start)
        kind = ("-H", "Content-Type: application/offset+octet-stream")
        status, headers, _ = await curl(
            upload, "-X", "PATCH", *tus, *kind, "-H", f"Upload-Offset: {start}",
            "--data-binary", f"@{piece}",
        )  # fmt: skip
        assert status == 204
    await check(curl, await curl.json(f"/api/1.1/files/{headers['directus-file-id']}"))


async def test_thumbnails(curl: Curl) -> None:
    import pyvips  # noqa: PLC0415 - libvips is loaded where pictures are

    picture = curl.folder / "picture.png"
    picture.write_bytes(pyvips.Image.black(320, 200, bands=3).write_to_buffer(".png"))
    file = await curl.json("/api/1.1/files", "-F", f"upload=@{picture}")
    assert (file["width"], file["height"]) == (320, 200)
    status, headers, body = await curl(file["thumbnail_url"])
    assert (status, headers["content-type"]) == (200, "image/png")
    thumb = pyvips.Image.new_from_buffer(body, "")
    assert max(thumb.width, thumb.height) < 320


async def test_a_file_column_of_a_row(curl: Curl, unique: str) -> None:
    table = f"cover_{unique}"
    await curl.json("/api/1.1/tables", "-d", f"name={table}")
    column = {"column_name": "cover", "data_type": "INT", "ui": "single_file"}
    column |= {"relationship_type": "MANYTOONE", "related_table": "directus_files"}
    sent = curl.folder / "body.json"
    as_json = ("-H", "Content-Type: application/json", "--data-binary", f"@{sent}")
    sent.write_text(json.dumps(column))
    await curl.json(f"/api/1.1/tables/{table}/columns", *as_json)
    cover = {"name": "a.bin", "type": "application/octet-stream"}
    cover |= {"data": b64encode(CONTENT[:100_000]).decode()}
    sent.write_text(json.dumps({"active": 1, "cover": cover}))
    row = await curl.json(f"/api/1.1/tables/{table}/rows", *as_json)
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
