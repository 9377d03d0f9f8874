"""Files that cannot be imported, over the gateway: a clear error, nothing stored, little memory."""

import gzip
import io
import json
import zipfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from bulk import upload
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

CSV, JSON, NDJSON = "text/csv", "application/json", "application/x-ndjson"
XML, YAML = "application/xml", "application/yaml"
MEGABYTE = 1024 * 1024


def zipped() -> bytes:
    """Ten megabytes of rows in ten kilobytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", "title\n" + "a\n" * 5 * MEGABYTE)
    return out.getvalue()


LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">' for n in range(10)
)
YAML_LAUGHS = "- &l0 [ha]\n" + "".join(
    f"- &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
BAD: list[tuple[str, str, bytes, str]] = [
    ("Latin-1", CSV, "title\nGrüße\n".encode("latin-1"), "not UTF-8"),
    ("UTF-16", CSV, "title\nx\n".encode("utf-16"), "UTF-16"),
    ("half a character", JSON, '[{"title": "ü'.encode()[:-1], "UTF-8"),
    ("ragged rows", CSV, b"title,number\na,1\nb\nc,1,2\n", "Row 2: it has 1 cells, the header 2"),
    ("a column twice", CSV, b"title,title\na,b\n", "twice"),
    ("a quote that stays open", CSV, b'title\n"a\nb\n', "row 1"),
    ("nothing", CSV, b"", "empty"),
    ("no text", CSV, b"title\na\0b\n", "NUL"),
    ("an archive", CSV, zipped(), "UTF-8"),
    ("a compressed file", NDJSON, gzip.compress(b"x" * MEGABYTE), "UTF-8"),
    ("no array", JSON, b'{"title": "a"}', "array"),
    ("half an array", JSON, b'[{"title": "a"}', "middle"),
    ("no objects", JSON, b"[1]", "no JSON object"),
    ("a deep one", JSON, b"[" + b'{"a":' * 200_000, "deep"),
    ("no number", JSON, b'[{"number": 1e999999999}]', "out of range"),
    ("a broken line", NDJSON, b'{"title": "a"}\n{"title"\n', "row 2"),
    ("entities", XML, f"<!DOCTYPE d [{LAUGHS}]><d><r><title>&l9;</title></r></d>".encode(),
     "document type"),
    ("an entity of a file", XML,
     b'<!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]><d><r><title>&f;</title></r></d>',
     "document type"),
    ("a broken element", XML, b"<d><r><title>a</r></d>", "no XML"),
    ("deep elements", XML, b"<d>" * 1000, "deeper"),
    ("aliases", YAML, YAML_LAUGHS.encode(), "aliases"),
    ("an object of a program", YAML, b"- !!python/object/apply:os.system [ls]\n", "tag"),
    ("no list", YAML, b"title: a\n", "list of rows"),
    ("deep YAML", YAML, b"- title: " + b"[" * 5000 + b"\n", "row 1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "says"), [pytest.param(*b[1:], id=b[0]) for b in BAD])
async def test_a_bad_file_gets_a_clear_error(
    api: Api, cluster: Cluster, unique: str, kind: str, data: bytes, says: str
) -> None:
    table = await api.make_table(f"bad_{unique}", title="VARCHAR", number="INT")
    reply = await upload(api, table, data, kind)
    assert reply.status == 400, reply.content
    error = reply.json["errors"][0]
    assert says in error["message"]
    assert error["extensions"]["code"]
    assert (await api.get(f"tables/{table}/rows")).json["meta"]["total_entries"] == 0


def held(cluster: Cluster) -> dict[str, float]:
    """MB of their own that the processes on an import's way hold."""
    found: dict[str, float] = {}
    for name, pid in cluster.processes.items():
        if name.startswith(("gateway", "items-service")):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            line = next(line for line in lines if line.startswith("RssAnon"))
            found[name] = int(line.split()[1]) / 1024
    return found


async def test_a_line_of_a_gigabyte_is_given_up_in_little_memory(
    api: Api, cluster: Cluster, unique: str
) -> None:
    table = await api.make_table(f"endless_{unique}", title="VARCHAR")
    before, most = held(cluster), 0.0

    async def line() -> AsyncGenerator[bytes]:
        nonlocal most
        yield b"title\n"
        piece = b"x" * MEGABYTE
        for number in range(1024):
            yield piece
            if number % 32 == 0:
                grown = (held(cluster)[name] - before[name] for name in before)
                most = max(most, *grown)

    reply = await upload(api, table, line())
    assert reply.status == 400
    assert "longer than" in reply.json["errors"][0]["message"]
    assert most < 200


async def test_a_bomb_that_the_transport_would_unpack_does_not_go_off(
    api: Api, cluster: Cluster, unique: str
) -> None:
    table = await api.make_table(f"bomb_{unique}", title="VARCHAR")
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
    body = head + b"Content-Type: text/csv\r\n\r\ntitle\n" + b"x" * 256 * MEGABYTE
    before = held(cluster)
    sent = io.BytesIO(gzip.compress(body, 1))
    headers = {
        "Authorization": f"Bearer {api.token}",
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Encoding": "gzip",
    }
    url = f"{api.base_url.rstrip('/')}/utils/import/{table}"
    async with api.session.post(url, data=sent, headers=headers) as response:
        told: dict[str, Any] = json.loads(await response.read())
        assert response.status in {400, 415}
    assert told["errors"][0]["message"]
    assert max(held(cluster)[name] - before[name] for name in before) < 200


async def test_parts_that_claim_an_encoding_are_not_unpacked(api: Api, unique: str) -> None:
    table = await api.make_table(f"encoded_{unique}", title="VARCHAR")
    data = gzip.compress(b"title\n" + b"x\n" * MEGABYTE)
    with aiohttp.MultipartWriter("form-data") as form:
        part = form.append(data, {"Content-Type": "text/csv"})  # type: ignore[arg-type] # pyright: ignore
        part.set_content_disposition("form-data", name="file", filename="rows.csv.gz")
    headers = {"Authorization": f"Bearer {api.token}"}
    url = f"{api.base_url.rstrip('/')}/utils/import/{table}"
    async with api.session.post(url, data=form, headers=headers) as response:
        told = json.loads(await response.read())
    assert (response.status, "UTF-8" in told["errors"][0]["message"]) == (400, True)
