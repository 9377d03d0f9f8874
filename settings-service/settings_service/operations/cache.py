"""Clearing what is remembered outside PostgreSQL, everywhere, before the reply."""

from settings_service.store.versions import bump_all
from shared.changes import Changes
from shared.context import Context
from shared.errors import Forbidden
from shared.stamps import ALL


async def clear_cache(changes: Changes, context: Context, *, system: bool) -> None:
    """Void every answer and principal; with ``system`` the catalogue, rights and settings too.

    Nothing is deleted: entries, principals and what services remember are of older stamps or
    versions from here on, and the next request of each replica loads anew. Raises Forbidden.
    """
    if not context.principal.is_admin:
        raise Forbidden
    async with changes.transaction(context.actor) as change:
        change.touch(ALL)
        if system:
            await bump_all(change)
