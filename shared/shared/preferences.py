"""How a user looks at a table: what is shown to whom has chosen nothing. Source: contract 7.8."""

from typing import Any, Final

from shared.catalogue import Table
from shared.rights import TableRights

_VISIBLE: Final = 6  # columns that a list shows when nobody has chosen
_FILE_PREFERENCES: Final = {
    "columns_visible": "name,title,caption,type,size,user,date_uploaded",
    "sort": "date_uploaded",
    "sort_order": "DESC",
}


def default_preferences(table: Table, rights: TableRights, user: int) -> dict[str, Any]:
    """What a user without stored preferences is shown."""
    special = {table.primary_key, table.status_column, table.sort_column}
    columns = [column for column in rights.readable() if column not in special]
    preferences: dict[str, Any] = {
        "id": None,
        "user": user,
        "table_name": table.name,
        "title": None,
        "columns_visible": ",".join(columns[:_VISIBLE]),
        "sort": table.sort_column or table.primary_key,
        "sort_order": "ASC",
        "status": "1,2",
        "search_string": None,
        "list_view_options": None,
    }
    return preferences | _FILE_PREFERENCES if table.name == "directus_files" else preferences


def usable_sort(table: Table, rights: TableRights, stored: str | None) -> str | None:
    """A sort column that is gone or hidden falls back to the key."""
    return stored if stored in rights.readable() else table.primary_key
