"""What the gateway is made of, and how it serves."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from aiohttp import web

from gateway.edge import Edge
from gateway.routes import CUSTOM, SERVICES
from gateway.server import EdgeServer
from gateway.settings import Settings
from gateway.upstream import Upstream
from shared.answer_cache import AnswerCache
from shared.health import Health
from shared.identity import IdentitySigner

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[tuple[web.ServerRunner, Edge]]:
    """The gateway, ready to listen; ends what it opened."""
    upstreams = {
        name: Upstream(
            name, getattr(settings, f"{name}_urls"), most_outstanding=settings.requests_per_replica
        )
        for name in SERVICES
    }
    for name, urls in settings.custom_routes.items():
        upstreams[CUSTOM + name] = Upstream(
            CUSTOM + name, urls, most_outstanding=settings.requests_per_replica
        )
    cache = AnswerCache(
        settings.redis_url.get_secret_value(),
        settings.redis_prefix,
        memory=settings.cache_memory,
    )
    key_file = os.environ.get("IDENTITY_PRIVATE_KEY_FILE")
    signer = IdentitySigner(
        settings.identity_private_key.get_secret_value(),
        file=Path(key_file) if key_file else None,
    )
    # Ready as soon as it listens: were it to ask the services, one that is away would take all down
    health = Health({})
    edge = Edge(settings, upstreams, cache, signer, health)
    runner = web.ServerRunner(
        EdgeServer(edge, settings), handle_signals=False, shutdown_timeout=settings.stop_after
    )
    for upstream in upstreams.values():
        await upstream.start()
    await runner.setup()
    try:
        yield runner, edge
    finally:
        health.draining = True
        edge.end_streams()
        await runner.cleanup()
        await edge.settled()
        for upstream in upstreams.values():
            await upstream.close()
        await cache.close()


async def serve(settings: Settings) -> None:
    """Listen on PORT, which replicas may share, OWN_PORT and SOCKET until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as (runner, _edge):
        shared = bool(settings.own_port)
        ports = (settings.port, settings.own_port) if shared else (settings.port,)
        for port in ports:
            listening = socket.create_server(
                (settings.host, port), backlog=1024, reuse_port=shared and port == settings.port
            )
            await web.SockSite(runner, listening).start()
        if settings.socket:
            # before the first request: nobody waits yet
            Path(settings.socket).unlink(missing_ok=True)  # noqa: ASYNC240 - at the start
            await web.UnixSite(runner, settings.socket, backlog=1024).start()
        log.info("serving", port=settings.port, own_port=settings.own_port)
        await stop.wait()
