"""What the body of a request says of rows.

A key that names a write-protected column refuses the whole write; unknown keys are ignored, or
refused under ``Prefer: handling=strict`` (reading 54). Columns that the server fills in by itself
are ignored in a body (reading 56).
"""

from collections.abc import Mapping
from typing import Any, Final

from shared.catalogue import Column
from shared.errors import Forbidden, InvalidRequest
from shared.rows.refusals import no_record
from shared.rows.values import Unfit, compared, comparison_type, stored
from shared.rows.writer import Writer

MAX_BULK: Final = 10_000  # rows of one bulk request

Body = Mapping[str, Any]


def rows_of(body: Body) -> list[Body]:
    rows = body.get("rows")
    if isinstance(rows, dict):  # a form: rows[0][title]=…
        rows = list(rows.values())
    if not rows or not isinstance(rows, list):
        raise InvalidRequest("Rows no specified", field="rows")
    if len(rows) > MAX_BULK:
        raise InvalidRequest(f"rows has more than {MAX_BULK} entries", field="rows")
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidRequest("each of rows is an object", field="rows")
    return rows


def body_key(to: Writer, row: Body) -> object:
    given = row.get(to.key.name)
    if given is None or given == "":
        raise InvalidRequest("Row without primary key field", field=to.key.name)
    value = key_value(to, given)
    if value is None:
        raise no_record(to, given)
    return value


def checked(to: Writer, body: Body) -> dict[str, Any]:
    """The part of a body that is for this table, not yet cast.

    Raises Forbidden for a write-protected key, InvalidRequest for rows given to a relation and,
    under strict handling, for keys that would be ignored.
    """
    values: dict[str, Any] = {}
    virtual = to.system.virtual if to.system is not None else frozenset[str]()
    computed: Mapping[str, Any] = to.system.computed if to.system is not None else {}
    automatic = to.table.automatic_columns
    for name, value in body.items():
        column = to.table.columns.get(name)
        if name in to.rights.write_blacklist and (column or name in virtual or name in computed):
            raise Forbidden(f'Permission denied: the column "{name}" is protected', field=name)
        if name in virtual:
            values[name] = value
        elif column is None or column.generated or name in automatic:
            if to.strict:
                raise InvalidRequest(f'the body names "{name}", which cannot be set', field=name)
        elif column.is_alias:
            if value:
                message = f'the column "{name}" takes no rows in a body'
                raise InvalidRequest(message, field=name)
        elif name != to.key.name or (value is not None and value != ""):
            values[name] = value
    return values


def cast(to: Writer, values: Body) -> dict[str, object]:
    return {name: stored(to.table.columns[name], value) for name, value in values.items()}


def key_value(to: Writer, given: Any) -> object | None:
    """A key as its column holds it; None for what no row can have."""
    return value_of(to.key, given)


def value_of(key: Column, given: Any) -> object | None:
    text = given if isinstance(given, str) else str(given)
    try:
        pg_type, value = compared(key, text)
    except Unfit:
        return None
    return value if pg_type == comparison_type(key) else None
