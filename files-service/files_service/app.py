"""What is connected to what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import structlog
from aiohttp import web

from files_service.keys import CONTENTS
from files_service.operations.uploads import clear_abandoned
from files_service.routes import ROUTES
from files_service.settings import Settings
from files_service.store.contents import open_contents
from shared.errors import ApiError
from shared.service import DATABASE, create_app

log = structlog.get_logger(__name__)


def make_app(settings: Settings) -> web.Application:
    """Raises ValueError for a store that is not served."""

    async def sweeping(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_sweep(app, settings.sweep_every))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = create_app(settings, ROUTES, contexts=[sweeping])
    app[CONTENTS] = open_contents(
        settings.store_url, settings.store_access_key, settings.store_secret_key.get_secret_value()
    )
    return app


async def _sweep(app: web.Application, every: float) -> None:
    """Clear bytes that lost their record, or never got one, every so many seconds."""
    while True:
        await asyncio.sleep(every)
        try:
            cleared = await clear_abandoned(app[DATABASE], app[CONTENTS])
        except (ApiError, OSError) as error:
            log.warning("the sweep failed", reason=str(error))
        else:
            if cleared:
                log.info("cleared bytes without a record", count=cleared)
