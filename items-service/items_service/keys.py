"""What this service's handlers find in the application."""

import asyncio
from typing import Final

from aiohttp import web

from shared.changes import Changes

BULK: Final = web.AppKey("bulk", Changes)  # connections of their own, for what takes long
IMPORT_LIMIT: Final = web.AppKey("import_limit", int)  # bytes
IMPORTS: Final = web.AppKey("imports", asyncio.Semaphore)
