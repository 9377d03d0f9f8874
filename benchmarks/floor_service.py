"""The floor: what a bare aiohttp and asyncpg service does, without rights, history or checks.

``python -m benchmarks.floor_service PORT DATABASE_URL FOLDER``. One process, uvloop, asyncpg's pool
of 8, one statement a request, two for a list with relations; ``/memory/…`` answers the same bytes
without a database.
"""

import asyncio
import base64
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop
from aiohttp import web

from shared.queries import load_queries

QUERIES = load_queries("benchmarks", "floor.sql")
POOL: "web.AppKey[asyncpg.Pool[Any]]" = web.AppKey("pool", asyncpg.Pool)
FOLDER = web.AppKey("folder", Path)
MEMORY = web.AppKey("memory", dict[str, bytes])
JSON = "application/json"


def answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=JSON)


def enveloped(rows: list[Any]) -> bytes:
    return ('{"data":[' + ",".join(row[0] for row in rows) + "]}").encode()


async def get_row(request: web.Request) -> web.Response:
    row = await request.app[POOL].fetchval(QUERIES["row"], int(request.match_info["id"]))
    return answer(f'{{"data":{row}}}'.encode())


async def list_rows(request: web.Request) -> web.Response:
    rows = await request.app[POOL].fetch(QUERIES["rows"], int(request.query["limit"]))
    return answer(enveloped(rows))


async def filter_rows(request: web.Request) -> web.Response:
    asked = request.query
    rows = await request.app[POOL].fetch(
        QUERIES["filtered"], asked["city"], int(asked["amount"]), int(asked["limit"])
    )
    return answer(enveloped(rows))


async def list_related(request: web.Request) -> web.Response:
    """Rows of books with their maker and pages set in: two statements, joined here."""
    async with request.app[POOL].acquire() as connection:
        books = await connection.fetch(QUERIES["books"], int(request.query["limit"]))
        makers = list({book[1] for book in books})
        related = await connection.fetch(QUERIES["related"], makers, [book[0] for book in books])
    one: dict[int, str] = {}
    many: dict[int, list[str]] = {}
    for relation, link, text in related:
        if relation == 0:
            one[link] = text
        else:
            many.setdefault(link, []).append(text)
    rows = [
        f'{text[:-1]},"of":{one.get(maker, "null")},"pages":[{",".join(many.get(key, ()))}]}}'
        for key, maker, text in books
    ]
    return answer(('{"data":[' + ",".join(rows) + "]}").encode())


async def create_row(request: web.Request) -> web.Response:
    body = msgspec.json.decode(await request.read())
    row = await request.app[POOL].fetchval(
        QUERIES["create"], body["title"], body["city"], body["amount"], body["body"]
    )
    return answer(f'{{"data":{row}}}'.encode())


async def update_row(request: web.Request) -> web.Response:
    body = msgspec.json.decode(await request.read())
    row = await request.app[POOL].fetchval(
        QUERIES["update"], int(request.match_info["id"]), body["amount"]
    )
    return answer(f'{{"data":{row}}}'.encode())


def store(path: Path, content: bytes) -> None:
    """Written and synced: what was answered for survives a crash on both sides."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


async def upload(request: web.Request) -> web.Response:
    """Base64 in JSON, as the API takes it, to a file and a row."""
    body = msgspec.json.decode(await request.read())
    name = uuid.uuid4().hex
    await asyncio.to_thread(store, request.app[FOLDER] / name, base64.b64decode(body["data"]))
    row = await request.app[POOL].fetchval(QUERIES["create"], body["name"], name, 0, "")
    return answer(f'{{"data":{row}}}'.encode())


async def from_memory(request: web.Request) -> web.Response:
    return answer(request.app[MEMORY][request.match_info["what"]])


async def resources(app: web.Application) -> AsyncIterator[None]:
    async with asyncpg.create_pool(sys.argv[2], min_size=8, max_size=8) as pool:
        app[POOL] = pool
        app[MEMORY]["row"] = f'{{"data":{await pool.fetchval(QUERIES["row"], 1)}}}'.encode()
        app[MEMORY]["rows"] = enveloped(await pool.fetch(QUERIES["rows"], 200))
        yield


def main() -> None:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app[FOLDER] = Path(sys.argv[3])
    app[MEMORY] = {}
    app.cleanup_ctx.append(resources)
    app.add_routes(
        [
            web.get("/rows", list_rows),
            web.get("/filtered", filter_rows),
            web.get("/related", list_related),
            web.get("/rows/{id}", get_row),
            web.post("/rows", create_row),
            web.put("/rows/{id}", update_row),
            web.post("/upload", upload),
            web.get("/memory/{what}", from_memory),
        ]
    )
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
