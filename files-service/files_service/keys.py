"""What this service's handlers find in the application."""

from typing import Final

from aiohttp import web

from files_service.operations.access import Access
from files_service.operations.limits import Limits
from files_service.operations.resumable import Rules
from files_service.operations.thumbnails import Thumbnails
from files_service.store.contents import Contents

CONTENTS: Final[web.AppKey[Contents]] = web.AppKey("contents", Contents)
LIMITS: Final = web.AppKey("limits", Limits)
RULES: Final = web.AppKey("rules", Rules)
THUMBNAILS: Final = web.AppKey("thumbnails", Thumbnails)
ACCESS: Final = web.AppKey("access", Access)
