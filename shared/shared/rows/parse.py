"""What a list request asks for: its parameters as a type. Knows no schema, touches no database.

Source: contract, sections 5 and 6.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.brackets import Query, Value, as_list, flag
from shared.errors import InvalidRequest, InvalidValue
from shared.rows.operators import ALIASES, OPERATORS

MAX_ROWS: Final = 10_000  # of one answer (reading 64)
MAX_DEPTH: Final = 3  # of relations to embed
_COUNTS: Final[tuple["Count", ...]] = ("exact", "estimated", "none")
MAX_JOINS: Final = 5
MAX_CONDITIONS: Final = 100  # filters, orders and `in` of one request, each
_LARGEST: Final = 2**53  # beyond it JSON clients cannot count
_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]{1,18})\s*")


@dataclass(frozen=True, slots=True)
class Filter:
    """``filters[column][operator]=values``; ``either`` or-s it to what precedes it."""

    column: str
    operator: str  # a key of OPERATORS
    words: tuple[str, ...]
    either: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    column: str
    descending: bool = False


Count = Literal["exact", "estimated", "none"]


@dataclass(frozen=True, slots=True)
class Join:
    """``joins[table][on][]=a.x&joins[table][on][]=b.y``; ``required`` unless of the type LEFT."""

    table: str
    names: tuple[str, str]
    required: bool


@dataclass(frozen=True, slots=True)
class ListQuery:
    """None stands for "not said"; the plan knows the defaults."""

    columns: tuple[str, ...] | None = None
    filters: tuple[Filter, ...] = ()
    one_of: tuple[tuple[str, tuple[str, ...]], ...] = ()  # in[column]
    ids: tuple[str, ...] | None = None
    statuses: tuple[str, ...] | None = None
    any_status: bool = False
    orders: tuple[Order, ...] = ()
    limit: int | None = None  # negative: as many as one answer may hold
    offset: int | None = None
    page: int | None = None  # counted from 0, in steps of the limit
    text: str | None = None
    text_everywhere: bool = True  # q; the older `search` looks into fewer columns on 1.0
    single: bool = False
    meta: bool = True
    depth: int | None = None  # of relations to embed
    joins: tuple[Join, ...] = ()
    groups: tuple[str, ...] = ()
    cursor: str | None = None
    count: Count | None = None


def parse_list(query: Query) -> ListQuery:
    """Raises InvalidRequest naming the parameter at fault, InvalidValue for an array as a value."""
    limit, offset, page = _paging(query)
    text, everywhere = _text(query)
    return ListQuery(
        columns=parse_columns(query),
        filters=_filters(query.get("filters")),
        one_of=_one_of(query.get("in")),
        ids=tuple(as_list(query["ids"])) if query.get("ids") else None,
        statuses=tuple(as_list(query["status"])) or None if "status" in query else None,
        any_status=flag(query.get("preview")),
        orders=_orders(query),
        limit=limit,
        offset=offset,
        page=page,
        text=text,
        text_everywhere=everywhere,
        single=flag(query.get("single")),
        meta=wants_meta(query),
        depth=parse_depth(query),
        joins=_joins(query.get("joins")),
        cursor=_cursor(query),
        count=_count(query),
        groups=tuple(dict.fromkeys(as_list(query.get("group_by")) + as_list(query.get("groups")))),
    )


def parse_columns(query: Query) -> tuple[str, ...] | None:
    """``columns`` and its older name together; None for all."""
    asked = as_list(query.get("columns")) + as_list(query.get("columns_visible"))
    return tuple(dict.fromkeys(asked)) or None


def parse_depth(query: Query) -> int | None:
    """Levels of relations to embed; 0 for keys only."""
    depth = _number(query, "depth")
    if depth is not None and depth > MAX_DEPTH:
        raise InvalidRequest(f"depth is at most {MAX_DEPTH}", field="depth")
    return depth


def wants_meta(query: Query) -> bool:
    return "meta" not in query or flag(query["meta"])


def _paging(query: Query) -> tuple[int | None, int | None, int | None]:
    """Limit, offset, page. ``perPage`` overrides ``limit`` and ``offset``."""
    per_page = _number(query, "perPage", lowest=None)
    page = _number(query, "currentPage")
    if per_page is not None:
        return _bounded(per_page, "perPage"), None, page or 0
    limit = _number(query, "limit", lowest=None)
    offset = _number(query, "offset")
    if limit is None and offset is None and page is not None:
        return None, None, page
    return (None if limit is None else _bounded(limit, "limit")), offset, None


def _bounded(limit: int, name: str) -> int:
    if limit > MAX_ROWS:
        message = f"{name} is {limit}, but at most {MAX_ROWS}; page through more by offset"
        raise InvalidRequest(message, field=name)
    return limit


def _number(query: Query, name: str, lowest: int | None = 0) -> int | None:
    value = query.get(name)
    if value is None or value == "":
        return None
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidRequest(f"{name} must be a whole number, not {_shown(value)}", field=name)
    number = int(match[1])
    if (lowest is not None and number < lowest) or number > _LARGEST:
        raise InvalidRequest(f"{name} is out of range: {number}", field=name)
    return number


def _shown(value: Value) -> str:
    """A client's value in a message: as it came, but short."""
    return f'"{value[:50]}"' if isinstance(value, str) else "a list"


def _text(query: Query) -> tuple[str | None, bool]:
    """The text to look for: ``q``, else ``search``."""
    for name, everywhere in (("q", True), ("search", False)):
        value = query.get(name)
        if isinstance(value, dict):
            raise InvalidValue(f"{name} takes one text", field=name)
        if value:
            return value, everywhere
    return None, True


def _filters(value: Value | None) -> tuple[Filter, ...]:
    return tuple(_filter(name, entry) for name, entry in _entries(value, "filters").items())


def _filter(column: str, entry: Value) -> Filter:
    if isinstance(entry, str):
        return Filter(column, "eq", (entry,))
    either = _either(column, entry.get("logical"))
    # one operator a column: the first key that is not `logical`
    asked = next((key for key in entry if key != "logical"), None)
    if asked is None:
        raise InvalidRequest(f'the filter on "{column}" names no operator', field=column)
    operator = ALIASES.get(asked, asked)
    if operator not in OPERATORS:
        raise InvalidRequest(
            f'unknown operator "{asked[:50]}" in the filter on "{column}"; '
            f"there are {', '.join(OPERATORS)}",
            field=column,
        )
    value = entry[asked]
    if OPERATORS[operator].takes_list:
        return Filter(column, operator, tuple(as_list(value)), either)
    if isinstance(value, dict):
        raise InvalidValue(f'the operator "{asked}" on "{column}" takes one value', field=column)
    return Filter(column, operator, (value,), either)


def _either(column: str, logical: Value | None) -> bool:
    word = _word(logical).lower()
    if word not in {"", "and", "or"}:
        raise InvalidRequest(f'"logical" of the filter on "{column}" is and or or', field=column)
    return word == "or"


def _cursor(query: Query) -> str | None:
    value = query.get("cursor")
    if value is None:
        return None
    if isinstance(value, dict):
        raise InvalidRequest("cursor is one word", field="cursor")
    for name in ("offset", "currentPage", "group_by", "groups", "single"):
        if query.get(name):
            raise InvalidRequest(f"{name} and cursor do not go together", field="cursor")
    return value or "start"


def _count(query: Query) -> Count | None:
    word = _word(query.get("count")).lower()
    for known in _COUNTS:
        if word == known:
            return known
    if word:
        raise InvalidRequest("count is exact, estimated or none", field="count")
    return None


def _joins(value: Value | None) -> tuple[Join, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str) or len(value) > MAX_JOINS:
        message = f"joins names up to {MAX_JOINS} tables: joins[table][on][]=a.x and b.y"
        raise InvalidRequest(message, field="joins")
    return tuple(_join(table, entry) for table, entry in value.items())


def _join(table: str, entry: Value) -> Join:
    names = [] if isinstance(entry, str) else as_list(entry.get("on"))
    if isinstance(entry, str) or len(names) != 2:
        message = f'the join of "{table}" takes two columns: joins[{table}][on][]=a.x and b.y'
        raise InvalidRequest(message, field="joins")
    kind = _word(entry.get("type")).upper() or "INNER"
    if kind not in {"INNER", "LEFT", "RIGHT"}:
        message = f'the type of the join of "{table}" is INNER, LEFT or RIGHT'
        raise InvalidRequest(message, field="joins")
    return Join(table, (names[0], names[1]), required=kind != "LEFT")


def _one_of(value: Value | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((name, tuple(as_list(words))) for name, words in _entries(value, "in").items())


def _entries(value: Value | None, name: str) -> Mapping[str, Value]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        raise InvalidRequest(f"{name} names its column in brackets: {name}[column]", field=name)
    if len(value) > MAX_CONDITIONS:
        raise InvalidRequest(f"{name} has more than {MAX_CONDITIONS} entries", field=name)
    return value


def _orders(query: Query) -> tuple[Order, ...]:
    """``sort`` wins over ``orderBy``, that over ``orders`` and ``order``."""
    for column, direction in (("sort", "sort_order"), ("orderBy", "orderDirection")):
        name = query.get(column)
        if isinstance(name, str) and name.strip():
            return (_order(name.strip(), query.get(direction), direction),)
    for name in ("orders", "order"):
        value = query.get(name)
        if isinstance(value, str):
            return tuple(_order(column, None, name) for column in as_list(value)[:MAX_CONDITIONS])
        if value:
            entries = _entries(value, name).items()
            return tuple(_order(column, direction, name) for column, direction in entries)
    return ()


def _order(column: str, direction: Value | None, field: str) -> Order:
    word = _word(direction).upper()
    if word not in {"", "ASC", "DESC"}:
        raise InvalidRequest(f'the direction for "{column}" is ASC or DESC', field=field)
    return Order(column, word == "DESC")


def _word(value: Value | None) -> str:
    """A parameter that is one word; an array is a word nobody knows."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else "[]"
