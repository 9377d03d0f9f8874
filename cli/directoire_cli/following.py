"""The activity as an instance shows it to a token's user: pages of the past, then what comes."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Final

import aiohttp

from directoire_cli.api import Api, Failed

Entry = Mapping[str, Any]
_PAGE: Final = 200
_PAUSE: Final = 1.0  # seconds before a broken stream is asked for again


async def past(api: Api, after: int, tables: Collection[str]) -> AsyncGenerator[Entry]:
    """Every entry behind a position that is there now. Raises Failed."""
    while True:
        answer = (await api.ask("GET", f"/api/1.1/activity?after={after}&limit={_PAGE}")).json
        for entry in answer["data"]:
            if not tables or entry["table_name"] in tables:
                yield entry
        if answer["meta"]["position"] <= after:
            return
        after = answer["meta"]["position"]


async def coming(api: Api, after: int | None, tables: Collection[str]) -> AsyncGenerator[Entry]:
    """Goes on until it is closed; asks again where the connection breaks. Raises Failed."""
    position = after
    while True:
        query = [f"after={position}"] if position is not None else []
        query += [f"tables={','.join(tables)}"] if tables else []
        path = "/api/1.1/activity/stream?" + "&".join(query)
        try:
            async with api.send("GET", path) as response:
                if response.status != 200:
                    await api.refuse(response)
                async for name, id_, data in _events(response):
                    position = id_ if id_ is not None else position
                    if name == "message" and data:
                        yield json.loads(data)
                    elif name == "gap":
                        print(f"entries are gone: {data}", file=sys.stderr)
        except aiohttp.ClientConnectorError as error:
            raise Failed(f"Nothing answers at {api.url}: {error}") from error
        except aiohttp.ClientError:
            pass  # it broke off; nothing is lost, the position is known
        await asyncio.sleep(_PAUSE)


async def _events(
    response: aiohttp.ClientResponse,
) -> AsyncGenerator[tuple[str, int | None, str]]:
    """Server-sent events: name, id and data."""
    name, id_, data = "message", None, ""
    async for raw in response.content:
        line = raw.decode().rstrip("\r\n")
        field, _, value = line.partition(": ")
        if not line:
            yield name, id_, data
            name, id_, data = "message", None, ""
        elif field == "event":
            name = value
        elif field == "id":
            id_ = int(value)
        elif field == "data":
            data += value
