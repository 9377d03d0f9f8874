"""``utils/export``: rows of a table as a file, as far as the caller may read them.

All rows of one snapshot, some hundreds at a time; the snapshot is told by the position in the feed
up to which it holds every change. Source: contract 9, ruling A.3.7.
"""

import csv
import io
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import msgspec

from items_service.operations.export_query import Related
from items_service.store.jobs import QUERIES
from shared.catalogue import Column
from shared.column_types import Kind
from shared.database import Database
from shared.errors import InvalidRequest
from shared.rows.compile import compile_list
from shared.rows.plan import ReadPlan
from shared.sql import fixed, ident, raw

FORMATS: Final[Mapping[str, tuple[str, str]]] = {  # → content type, ending
    "csv": ("text/csv", "csv"),
    "csv_utf8": ("text/csv", "csv"),
    "json": ("application/json", "json"),
    "ndjson": ("application/x-ndjson", "ndjson"),
    "xml": ("text/xml", "xml"),
    "yaml": ("text/yaml", "yaml"),
}


@dataclass(slots=True)
class Export:
    """What is known once it has begun: ``position`` and ``epoch`` of the feed; rows so far."""

    position: int = 0
    epoch: str = ""
    rows: int = 0


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
        cursor = ident(f"export_{crc32(statement.render()[0].encode()):x}")
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
        self.related = {
            number: field
            for number, field in enumerate(plan.fields.values())
            if isinstance(field, Related)
        }

    def head(self) -> bytes:
        return b""

    def whole(self, row: Sequence[Any]) -> Sequence[Any]:
        """The row with its related rows as objects."""
        if not self.related:
            return row
        return [
            msgspec.json.decode(value) if number in self.related and value is not None else value
            for number, value in enumerate(row)
        ]

    def object(self, row: Sequence[Any]) -> bytes:
        """The row as JSON."""
        return msgspec.json.encode(dict(zip(self.names, self.whole(row), strict=True)))

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
        names: list[str] = []
        for number, name in enumerate(self.names):
            related = self.related.get(number)
            names += related.paths if related is not None and related.paths else (name,)
        return self.mark.encode() + self._lines([[harmless(name) for name in names]])

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        return self._lines([self._cells(row) for row in rows])

    def _cells(self, row: Sequence[Any]) -> list[Any]:
        cells: list[Any] = []
        for number, (value, text) in enumerate(zip(row, self._texts, strict=True)):
            related = self.related.get(number)
            found = [value]
            if related is not None and related.paths:
                whole = None if value is None else msgspec.json.decode(value)
                found = [_at(whole, path.split(".")[1:]) for path in related.paths]
            cells += [harmless(one) if text and isinstance(one, str) else one for one in found]
        return cells

    def _lines(self, rows: Sequence[Sequence[Any]]) -> bytes:
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(
            ["" if value is None else value for value in row] for row in rows
        )
        return out.getvalue().encode()


def _at(value: Any, path: Sequence[str]) -> Any:
    """What stands there in nested objects; lists as JSON."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


class _CsvWithMark(_Csv):
    mark = "\ufeff"


class _Json(_Writer):
    def head(self) -> bytes:
        return b"["

    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        texts = [self.object(row) for row in rows]
        begin = b"\n" if self.first else b",\n"
        self.first = False
        return begin + b",\n".join(texts)

    def tail(self) -> bytes:
        return b"\n]\n"


class _Ndjson(_Writer):
    def rows(self, rows: Sequence[Sequence[Any]]) -> bytes:
        return b"".join(self.object(row) + b"\n" for row in rows)


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
        return "".join(map(self._field, self.names, self.whole(row)))

    def _field(self, name: str, value: Any) -> str:
        plain = _XML_NAME.fullmatch(name) is not None and name.lower()[:3] != "xml"
        tag = name if plain else "field"
        told = "" if plain else f' name="{_escaped(name)}"'
        if value is None:
            return f'<{tag}{told} null="true"/>'
        if isinstance(value, dict):
            return f"<{tag}{told}>{''.join(map(self._field, value, value.values()))}</{tag}>"
        if isinstance(value, list):  # an element for each
            return "".join(self._field(name, one) for one in value)
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
            for name, value in zip(self.names, self.whole(row), strict=True)
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
