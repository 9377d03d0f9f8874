"""What is connected to what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog
from aiohttp import web

from files_service.keys import ACCESS, CONTENTS, LIMITS, RULES, THUMBNAILS
from files_service.operations import resumable
from files_service.operations.access import Access
from files_service.operations.exports import store_next_export
from files_service.operations.limits import Limits
from files_service.operations.resumable import Rules
from files_service.operations.thumbnails import Thumbnails
from files_service.operations.uploads import ABANDONED_AFTER, clear_abandoned
from files_service.routes import ROUTES
from files_service.settings import Settings
from files_service.store.contents import Contents, open_contents
from shared.errors import ApiError
from shared.service import CHANGES, DATABASE, create_app

_LOOK_EVERY: Final = 1.0  # seconds

log = structlog.get_logger(__name__)


def make_app(settings: Settings) -> web.Application:
    """Raises ValueError for a store that is not served."""

    async def sweeping(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(app, settings.sweep_every))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def thumbnails(app: web.Application) -> AsyncIterator[None]:
        app[THUMBNAILS] = made = Thumbnails(
            app[DATABASE],
            app[CONTENTS],
            workers=settings.thumbnail_workers,
            pixel_limit=settings.pixel_limit,
        )
        yield
        await made.close()

    async def exporting(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_store_exports(app))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    contents = contents_of(settings)
    app = create_app(
        settings,
        ROUTES,
        contexts=[thumbnails, sweeping, exporting],
        parts={"uploads": contents.check_room},
    )
    app[CONTENTS] = contents
    app[ACCESS] = Access(public=settings.public_files)
    app[LIMITS] = Limits(settings.upload_limit, settings.upload_count, settings.body_limit)
    app[RULES] = Rules(app[LIMITS], settings.part_size, timedelta(seconds=settings.resumable_life))
    return app


def contents_of(settings: Settings) -> Contents:
    """Raises ValueError for a store that is not served."""
    return open_contents(
        settings.store_url,
        settings.store_access_key,
        settings.store_secret_key.get_secret_value(),
        reserve=settings.upload_reserve,
    )


async def _sweep(app: web.Application, every: float) -> None:
    """Clear bytes that lost their record, or never got one, every so many seconds."""
    while True:
        await asyncio.sleep(every)
        try:
            cleared = await clear_abandoned(app[DATABASE], app[CONTENTS])
            cleared += await resumable.clear_expired(app[DATABASE], app[CONTENTS])
            cleared += await app[CONTENTS].tidy(ABANDONED_AFTER.total_seconds())
        except (ApiError, OSError) as error:
            log.warning("the sweep failed", reason=str(error))
        else:
            if cleared:
                log.info("cleared bytes without a record", count=cleared)


async def _store_exports(app: web.Application) -> None:
    """Take exports into the library as they are made."""
    while True:
        try:
            found = await store_next_export(app[CHANGES], app[CONTENTS])
        except (ApiError, OSError) as error:
            log.warning("an export waits for its place in the library", reason=str(error))
            found = False
        if not found:
            await asyncio.sleep(_LOOK_EVERY)
