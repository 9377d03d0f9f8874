"""Tables and columns as the API shows them: the union of 1.0 and 1.1. Source: readings 15 to 17."""

from collections.abc import Mapping
from typing import Any

from shared.catalogue import Column, Table
from shared.column_types import default_ui
from shared.context import Context
from shared.rights import TableRights
from shared.versions import ApiVersion


def describe_column(table: Table, column: Column, version: ApiVersion) -> dict[str, Any]:
    system = column.name in {table.primary_key, table.status_column, table.sort_column}
    described: dict[str, Any] = {
        "id": column.name,
        "name": column.name,
        "column_name": column.name,
        "table_name": table.name,
        "type": column.data_type,
        "data_type": column.data_type,
        "length": column.char_length,
        "precision": column.precision,
        "scale": column.scale,
        "column_type": column.column_type,
        "is_nullable": "YES" if column.nullable else "NO",
        "nullable": column.nullable,
        "key": column.key,
        "extra": "auto_increment" if column.auto_increment else "",
        "extra_options": [],
        "comment": column.comment,
        "sort": column.position if column.sort is None else column.sort,
        "system": system,
        "master": False,
        "hidden_list": column.hidden_list,
        "hidden_input": column.hidden_input,
        "required": _required(table, column, version),
        "is_writable": not column.generated,
        "ui": column.ui or default_ui(column.data_type),
        "options": dict(column.options) or [],
        **_relationship(column),
    }
    if column.char_length is not None:
        described["char_length"] = column.char_length
    if column.default is not None or version is ApiVersion.V1_1:
        described["default_value"] = column.default
    if system:
        described["hidden"] = True
    return described


def _required(table: Table, column: Column, version: ApiVersion) -> bool:
    if column.required or column.name == table.primary_key:
        return True
    unfilled = not column.nullable and column.default is None and not column.auto_increment
    return unfilled and version is ApiVersion.V1_0


def _relationship(column: Column) -> dict[str, Any]:
    names = ("related_table", "junction_table", "junction_key_left", "junction_key_right")
    found = column.relationship
    if found is None:
        return {"relationship": None, "relationship_type": None, **dict.fromkeys(names)}
    keys = {name: getattr(found, name) for name in names}
    return {"relationship": {"type": found.type, **keys}, "relationship_type": found.type, **keys}


def describe_columns(
    table: Table, rights: TableRights, version: ApiVersion
) -> list[dict[str, Any]]:
    """The columns the caller may know of."""
    return [describe_column(table, column, version) for column in rights.readable().values()]


def describe_table(
    context: Context,
    table: Table,
    rights: TableRights,
    counts: Mapping[str, int],
    preferences: Mapping[str, Any],
) -> dict[str, Any]:
    """``counts`` maps stored statuses to numbers of rows, '' for rows without one."""
    total = sum(counts.values())
    created = table.date_created
    return {
        "id": table.name,
        "name": table.name,
        "table_name": table.name,
        "schema": context.catalogue.schema_name,
        "date_created": created.strftime("%Y-%m-%d %H:%M:%S") if created else None,
        "created_at": created.isoformat() if created else None,
        "comment": table.comment,
        "hidden": table.hidden,
        "single": table.single,
        "is_junction_table": table.is_junction_table,
        "user_create_column": table.user_create_column,
        "user_update_column": table.user_update_column,
        "date_create_column": table.date_create_column,
        "date_update_column": table.date_update_column,
        "footer": table.footer,
        "primary_column": table.primary_column or table.primary_key,
        "sort_column": table.sort_column,
        "status_column": table.status_column,
        "status_mapping": None,
        "default_status": table.default_status,
        "list_view": table.list_view,
        "column_groupings": table.column_groupings,
        "filter_column_blacklist": table.filter_column_blacklist,
        "display_template": table.display_template,
        "preview_url": table.preview_url,
        "require_if_match": table.require_if_match,
        "count": total,
        "row_count": total,
        "active": counts.get("1", 0),
        "inactive": counts.get("2", 0),
        "trash": 0,
        "columns": describe_columns(table, rights, context.version),
        "preferences": dict(preferences),
    }
