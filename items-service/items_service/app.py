"""What is connected to what."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from items_service.handlers import activity
from items_service.handlers.files_client import FilesClient
from items_service.keys import BULK, IMPORT_LIMIT, IMPORTS
from items_service.operations.jobs import JobRunner
from items_service.routes import ROUTES
from items_service.settings import Settings
from shared.changes import Changes
from shared.database import Database
from shared.idempotency import Idempotency
from shared.service import DATABASE, FILES, KNOWLEDGE, LEASES, create_app
from shared.stamps import Invalidation, note_reader


def make_app(settings: Settings) -> web.Application:
    # long transactions of few callers must not take the connections of all others
    database = Database(
        settings.database_url.get_secret_value(),
        size=3 * settings.imports,
        statement_timeout=settings.bulk_statement_timeout,
        application="directoire bulk",
    )
    invalidation = Invalidation(
        settings.redis_url.get_secret_value(), settings.redis_prefix, note=note_reader(database)
    )

    async def bulk(app: web.Application) -> AsyncIterator[None]:
        runner = JobRunner(app[BULK], app[DATABASE], app[KNOWLEDGE], settings.imports)
        task = asyncio.create_task(runner.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await invalidation.close()
        await database.close()

    app = create_app(settings, ROUTES, contexts=[activity.following, bulk])
    app[BULK] = Changes(database, invalidation)
    app[IMPORT_LIMIT] = settings.import_limit
    app[LEASES] = Idempotency(app[BULK])
    app[IMPORTS] = asyncio.Semaphore(settings.imports)
    if settings.files_urls:
        files = FilesClient(settings.files_urls)
        app[FILES] = files.on_behalf
        app.on_cleanup.append(lambda _app: files.close())
    app.on_shutdown.append(activity.end_streams)
    return app
