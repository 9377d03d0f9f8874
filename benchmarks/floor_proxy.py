"""The floor's gateway: a bare aiohttp ``ClientSession`` proxy, without authentication or limits.

``python -m benchmarks.floor_proxy PORT UPSTREAM``. One process, uvloop, 64 connections kept.
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

SESSION = web.AppKey("session", aiohttp.ClientSession)
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "host", "upgrade"})


async def forward(request: web.Request) -> web.Response:
    headers = {
        name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP
    }
    async with request.app[SESSION].request(
        request.method,
        URL(sys.argv[2] + request.raw_path, encoded=True),
        headers=headers,
        data=request.content if request.can_read_body else None,
    ) as reply:
        return web.Response(
            status=reply.status, body=await reply.read(), content_type=reply.content_type
        )


async def resources(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app[SESSION] = session
        yield


def main() -> None:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.cleanup_ctx.append(resources)
    app.router.add_route("*", "/{tail:.*}", forward)
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
