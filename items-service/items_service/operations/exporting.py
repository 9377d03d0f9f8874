"""``utils/export``: rows of a table as a file, as far as the caller may read them.

All rows of one snapshot, some hundreds at a time; the snapshot is told by the position in the feed
up to which it holds every change. Source: contract 9, ruling A.3.7.
"""

import csv
import io
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from zlib import crc32

import msgspec

from items_service.store.jobs import QUERIES
from shared.catalogue import Column
from shared.column_types import Kind
from shared.context import Context
from shared.database import Database
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.rows.compile import compile_list
from shared.rows.operators import NOTHING, OPERATORS
from shared.rows.parse import ListQuery, Order, parse_list
from shared.rows.plan import TABLE, Access, ReadPlan, access, plan_access
from shared.sql import EMPTY, Sql, fixed, ident, join, raw

FORMATS: Final[Mapping[str, tuple[str, str]]] = {  # → content type, ending
    "csv": ("text/csv", "csv"),
    "csv_utf8": ("text/csv", "csv"),
    "json": ("application/json", "json"),
    "ndjson": ("application/x-ndjson", "ndjson"),
    "xml": ("text/xml", "xml"),
    "yaml": ("text/yaml", "yaml"),
}
_ALL: Final = 2**53
_DEEPEST: Final = 20
_OPERATORS: Final[Mapping[str, str]] = {
    **{f"_{name}": name for name, operator in OPERATORS.items() if operator.on_values is not None},
    "_icontains": "contains",
    "_nicontains": "ncontains",
}


@dataclass(slots=True)
class Export:
    """What is known once it has begun: ``position`` and ``epoch`` of the feed; rows so far."""

    position: int = 0
    epoch: str = ""
    rows: int = 0


def may_export(context: Context, table: str) -> Access:
    """Raises Forbidden, also for a table that does not exist."""
    try:
        return access(context, table)
    except NotFound as error:
        raise Forbidden from error


# ── the modern query ──────────────────────────────────────────────────────────────────────────────


def plan_export(context: Context, table: str, query: Mapping[str, Any]) -> ReadPlan:
    """Raises Forbidden, InvalidRequest naming what cannot be understood."""
    where = may_export(context, table)
    limit = _number(query, "limit", -1)
    asked = ListQuery(
        columns=_fields(where, query.get("fields")),
        filters=parse_list({"filters": _words(query["filters"])}).filters
        if query.get("filters")
        else (),
        any_status=True,
        orders=tuple(
            Order(name.removeprefix("-"), name.startswith("-")) for name in _list(query, "sort")
        ),
        limit=1,
        offset=_number(query, "offset", 0),
        text=str(query["search"]) if query.get("search") else None,
        meta=False,
    )
    plan = plan_access(context, where, asked)
    limit = _ALL if limit < 0 else limit
    page = _number(query, "page", 1)
    offset = plan.offset + (page - 1) * limit if page > 1 and limit < _ALL else plan.offset
    visible = plan.visible
    tree = _tree(where, query.get("filter"), 0)
    if tree:
        visible = raw("(") + visible + raw(") AND (") + tree + raw(")") if visible else tree
    return replace(plan, visible=visible, limit=limit, offset=offset, counts=None)


def _fields(where: Access, given: object) -> tuple[str, ...] | None:
    names = _list({"fields": given}, "fields")
    if not names or "*" in names:
        return None
    for name in names:
        if name not in where.readable and not (
            where.system is not None and name in where.system.computed
        ):
            raise InvalidRequest(f'unknown field "{name}"', field=name)
    return tuple(names)


def _list(query: Mapping[str, Any], name: str) -> list[str]:
    value = query.get(name) or []
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InvalidRequest(f'"{name}" must be a list of names', field=name)
    return value


def _number(query: Mapping[str, Any], name: str, default: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise InvalidRequest(f'"{name}" must be a whole number', field=name)
    return int(text)


def _words(value: Any) -> Any:
    """JSON as a query string has it: text all through."""
    if isinstance(value, dict):
        return {str(name): _words(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return {str(index): _words(inner) for index, inner in enumerate(value)}
    return _word(value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, dict | list):
        raise InvalidRequest("a filter compares with text or numbers", field="filter")
    return "" if value is None else str(value)


def _tree(where: Access, node: Any, depth: int) -> Sql:
    """``{_and: […], _or: […], field: {_eq: …}}``; everything beside each other must hold."""
    if node in (None, {}, []):
        return EMPTY
    if not isinstance(node, dict) or depth > _DEEPEST:
        raise InvalidRequest("a filter is an object of fields and operators", field="filter")
    parts: list[Sql] = []
    for name, inner in node.items():
        if name in {"_and", "_or"}:
            if not isinstance(inner, list):
                raise InvalidRequest(f"{name} takes a list", field="filter")
            found = [part for part in (_tree(where, item, depth + 1) for item in inner) if part]
            if found:
                parts.append(_joined(found, either=name == "_or"))
        else:
            parts += _conditions(where, name, inner)
    return _joined(parts, either=False) if parts else EMPTY


def _joined(parts: Sequence[Sql], *, either: bool) -> Sql:
    wrapped = [raw("(") + part + raw(")") for part in parts]
    return join(" OR ", wrapped) if either else join(" AND ", wrapped)


def _conditions(where: Access, name: str, tests: Any) -> list[Sql]:
    column = where.own_column(name, "a filter")
    if not isinstance(tests, dict) or not tests:
        message = f'the filter of "{name}" needs an operator: {{"{name}": {{"_eq": …}}}}'
        raise InvalidRequest(message, field=name)
    return [_condition(column, name, operator, value) for operator, value in tests.items()]


def _condition(column: Column, name: str, operator: str, value: Any) -> Sql:
    known = _OPERATORS.get(operator)
    if known is None:
        raise InvalidRequest(f'unknown operator "{operator}" in the filter of "{name}"', field=name)
    if known in {"null", "nnull", "empty", "nempty"} and value in (False, "false", 0, "0"):
        known = known[1:] if known.startswith("n") and known != "null" else f"n{known}"
    if isinstance(value, str) and OPERATORS[known].takes_list:
        value = value.split(",")
    values = value if isinstance(value, list) else [value]
    build = OPERATORS[known].on_values
    assert build is not None
    if known in {"eq", "neq"} and value is None:
        build = OPERATORS["null" if known == "eq" else "nnull"].on_values
        assert build is not None
    if not values:
        return NOTHING if known == "in" else raw("true")
    return build(column, TABLE, tuple(_word(item) for item in values))


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


async def export_rows(
    database: Database, plan: ReadPlan, form: str, export: Export
) -> AsyncGenerator[bytes]:
    """The file, piece by piece. Raises InvalidRequest for an unknown format."""
    if form not in FORMATS:
        raise InvalidRequest(f'unknown format "{form}"; there are {", ".join(FORMATS)}')
    writer = _WRITERS[form](plan)
    async with database.transaction(isolation="repeatable_read", readonly=True) as session:
        row = await session.fetchrow(fixed(QUERIES["position"]))
        assert row is not None
        export.position, export.epoch = row["position"], row["epoch"]
        # the name is of the shape: prepared statements outlive the cursor
        statement = compile_list(plan)
        cursor = ident(f"export_{crc32(repr((plan.table.oid, *plan.fields)).encode()):x}")
        await session.execute(raw("DECLARE ") + cursor + raw(" NO SCROLL CURSOR FOR ") + statement)
        yield writer.head()
        while True:
            records = await session.fetch(raw("FETCH FORWARD 1000 FROM ") + cursor)
            if not records:
                break
            export.rows += len(records)
            yield writer.rows([tuple(record)[:-1] for record in records])
        yield writer.tail()


class _Writer(ABC):
    """Rows in one format: the head, rows as they come, the tail."""

    def __init__(self, plan: ReadPlan) -> None:
        self.names = tuple(plan.fields)
        self.first = True

    def head(self) -> bytes:
        return b""

    @abstractmethod
    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes: ...

    def tail(self) -> bytes:
        return b""


_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; our import undoes it."""
    return "'" + text if _FORMULA.match(text) else text


class _Csv(_Writer):
    mark = ""

    def __init__(self, plan: ReadPlan) -> None:
        super().__init__(plan)
        self._texts = [
            not isinstance(field, Column) or field.kind in {Kind.TEXT, Kind.JSON}
            for field in plan.fields.values()
        ]

    def head(self) -> bytes:
        return self.mark.encode() + self._lines([[harmless(name) for name in self.names]])

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        return self._lines(
            [
                [
                    harmless(value) if text and isinstance(value, str) else value
                    for value, text in zip(row, self._texts, strict=True)
                ]
                for row in rows
            ]
        )

    def _lines(self, rows: Sequence[Sequence[Any]]) -> bytes:
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(
            ["" if value is None else value for value in row] for row in rows
        )
        return out.getvalue().encode()


class _CsvWithMark(_Csv):
    mark = "\ufeff"


class _Json(_Writer):
    def head(self) -> bytes:
        return b"["

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        texts = [msgspec.json.encode(dict(zip(self.names, row, strict=True))) for row in rows]
        begin = b"\n" if self.first else b",\n"
        self.first = False
        return begin + b",\n".join(texts)

    def tail(self) -> bytes:
        return b"\n]\n"


class _Ndjson(_Writer):
    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        return b"".join(
            msgspec.json.encode(dict(zip(self.names, row, strict=True))) + b"\n" for row in rows
        )


_XML_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NO_YAML: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def _escaped(text: str) -> str:
    text = _NO_XML.sub("\ufffd", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace('"', "&quot;").replace("\r", "&#13;")


class _Xml(_Writer):
    def head(self) -> bytes:
        return b'<?xml version="1.0" encoding="UTF-8"?>\n<data>\n'

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        return "".join(f"<data>{self._row(row)}</data>\n" for row in rows).encode()

    def _row(self, row: Sequence[Any]) -> str:
        return "".join(map(self._field, self.names, row))

    def _field(self, name: str, value: Any) -> str:
        plain = _XML_NAME.fullmatch(name) is not None and name.lower()[:3] != "xml"
        tag = name if plain else "field"
        told = "" if plain else f' name="{_escaped(name)}"'
        if value is None:
            return f'<{tag}{told} null="true"/>'
        return f"<{tag}{told}>{_escaped(str(value))}</{tag}>"

    def tail(self) -> bytes:
        return b"</data>\n"


class _Yaml(_Writer):
    """JSON's scalars are YAML's, with a few more characters escaped."""

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        self.first = False
        return "".join(map(self._row, rows)).encode()

    def _row(self, row: Sequence[Any]) -> str:
        lines = (
            f"{_scalar(name)}: {_scalar(value)}\n"
            for name, value in zip(self.names, row, strict=True)
        )
        return "- " + "  ".join(lines)

    def tail(self) -> bytes:
        return b"[]\n" if self.first else b""


def _scalar(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return _NO_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_WRITERS: Final[Mapping[str, type[_Writer]]] = {
    "csv": _Csv,
    "csv_utf8": _CsvWithMark,
    "json": _Json,
    "ndjson": _Ndjson,
    "xml": _Xml,
    "yaml": _Yaml,
}
