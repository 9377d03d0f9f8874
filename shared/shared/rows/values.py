"""What a request says, as a value that a column can hold or be compared with.

Clients send text (forms, query strings) or JSON; PostgreSQL gets values of the column's own type.
The *parameter* is cast, never the column: a cast column cannot use its index.
Source: contract, list (b).
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.catalogue import Column
from shared.column_types import Kind
from shared.errors import InvalidValue
from shared.sql import Sql, ident, param, raw

Typed = tuple[str, object]  # name of a PostgreSQL type, and a value asyncpg can send as one


class Unfit(ValueError):
    """A value this column can neither hold nor equal; says what the column takes."""


# Types that asyncpg sends in binary; every other one goes as text and is cast by the server.
_NATIVE: Final = frozenset(
    {
        *("int2", "int4", "int8", "float4", "float8", "numeric", "bool", "bytea", "uuid"),
        *("date", "timestamp", "timestamptz", "time", "text", "varchar", "bpchar"),
    }
)
_RANGES: Final[Mapping[str, int]] = {"int2": 2**15, "int4": 2**31, "int8": 2**63}
_LARGEST_FLOAT4: Final = 3.4028234e38
_LARGEST_EXPONENT: Final = 1000  # digits of a number in a request; PostgreSQL holds 131,072
_WIDE: Final = Context(prec=3 * _LARGEST_EXPONENT)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,100}")
_WORDS: Final[Mapping[str, int]] = {"true": 1, "on": 1, "yes": 1, "false": 0, "off": 0, "no": 0}
_EMPTY_IS_NULL: Final = frozenset(Kind) - {Kind.TEXT, Kind.BYTES, Kind.ALIAS}
_ZERO_DATES: Final = ("0000-00-00",)
_JSON: Final = msgspec.json.Encoder(decimal_format="number")
_SHOWN: Final = 60  # characters of a value that an error repeats


def operand(column: Column, alias: Sql) -> Sql:
    """The column in a comparison. Types without a binary form here are compared as text."""
    name = alias + raw(".") + ident(column.name)
    return name if column.pg_type in _NATIVE else name + raw("::text")


def text_operand(column: Column, alias: Sql) -> Sql:
    name = alias + raw(".") + ident(column.name)
    return name if column.pg_type in {"text", "varchar", "bpchar"} else name + raw("::text")


def typed(value: Typed) -> Sql:
    """A parameter that says its type, so that equal shapes have equal text."""
    name, data = value
    return param(data) + raw("::") + ident(name)


def array_of(pg_type: str, values: list[object]) -> Sql:
    return param(values) + raw("::") + ident(pg_type) + raw("[]")


def comparison_type(column: Column) -> str:
    return column.pg_type if column.pg_type in _NATIVE else "text"


def compared(column: Column, text: str) -> Typed:
    """The value of a filter. What is too large to be stored still compares. Raises Unfit."""
    reader = _COMPARED.get(column.kind)
    if reader is not None:
        return reader(column, text)
    return comparison_type(column), _READERS[column.kind](column, text)


def equal_values(column: Column, words: tuple[str, ...]) -> list[object]:
    """Those of ``words`` that some row could hold, for ``= ANY``."""
    own = comparison_type(column)
    found: list[object] = []
    for word in words:
        try:
            pg_type, value = compared(column, word)
        except Unfit:
            continue
        if pg_type == own:
            found.append(value)
    return found


def stored(column: Column, value: Any) -> object:
    """The value to store, None for NULL. Raises InvalidValue naming column and value."""
    if value is None:
        return None
    if isinstance(value, str):
        bare = value.strip()
        if column.kind in _EMPTY_IS_NULL and not bare:
            return None
        if column.kind in {Kind.DATE, Kind.DATETIME, Kind.DATETIME_UTC} and bare.startswith(
            _ZERO_DATES
        ):
            return None
    try:
        return _READERS[column.kind](column, value)
    except Unfit as error:
        shown = value if isinstance(value, str) else json.dumps(value, default=str)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "…"
        shown = shown.encode(errors="replace").decode()
        message = f'The column "{column.name}" cannot hold "{shown}": {error}.'
        raise InvalidValue(message, field=column.name) from error


def stored_type(column: Column) -> str:
    """The type a stored value is sent as; ``stored_cast`` makes it the column's."""
    return column.pg_type if column.pg_type in _NATIVE else "text"


def stored_cast(column: Column) -> Sql:
    """What follows a stored value to make it the column's type."""
    if column.pg_type in _NATIVE:
        return raw("")
    return raw("::") + ident(column.pg_type)


def bound(column: Column, value: object) -> Sql:
    """A stored value as a parameter."""
    return typed((stored_type(column), value)) + stored_cast(column)


# ── one reader a kind: (column, value of JSON or text) → value for asyncpg, or Unfit ──────────────


def _number(value: Any) -> Decimal:
    if isinstance(value, bool):
        return Decimal(int(value))
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, str):
        word = value.strip()
        known = _WORDS.get(word.lower())
        if known is not None:
            return Decimal(known)
        if not word.isascii() or "_" in word:
            raise Unfit("it takes numbers")
        value = word
    elif not isinstance(value, (Decimal, float)):
        raise Unfit("it takes numbers")
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError) as error:
        raise Unfit("it takes numbers") from error
    _refuse_huge(number)
    return number


def _refuse_huge(number: Decimal) -> None:
    if not number.is_finite() or len(number.as_tuple().digits) > _LARGEST_EXPONENT:
        raise Unfit("it takes numbers")
    if number and abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise Unfit("the number is out of range")


def _integer(column: Column, value: Any) -> object:
    number = value if type(value) is int else _number(value)  # most are: Decimal is slow
    if isinstance(number, Decimal) and number != number.to_integral_value():
        raise Unfit("it takes whole numbers")
    limit = _RANGES.get(column.pg_type, 2**31)
    if not -limit <= number < limit:
        raise Unfit("the number is out of range")
    return int(number)


def _float(column: Column, value: Any) -> object:
    number = float(_number(value))
    largest = _LARGEST_FLOAT4 if column.pg_type == "float4" else 1.7976931348623157e308
    if abs(number) > largest:
        raise Unfit("the number is out of range")
    return number


def _decimal(column: Column, value: Any) -> object:
    number = _number(value)
    if column.pg_type != "numeric":  # money and its like are read by PostgreSQL
        return str(number)
    if column.precision and column.scale is not None:
        whole_digits = column.precision - column.scale
        too_large = number.adjusted() >= whole_digits
        if number and (too_large or _rounded(number, column.scale).adjusted() >= whole_digits):
            raise Unfit("the number is out of range")
    return number


def _rounded(number: Decimal, scale: int) -> Decimal:
    """With as many digits as a numeric of PostgreSQL can have; round() would end at 28."""
    return number.quantize(Decimal(1).scaleb(-scale), context=_WIDE)


def _boolean(_column: Column, value: Any) -> object:
    number = _number(value)
    if number not in {0, 1}:
        raise Unfit("it takes 0 and 1")
    return number == 1


def _moment(value: Any) -> datetime:
    """``2013-11-15``, ``2013-11-15 04:30:52``, with ``T``, ``Z``, an offset or `` UTC``: in UTC."""
    if isinstance(value, datetime):  # the server's own
        value = value.isoformat()
    if not isinstance(value, str):
        raise Unfit("it takes dates such as 2013-11-15 04:30:52")
    text = value.strip().removesuffix(" UTC")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unfit("it takes dates such as 2013-11-15 04:30:52") from error
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError as error:
        raise Unfit("the date is out of range") from error


def _date(_column: Column, value: Any) -> date:
    return _moment(value).date()


def _datetime(_column: Column, value: Any) -> datetime:
    return _moment(value)


def _datetime_utc(_column: Column, value: Any) -> datetime:
    return _moment(value).replace(tzinfo=UTC)


def _time(column: Column, value: Any) -> object:
    if column.pg_type != "time":
        return _text(column, value)
    try:
        moment = time.fromisoformat(value.strip())
    except (ValueError, AttributeError) as error:
        raise Unfit("it takes times such as 04:30:52") from error
    return moment.replace(tzinfo=None)


def _bytes(_column: Column, value: Any) -> bytes:
    if not isinstance(value, str):
        raise Unfit("it takes base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit("it takes base64") from error


def _plain_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (dict, list)):
        raise Unfit("it takes text, not an object or an array")
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        raise Unfit("it cannot hold a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unfit("it takes valid Unicode") from error
    return text


def _text(column: Column, value: Any) -> object:
    text = _plain_text(value)
    if column.pg_type == "uuid":
        try:
            return UUID(text.strip())
        except ValueError as error:
            raise Unfit("it takes a UUID") from error
    length = column.char_length
    if (
        column.pg_type in {"varchar", "bpchar"}
        and length is not None
        and length.isdigit()
        and len(text) > int(length)
    ):
        raise Unfit(f"it takes {length} characters at most")
    return text


def _json(_column: Column, value: Any) -> str:
    try:
        text = value if isinstance(value, str) else _JSON.encode(value).decode()
        msgspec.json.decode(text.encode())
    except (ValueError, RecursionError) as error:
        raise Unfit("it takes JSON") from error
    if "\\u0000" in text:
        raise Unfit("it cannot hold a NUL character")
    return text


def _no_value(_column: Column, _value: Any) -> object:
    raise Unfit("it holds rows of another table")


_READERS: Final[Mapping[Kind, Callable[[Column, Any], object]]] = {
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _date,
    Kind.DATETIME: _datetime,
    Kind.DATETIME_UTC: _datetime_utc,
    Kind.TIME: _time,
    Kind.BYTES: _bytes,
    Kind.TEXT: _text,
    Kind.JSON: _json,
    Kind.ALIAS: _no_value,
}


# ── the kinds whose filters reach further than their columns ──────────────────────────────────────


def _compared_integer(column: Column, text: str) -> Typed:
    limit = _RANGES.get(column.pg_type)
    if limit is not None and len(text) < 10 and text.isdecimal() and text.isascii():
        whole = int(text)
        if whole < limit:
            return column.pg_type, whole
    number = _number(text)
    if number != number.to_integral_value() or limit is None or not -limit <= number < limit:
        return "numeric", number
    return column.pg_type, int(number)


def _compared_float(column: Column, text: str) -> Typed:
    number = float(_number(text))
    if math.isinf(number):
        raise Unfit("the number is out of range")
    return column.pg_type if abs(number) <= _LARGEST_FLOAT4 else "float8", number


def _compared_decimal(column: Column, text: str) -> Typed:
    number = _number(text)
    return ("numeric", number) if column.pg_type == "numeric" else ("text", str(number))


def _compared_date(column: Column, text: str) -> Typed:
    moment = _moment(text)
    if moment.time() != time():
        return "timestamp", moment
    return column.pg_type, moment.date()


def _compared_text(column: Column, text: str) -> Typed:
    if column.pg_type == "uuid":
        return "uuid", _text(column, text)
    return comparison_type(column), _plain_text(text)


_COMPARED: Final[Mapping[Kind, Callable[[Column, str], Typed]]] = {
    Kind.INTEGER: _compared_integer,
    Kind.FLOAT: _compared_float,
    Kind.DECIMAL: _compared_decimal,
    Kind.DATE: _compared_date,
    Kind.TEXT: _compared_text,
}
