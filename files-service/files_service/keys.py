"""What this service's handlers find in the application."""

from typing import Final

from aiohttp import web

from files_service.store.contents import Contents

CONTENTS: Final[web.AppKey[Contents]] = web.AppKey("contents", Contents)
