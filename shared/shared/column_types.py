"""MySQL's column types, as the API names them, on PostgreSQL. Source: contract, list (b).

Two tables: ``_DECLARED`` for types a client names, ``_FOREIGN`` for columns made by plain SQL.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import LiteralString

from shared.sql import EMPTY, Sql, join, literal, raw


class Kind(Enum):
    """How a column's values behave: how they compare, what they take, what JSON they become."""

    INTEGER = "integer"  # takes true, on … as 1: MySQL's booleans are numbers
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


class BadType(ValueError):
    """A type or a length that cannot be meant; the message may be shown."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A column's type as the API tells it."""

    data_type: str  # upper case: VARCHAR
    column_type: str | None  # MySQL's full spelling: varchar(255)
    char_length: str | None = None
    precision: int | None = None
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A declared type: what to report, and what to create.

    ``stored`` is what directus_columns.data_type keeps, ``length`` its char_length.
    ``check`` makes the condition of a CHECK from the quoted column name; may be EMPTY.
    """

    reported: Reported
    definition: Sql
    pg_type: str
    stored: str
    length: str | None
    check: Callable[[Sql], Sql]
    automatic_default: Sql = EMPTY


ALIASES = frozenset({"ALIAS", "ONETOMANY", "MANYTOMANY"})
CURRENT_TIMESTAMP = "CURRENT_TIMESTAMP"
# MySQL's TIMESTAMP is UTC inside; a bare CURRENT_TIMESTAMP would follow the session's zone.
_NOW = raw("timezone('utc', now())")


def is_alias(data_type: str) -> bool:
    """Whether this type, or relationship, has no column in the database."""
    return data_type.strip().upper() in ALIASES


# ── declared ──────────────────────────────────────────────────────────────────────────────────────

_Make = Callable[[str | None, bool], ColumnType]  # (length, unsigned)


def _no_check(_column: Sql) -> Sql:
    return EMPTY


def _number(length: str | None, name: str) -> int | None:
    if length is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) == 0:
        raise BadType(f'"{length}" is no length of a column of type {name}')
    return int(length)


@dataclass(frozen=True, slots=True)
class _Whole:
    """An integer type on PostgreSQL, with the larger one that holds MySQL's unsigned range."""

    pg_type: str
    definition: LiteralString
    unsigned_pg_type: str
    unsigned_definition: LiteralString
    unsigned_check: LiteralString


_INT2 = _Whole("int2", "smallint", "int2", "smallint", " BETWEEN 0 AND 255")
_INT2_LARGE = _Whole("int2", "smallint", "int4", "integer", " BETWEEN 0 AND 65535")
_INT4 = _Whole("int4", "integer", "int8", "bigint", " BETWEEN 0 AND 4294967295")
_INT4_SMALL = _Whole("int4", "integer", "int4", "integer", " BETWEEN 0 AND 16777215")
_INT8 = _Whole("int8", "bigint", "int8", "bigint", " >= 0")


def _integer(name: str, whole: _Whole, width: int, precision: int) -> _Make:
    def make(length: str | None, unsigned: bool) -> ColumnType:
        shown = f"{name.lower()}({_number(length, name) or width})"
        return ColumnType(
            reported=Reported(
                name, f"{shown} unsigned" if unsigned else shown, length, precision, 0
            ),
            definition=raw(whole.unsigned_definition if unsigned else whole.definition),
            pg_type=whole.unsigned_pg_type if unsigned else whole.pg_type,
            stored=f"{name} UNSIGNED" if unsigned else name,
            length=length,
            check=(lambda column: column + raw(whole.unsigned_check)) if unsigned else _no_check,
        )

    return make


def _plain(
    name: str,
    pg_type: str,
    definition: LiteralString,
    *,
    char_length: str | None = None,
    shown: str | None = None,
    default: Sql = EMPTY,
) -> _Make:
    """A type without a length of its own; one that is given is dropped."""

    def make(_length: str | None, _unsigned: bool) -> ColumnType:
        return ColumnType(
            reported=Reported(name, shown or name.lower(), char_length),
            definition=raw(definition),
            pg_type=pg_type,
            stored=name,
            length=None,
            check=_no_check,
            automatic_default=default,
        )

    return make


def _characters(name: str, default: int, largest: int) -> _Make:
    def make(length: str | None, _unsigned: bool) -> ColumnType:
        n = _number(length, name) or default
        if n > largest:
            raise BadType(f"a column of type {name} holds at most {largest} characters")
        return ColumnType(
            reported=Reported(name, f"{name.lower()}({n})", str(n)),
            definition=raw("varchar(") + _digits(n) + raw(")"),
            pg_type="varchar",
            stored=name,
            length=str(n),
            check=_no_check,
        )

    return make


def _digits(n: int) -> Sql:
    """A number in a type's brackets, where no parameter may stand."""
    return Sql((str(int(n)),))


def _decimal(length: str | None, _unsigned: bool) -> ColumnType:
    match = re.fullmatch(r"\s*([0-9]{1,2})\s*(?:,\s*([0-9]{1,2})\s*)?", length or "10")
    precision, scale = (int(match[1]), int(match[2] or 0)) if match else (0, 0)
    if not 1 <= precision <= 65 or scale > min(30, precision):
        raise BadType(f'"{length}" is no length of a column of type DECIMAL')
    shown = f"{precision},{scale}"
    return ColumnType(
        reported=Reported("DECIMAL", f"decimal({shown})", shown, precision, scale),
        definition=raw("numeric(") + _digits(precision) + raw(",") + _digits(scale) + raw(")"),
        pg_type="numeric",
        stored="DECIMAL",
        length=shown,
        check=_no_check,
    )


def _choices(length: str | None, name: str) -> list[str]:
    """The values of an ENUM or SET: ``a,b`` or, as MySQL writes it, ``'a','b'``."""
    if length is None or not length.strip():
        raise BadType(f"a column of type {name} needs its values as its length: a,b,c")
    quoted = re.fullmatch(r"\s*'(?:[^']|'')*'\s*(,\s*'(?:[^']|'')*'\s*)*", length)
    if quoted:
        values = [value.replace("''", "'") for value in re.findall(r"'((?:[^']|'')*)'", length)]
    else:
        values = [value.strip() for value in length.split(",")]
    return list(dict.fromkeys(values))


def _spelled(choices: Sequence[str]) -> str:
    return ",".join("'" + choice.replace("'", "''") + "'" for choice in choices)


def _enum(length: str | None, _unsigned: bool) -> ColumnType:
    choices = _choices(length, "ENUM")
    listed = join(", ", [literal(choice) for choice in choices])
    return ColumnType(
        reported=Reported("ENUM", f"enum({_spelled(choices)})", str(max(map(len, choices)))),
        definition=raw("varchar"),
        pg_type="varchar",
        stored="ENUM",
        length=_spelled(choices),
        check=lambda column: column + raw(" IN (") + listed + raw(")"),
    )


def _set(length: str | None, _unsigned: bool) -> ColumnType:
    choices = _choices(length, "SET")
    if any("," in choice for choice in choices):
        raise BadType("a value of a SET holds no comma")
    listed = join(", ", [literal(choice) for choice in choices])
    return ColumnType(
        reported=Reported("SET", f"set({_spelled(choices)})", str(len(",".join(choices)))),
        definition=raw("text"),
        pg_type="text",
        stored="SET",
        length=_spelled(choices),
        check=lambda column: (
            raw("string_to_array(") + column + raw(", ',') <@ ARRAY[") + listed + raw("]::text[]")
        ),
    )


_DECLARED: Mapping[str, _Make] = {
    "INT": _integer("INT", _INT4, 11, 10),
    "INTEGER": _integer("INT", _INT4, 11, 10),
    "BIGINT": _integer("BIGINT", _INT8, 20, 19),
    "MEDIUMINT": _integer("MEDIUMINT", _INT4_SMALL, 9, 7),
    "SMALLINT": _integer("SMALLINT", _INT2_LARGE, 6, 5),
    "TINYINT": _integer("TINYINT", _INT2, 1, 3),
    "BOOLEAN": _integer("TINYINT", _INT2, 1, 3),
    "BOOL": _integer("TINYINT", _INT2, 1, 3),
    "BIT": _integer("BIT", _INT2, 1, 1),
    "YEAR": _integer("YEAR", _INT2, 4, 4),
    "FLOAT": _plain("FLOAT", "float8", "double precision"),
    "DOUBLE": _plain("DOUBLE", "float8", "double precision"),
    "REAL": _plain("DOUBLE", "float8", "double precision"),
    "DECIMAL": _decimal,
    "NUMERIC": _decimal,
    "CHAR": _characters("CHAR", 1, 255),
    "VARCHAR": _characters("VARCHAR", 255, 65535),
    "TINYTEXT": _plain("TINYTEXT", "text", "text", char_length="255"),
    "TEXT": _plain("TEXT", "text", "text", char_length="65535"),
    "MEDIUMTEXT": _plain("MEDIUMTEXT", "text", "text", char_length="16777215"),
    "LONGTEXT": _plain("LONGTEXT", "text", "text", char_length="4294967295"),
    "DATE": _plain("DATE", "date", "date"),
    "DATETIME": _plain("DATETIME", "timestamp", "timestamp(0)"),
    "TIMESTAMP": _plain("TIMESTAMP", "timestamp", "timestamp(0)", default=_NOW),
    "TIME": _plain("TIME", "time", "time(0)"),
    "ENUM": _enum,
    "SET": _set,
    "TINYBLOB": _plain("TINYBLOB", "bytea", "bytea"),
    "BLOB": _plain("BLOB", "bytea", "bytea"),
    "MEDIUMBLOB": _plain("MEDIUMBLOB", "bytea", "bytea"),
    "LONGBLOB": _plain("LONGBLOB", "bytea", "bytea"),
    "POINT": _plain("POINT", "text", "text"),
}

_SPELLING = re.compile(
    r"\s*([A-Za-z]+)\s*(?:\((.*)\))?\s*(unsigned)?\s*", re.IGNORECASE | re.DOTALL
)


def declare(data_type: str, length: str | None = None) -> ColumnType:
    """The type a client named, in whatever case; also as ``varchar(50)`` or ``INT unsigned``.

    ``length`` wins over one in brackets. Raises BadType.
    """
    match = _SPELLING.fullmatch(data_type)
    make = _DECLARED.get(match[1].upper()) if match else None
    if match is None or make is None:
        raise BadType(f'"{data_type}" is no type of a column')
    given = length if length is not None and length.strip() else match[2]
    return make(given.strip() if given else None, match[3] is not None)


def default_clause(declared: ColumnType, value: str | None) -> Sql:
    """What stands after DEFAULT, or EMPTY. PostgreSQL refuses a text its type cannot read."""
    if value is None:
        return declared.automatic_default
    if declared.pg_type == "timestamp" and value.upper().rstrip("()") in {CURRENT_TIMESTAMP, "NOW"}:
        return _NOW
    if declared.pg_type.startswith("int") and value.lower() in {"true", "false"}:
        return raw("1") if value.lower() == "true" else raw("0")
    return literal(value)


# ── foreign ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Found:
    """A column's type as PostgreSQL's catalogue has it; a domain is replaced by its base type."""

    pg_type: str  # typname
    typmod: int = -1
    labels: tuple[str, ...] = ()  # of an enum type


@dataclass(frozen=True, slots=True)
class _Foreign:
    kind: Kind
    report: Callable[[Found], Reported]


def _as(reported: Reported, kind: Kind) -> _Foreign:
    return _Foreign(kind, lambda _found: reported)


def _found_characters(name: str) -> Callable[[Found], Reported]:
    def report(found: Found) -> Reported:
        if found.typmod < 4:  # typmod counts four bytes of length header
            return Reported(name, name.lower())
        n = found.typmod - 4
        return Reported(name, f"{name.lower()}({n})", str(n))

    return report


def _found_decimal(found: Found) -> Reported:
    if found.typmod < 4:
        return Reported("DECIMAL", "decimal")
    packed = found.typmod - 4  # precision << 16 | scale, the scale signed in 11 bits
    precision, scale = packed >> 16, ((packed & 0x7FF) ^ 1024) - 1024
    shown = f"{precision},{scale}"
    return Reported("DECIMAL", f"decimal({shown})", shown, precision, scale)


_TEXT = Reported("TEXT", "text", "65535")
_DATETIME = Reported("DATETIME", "datetime")

_FOREIGN: Mapping[str, _Foreign] = {
    "int4": _as(Reported("INT", "int(11)", None, 10, 0), Kind.INTEGER),
    "int8": _as(Reported("BIGINT", "bigint(20)", None, 19, 0), Kind.INTEGER),
    "int2": _as(Reported("SMALLINT", "smallint(6)", None, 5, 0), Kind.INTEGER),
    "bool": _as(Reported("TINYINT", "tinyint(1)", None, 3, 0), Kind.BOOLEAN),
    "float4": _as(Reported("FLOAT", "float"), Kind.FLOAT),
    "float8": _as(Reported("DOUBLE", "double"), Kind.FLOAT),
    "numeric": _Foreign(Kind.DECIMAL, _found_decimal),
    "varchar": _Foreign(Kind.TEXT, _found_characters("VARCHAR")),
    "bpchar": _Foreign(Kind.TEXT, _found_characters("CHAR")),
    "text": _as(_TEXT, Kind.TEXT),
    "date": _as(Reported("DATE", "date"), Kind.DATE),
    "timestamp": _as(_DATETIME, Kind.DATETIME),
    "timestamptz": _as(_DATETIME, Kind.DATETIME_UTC),
    "time": _as(Reported("TIME", "time"), Kind.TIME),
    "timetz": _as(Reported("TIME", "time"), Kind.TIME),
    "bytea": _as(Reported("BLOB", "blob"), Kind.BYTES),
    "json": _as(_TEXT, Kind.JSON),
    "jsonb": _as(_TEXT, Kind.JSON),
    "uuid": _as(Reported("CHAR", "char(36)", "36"), Kind.TEXT),
}
_OTHER = _as(_TEXT, Kind.TEXT)


def kind_of(found: Found) -> Kind:
    """The kind follows what the column is, never what the metadata calls it."""
    return _FOREIGN.get(found.pg_type, _OTHER).kind


@lru_cache(maxsize=4096)
def report(found: Found, data_type: str | None, char_length: str | None) -> Reported:
    """The type to tell: the declared one where it still fits the column, else a derived one."""
    foreign = _reported_foreign(found)
    if data_type is None:
        return foreign
    try:
        declared = declare(data_type, char_length)
    except BadType:
        return foreign
    if declared.pg_type != found.pg_type:
        return foreign
    if declared.reported.data_type in {"VARCHAR", "CHAR", "DECIMAL"} and foreign.char_length:
        return declare(declared.stored, foreign.char_length).reported
    return declared.reported


def _reported_foreign(found: Found) -> Reported:
    if found.labels:
        longest = str(max(map(len, found.labels)))
        return Reported("ENUM", f"enum({_spelled(found.labels)})", longest)
    return _FOREIGN.get(found.pg_type, _OTHER).report(found)


_NOW_CALLS = re.compile(
    r"now\(\)|current_timestamp.*|localtimestamp.*|current_date|current_time.*|localtime.*"
    r"|clock_timestamp\(\)|statement_timestamp\(\)|transaction_timestamp\(\)"
    r"|timezone\('utc'(::text)?, now\(\)\)|\(now\(\) at time zone 'utc'(::text)?\)",
    re.IGNORECASE,
)
_CAST = re.compile(r"::[a-z_ \"]+(\([0-9, ]+\))?(\[\])?$", re.IGNORECASE)


@lru_cache(maxsize=4096)
def default_text(expression: str | None) -> str | None:
    """A default as MySQL would show it: ``'2'::smallint`` is 2. Expressions stay as they are."""
    if expression is None or expression.lower().startswith("nextval("):
        return None
    bare = _without_casts(expression)
    if bare.upper() == "NULL":
        return None
    if _NOW_CALLS.fullmatch(bare):
        return CURRENT_TIMESTAMP
    if bare.lower() in {"true", "false"}:
        return "1" if bare.lower() == "true" else "0"
    quoted = re.fullmatch(r"(E?)'((?:[^']|'')*)'", bare, re.DOTALL)
    if quoted:
        text = quoted[2].replace("''", "'")
        return text.replace("\\\\", "\\") if quoted[1] else text
    return bare


def _without_casts(expression: str) -> str:
    bare = expression
    while True:
        inner = _CAST.sub("", bare)
        if re.fullmatch(r"\(-?[0-9.]+\)", inner):
            inner = inner[1:-1]
        if inner == bare:
            return bare
        bare = inner


# ── the interface shown when none is stored (V63) ────────────────────────────────────────────────

_TEXTINPUT = ("CHAR", "VARCHAR", "ENUM", "SET", "POINT")
_TEXTAREA = ("TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT")
_BLOBS = ("TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB")
_DEFAULT_UI: Mapping[str, str] = {
    "TINYINT": "checkbox",
    **dict.fromkeys(_TEXTAREA, "textarea"),
    **dict.fromkeys(_TEXTINPUT, "textinput"),
    **dict.fromkeys(("DATETIME", "TIMESTAMP"), "datetime"),
    "DATE": "date",
    "TIME": "time",
    **dict.fromkeys(_BLOBS, "blob"),
    "ALIAS": "alias",
    **dict.fromkeys(("ONETOMANY", "MANYTOMANY"), "relational"),
}


def default_ui(data_type: str) -> str:
    return _DEFAULT_UI.get(data_type, "numeric")
