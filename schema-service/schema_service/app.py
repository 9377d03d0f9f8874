"""What is connected to what."""

from aiohttp import web

from schema_service.routes import ROUTES
from schema_service.settings import Settings
from shared.service import create_app


def make_app(settings: Settings) -> web.Application:
    return create_app(settings, ROUTES)
