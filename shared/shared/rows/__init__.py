"""Rows of any table: the road of every list, item and change, in every service.

parse.py      parameters → ListQuery   what was asked; knows no schema
plan.py       ListQuery → ReadPlan     what may be read; names checked against schema and rights
compile.py    ReadPlan → Sql           how PostgreSQL reads it
read.py       runs them, answers lists and items
change.py     the operations that write;   bodies.py  what a request says of rows
writer.py     who writes to a table;   may_write.py, refusals.py  what he may, and why not
plain_rows.py, system_rows.py   what is written, of any table and of Directoire's own
write.py      → Sql, one statement a write
nested.py     related rows in bodies;  sent_files.py   files in bodies
relations.py, embed.py   related rows in answers
access.py     what a caller may look into;   through.py   conditions on other tables
operators.py  the table of filters;    values.py  text and JSON as values of a column's type
"""

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from shared.answers import Answer
from shared.brackets import Query
from shared.changes import Changes
from shared.context import Context
from shared.rows.change import delete_row, delete_rows
from shared.rows.nested import create_row, create_rows, update_row, update_rows
from shared.rows.read import get_row, list_rows


class Operation(Protocol):
    """A write on a table with a body."""

    def __call__(
        self,
        changes: Changes,
        context: Context,
        table: str,
        body: Mapping[str, Any],
        *,
        query: Query,
    ) -> Awaitable[Answer]: ...


__all__ = [
    "Operation",
    "create_row",
    "create_rows",
    "delete_row",
    "delete_rows",
    "get_row",
    "list_rows",
    "update_row",
    "update_rows",
]
