"""Imports, exports and their jobs, as the tests ask for them."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from wire import Api, Reply


async def upload(api: Api, table: str, text: Any, kind: str = "text/csv", query: str = "") -> Reply:
    form = aiohttp.FormData()
    form.add_field("file", text, filename="rows", content_type=kind)
    async with api.session.post(
        f"{api.base_url.rstrip('/')}/utils/import/{table}{query}",
        data=form,
        headers={"Authorization": f"Bearer {api.token}"},
    ) as response:
        content = await response.read()
        decoded = json.loads(content) if content else None
        return Reply(response.status, response.headers, content, decoded)


async def ended(api: Api, address: str) -> dict[str, Any]:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        job: dict[str, Any] = (await api.get(address)).json["data"]
        if job["state"] in {"done", "failed", "cancelled"}:
            return job
        await asyncio.sleep(0.1)
    pytest.fail(f"{address} did not end")


async def export(api: Api, table: str, form: str, query: object, **file: str) -> dict[str, Any]:
    body = {"format": form, "query": query, "file": file}
    reply = await api.post(f"/utils/export/{table}", body)
    assert (reply.status, reply.content) == (204, b""), reply.json
    return await ended(api, reply.headers["Location"])


async def library_file(api: Api, job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    assert job["state"] == "done", job
    record = (await api.get(f"files/{job['result']['file']}")).data
    headers = {"Authorization": f"Bearer {api.token}"}
    url = api.base_url.rstrip("/") + record["url"]
    async with api.session.get(url, headers=headers) as response:
        return record, await response.read()
