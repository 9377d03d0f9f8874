"""Cursors: where a list goes on, by the values that its order has in the last row shown.

``cursor=start`` begins; each answer names the next one in ``Link`` and in its body. Pages cost the
same however deep they are, and rows that come or go elsewhere move none from one page to another.
A cursor belongs to its order: with another one it is refused. (docs/decisions/0013)
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shared.catalogue import Column
from shared.column_types import Kind
from shared.errors import InvalidRequest
from shared.rows.access import TABLE, Field
from shared.rows.values import Unfit, compared, operand, text_operand, typed
from shared.sql import EMPTY, Sql, param, raw

START: Final = "start"
_LONGEST: Final = 4_000  # characters of a cursor

Orders = tuple[tuple[Column, bool], ...]  # column, descending?


@dataclass(frozen=True, slots=True)
class Cursor:
    """``after`` None: from the first row on."""

    after: tuple[str | None, ...] | None = None


def field_name(index: int) -> str:
    """The field of a row that holds the value of its order at this place."""
    return f"?order{index}"


def order_fields(orders: Orders) -> dict[str, Field]:
    return {field_name(n): _shown(column) for n, (column, _) in enumerate(orders)}


def _shown(column: Column) -> Field:
    if column.kind is Kind.BYTES:  # as values are read
        start, end = raw("translate(encode("), raw(", 'base64'), chr(10), '')")
        return lambda alias: start + operand(column, alias) + end
    return lambda alias: _expression(column, alias) + raw("::text")


def _expression(column: Column, alias: Sql) -> Sql:
    """As the order sorts: text without regard to case."""
    if column.kind is Kind.TEXT and column.pg_type != "uuid":
        return raw("lower(") + operand(column, alias) + raw(")")
    return operand(column, alias)


def encode(orders: Orders, row: dict[str, Any]) -> str:
    """The cursor after ``row``, from which its fields of the order are taken."""
    values = [row.pop(field_name(index)) for index in range(len(orders))]
    text = msgspec.json.encode([_signature(orders), values])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decode(orders: Orders, text: str) -> Cursor:
    """Raises InvalidRequest for what is no cursor of this order."""
    if text == START:
        return Cursor()
    try:
        padded = text.encode("ascii")[:_LONGEST] + b"=" * (-len(text) % 4)
        found = msgspec.json.decode(
            base64.urlsafe_b64decode(padded), type=tuple[list[str], list[str | None]]
        )
    except (binascii.Error, UnicodeError, ValueError, msgspec.DecodeError) as error:
        message = f"this is no cursor of a list; begin with cursor={START}"
        raise InvalidRequest(message, field="cursor") from error
    signature, values = found
    if signature != _signature(orders) or len(values) != len(orders):
        message = f"this cursor belongs to another order; begin with cursor={START}"
        raise InvalidRequest(message, field="cursor")
    return Cursor(tuple(values))


def _signature(orders: Orders) -> list[str]:
    return [("-" if descending else "") + column.name for column, descending in orders]


def condition(orders: Orders, cursor: Cursor | None) -> Sql:
    """The rows after a cursor. Raises InvalidRequest for values its columns cannot have."""
    if cursor is None or cursor.after is None:
        return EMPTY
    return _after(orders, cursor.after)


def _after(orders: Orders, values: Sequence[str | None]) -> Sql:
    (column, descending), value = orders[0], values[0]
    further = _beyond(column, value, descending=descending)
    if len(orders) == 1:
        return further or raw("false")
    name = _expression(column, TABLE)
    level = raw(" IS NULL") if value is None else raw(" = ") + _value(column, value)
    rest = name + level + raw(" AND (") + _after(orders[1:], values[1:]) + raw(")")
    if not further:
        return rest
    both = raw("(") + further + raw(") OR (") + rest + raw(")")
    bound = _bound(column, value, descending=descending)
    return bound + raw(" AND (") + both + raw(")") if bound else both


def _bound(column: Column, value: str | None, *, descending: bool) -> Sql:
    """What an index can begin at: it follows from the rest, but PostgreSQL does not see that."""
    if value is None or (descending and column.nullable):
        return EMPTY
    sign = raw(" <= ") if descending else raw(" >= ")
    return _expression(column, TABLE) + sign + _value(column, value)


def _beyond(column: Column, value: str | None, *, descending: bool) -> Sql:
    """NULL comes before everything; EMPTY where nothing can follow."""
    name = _expression(column, TABLE)
    if value is None:
        return EMPTY if descending else name + raw(" IS NOT NULL")
    if not descending:
        return name + raw(" > ") + _value(column, value)
    lower = name + raw(" < ") + _value(column, value)
    return lower + raw(" OR ") + name + raw(" IS NULL") if column.nullable else lower


def _value(column: Column, text: str) -> Sql:
    if column.kind is Kind.TEXT and column.pg_type != "uuid":
        return param(text) + raw("::text")
    if operand(column, TABLE) == text_operand(column, TABLE):
        return param(text) + raw("::text")
    try:
        return typed(compared(column, text))
    except Unfit as error:
        message = f"this is no cursor of a list; begin with cursor={START}"
        raise InvalidRequest(message, field="cursor") from error
