"""What this service's handlers find in the application."""

from typing import Final

from aiohttp import web

from auth_service.operations.hashes import Hasher
from auth_service.operations.passwords import PasswordChecker
from auth_service.operations.sessions import Lives

PASSWORDS: Final = web.AppKey("passwords", PasswordChecker)
TOKENS_PER_USER: Final = web.AppKey("tokens_per_user", int)
HASHER: Final = web.AppKey("hasher", Hasher)
LIVES: Final = web.AppKey("lives", Lives)
