"""A service of your own behind the gateway: ``GET`` and ``POST custom/hello/greeting``.

IDENTITY_PUBLIC_KEYS='…' PORT=9000 python examples/hello.py
CUSTOM_ROUTES=hello=http://127.0.0.1:9000 make up
"""

import os

from aiohttp import web

from shared.http import errors_as_json
from shared.identity import IdentityVerifier

gateway = IdentityVerifier(os.environ["IDENTITY_PUBLIC_KEYS"], audience="custom:hello")


async def greet(request: web.Request) -> web.Response:
    caller = gateway.verify(request.headers.get("X-Directoire-Identity", ""))
    given = await request.json() if request.can_read_body else request.query
    who = given.get("name", f"user {caller.user}")
    return web.json_response({"data": {"greeting": f"Hello, {who}!", "group": caller.group}})


app = web.Application(middlewares=[errors_as_json])
for version in ("1", "1.1"):
    app.router.add_get(f"/api/{version}/custom/hello/greeting", greet)
    app.router.add_post(f"/api/{version}/custom/hello/greeting", greet)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
