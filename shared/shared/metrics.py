"""Prometheus metrics that every process has."""

from functools import lru_cache
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

REQUESTS: Final = Counter("directoire_requests_total", "Requests answered", ["method", "status"])
DURATION: Final = Histogram(
    "directoire_request_seconds",
    "Time to answer a request",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


def observe_request(method: str, status: int, seconds: float) -> None:
    _requests(method, status).inc()
    DURATION.observe(seconds)


@lru_cache(maxsize=512)
def _requests(method: str, status: int) -> Counter:
    """Looking a child up costs more than counting."""
    return REQUESTS.labels(method, str(status))


async def show(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
