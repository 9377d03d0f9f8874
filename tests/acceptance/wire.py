"""The API as a client sees it: HTTP through the gateway and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

PROXY = "127.0.0.9"  # whose X-Forwarded-For the shared cluster believes


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes
    json: Any

    @property
    def data(self) -> Any:
        """The 1.1 envelope's data of a success."""
        assert self.status == 200, (self.status, self.json)
        assert self.json.get("success") is not False, self.json
        return self.json["data"]


@dataclass(frozen=True)
class Api:
    """One caller of one API version; paths are relative to the version's root."""

    session: aiohttp.ClientSession
    base_url: str
    token: str | None
    version: str = "1.1"

    def as_(self, token: str | None) -> "Api":
        return replace(self, token=token)

    def v1(self) -> "Api":
        return replace(self, version="1")

    def at(self, base_url: str) -> "Api":
        """The same through another gateway."""
        return replace(self, base_url=base_url)

    async def send(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        form: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """``form`` is a body as the client wrote it, brackets and all."""
        url = path if path.startswith("/") else f"/api/{self.version}/{path}"
        sent = dict(headers or {})
        if self.token is not None and "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {self.token}"
        data = None
        if form is not None:
            data = form.encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        async with self.session.request(
            method,
            URL(self.base_url.rstrip("/") + url, encoded=True),
            json=json,
            data=data,
            headers=sent,
        ) as response:
            content = await response.read()
            decoded = await response.json() if "json" in response.content_type and content else None
            return Reply(response.status, response.headers, content, decoded)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.send("GET", path, **more)

    async def post(self, path: str, json: object = None, **more: Any) -> Reply:
        return await self.send("POST", path, json=json, **more)

    async def put(self, path: str, json: object = None, **more: Any) -> Reply:
        return await self.send("PUT", path, json=json, **more)

    async def patch(self, path: str, json: object = None, **more: Any) -> Reply:
        return await self.send("PATCH", path, json=json, **more)

    async def delete(self, path: str, **more: Any) -> Reply:
        return await self.send("DELETE", path, **more)

    async def make_table(self, table: str, **columns: str) -> str:
        """A table with these columns (name → type, or type:length); returns its name."""
        reply = await self.post("tables", {"name": table})
        assert reply.status == 200, reply.json
        for column, declared in columns.items():
            data_type, _, length = declared.partition(":")
            body = {"column_name": column, "data_type": data_type}
            if length:
                body["char_length"] = length
            reply = await self.post(f"tables/{table}/columns", body)
            assert reply.status == 200, reply.json
        return table
