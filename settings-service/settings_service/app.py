"""What is connected to what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from settings_service.operations.mails import Sender
from settings_service.routes import ROUTES
from settings_service.settings import MailServer, Settings
from settings_service.store.mails import MailQueue
from shared.service import DATABASE, create_app


def make_app(settings: Settings) -> web.Application:
    url = settings.smtp_url.get_secret_value()
    server = MailServer.from_url(url) if url else None

    async def mails(app: web.Application) -> AsyncIterator[None]:
        sender = Sender(
            MailQueue(app[DATABASE]), server, settings.mail_from, settings.mail_interval
        )
        task = asyncio.create_task(sender.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return create_app(settings, ROUTES, contexts=[mails])
