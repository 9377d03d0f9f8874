"""``/livez`` asks only the process, ``/readyz`` what it needs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

from shared.metrics import show

Check = Callable[[], Awaitable[None]]  # raises when what it looks at is not usable

_PATIENCE: Final = 2.0  # seconds for all checks together


class Health:
    """The state of one process. ``draining`` turns readiness off before a stop."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self.draining = False

    async def live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(self, _request: web.Request) -> web.Response:
        """200 when every check passes, else 503 with the state of each."""
        states = dict(
            zip(
                self._checks,
                await asyncio.gather(*(self._state(check) for check in self._checks.values())),
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
            web.get("/metrics", show),
        ]
