"""Fifty uploads at once, hostile names and lies by the thousand, a folder that stops answering."""

import asyncio
import io
import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import psutil
import pytest
import pytest_asyncio
from hostile_files import Hostile, as_multipart, hostile_files

from local_cluster.cluster import Cluster
from local_cluster.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore
from shared.testing import eventually, server, with_database

pytestmark = pytest.mark.xdist_group("strain")

MEGABYTE = 1024 * 1024
MOST = 100  # megabytes of each process
WATCHED: Final = ["gateway", "files-service"]
PATIENCE = 4.0  # seconds, with the folder: more than a busy machine takes for a piece


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the failpoint looks: while it is there, whoever writes a file stands still."""
    return tmp_path_factory.mktemp("stall") / "pipe"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strained(pipe: Path, folder: Path) -> AsyncGenerator[Cluster]:
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"strain_{uuid4().hex}"),
        redis_url=server("REDIS_URL"),
        amqp_url=server("AMQP_URL"),
        environment={
            "STORE_URL": f"{folder.as_uri()}?patience={PATIENCE}",
            "FAILPOINTS": f"store.write=fifo:{pipe},store.read=fifo:{pipe.with_name('reads')}",
            "FAILPOINTS_ALLOWED": "1",
            "RATE_PER_TOKEN": "100000",
            "RATE_PER_ADDRESS": "100000",
        },
    ) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="session")
async def client(strained: Cluster) -> AsyncGenerator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {strained.token}"}
    async with aiohttp.ClientSession(
        strained.base_url, headers=headers, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        yield session


def form_of(content: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(content), filename="a.bin")
    return form


async def send(client: aiohttp.ClientSession, size: int) -> int:
    async with client.post("/api/1.1/files", data=form_of(b"\xa5" * size)) as response:
        answer = await response.json()
        if response.status == 200:
            assert answer["data"]["size"] == size
        return response.status


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    with ObjectStore() as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strained_on_s3(object_store: ObjectStore) -> AsyncGenerator[Cluster]:
    """Fifty uploads wait for one server on a busy machine: for longer than where it is fast."""
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"strain_{uuid4().hex}"),
        redis_url=server("REDIS_URL"),
        amqp_url=server("AMQP_URL"),
        environment={
            "STORE_URL": f"{object_store.store_url}&patience=120",
            "STORE_ACCESS_KEY": ACCESS_KEY,
            "STORE_SECRET_KEY": SECRET_KEY,
            "DEADLINE": "120",
            "RATE_PER_TOKEN": "100000",
            "RATE_PER_ADDRESS": "100000",
        },
    ) as cluster:
        yield cluster


CONTENT: Final = b"\xa5" * (8 * MEGABYTE)
BASE64: Final = b64encode(CONTENT)  # without characters that a form must write otherwise
AS: Final = {
    "application/json": b'{"name": "a.bin", "data": "' + BASE64 + b'"}',
    "application/x-www-form-urlencoded": b"name=a.bin&data=" + BASE64,
}
TUS: Final = {"Tus-Resumable": "1.0.0"}


async def send_base64(client: aiohttp.ClientSession, kind: str) -> int:
    """The size that its record tells."""
    told = {"Content-Type": kind}
    async with client.post("/api/1.1/files", data=io.BytesIO(AS[kind]), headers=told) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer["data"]["size"]


async def send_multipart(client: aiohttp.ClientSession) -> int:
    async with client.post("/api/1.1/files", data=form_of(CONTENT)) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer["data"]["size"]


async def send_in_pieces(client: aiohttp.ClientSession) -> int:
    """By tus, in three pieces that the store keeps one by one."""
    length = TUS | {"Upload-Length": str(len(CONTENT))}
    async with client.post("/api/1.1/files/tus", headers=length) as made:
        url = made.headers["Location"]
    part = TUS | {"Content-Type": "application/offset+octet-stream"}
    step, file = 3 * MEGABYTE, ""
    for offset in range(0, len(CONTENT), step):
        piece = io.BytesIO(CONTENT[offset : offset + step])
        headers = part | {"Upload-Offset": str(offset)}
        async with client.patch(url, data=piece, headers=headers) as sent:
            assert sent.status == 204, await sent.text()
            file = sent.headers.get("Directus-File-Id", "")
    async with client.get(f"/api/1.1/files/{file}") as got:
        return (await got.json())["data"]["size"]


async def stall(cluster: Cluster, stack: AsyncExitStack) -> None:
    """A client that announces 8 MB, sends half of it and then nothing; gone with the stack."""
    address = urlsplit(cluster.base_url)
    assert address.hostname
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    stack.callback(writer.close)
    kind, body = next(iter(AS.items()))
    head = told_wrongly(cluster.token, b"", len(body), f"Content-Type: {kind}")
    writer.write(head + body[: 4 * MEGABYTE])
    await writer.drain()


@pytest.mark.parametrize("store", ["folder", "s3"])
async def test_fifty_uploads_at_once_stay_below_100_megabytes(
    strained: Cluster, strained_on_s3: Cluster, store: str, folder: Path
) -> None:
    """400 MB in all, by every way in, and eight clients that have stopped half-way.

    A process that held bodies would show it. Looked at while they come in.
    """
    cluster = {"folder": strained, "s3": strained_on_s3}[store]
    watched = {name: psutil.Process(cluster.processes[name]) for name in WATCHED}
    peaks = dict.fromkeys(WATCHED, 0.0)

    async def watch() -> None:
        while True:
            for name, process in watched.items():
                used = process.memory_full_info().uss / MEGABYTE
                peaks[name] = max(used, peaks[name])
            await asyncio.sleep(0.02)

    headers = {"Authorization": f"Bearer {cluster.token}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        AsyncExitStack() as stalled,
        aiohttp.ClientSession(cluster.base_url, headers=headers, connector=connector) as client,
    ):
        await asyncio.gather(*(stall(cluster, stalled) for _ in range(8)))
        watching = asyncio.create_task(watch())
        sizes = await asyncio.gather(
            *(send_multipart(client) for _ in range(14)),
            *(send_base64(client, kind) for kind in AS for _ in range(12)),
            *(send_in_pieces(client) for _ in range(12)),
        )
        watching.cancel()
    assert sizes == [len(CONTENT)] * 50
    assert all(0 < peak < MOST for peak in peaks.values()), peaks

    async def is_tidy() -> bool:
        return not [path for path in inside(folder) if path.startswith("incoming")]

    await eventually(is_tidy, what="what the eight had sent is cleared")


# A server-made name: the record's number and an ending of a few letters.
_OURS: Final = re.compile(r"[0-9]{11}(\.[a-z0-9]{1,10})?")
_KEPT: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f-]{36}")
_INERT: Final = re.compile(r"(image/(?!svg)|video/|audio/|text/plain|application/pdf)")
FORM: Final = {"Content-Type": "multipart/form-data; boundary=b"}


async def keep(client: aiohttp.ClientSession, files: list[Hostile]) -> list[dict[str, Any]]:
    """Send them: by multipart, or one in a JSON body. Their records, in this order."""
    if len(files) > 1:
        sending = client.post("/api/1.1/files", data=as_multipart(files, "b"), headers=FORM)
    else:
        [file] = files
        told = {"name": file.name, "type": file.type, "data": b64encode(file.content).decode()}
        sending = client.post("/api/1.1/files", json=told)
    async with sending as response:
        answer = await response.json()
        assert response.status == 200, answer
        assert "data" in answer, answer
        data = answer["data"]
        return data if isinstance(data, list) else [data]


async def check_served(
    client: aiohttp.ClientSession, file: Hostile, record: dict[str, Any]
) -> None:
    name = record["name"]
    assert _OURS.fullmatch(name), (file, name)
    assert record["url"] == f"/storage/uploads/{name}"
    async with client.get(record["url"]) as response:
        assert (response.status, await response.read()) == (200, file.content), file
        headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    how, _, called = headers["Content-Disposition"].partition("; ")
    assert called == f'filename="{name}"'
    assert how == "attachment" or _INERT.match(headers["Content-Type"]), (file, headers)


def inside(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_of_a_thousand_hostile_files_none_is_named_run_or_kept_as_it_asks(
    client: aiohttp.ClientSession, folder: Path
) -> None:
    files = hostile_files(1000, seed=11)
    around, before = set(folder.parent.glob("*")), inside(folder)
    records: list[dict[str, Any]] = []
    for start in range(0, 900, 100):
        records += await keep(client, files[start : start + 100])
    for file in files[900:]:
        records += await keep(client, [file])
    assert len({record["name"] for record in records}) == 1000
    for start in range(0, 1000, 20):
        some = zip(files[start : start + 20], records[start : start + 20], strict=True)
        await asyncio.gather(*(check_served(client, *one) for one in some))
    new = inside(folder) - before
    assert len(new) >= 1000
    assert [path for path in new if not _KEPT.fullmatch(path)] == []
    assert set(folder.parent.glob("*")) == around


async def ask_plainly(base_url: str, request: bytes) -> bytes:
    """What comes back for these bytes, which no client would send; a status line first."""
    address = urlsplit(base_url)
    assert address.hostname
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            return await reader.readuntil(b"\r\n\r\n") + await reader.read(4096)
    finally:
        writer.close()


UP: Final = ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..\\", "..%5c", "....//", "%252e%252e%252f"]


@pytest.mark.parametrize("up", UP)
async def test_no_address_leads_out_of_the_store(strained: Cluster, folder: Path, up: str) -> None:
    secret = folder.parent / "secret.txt"
    secret.write_text("outside")
    for root in ("/storage/uploads/", "/storage/uploads/thumbs/", "/thumbnail/100/100/"):
        for path in (up + "secret.txt", up * 2 + "secret.txt", up * 12 + str(secret)[1:]):
            head = f"GET {root}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += f"Authorization: Bearer {strained.token}\r\n\r\n"
            answer = await ask_plainly(strained.base_url, head.encode())
            assert b"outside" not in answer
            assert answer[9:12] in {b"400", b"403", b"404"} or b"image/png" in answer, path


async def files_known(client: aiohttp.ClientSession) -> int:
    async with client.get("/api/1.1/files?limit=1") as response:
        return (await response.json())["meta"]["total_entries"]


def told_wrongly(token: str, body: bytes, length: int, *lines: str, method: str = "POST") -> bytes:
    path = "/api/1.1/files"
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}"]
    head += [f"Content-Length: {length}", "Connection: close", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


MULTIPART = as_multipart([Hostile("a.bin", "a/b", b"x" * 400_000)], "b")
AS_JSON = json.dumps({"name": "a.bin", "data": "QUJD" * 100_000}).encode()
BODIES = [(MULTIPART, "multipart/form-data; boundary=b"), (AS_JSON, "application/json")]


@pytest.mark.parametrize(("body", "kind"), BODIES, ids=["multipart", "json"])
async def test_more_than_was_announced_is_refused_and_leaves_nothing(
    strained: Cluster, client: aiohttp.ClientSession, folder: Path, body: bytes, kind: str
) -> None:
    before, kept = await files_known(client), inside(folder)
    request = told_wrongly(strained.token, body, len(body) // 2, f"Content-Type: {kind}")
    head, _, told = (await ask_plainly(strained.base_url, request)).partition(b"\r\n\r\n")
    assert head[9:12] == b"400", head
    assert json.loads(told)["error"]["message"]
    await nothing_new(client, folder, before, kept)


@pytest.mark.parametrize(("body", "kind"), BODIES, ids=["multipart", "json"])
async def test_less_than_was_announced_leaves_nothing(
    strained: Cluster, client: aiohttp.ClientSession, folder: Path, body: bytes, kind: str
) -> None:
    before, kept = await files_known(client), inside(folder)
    address = urlsplit(strained.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(told_wrongly(strained.token, body, len(body) + 9, f"Content-Type: {kind}"))

    async def begun() -> bool:
        return inside(folder) != kept

    await eventually(begun, what="its bytes are being written")
    writer.close()
    await nothing_new(client, folder, before, kept)
    del reader


async def nothing_new(
    client: aiohttp.ClientSession, folder: Path, before: int, kept: set[str]
) -> None:
    async def as_it_was() -> bool:
        return inside(folder) == kept

    await eventually(as_it_was, what="the bytes are gone")
    assert await files_known(client) == before


@pytest.mark.parametrize("way", ["announced", "chunked", "in one"])
async def test_a_piece_longer_than_its_upload_is_refused_and_nothing_moves(
    client: aiohttp.ClientSession, folder: Path, way: str
) -> None:
    before, kept = await files_known(client), inside(folder)
    tus = {"Tus-Resumable": "1.0.0"}
    length = str(300_000 if way == "in one" else 10_000_000)
    async with client.post("/api/1.1/files/tus", headers=tus | {"Upload-Length": length}) as made:
        url = made.headers["Location"]

    async def pieces() -> AsyncGenerator[bytes]:
        yield b"x" * (int(length) + 1)

    data = io.BytesIO(b"x" * (int(length) + 1)) if way == "announced" else pieces()
    part = tus | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    async with client.patch(url, data=data, headers=part) as refused:
        told = await refused.json()
        assert (refused.status, "bytes" in told["error"]["message"]) == (400, True), told
    async with client.head(url, headers=tus) as looked:
        assert int(looked.headers["Upload-Offset"]) < int(length)
    async with client.delete(url, headers=tus) as given_up:
        assert given_up.status == 204
    await nothing_new(client, folder, before, kept)


async def test_a_folder_that_stalls_takes_uploads_away_and_nothing_else(
    strained: Cluster, client: aiohttp.ClientSession, pipe: Path, folder: Path
) -> None:
    ready = f"http://127.0.0.1:{strained.ports['files-service']}/readyz"
    process = psutil.Process(strained.processes["files-service"])

    async def is_ready(part: str = "") -> bool:
        async with client.get(ready + part) as response:
            return response.status == 200

    assert await is_ready("/uploads")
    os.mkfifo(pipe)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(send(client, MEGABYTE) for _ in range(20))) == [503] * 20
        assert await send(client, MEGABYTE) == 503
    assert not await is_ready("/uploads")
    assert await is_ready()
    assert process.num_threads() < 40
    for path in ("/api/1.1/files", "/api/1.1/tables", "/api/1.1/users"):
        async with client.get(path) as response:
            assert response.status == 200, path

    stalled = pipe.with_name("answers again")
    os.rename(pipe, stalled)  # noqa: PTH104 - the other form is said to block

    async def comes_back() -> bool:
        os.close(os.open(stalled, os.O_RDWR | os.O_NONBLOCK))  # lets go whoever waits
        return await is_ready("/uploads")

    await eventually(comes_back, what="the folder answers again")
    assert await send(client, MEGABYTE) == 200

    async def is_tidy() -> bool:
        return not os.listdir(folder / "incoming")  # noqa: PTH208 - the other form is said to block

    await eventually(is_tidy, what="what was refused is cleared")


async def sent(client: aiohttp.ClientSession, content: bytes) -> str:
    """The address of a new file."""
    async with client.post("/api/1.1/files", data=form_of(content)) as response:
        assert response.status == 200
        return (await response.json())["data"]["url"]


async def got(client: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with client.get(url) as response:
        return response.status, await response.read()


async def test_a_file_that_hangs_is_refused_and_every_other_is_given(
    client: aiohttp.ClientSession, folder: Path
) -> None:
    """A pipe in its place: whoever opens it stands still in the kernel."""
    other, before = await sent(client, b"other"), inside(folder)
    hanging = await sent(client, b"hanging")
    [place] = (folder / path for path in inside(folder) - before)
    aside = place.with_name("aside")
    os.rename(place, aside)  # noqa: PTH104 - the other form is said to block
    os.mkfifo(place)
    asked = asyncio.create_task(got(client, hanging))
    while not asked.done():
        assert await got(client, other) == (200, b"other")
        assert (await got(client, "/api/1.1/files?limit=1"))[0] == 200
    status, told = await asked
    assert status == 503
    assert json.loads(told)["error"]["message"]
    os.close(os.open(place, os.O_RDWR | os.O_NONBLOCK))  # lets go who waits
    os.rename(aside, place)  # noqa: PTH104 - the other form is said to block
    assert await got(client, hanging) == (200, b"hanging")


async def test_a_folder_that_stalls_cuts_downloads_and_holds_nothing_else_up(
    strained: Cluster, client: aiohttp.ClientSession, pipe: Path
) -> None:
    content = os.urandom(MEGABYTE) * 32  # more than lies in the buffers on its way
    url, small = await sent(client, content), await sent(client, b"small")
    reads = pipe.with_name("reads")
    threads = psutil.Process(strained.processes["files-service"]).num_threads
    async with asyncio.timeout(120), client.get(url) as begun:
        assert begun.status == 200
        await begun.content.readexactly(1)
        os.mkfifo(reads)
        cut = asyncio.create_task(begun.content.read())
        refused = [asyncio.create_task(got(client, small)) for _ in range(20)]
        while not all(task.done() for task in (cut, *refused)):
            assert (await got(client, "/api/1.1/files?limit=1"))[0] == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await cut
        assert {(await task)[0] for task in refused} == {503}
    assert threads() < 40
    stalled = reads.with_name("reads again")
    os.rename(reads, stalled)  # noqa: PTH104 - the other form is said to block

    async def comes_back() -> bool:
        os.close(os.open(stalled, os.O_RDWR | os.O_NONBLOCK))
        return await got(client, url) == (200, content)

    await eventually(comes_back, what="the folder answers again")
