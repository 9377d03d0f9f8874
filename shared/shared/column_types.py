"""MySQL's column types, as the API names them, on PostgreSQL. Source: contract, list (b)."""

from enum import Enum


class Kind(Enum):
    """How a column's values behave: how they compare, what they take, how they are written as JSON."""

    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"  # JSON string with all its digits
    BOOLEAN = "boolean"  # JSON 0 or 1
    DATE = "date"
    DATETIME = "datetime"
    DATETIME_UTC = "datetime_utc"  # timestamptz
    TIME = "time"
    BYTES = "bytes"  # base64
    TEXT = "text"
    JSON = "json"  # shown as text
    ALIAS = "alias"  # no column in the database
