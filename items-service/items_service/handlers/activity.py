"""The activity over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.resources import files
from typing import Final

from aiohttp import web

from items_service.operations.feed import Feed
from shared.brackets import as_list
from shared.http import CONTEXT, read_query, respond
from shared.rows import entries
from shared.service import DATABASE, KNOWLEDGE

_DOCUMENT: Final = (files("items_service") / "asyncapi.json").read_bytes()
FEED: Final = web.AppKey("feed", Feed)


async def list_activity(request: web.Request) -> web.Response:
    answer = await entries.list_activity(
        request.app[DATABASE], request[CONTEXT], read_query(request)
    )
    return respond(request, answer)


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: ``id`` is the position, ``data`` a row of ``GET activity?after=``.

    Goes on after ``Last-Event-ID``, else after the parameter ``after``, else with what comes;
    ``tables`` names those of interest.
    """
    feed = request.app[FEED]
    query = read_query(request)
    after = request.headers.get("Last-Event-ID") or query.get("after") or None
    listener = await feed.listen(
        request[CONTEXT].principal,
        after=None if after is None else entries.position(after),
        tables=frozenset(as_list(query.get("tables"))) or None,
        cut=lambda: _cut(request),
    )
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    try:
        await response.prepare(request)
        with suppress(ConnectionError):  # the client left
            async for data in feed.events(listener):
                await response.write(data)
    finally:
        feed.leave(listener)
    return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def following(app: web.Application) -> AsyncIterator[None]:
    """The task behind all streams; they end before the server waits for its requests."""

    feed = app[FEED] = Feed(app[DATABASE], app[KNOWLEDGE])
    task = asyncio.create_task(feed.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def end_streams(app: web.Application) -> None:
    app[FEED].stop()


async def describe(_request: web.Request) -> web.Response:
    """The AsyncAPI document of the events on the bus."""
    return web.Response(body=_DOCUMENT, content_type="application/json")
