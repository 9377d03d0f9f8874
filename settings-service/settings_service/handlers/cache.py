"""``utils/cache/clear``."""

from aiohttp import web

from settings_service.operations.cache import clear_cache
from shared.http import CONTEXT, no_content, read_query
from shared.service import CHANGES


async def clear(request: web.Request) -> web.Response:
    """Any text of ``system`` is a yes, a bare key too: so the modern servers read it."""
    system = "system" in read_query(request)
    await clear_cache(request.app[CHANGES], request[CONTEXT], system=system)
    return no_content()
