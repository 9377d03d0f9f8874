"""The README's requests answer as it says, on the demo's data."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")

README = Path(__file__).parents[2] / "README.md"


def requests() -> list[str]:
    """Every curl line of the README's shell blocks, without its remark."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("curl")]
    return [re.sub(r"\s{2,}#.*$", "", line) for line in lines]


async def run(command: str, demo: Api) -> Any:
    script = command.replace("http://127.0.0.1:8080", demo.base_url).replace(
        "curl ", "curl --silent --show-error ", 1
    )
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"TOKEN": demo.token or "", "API": f"{demo.base_url}/api/1.1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def test_each_request_answers_as_the_readme_says(demo: Api) -> None:
    answers = [await run(command, demo) for command in requests()]
    tables, paris, iceland, states, old, made, bulk, changed, deleted, files, mistake = answers
    names = {row["name"] for row in tables["data"]}
    assert {"airports", "countries", "customers", "projects"} <= names
    assert [row["icao"] for row in paris["data"]] == ["LFPG"]
    assert len(iceland["data"]) == 3
    assert set(iceland["data"][0]) == {"icao", "name", "elevation"}
    heights = [row["elevation"] for row in iceland["data"]]
    assert heights == sorted(heights, reverse=True)
    assert {row["state"] for row in states["data"]} == {"ny", "nm"}
    assert {"Active", "Draft", "Delete", "total", "rows"} == set(old)
    assert made["data"]["title"] == "Harbour map"
    assert [row["title"] for row in bulk["data"]] == ["A", "B"]
    assert changed["data"]["title"] == "Harbour maps"
    assert deleted["success"] is True
    assert {"Airports Of The World", "Busiest Time Zones", "Welcome"} <= {
        file["title"] for file in files["data"]
    }
    assert mistake["success"] is False
    assert "altitude" in mistake["error"]["message"]


async def test_all_airports_are_there(demo: Api) -> None:
    for caller in (demo, demo.v1()):
        reply = await caller.get("tables/airports/rows?perPage=1")
        counts = reply.json.get("meta", reply.json)
        assert counts["Active"] > 28_000


async def test_the_seed_s_filter_works_as_printed(demo: Api) -> None:
    reply = await demo.get("tables/customers/rows?filters[country][eq]=us")
    assert {row["country"] for row in reply.data} == {"us"}
    twice = (
        "tables/customers/rows?filters[country][eq]=us&filters[state][in]=ny,nm"
        "&filters[state][logical]=or&filters[state][in]=or,la"
    )
    rows = (await demo.get(twice)).data
    assert {row["state"] for row in rows} >= {"or", "la", "ny"}


async def test_a_file_of_the_demo_downloads(demo: Api) -> None:
    files = (await demo.get("files?limit=-1")).data
    (picture,) = [file for file in files if file["title"] == "Airports Of The World"]
    content = (await demo.as_(None).get(picture["url"])).content
    assert content.startswith(b"\x89PNG")
    assert len(content) == picture["size"]
