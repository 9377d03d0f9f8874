"""Files of rows, read as they arrive: CSV, JSON, NDJSON, XML, YAML. No more than a few rows of one
are held in memory, whatever the file says: no entities, no aliases, no lines without an end.
"""

import asyncio
import codecs
import csv
import io
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from xml.parsers import expat

import yaml

from shared.errors import InvalidRequest

LONGEST_ROW: Final = 16 * 1024 * 1024  # characters
LONGEST_YAML_ROW: Final = 1024 * 1024  # its parser is slow
DEEPEST: Final = 32
MOST_COLUMNS: Final = 1600  # as PostgreSQL

_FORMULA: Final = re.compile(r"'+[=+\-@\t\r]")
_WORDS: Final[Mapping[str, object]] = {"null": None, "true": True}
_DELIMITERS: Final = ",;\t"


class BrokenFile(InvalidRequest):
    """From here on nothing of this file can be understood."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """A row that is none; the file goes on behind it."""

    message: str


Row = tuple[int, dict[str, Any] | Ragged]  # its number, from 1; values by column
Rows = AsyncGenerator[list[Row]]
Bytes = AsyncIterator[bytes]

_TYPES: Final[Mapping[str, str]] = {
    "application/json": "json",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.ms-excel": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/xml": "xml",
    "text/xml": "xml",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
    "text/x-yaml": "yaml",
}
_ENDINGS: Final[Mapping[str, str]] = {
    "csv": "csv",
    "json": "json",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "xml": "xml",
    "yaml": "yaml",
    "yml": "yaml",
}


def format_of(content_type: str, name: str) -> str | None:
    """The format of an uploaded file; where its type says nothing, by the ending of its name."""
    bare = content_type.partition(";")[0].strip().lower()
    ending = _ENDINGS.get(name.rpartition(".")[2].lower())
    if bare in {"", "application/octet-stream", "text/plain"}:
        return ending
    found = _TYPES.get(bare)
    return "ndjson" if found == "json" and ending == "ndjson" else found


def read_rows(form: str, chunks: Bytes) -> Rows:
    """The rows of a file in lists of some hundreds. Raises BrokenFile while they are read."""
    return _READERS[form](_texts(chunks))


async def _texts(chunks: Bytes) -> AsyncGenerator[str]:
    """UTF-8, with or without its mark."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    seen = 0
    first = b""
    try:
        async for chunk in chunks:
            first = first or chunk[:2]
            text = decoder.decode(chunk)
            seen += len(chunk)
            if text:
                yield text
            await asyncio.sleep(0)  # others are served between two chunks
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        kind = "UTF-16" if first in {b"\xff\xfe", b"\xfe\xff"} else "not UTF-8"
        raise BrokenFile(
            f"the file is {kind}, around byte {max(0, seen + error.start)}: save it as UTF-8"
        ) from error


# ── CSV ───────────────────────────────────────────────────────────────────────────────────────────


async def _read_csv(texts: AsyncIterator[str]) -> Rows:
    csv.field_size_limit(LONGEST_ROW)
    header: list[str] | None = None
    delimiter = ","
    number = 0
    async for block in _csv_blocks(texts):
        if header is None:
            delimiter = _delimiter(block)
        rows: list[Row] = []
        # most blocks hold no cell that means something else than it says
        plain = "'" not in block and "null" not in block and "true" not in block
        try:
            for cells in csv.reader(
                io.StringIO(block, newline=""), delimiter=delimiter, strict=True
            ):
                if not cells:
                    continue
                if header is None:
                    header = _header(cells)
                    continue
                number += 1
                if plain and len(cells) == len(header) and "" not in cells:
                    rows.append((number, dict(zip(header, cells, strict=True))))
                else:
                    rows.append((number, _csv_row(header, cells)))
        except csv.Error as error:
            raise BrokenFile(f"row {number + 1} is no CSV: {error}") from error
        yield rows
    if header is None:
        raise BrokenFile("the file is empty: its first line must name the columns")


def _csv_row(header: list[str], cells: list[str]) -> dict[str, Any] | Ragged:
    if len(cells) != len(header):
        return Ragged(f"it has {len(cells)} cells, the header {len(header)}")
    row: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if not cell:
            continue  # as if it were not there
        if cell[0] == "'" and _FORMULA.match(cell):
            row[name] = cell[1:]
        elif cell in _WORDS:
            row[name] = _WORDS[cell]
        else:
            row[name] = cell
    return row


def _header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > MOST_COLUMNS:
        raise BrokenFile(f"the first line names more than {MOST_COLUMNS} columns")
    double = {name for name in names if names.count(name) > 1 and name}
    if double:
        raise BrokenFile(f'the first line names the column "{min(double)}" twice')
    if "\0" in "".join(names):
        raise BrokenFile("the file holds NUL characters: it is no text")
    return names


def _delimiter(block: str) -> str:
    line = block.lstrip("\r\n").partition("\n")[0]
    return max(_DELIMITERS, key=line.count) if line else ","


async def _csv_blocks(texts: AsyncIterator[str]) -> AsyncGenerator[str]:
    """Whole records: cut where a line ends outside of quotes."""
    rest = ""
    wanted = 0
    async for text in texts:
        rest += text
        if len(rest) < wanted:
            continue
        end = _csv_cut(rest)
        if end:
            yield rest[:end]
            rest = rest[end:]
            wanted = 0
        else:
            wanted = 2 * len(rest)
            _refuse_endless(rest, LONGEST_ROW)
    if rest.strip("\r\n"):
        yield rest


def _csv_cut(text: str) -> int:
    """The length of the whole records at the beginning of ``text``."""
    end = text.rfind("\n") + 1
    quotes = text.count('"', 0, end)
    while end and quotes % 2:
        before = text.rfind("\n", 0, end - 1) + 1
        quotes -= text.count('"', before, end)
        end = before
    return end


def _refuse_endless(text: str, longest: int) -> None:
    if len(text) > longest:
        raise BrokenFile(f"a row is longer than {longest} characters, or a quote is never closed")


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


_JSON: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)
_SPACE: Final = re.compile(r"[ \t\r\n]*")


async def _read_json(texts: AsyncIterator[str]) -> Rows:
    """An array of objects. An element is tried again when as much more of it is there."""
    rest, at, wanted, number = "", 0, 1, 0
    state = "["
    async for text in _then_none(texts):
        rest = rest[at:] + (text or "")
        at = 0
        if len(rest) < wanted and text is not None:
            continue
        rows: list[Row] = []
        while True:
            at = _after_space(rest, at)
            if at >= len(rest):
                wanted = 1
                break
            if state != "row":
                at, state = _json_sign(rest, at, state, number)
                continue
            try:
                value, end = _JSON.raw_decode(rest, at)
            except (ValueError, RecursionError) as error:
                left = len(rest) - at
                hopeless = text is None or isinstance(error, RecursionError)
                if hopeless or left > LONGEST_ROW:
                    raise _broken_json(number, error) from error
                wanted = 2 * left
                break
            if end == len(rest) and not isinstance(value, dict):
                wanted = len(rest) - at + 1  # a number may go on
                break
            number += 1
            rows.append((number, _object(value)))
            at, state = end, ","
        yield rows
    if state != "end":
        raise BrokenFile(f"the file ends in the middle of its array, after row {number}")


async def _then_none(texts: AsyncIterator[str]) -> AsyncGenerator[str | None]:
    async for text in texts:
        yield text
    yield None


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _json_sign(text: str, at: int, state: str, number: int) -> tuple[int, str]:
    """Past the bracket or comma at ``at``: where to go on, and what must come there."""
    sign = text[at]
    match state, sign:
        case "[", "[":
            return at + 1, "first"
        case (("first" | ","), "]"):
            return at + 1, "end"
        case "first", _:
            return at, "row"
        case ",", ",":
            return at + 1, "row"
        case "[", _:
            raise BrokenFile("the file must hold one JSON array of objects: [{…}, {…}]")
        case _:
            raise BrokenFile(f'"{sign}" behind row {number} is no JSON')


def _broken_json(number: int, error: Exception) -> BrokenFile:
    reason = "it is too deep" if isinstance(error, RecursionError) else str(error)
    return BrokenFile(f"row {number + 1} is no JSON: {reason}")


def _object(value: Any) -> dict[str, Any] | Ragged:
    return value if isinstance(value, dict) else Ragged("it is no JSON object")


async def _read_ndjson(texts: AsyncIterator[str]) -> Rows:
    number = 0
    async for lines in _lines(texts, LONGEST_ROW):
        rows: list[Row] = []
        for line in lines:
            if not line or line.isspace():
                continue
            number += 1
            try:
                rows.append((number, _object(_JSON.decode(line))))
            except (ValueError, RecursionError) as error:
                rows.append((number, Ragged(_broken_json(number - 1, error).message)))
        yield rows


async def _lines(texts: AsyncIterator[str], longest: int) -> AsyncGenerator[list[str]]:
    pieces: list[str] = []
    size = 0
    async for text in texts:
        head, newline, tail = text.rpartition("\n")
        if newline:
            yield "".join([*pieces, head]).split("\n")
            pieces, size = [], 0
        pieces.append(tail)
        size += len(tail)
        if size > longest:
            raise BrokenFile(f"a line is longer than {longest} characters")
    yield ["".join(pieces)]


# ── XML ───────────────────────────────────────────────────────────────────────────────────────────


class _XmlRows:
    """A root, below it an element a row, below that one a field; ``null="true"`` is no value."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._number = 0
        self._depth = 0
        self._row: dict[str, Any] = {}
        self._name = ""
        self._null = False
        self._text: list[str] = []
        self._size = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > 3:
            raise BrokenFile(f"row {self._number + 1}: <{name}> is deeper than a field may be")
        if self._depth == 2:
            self._row, self._size = {}, 0
        if self._depth == 3:
            self._name = attributes.get("name", name)
            self._null = attributes.get("null") == "true"
            self._text = []

    def end(self, _name: str) -> None:
        if self._depth == 3:
            text = "".join(self._text)
            if self._null:
                self._row[self._name] = None
            elif self._name in self._row:
                raise BrokenFile(f"row {self._number + 1} has two fields <{self._name}>")
            else:
                self._row[self._name] = text
        if self._depth == 2:
            self._number += 1
            self.rows.append((self._number, self._row))
        self._depth -= 1

    def text(self, text: str) -> None:
        self._size += len(text)
        if self._size > LONGEST_ROW:
            raise BrokenFile(f"a row is longer than {LONGEST_ROW} characters")
        if self._depth == 3:
            self._text.append(text)


def _no_document_type(*_arguments: object) -> None:
    raise BrokenFile("the file has a document type; entities are not read: remove <!DOCTYPE …>")


async def _read_xml(texts: AsyncIterator[str]) -> Rows:
    found = _XmlRows()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = found.begin
    parser.EndElementHandler = found.end
    parser.CharacterDataHandler = found.text
    parser.StartDoctypeDeclHandler = _no_document_type
    since = 0
    try:
        async for text in texts:
            parser.Parse(text.encode(), False)
            since = 0 if found.rows else since + len(text)
            if since > LONGEST_ROW:
                raise BrokenFile(f"a row is longer than {LONGEST_ROW} characters")
            rows, found.rows = found.rows, []
            yield rows
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise BrokenFile(f"the file is no XML: {error}") from error
    yield found.rows


# ── YAML ──────────────────────────────────────────────────────────────────────────────────────────


async def _read_yaml(texts: AsyncIterator[str]) -> Rows:
    """A list whose items begin with a dash in the first column; read item by item."""
    number = 0
    item: list[str] = []
    size = 0
    async for lines in _lines(texts, LONGEST_YAML_ROW):
        rows: list[Row] = []
        for line in lines:
            if line.startswith(("- ", "-\r")) or line == "-":
                if item:
                    number += 1
                    rows.append((number, _yaml_row(number, item)))
                item, size = [line], len(line)
            elif item and (not line.strip() or line[0] in " \t#"):
                item.append(line)
                size += len(line)
            elif line.strip() and not line.startswith(("#", "---", "...", "[]")):
                where = f"behind row {number + 1}" if item else "at the beginning"
                raise BrokenFile(f'the file must be a list of rows, each behind a "- "; {where}')
            if size > LONGEST_YAML_ROW:
                raise BrokenFile(f"row {number + 1} is longer than {LONGEST_YAML_ROW} characters")
        yield rows
        await asyncio.sleep(0)
    if item:
        yield [(number + 1, _yaml_row(number + 1, item))]


_COLUMNS_DEPTH: Final = 2  # where the values of columns stand, whose types the catalogue knows
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,40})(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")
_YAML_WORDS: Final[Mapping[str, object]] = {"": None, "~": None, "null": None, "true": True}


def _yaml_row(number: int, lines: list[str]) -> dict[str, Any] | Ragged:
    try:
        events = yaml.parse("\n".join(lines), Loader=yaml.CSafeLoader)
        value = _yaml_value(_yaml_events(events), 0)
    except (yaml.YAMLError, RecursionError) as error:
        raise BrokenFile(f"row {number} is no YAML: {str(error).partition(chr(10))[0]}") from error
    (row,) = value
    return row if isinstance(row, dict) else Ragged("it is no mapping of columns to values")


def _yaml_events(events: Iterator[Any]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError("anchors and aliases are not read")
        if getattr(event, "tag", None) not in {None, "!"}:
            raise yaml.YAMLError(f"the tag {event.tag} is not read")
        if isinstance(
            event,
            yaml.ScalarEvent
            | yaml.SequenceStartEvent
            | yaml.SequenceEndEvent
            | yaml.MappingStartEvent
            | yaml.MappingEndEvent,
        ):
            yield event


def _yaml_value(events: Iterator[Any], depth: int) -> Any:
    if depth > DEEPEST:
        raise yaml.YAMLError("it is too deep")
    event = next(events)
    if isinstance(event, yaml.ScalarEvent):
        if not event.implicit[0]:
            return event.value
        if depth > _COLUMNS_DEPTH and _NUMBER.fullmatch(event.value):
            return _JSON.decode(event.value)
        return _YAML_WORDS.get(event.value, event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        found: list[Any] = []
        while (value := _yaml_value(events, depth + 1)) is not _END:
            found.append(value)
        return found
    if isinstance(event, yaml.MappingStartEvent):
        pairs: dict[str, Any] = {}
        while (name := _yaml_value(events, depth + 1)) is not _END:
            if not isinstance(name, str):
                raise yaml.YAMLError("the name of a column is text")
            pairs[name] = _yaml_value(events, depth + 1)
        return pairs
    return _END


_END: Final = object()

_READERS: Final[Mapping[str, Callable[[AsyncIterator[str]], Rows]]] = {
    "csv": _read_csv,
    "json": _read_json,
    "ndjson": _read_ndjson,
    "xml": _read_xml,
    "yaml": _read_yaml,
}
