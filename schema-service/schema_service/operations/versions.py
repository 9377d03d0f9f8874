"""The versions of tables and columns, for their tags and for If-Match."""

from dataclasses import asdict, fields
from typing import Any

from schema_service.store.schema import Version
from shared.catalogue import Catalogue, Column, Table
from shared.context import Context
from shared.preconditions import state_version


def of_table(context: Context, name: str) -> Version:
    """None where there is no such table."""

    def version(catalogue: Catalogue) -> str | None:
        table = catalogue.table(name)
        return None if table is None else table_version(context, table)

    return version


def of_column(table_name: str, name: str) -> Version:
    """None where there is no such column."""

    def version(catalogue: Catalogue) -> str | None:
        table = catalogue.table(table_name)
        column = None if table is None else table.columns.get(name)
        return None if column is None else column_version(column)

    return version


def nothing(_catalogue: Catalogue) -> None:
    """Of what is to be made: that its name is free, its making tells."""


def table_version(context: Context, table: Table) -> str:
    """Of the table and those of its columns that the caller may know of; of others, nothing."""
    # what a write elsewhere may reach is another table's affair
    own = {
        f.name: getattr(table, f.name) for f in fields(table) if not f.name.startswith("closure")
    }
    columns = [_state(column) for column in context.rights.of(table).readable().values()]
    return state_version({**own, "columns": columns})


def column_version(column: Column) -> str:
    return state_version(_state(column))


def _state(column: Column) -> dict[str, Any]:
    return asdict(column)
