"""The system opens no address that a client names. Promise S12.

A server on every address of this machine counts who connects. Its addresses, spelt in every way
that block lists have missed, are sent wherever a client can name one: in every field of every
route, in headers, as the target of the request itself, inside files and imports. At the end the
mail and the import that were asked for last are there, and only this test itself has connected.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import cycle, product
from typing import Final
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
import pytest_asyncio
from bulk import ended, upload
from mail_sink import Mailbox
from people import make_group, make_user
from test_every_route import calls
from wire import Api

from local_cluster.cluster import Cluster
from shared.ports import claimed_port
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")

SCHEMES: Final = ("http", "https", "ftp", "gopher", "ws", "HTTP", "")  # "": as in //host/path
HOSTS: Final = (
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.2", "0.0.0.0",
    "localhost", "[::1]", "[::ffff:127.0.0.1]", "somebody@127.0.0.1", "youtube.com@127.0.0.1",
)  # fmt: skip
# what a client may hope to be read as an address, besides the columns of the system tables
NAMES: Final = (
    "link", "url", "uri", "href", "src", "source", "data", "file", "remote", "target", "callback",
    "webhook", "redirect", "avatar", "import", "image", "photo", "location", "proxy", "feed",
)  # fmt: skip
HEADERS: Final = (
    "X-Forwarded-Host", "X-Forwarded-Server", "X-Forwarded-For", "Forwarded", "X-Original-URL",
    "X-Rewrite-URL", "X-Http-DestinationURL", "X-Real-IP", "True-Client-IP", "Via", "Referer",
    "Origin", "Destination", "Content-Location", "Profile", "X-Wap-Profile", "X-Callback-URL",
    "X-Proxy-Url", "Proxy-Host", "Link",
)  # fmt: skip
RIGHTS: Final[dict[str, object]] = {
    f"allow_{what}": 2 for what in ("view", "add", "edit", "delete")
}


@dataclass
class Canary:
    """``heard``: the first line of each who has connected."""

    port: int
    heard: list[bytes] = field(default_factory=list[bytes])

    def __post_init__(self) -> None:
        spelt = [f"{s}:" * bool(s) + f"//{h}:{self.port}/" for s, h in product(SCHEMES, HOSTS)]
        self.addresses = spelt
        self._next = cycle(spelt)

    def address(self, ending: str = "x.png") -> str:
        return next(self._next) + ending

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(b"")
        self.heard[-1] = await reader.readline()
        writer.close()  # after which whoever has connected knows that he was heard

    async def sing(self) -> None:
        """What no address may lead to."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"the test itself\n")
        await reader.read()
        writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def canary() -> AsyncGenerator[Canary]:
    canary = Canary(claimed_port())
    async with await asyncio.start_server(canary.hear, None, canary.port):
        yield canary


async def test_no_address_of_a_client_is_opened(
    api: Api, cluster: Cluster, mailbox: Mailbox, canary: Canary, unique: str
) -> None:
    assert len(canary.addresses) >= 60
    table = await api.make_table(f"addresses_{unique}", text="TEXT", picture="INT")
    group = await make_group(api, f"Addresses {unique}", {table: RIGHTS, "directus_files": RIGHTS})
    caller, user = await make_user(api, f"addresses-{unique}", group)
    await _in_every_field(caller, canary, cluster, table, user, group)
    await _in_headers(caller, canary, table)
    await _as_what_is_asked_for(api, canary)
    await _in_files(api, canary)
    await _in_what_administrators_say(api, canary, table, unique)
    await _by_mail(api, canary, mailbox, unique, group)
    assert canary.heard == []
    await canary.sing()
    assert canary.heard == [b"the test itself\n"]


async def _in_every_field(
    caller: Api, canary: Canary, cluster: Cluster, table: str, user: int, group: int
) -> None:
    """Of every route, by somebody whose rights end at his own table."""
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    columns = await connection.fetch(
        "SELECT DISTINCT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name LIKE 'directus\\_%'"
    )
    await connection.close()
    names = sorted({*NAMES, *(row["column_name"] for row in columns)} - {"id"})
    values = {
        "table": table, "id": "1", "token": "1", "column": "text", "ui": "textinput",
        "group": str(group), "which": table, "collection": "global", "user": str(user),
        "upload": "a" * 32, "name": quote(canary.address(), safe=""), "width": "10",
        "height": "10", "rest": "crop/x.png", "key": "a" * 32,
    }  # fmt: skip
    asked = 0
    for call in calls(values):
        if call.path.startswith("/api/1/") or call.path.endswith("activity/stream"):
            continue
        if call.method in {"POST", "PUT", "PATCH"}:
            body = {name: canary.address() for name in names}
            await caller.send(call.method, call.path, json=body)
            asked += 1
        elif call.method == "GET":
            query = "&".join(f"{name}={quote(canary.address())}" for name in NAMES)
            await caller.send("GET", f"{call.path}?{query}")
            asked += 1
    assert asked > 150


async def _in_headers(caller: Api, canary: Canary, table: str) -> None:
    for name, path in product(HEADERS, (f"tables/{table}/rows", "files")):
        reply = await caller.get(path, headers={name: canary.address()})
        assert reply.status in {200, 400, 403}, (name, reply.json)
    for host in HOSTS[:8]:
        await caller.get(f"tables/{table}/rows", headers={"Host": f"{host}:{canary.port}"})


async def _as_what_is_asked_for(api: Api, canary: Canary) -> None:
    """Requests that a proxy would pass on, past our client, which would not write them."""
    gateway = urlsplit(api.base_url)
    for method, target in (
        ("GET", f"http://127.0.0.1:{canary.port}/api/1.1/tables"),
        ("POST", f"http://127.0.0.1:{canary.port}/api/1.1/auth/login"),
        ("CONNECT", f"127.0.0.1:{canary.port}"),
        ("GET", f"@127.0.0.1:{canary.port}/"),
        ("GET", f"/api/1.1/custom/http://127.0.0.1:{canary.port}/"),
        ("GET", f"/api/1.1/custom/hello@127.0.0.1:{canary.port}/"),
        ("GET", f"/storage/uploads/http://127.0.0.1:{canary.port}/x"),
    ):
        reader, writer = await asyncio.open_connection(gateway.hostname, gateway.port)
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{canary.port}\r\n"
        head += f"Authorization: Bearer {api.token}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.read()).startswith(b"HTTP/1."), target
        writer.close()


def _files(canary: Canary) -> dict[str, bytes]:
    """Which name addresses in ways that readers of such files follow."""
    there = canary.address()
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{there}"/></svg>'
    xml = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "{there}">%b;]><a>&b;</a>'
    return {
        "a.svg": svg.encode(),
        "a.xml": xml.encode(),
        "b.svg": xml.replace("<a>", '<svg xmlns="http://www.w3.org/2000/svg">').encode(),
        "a.m3u8": f"#EXTM3U\n#EXTINF:10,\n{there}\n".encode(),
        "a.html": f'<img src="{there}"><script src="{there}"></script>'.encode(),
        "a.mvg.png": f"push graphic-context\nimage over 0,0 0,0 'url({there})'\n".encode(),
        "a.eps": f"%!PS-Adobe-3.0\n({there}) (r) file\n".encode(),
        "a.pdf": f"%PDF-1.4\n1 0 obj<</URI({there})/F({there})>>endobj\n".encode(),
        "a.url": f"[InternetShortcut]\nURL={there}\n".encode(),
    }


async def _in_files(api: Api, canary: Canary) -> None:
    for name, content in _files(canary).items():
        data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        reply = await api.post("files", {"name": name, "data": data})
        if reply.status == 200:
            address = reply.data["name"]
            for path in (f"/thumbnail/20/20/crop/{address}", f"/storage/uploads/{address}"):
                await api.get(path)
    for address in canary.addresses:
        for path, body in (
            ("files", {"name": "x.png", "data": address}),
            ("files", {"link": address, "type": "embed/youtube", "embed_id": address}),
            ("upload/link", {"link": address}),
        ):
            reply = await api.post(path, body)
            assert reply.status < 500, (path, body, reply.json)
    metadata = base64.b64encode(canary.address().encode()).decode()
    told = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "1",
        "Upload-Metadata": f"filename {metadata}",
    }
    await api.post("files/tus", headers=told)
    await api.post("files/tus", headers={**told, "Upload-Concat": f"final;{canary.address()}"})


async def _in_what_administrators_say(api: Api, canary: Canary, table: str, unique: str) -> None:
    """Who is trusted the most has nothing opened either; his own table, his own settings."""
    rows = [{"text": address, "picture": address} for address in canary.addresses[:12]]
    for row in rows:
        await api.post(f"tables/{table}/rows", row)
    await api.post(f"tables/{table}/rows", {"picture": {"data": canary.address(), "name": "x.png"}})
    await api.post("bookmarks", {"title": unique, "url": canary.address()})
    await api.put(f"tables/{table}/columns/picture/single_file", {"url": canary.address()})
    await api.put("settings/global", {f"feed_{unique}": canary.address()})
    await api.post("messages/rows", {"to": "1", "subject": "x", "message": canary.address()})
    reply = await api.get(f"tables/{table}/rows?filters[text][eq]={quote(canary.address())}")
    assert reply.status == 200
    lines = "".join(f"{address}\n" for address in canary.addresses)
    begun = await upload(api, table, f"text\n{lines}", query="?background=true")
    job = await ended(api, begun.headers["Location"])
    assert (begun.status, job["state"]) == (202, "done"), job


async def _by_mail(api: Api, canary: Canary, mailbox: Mailbox, unique: str, group: int) -> None:
    """A mail goes to the operator's server, whatever its address names."""
    await make_user(api, f"mailed-{unique}", group)
    anybody = api.as_(None)
    known = f"mailed-{unique}@example.com"
    for email in (f"x@[127.0.0.1]:{canary.port}", f"x@127.0.0.1:{canary.port}", known):
        forged = {"Host": f"127.0.0.1:{canary.port}", "X-Forwarded-Host": canary.address()}
        await anybody.post("auth/forgot-password", {"email": email}, headers=forged)

    async def mailed() -> bool:
        return bool(mailbox.to(known))

    await eventually(mailed, within=20)
    assert str(canary.port) not in mailbox.to(known)[0].as_string()
