"""Query strings and form bodies with PHP brackets: ``filters[a][<=]=5``, ``ids[]=1&ids[]=2``.

A nested value is a dict whose keys keep their order; ``[]`` numbers itself as PHP does. A repeated
plain key: the last one wins. Source: contract, section 1.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias, Union
from urllib.parse import unquote_plus

from shared.errors import InvalidRequest

Value: TypeAlias = Union[str, dict[str, "Value"]]  # noqa: UP007 - `|` takes no forward name
Query: TypeAlias = dict[str, Value]

# a name with brackets, raw or encoded, which may hold an equals sign
_NAMED = re.compile(
    r"((?:(?!\[|%5B|=).)+(?:(?:\[|%5B)(?:(?!\]|%5D).)*(?:\]|%5D))+)=(.*)", re.DOTALL | re.IGNORECASE
)

MAX_PARAMETERS = 20_000  # names in one query or form
MAX_DEPTH = 32  # brackets after one name


def parse_brackets(text: str) -> Query:
    """Nested parameters of a query string or a form body.

    Raises InvalidRequest for too many parameters, too deep brackets, or bytes that are no UTF-8.
    """
    found: Query = {}
    if not text:
        return found
    pairs = text.split("&", MAX_PARAMETERS + 1)
    if len(pairs) > MAX_PARAMETERS:
        raise InvalidRequest(f"more than {MAX_PARAMETERS} parameters in one request")
    for pair in pairs:
        if pair:
            name, value = _split(pair)
            _put(found, _path(_decode(name)), _decode(value))
    return found


def _split(pair: str) -> tuple[str, str]:
    """Name and value: an equals sign inside brackets is an operator, ``filters[a][<=]=5``."""
    match = _NAMED.match(pair) if "[" in pair or "%5" in pair else None
    if match:
        return match[1], match[2]
    name, _, value = pair.partition("=")
    return name, value


def _decode(text: str) -> str:
    decoded = text
    if "%" in text or "+" in text:
        try:
            decoded = unquote_plus(text, errors="strict")
        except UnicodeDecodeError as error:
            raise InvalidRequest("a parameter is not valid UTF-8") from error
    if "\0" in decoded:
        raise InvalidRequest("a parameter holds a NUL byte")
    return decoded


def _path(name: str) -> list[str]:
    """``a[b][]`` → ``["a", "b", ""]``; what follows an unclosed bracket belongs to the name."""
    head, bracket, rest = name.partition("[")
    if not bracket or not head or "]" not in rest:
        return [name]
    path = [head]
    while True:
        inner, closed, rest = rest.partition("]")
        if not closed:
            break
        path.append(inner)
        if not rest.startswith("["):
            break
        rest = rest[1:]
    if len(path) > MAX_DEPTH:
        raise InvalidRequest(f'the parameter "{head}" is nested deeper than {MAX_DEPTH} levels')
    return path


def _put(target: dict[str, Value], path: list[str], value: str) -> None:
    *steps, last = path
    for step in steps:
        name = step or _next_number(target)
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = target[name] = {}
        target = inner
    target[last or _next_number(target)] = value


def _next_number(target: Mapping[str, Value]) -> str:
    numbers = [int(key) for key in target if key.isascii() and key.isdigit()]
    return str(max(numbers) + 1 if numbers else 0)


def as_list(value: Value | None) -> list[str]:
    """The words of a parameter that comes as CSV, as ``[]`` or as ``[0]`` (reading 11)."""
    if value is None:
        return []
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return [word for item in value.values() for word in ([item] if isinstance(item, str) else [])]


def flag(value: Value | None) -> bool:
    """Whether a flag is set: ``0``, ``false``, empty and absent are not."""
    return isinstance(value, str) and value.strip().lower() not in {"", "0", "false", "off", "no"}
