"""SQL as a value: text and parameters together, made by a few makers and in no other way.

``raw``    text this repository wrote; the type checker refuses anything computed
``ident``  a name, quoted
``param``  data; becomes ``$1``, ``$2`` … when rendered
``join``   several fragments with a separator

``literal`` is data again, quoted, for DDL: PostgreSQL takes no parameters there.

``fixed`` takes a whole statement of a ``.sql`` file, which numbers its parameters itself.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import LiteralString, Self

import msgspec

MAX_NAME_BYTES = 63  # PostgreSQL cuts longer names off: NAMEDATALEN - 1


class NameTooLong(ValueError):
    """A name PostgreSQL would cut, and so might mistake for another."""


class _Parameter(msgspec.Struct, frozen=True):
    value: object


class Sql(msgspec.Struct, frozen=True):
    """A fragment of SQL. Add fragments with ``+``; the parameters number themselves."""

    parts: tuple[str | _Parameter, ...]

    def __add__(self, other: Self) -> "Sql":
        return Sql(self.parts + other.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def render(self) -> tuple[str, list[object]]:
        """The text with ``$n``, and the values in that order."""
        text: list[str] = []
        values: list[object] = []
        for part in self.parts:
            if isinstance(part, _Parameter):
                values.append(part.value)
                text.append(f"${len(values)}")
            else:
                text.append(part)
        return "".join(text), values


class FixedSql(Sql, frozen=True):
    """A whole statement of a ``.sql`` file; it cannot be added to."""

    values: tuple[object, ...] = ()

    def render(self) -> tuple[str, list[object]]:
        (text,) = self.parts
        assert isinstance(text, str)
        return text, list(self.values)


EMPTY = Sql(())


@cache
def raw(text: LiteralString) -> Sql:
    return Sql((text,))


@lru_cache(maxsize=4096)
def ident(name: str) -> Sql:
    """A quoted identifier.

    Raises NameTooLong for more than 63 bytes, ValueError for an empty name or a NUL.
    """
    if not name or "\0" in name:
        raise ValueError("a name must not be empty or hold a NUL")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise NameTooLong(f'the name "{name}" is longer than {MAX_NAME_BYTES} bytes')
    return Sql(('"' + name.replace('"', '""') + '"',))


def param(value: object) -> Sql:
    return Sql((_Parameter(value),))


def literal(text: str) -> Sql:
    """Text as a quoted constant, for the statements that take no parameters: DDL.

    Raises ValueError for a NUL, which PostgreSQL's text cannot hold.
    """
    if "\0" in text:
        raise ValueError("text must not hold a NUL")
    quoted = "'" + text.replace("'", "''") + "'"
    # The E form reads alike whatever standard_conforming_strings says.
    return Sql((" E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted,))


def join(separator: LiteralString, fragments: Iterable[Sql]) -> Sql:
    parts: list[str | _Parameter] = []
    for index, fragment in enumerate(fragments):
        if index:
            parts.append(separator)
        parts.extend(fragment.parts)
    return Sql(tuple(parts))


def fixed(text: LiteralString, *values: object) -> FixedSql:
    """A statement that numbers its own parameters, with their values."""
    return FixedSql((text,), values)
