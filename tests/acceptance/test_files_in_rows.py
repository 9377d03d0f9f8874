"""``{name, type, data}`` in a file column of a row: a file with the row, or neither."""

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64encode
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63600000000200015e1c2e210000000049454e44ae426082"
)


def file(name: str, content: bytes = PNG, **more: object) -> dict[str, Any]:
    data = f"data:image/png;base64,{b64encode(content).decode()}"
    return {"name": name, "type": "image/png", "data": data, **more}


@pytest_asyncio.fixture(loop_scope="session")
async def album(api: Api, unique: str) -> str:
    """A table with a cover, which is a file, and pages behind a junction, which are files too."""
    table, links = f"album_{unique}", f"pages_{unique}"
    await api.make_table(table, title="VARCHAR:40")
    await api.make_table(links)
    cover = {"column_name": "cover", "data_type": "INT", "ui": "single_file"}
    cover |= {"relationship_type": "MANYTOONE", "related_table": "directus_files"}
    assert (await api.post(f"tables/{table}/columns", cover)).status == 200
    for name, related in (("album", table), ("page", "directus_files")):
        body = {"column_name": name, "data_type": "INT", "ui": "many_to_one"}
        body |= {"relationship_type": "MANYTOONE", "related_table": related}
        assert (await api.post(f"tables/{links}/columns", body)).status == 200
    pages = {"column_name": "pages", "data_type": "ALIAS", "relationship_type": "MANYTOMANY"}
    pages |= {"related_table": "directus_files", "junction_table": links}
    pages |= {"junction_key_left": "album", "junction_key_right": "page"}
    assert (await api.post(f"tables/{table}/columns", pages)).status == 200
    return f"tables/{table}/rows"


async def files_named(api: Api, title: str) -> list[dict[str, Any]]:
    return (await api.get(f"files?filters[title]={title}")).data


async def key_of(api: Api, path: str, version: str = "1.1") -> Any:
    row = (await api.get(f"{path}?depth=0")).data
    cover = row["cover"]
    return cover["data"]["id"] if isinstance(cover, dict) else cover


async def bytes_at(api: Api, url: str) -> bytes:
    reply = await api.send("GET", url)
    assert reply.status == 200
    return reply.content


@pytest.mark.parametrize("through", ["json", "1.0", "rows"])
async def test_a_new_row_brings_its_file(api: Api, album: str, unique: str, through: str) -> None:
    title = f"cover_{unique}"
    row = {"active": 1, "title": "a", "cover": file(f"{unique}.png", title=title)}
    if through == "rows":
        made = await api.post(f"{album.removesuffix('/rows')}/rows/bulk", {"rows": [row]})
    else:
        made = await (api.v1() if through == "1.0" else api).post(album, row)
    assert made.status == 200, made.json
    [found] = await files_named(api, title)
    [row_now] = (await api.get(album)).data
    assert (await key_of(api, f"{album}/{row_now['id']}")) == found["id"]
    assert (found["type"], found["width"], found["size"]) == ("image/png", 1, len(PNG))
    assert await bytes_at(api, found["url"]) == PNG


async def test_a_change_of_a_row_brings_its_file(api: Api, album: str, unique: str) -> None:
    key = (await api.post(album, {"active": 1, "title": "a"})).data["id"]
    for number in (1, 2):
        title = f"cover_{number}_{unique}"
        sent = {"cover": {"data": file("x.png", title=title)}}
        changed = await api.put(f"{album}/{key}", sent)
        assert changed.status == 200, changed.json
        [found] = await files_named(api, title)
        assert await key_of(api, f"{album}/{key}") == found["id"]


async def test_files_behind_a_junction_are_made_too(api: Api, album: str, unique: str) -> None:
    title = f"page_{unique}"
    pages = [{"active": 1, "data": file(f"{n}.png", title=title)} for n in (1, 2)]
    made = await api.post(album, {"active": 1, "title": "a", "pages": pages})
    assert made.status == 200, made.json
    keys = {found["id"] for found in await files_named(api, title)}
    shown = (await api.get(f"{album}/{made.data['id']}")).data["pages"]["data"]
    assert {row["id"] for row in shown} == keys
    assert len(keys) == 2


async def test_who_may_add_no_files_brings_none(api: Api, album: str, unique: str) -> None:
    table = album.split("/")[1]
    everything = {"allow_view": 2, "allow_add": 1, "allow_edit": 2}
    group = await make_group(
        api, f"readers_{unique}", {table: everything, "directus_files": {"allow_view": 2}}
    )
    caller, _ = await make_user(api, f"reader-{unique}", group)
    title = f"forbidden_{unique}"
    refused = await caller.post(
        album, {"active": 1, "title": "a", "cover": file("x.png", title=title)}
    )
    assert refused.status == 403
    assert await files_named(api, title) == []
    assert (await api.get(album)).data == []


REFUSED = [
    ({"data": "data:image/png;base64,!!!"}, 400),
    ({"data": "data:image/png;base64,aGk=", "name": ""}, 422),
    ({"data": "aGk=", "id": 1}, 422),
]


@pytest.mark.parametrize(("more", "status"), REFUSED)
async def test_a_file_that_is_refused_refuses_the_row(
    api: Api, album: str, unique: str, more: dict[str, Any], status: int
) -> None:
    title = f"refused_{unique}"
    sent = {"active": 1, "title": "a", "cover": file("x.png", title=title) | more}
    assert (await api.post(album, sent)).status == status
    assert await files_named(api, title) == []
    assert (await api.get(album)).data == []


async def test_a_row_that_fails_leaves_neither_record_nor_bytes(
    api: Api, album: str, unique: str, cluster: Cluster
) -> None:
    title = f"lost_{unique}"
    before = stored_in(cluster)
    sent = {
        "active": 1,
        "title": "a" * 41,
        "cover": file("x.png", PNG + unique.encode(), title=title),
    }
    assert (await api.post(album, sent)).status == 422
    assert await files_named(api, title) == []
    assert stored_in(cluster) <= before


async def test_records_and_bytes_agree_afterwards(
    api: Api, album: str, unique: str, cluster: Cluster
) -> None:
    made = await api.post(album, {"active": 1, "title": "a", "cover": file("x.png", title=unique)})
    assert made.status == 200
    assert (await asyncio.to_thread(reconciled, cluster))["records_without_bytes"] == []


def reconciled(cluster: Cluster) -> dict[str, Any]:
    told = {**os.environ, **cluster.urls, "STORE_URL": (cluster.data / "files").as_uri()}
    done = subprocess.run(
        [sys.executable, "-m", "files_service.reconcile", "3600"],
        env={**told, "IDENTITY_PUBLIC_KEYS": '{"keys": []}'},
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


async def test_strangers_do_not_reach_the_way_inside(
    api: Api, session: aiohttp.ClientSession
) -> None:
    url = f"{api.base_url}/internal/files"
    headers = {"Authorization": f"Bearer {api.token}"}
    async with session.post(url, json=file("x.png"), headers=headers) as reply:
        assert reply.status == 404


def stored_in(cluster: Cluster) -> set[str]:
    return {path.name for path in (cluster.data / "files").glob("??/*")}
