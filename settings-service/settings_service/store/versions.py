"""The versions of what every process remembers."""

from typing import Final

from shared.changes import Change
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("settings_service.store", "versions.sql")


async def bump_all(change: Change) -> None:
    await change.execute(fixed(QUERIES["bump_all"]))
