"""What is connected to what."""

from aiohttp import web

from items_service.handlers import activity
from items_service.routes import ROUTES
from items_service.settings import Settings
from shared.service import create_app


def make_app(settings: Settings) -> web.Application:
    app = create_app(settings, ROUTES, contexts=[activity.following])
    app.on_shutdown.append(activity.end_streams)
    return app
