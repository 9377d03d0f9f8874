"""What is connected to what."""

from collections.abc import AsyncIterator

from aiohttp import web

from auth_service.keys import HASHER, LIVES, PASSWORDS, TOKENS_PER_USER
from auth_service.operations.hashes import Hasher
from auth_service.operations.passwords import PasswordChecker
from auth_service.operations.sessions import Lives
from auth_service.routes import ROUTES
from auth_service.settings import Settings
from shared.service import create_app


def make_app(settings: Settings) -> web.Application:
    passwords = PasswordChecker(settings.hashing_threads)
    hasher = Hasher(settings.hashes_per_second)

    async def hashing(_app: web.Application) -> AsyncIterator[None]:
        yield
        passwords.close()
        hasher.close()

    app = create_app(settings, ROUTES, contexts=[hashing])
    app[PASSWORDS] = passwords
    app[HASHER] = hasher
    app[LIVES] = Lives(settings.access_life, settings.refresh_life)
    app[TOKENS_PER_USER] = settings.tokens_per_user
    return app
