"""Names a client may give to tables and columns. Source: contract 7.1, 7.2, reading 44."""

import re
from typing import Final

from shared.catalogue import SYSTEM_PREFIX
from shared.errors import InvalidRequest
from shared.sql import MAX_NAME_BYTES

_TABLE: Final = re.compile(r"[A-Za-z0-9_-]+")
_OTHERS: Final = re.compile(r"[^A-Za-z0-9_-]")


def new_table_name(given: object) -> str:
    """Raises InvalidRequest."""
    if not isinstance(given, str) or not _TABLE.fullmatch(given.strip()):
        raise InvalidRequest("Invalid table name", field="name")
    name = given.strip()
    if len(name) > MAX_NAME_BYTES or name.lower().startswith(SYSTEM_PREFIX):
        raise InvalidRequest("Invalid table name", field="name")
    return name


def new_column_name(given: object) -> str:
    """Other characters become ``_``, leading digits go. Raises InvalidRequest."""
    name = _OTHERS.sub("_", given.strip()).lstrip("0123456789") if isinstance(given, str) else ""
    if not name or len(name) > MAX_NAME_BYTES:
        raise InvalidRequest("Invalid column name", field="column_name")
    return name
