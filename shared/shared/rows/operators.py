"""The operators of ``filters[column][operator]``: a table from the name to a condition.

Each takes the column as it is compared and the words of the request. What cannot be cast to the
column's type matches nothing; eq and in are exact, contains ignores case (readings 41 and 51,
contract list (b)).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, LiteralString

from shared.catalogue import Column
from shared.column_types import Kind
from shared.rows.values import (
    Unfit,
    array_of,
    compared,
    comparison_type,
    equal_values,
    operand,
    text_operand,
    typed,
)
from shared.sql import Sql, param, raw

Words = tuple[str, ...]
Build = Callable[[Column, Sql, Words], Sql]  # (column, alias of its table, words) → condition

NOTHING: Final = raw("false")


@dataclass(frozen=True, slots=True)
class Operator:
    """``on_values`` for columns, ``on_rows`` for relations to many rows; None: not on these."""

    on_values: Build | None
    on_rows: "RowTest | None" = None
    takes_list: bool = False
    on_text: Literal["with", "without"] | None = None  # looks into what a key stands for


@dataclass(frozen=True, slots=True)
class RowTest:
    """``negated``: not at least so many. ``count`` None: the words give it."""

    negated: bool = False
    count: int | None = None
    every_key: bool = False  # all of the listed keys are among the related rows


def _compare(symbol: LiteralString) -> Build:
    def build(column: Column, alias: Sql, words: Words) -> Sql:
        try:
            value = compared(column, words[0])
        except Unfit:
            return NOTHING
        return operand(column, alias) + raw(symbol) + typed(value)

    return build


def one_of(column: Column, alias: Sql, words: Words) -> Sql:
    values = equal_values(column, words)
    if not values:
        return NOTHING
    # a single value keeps an index on (column, key) usable for the order of the list
    if len(values) == 1:
        return operand(column, alias) + raw(" = ") + typed((comparison_type(column), values[0]))
    return (
        operand(column, alias)
        + raw(" = ANY(")
        + array_of(comparison_type(column), values)
        + raw(")")
    )


def _none_of(column: Column, alias: Sql, words: Words) -> Sql:
    for word in words:
        try:
            compared(column, word)
        except Unfit:
            return NOTHING
    values = equal_values(column, words)
    return (
        operand(column, alias)
        + raw(" <> ALL(")
        + array_of(comparison_type(column), values)
        + raw(")")
    )


def pattern(text: str) -> str:
    """For LIKE: the text itself anywhere, no live wildcards."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _matches(symbol: LiteralString) -> Build:
    def build(column: Column, alias: Sql, words: Words) -> Sql:
        if column.kind is Kind.BYTES:
            return NOTHING
        return text_operand(column, alias) + raw(symbol) + param(pattern(words[0])) + raw("::text")

    return build


contains: Final = _matches(" ILIKE ")


def _between(symbol: LiteralString) -> Build:
    def build(column: Column, alias: Sql, words: Words) -> Sql:
        if not words:
            return NOTHING
        try:
            first, last = compared(column, words[0]), compared(column, words[-1])
        except Unfit:
            return NOTHING
        return operand(column, alias) + raw(symbol) + typed(first) + raw(" AND ") + typed(last)

    return build


def _is(test: LiteralString) -> Build:
    return lambda column, alias, _words: operand(column, alias) + raw(test)


def _empty(column: Column, alias: Sql, _words: Words) -> Sql:
    if column.kind is not Kind.TEXT:
        return operand(column, alias) + raw(" IS NULL")
    text = text_operand(column, alias)
    return raw("(") + text + raw(" IS NULL OR ") + text + raw(" = '')")


def _not_empty(column: Column, alias: Sql, _words: Words) -> Sql:
    if column.kind is not Kind.TEXT:
        return operand(column, alias) + raw(" IS NOT NULL")
    return text_operand(column, alias) + raw(" <> ''")


OPERATORS: Final[Mapping[str, Operator]] = {
    "eq": Operator(_compare(" = ")),
    "neq": Operator(_compare(" <> ")),
    "lt": Operator(_compare(" < ")),
    "lte": Operator(_compare(" <= ")),
    "gt": Operator(_compare(" > ")),
    "gte": Operator(_compare(" >= ")),
    "in": Operator(one_of, takes_list=True),
    "nin": Operator(_none_of, takes_list=True),
    "null": Operator(_is(" IS NULL")),
    "nnull": Operator(_is(" IS NOT NULL")),
    "contains": Operator(contains, on_text="with"),
    "ncontains": Operator(_matches(" NOT ILIKE "), on_text="without"),
    "between": Operator(_between(" BETWEEN "), takes_list=True),
    "nbetween": Operator(_between(" NOT BETWEEN "), takes_list=True),
    "empty": Operator(_empty, RowTest(negated=True, count=1)),
    "nempty": Operator(_not_empty, RowTest(count=1)),
    "has": Operator(None, RowTest()),
    "nhas": Operator(None, RowTest(negated=True)),
    "all": Operator(None, RowTest(every_key=True), takes_list=True),
}

ALIASES: Final[Mapping[str, str]] = {
    "=": "eq",
    "!=": "neq",
    "<>": "neq",
    "<": "lt",
    "<=": "lte",
    ">": "gt",
    ">=": "gte",
    "like": "contains",
    "nlike": "ncontains",
}
