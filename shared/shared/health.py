"""``/livez`` asks the process, ``/readyz`` what it needs, ``/readyz/<part>`` what a part needs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from shared.metrics import show

Check = Callable[[], Awaitable[None]]  # raises when what it looks at is not usable

_PATIENCE: Final = 2.0  # seconds for all checks together


class Health:
    """The state of one process. ``draining`` turns readiness off before a stop.

    ``parts``: what a part of the work needs besides; without it the rest goes on.
    """

    def __init__(
        self, checks: Mapping[str, Check], parts: Mapping[str, Check] | None = None
    ) -> None:
        self._checks = checks
        self._parts = parts or {}
        self.draining = False

    async def live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 when every check passes, else 503 with the state of each."""
        return await self._ready(self._checks)

    async def ready_for(self, request: web.Request) -> web.Response:
        """The same of a part of the work; 404 for one that is not done here."""
        part = request.match_info["part"]
        if part not in self._parts:
            raise web.HTTPNotFound
        return await self._ready({**self._checks, part: self._parts[part]})

    async def _ready(self, checks: Mapping[str, Check]) -> web.Response:
        states = dict(
            zip(
                checks,
                await asyncio.gather(*(self._state(check) for check in checks.values())),
                strict=True,
            )
        )
        good = not self.draining and all(state == "ok" for state in states.values())
        status = "draining" if self.draining else ("ready" if good else "not ready")
        return web.Response(
            body=msgspec.json.encode({"status": status, "checks": states}),
            status=200 if good else 503,
            content_type="application/json",
        )

    async def _state(self, check: Check) -> str:
        try:
            async with asyncio.timeout(_PATIENCE):
                await check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is "not usable"
            return type(error).__name__
        return "ok"

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
            web.get("/readyz/{part}", self.ready_for),
            web.get("/metrics", show),
        ]
