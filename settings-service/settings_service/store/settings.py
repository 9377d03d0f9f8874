"""Rows of directus_settings."""

from collections.abc import Mapping
from typing import Final

from shared.changes import Change
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("settings_service.store", "settings.sql")


async def upsert(change: Change, collection: str, values: Mapping[str, str]) -> None:
    await change.execute(
        fixed(QUERIES["upsert"], collection, list(values.keys()), list(values.values()))
    )
