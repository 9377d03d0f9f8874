"""Rows of directus_preferences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.changes import Change
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("settings_service.store", "preferences.sql")
CHOICES: Final = (
    "columns_visible",
    "sort",
    "sort_order",
    "status",
    "search_string",
    "list_view_options",
)


@dataclass(frozen=True, slots=True)
class View:
    """Which row: of one user and table, the untitled one or one by its title."""

    user: int
    table: str
    title: str | None


async def save(
    change: Change, view: View, chosen: Mapping[str, str | None], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """``chosen`` names some of CHOICES; what it leaves out a stored row keeps, a new one takes from
    ``defaults``. Returns the row.
    """
    values = [{**defaults, **chosen}[name] for name in CHOICES]
    row = await change.fetchrow(
        fixed(QUERIES["save"], view.user, view.table, view.title, *values, list(chosen))
    )
    assert row is not None
    change.touch("t:directus_preferences")
    return dict(row)
