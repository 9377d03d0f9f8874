"""``utils/import``: a file into a table, all of it or nothing.

Rows are read, checked and stored a few thousand at a time while the file still comes; the next ones
are read while PostgreSQL stores these. Once a row has failed the rest is looked through for more
faults, and everything is rolled back. Source: contract 9, readings 45, 46 and 65.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from items_service.operations.sorting import utility_writer
from items_service.operations.tabular import Bytes, Ragged, Row, Rows, read_rows
from items_service.store import bulk
from shared import failpoints, rows
from shared.catalogue import Column
from shared.changes import Change, Changes
from shared.column_types import Kind
from shared.context import Context
from shared.database import Joined
from shared.errors import ApiError, Forbidden, InvalidRequest, InvalidValue, NotUnique
from shared.rows.plain_rows import automatic_values
from shared.rows.plan import TABLE
from shared.rows.values import stored
from shared.rows.writer import Writer
from shared.sql import EMPTY, raw

MOST_ERRORS: Final = 1000
BATCH: Final = 5000  # rows
_WAITING: Final = 2  # batches that were read ahead
_WORTH_COPYING: Final = 20  # rows of one shape; fewer go by a statement

Convert = Callable[[Any], object]
Values = dict[str, Any]
Ready = tuple[int, Values, Mapping[str, Any]]  # its number, as it is stored, as it was sent


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one row."""

    row: int
    field: str | None
    code: str
    message: str


@dataclass(slots=True)
class Progress:
    rows: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    more: bool = False  # faults than are kept


class ImportFailed(ApiError):
    """Nothing was stored. ``errors`` name rows and fields as the modern clients read them."""

    status, code = 400, "INVALID_PAYLOAD"

    def __init__(self, progress: Progress) -> None:
        first = progress.faults[0]
        count = f"{MOST_ERRORS} or more" if progress.more else str(len(progress.faults))
        super().__init__(f"Nothing was imported; faults: {count}. Row {first.row}: {first.message}")
        self.progress = progress
        self.errors = grouped(progress.faults)


class DryRun(Exception):
    """Rolls back what was only a trial."""


Finish = Callable[[Joined, Progress], Awaitable[None]]


def may_import(context: Context, table: str) -> Writer:
    """Raises Forbidden, for a missing table too, InvalidRequest for a read-only one."""
    to = utility_writer(context, table)
    if not context.rights.admin and (
        to.system is not None or not to.rights.add or not to.rights.edit
    ):
        raise Forbidden
    return to


async def import_file(
    changes: Changes,
    context: Context,
    table: str,
    form: str,
    chunks: Bytes,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    finish: Finish | None = None,
) -> Progress:
    """Store the rows of a file; a row whose key exists is updated.

    ``finish`` runs in the same transaction, when all is stored. Raises ImportFailed, BrokenFile,
    Forbidden.
    """
    progress = progress or Progress()
    importer = _Importer(changes, context, may_import(context, table), progress)
    try:
        async with changes.all_or_none() as joined:
            await changes.database.execute(
                raw("SET LOCAL idle_in_transaction_session_timeout = 60000")
            )
            async for batch in _ahead(read_rows(form, chunks)):
                await importer.take(batch)
                if len(progress.faults) >= MOST_ERRORS:
                    progress.more = True
                    break
            await importer.flush()
            if progress.faults:
                raise ImportFailed(progress)
            if dry_run:
                raise DryRun  # noqa: TRY301 - the way out of the transaction
            if finish is not None:
                await finish(joined, progress)
            await failpoints.reach("import.stored")
    except DryRun:
        pass
    return progress


async def _ahead(read: Rows) -> AsyncGenerator[list[Row]]:
    """The same, read while the consumer is busy; only so far ahead."""
    queue: asyncio.Queue[list[Row] | None] = asyncio.Queue(_WAITING)

    async def produce() -> None:
        batch: list[Row] = []
        try:
            async for found in read:
                batch += found
                while len(batch) >= BATCH:
                    await queue.put(batch[:BATCH])
                    batch = batch[BATCH:]
            if batch:
                await queue.put(batch)
        finally:
            await queue.put(None)

    task = asyncio.create_task(produce())
    try:
        while (batch := await queue.get()) is not None:
            yield batch
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await read.aclose()


class _Importer:
    def __init__(self, changes: Changes, context: Context, to: Writer, progress: Progress) -> None:
        self._changes = changes
        self._context = context
        self._to = to
        self._progress = progress
        self._converts: dict[str, Convert | None] = {}
        self._rows: list[Ready] = []
        self._keys: set[object] = set()
        self._made: set[str] = set()  # temporary tables
        self._automatic = automatic_values(to, created=True)
        self._automatic_update = automatic_values(to, created=False)
        edit = to.rights.edit_condition(to.user, TABLE)
        self._editable = EMPTY
        if to.visible or edit:
            parts = [raw("(") + part + raw(")") for part in (to.visible, edit) if part]
            self._editable = parts[0] if len(parts) == 1 else parts[0] + raw(" AND ") + parts[1]
        self._simple = (
            to.system is None and not to.rights.by_status and not to.table.require_if_match
        )

    async def take(self, batch: Sequence[Row]) -> None:
        key = self._to.key.name
        for number, row in batch:
            if isinstance(row, Ragged):
                self._fault(Fault(number, None, "FAILED_VALIDATION", row.message))
                continue
            values = self._values(number, row)
            if values is None:
                continue
            given = values.get(key)
            if given is not None:
                if given in self._keys:  # the later one wins, as it would alone
                    await self.flush()
                self._keys.add(given)
            self._rows.append((number, values, row))
        await self.flush()

    async def flush(self) -> None:
        taken, self._rows, self._keys = self._rows, [], set()
        if taken and len(self._progress.faults) < MOST_ERRORS:
            await self._store(taken)
            self._progress.rows += len(taken)

    # ── reading values ────────────────────────────────────────────────────────────────────────────

    def _values(self, number: int, row: Mapping[str, Any]) -> Values | None:
        values: Values = {}
        converts = self._converts
        failed = False
        for name, value in row.items():
            try:
                convert = converts[name]
            except KeyError:
                convert = converts[name] = self._convert(name)
            if convert is None:
                continue
            try:
                values[name] = convert(value)
            except InvalidValue as error:
                failed = True
                code = "FAILED_VALIDATION"
                if "characters at most" in error.message:
                    code = "VALUE_TOO_LONG"
                elif "needs a value" in error.message:
                    code = "NOT_NULL_VIOLATION"
                self._fault(Fault(number, name, code, error.message))
        if self._to.key.name in values and values[self._to.key.name] is None:
            del values[self._to.key.name]
        if not values and not failed:
            failed = True
            self._fault(
                Fault(number, None, "FAILED_VALIDATION", "it names no column of this table")
            )
        return None if failed else values

    def _convert(self, name: str) -> Convert | None:
        """How values of a column are read; None for what cannot be set. Raises Forbidden."""
        to = self._to
        if to.system is not None and (name in to.system.virtual or name in to.system.computed):
            return _as_sent
        column = to.table.columns.get(name)
        if column is None:
            return None
        if name in to.rights.write_blacklist:
            raise Forbidden(f'Permission denied: the column "{name}" is protected', field=name)
        if column.generated or column.is_alias or name in to.table.automatic_columns:
            return None
        if to.system is not None:
            return _as_sent
        read = _reader(column)
        if column.nullable or name == to.key.name:
            return read

        def needed(value: Any) -> object:
            found = read(value)
            if found is None:
                raise InvalidValue(f'The column "{name}" needs a value.', field=name)
            return found

        return needed

    def _fault(self, fault: Fault) -> None:
        if len(self._progress.faults) < MOST_ERRORS:
            self._progress.faults.append(fault)
        else:
            self._progress.more = True

    # ── storing them ──────────────────────────────────────────────────────────────────────────────

    async def _store(self, taken: Sequence[Ready]) -> None:
        """Store rows; of those that cannot be, each is found by halving."""
        try:
            await self._store_all(taken)
        except ApiError as error:
            if error.status >= 500:
                raise
            if len(taken) == 1:
                self._fault(_told(taken[0][0], error))
                return
            half = len(taken) // 2
            for part in (taken[:half], taken[half:]):
                if len(self._progress.faults) < MOST_ERRORS:
                    await self._store(part)

    async def _store_all(self, taken: Sequence[Ready]) -> None:
        shapes: dict[tuple[str, ...], list[Ready]] = {}
        for row in taken:
            shapes.setdefault(tuple(row[1]), []).append(row)
        bulk_shapes = {
            shape: await self._held(shape)
            for shape, members in shapes.items()
            if self._in_bulk(shape, len(members))
        }
        async with self._changes.transaction(self._to.actor) as change:
            change.touch(*self._to.topics)
            for shape, members in shapes.items():
                if shape in bulk_shapes:
                    await self._store_bulk(change, shape, bulk_shapes[shape], members)
                    continue
                await rows.create_rows(
                    self._changes,
                    self._context,
                    self._to.table.name,
                    {"rows": [_body(self._to, values, row) for _, values, row in members]},
                    query={},
                )

    def _in_bulk(self, shape: tuple[str, ...], count: int) -> bool:
        status = self._to.status
        plain = status is None or status.name not in shape or self._context.rights.admin
        return self._simple and plain and count >= _WORTH_COPYING

    async def _held(self, shape: tuple[str, ...]) -> bulk.Held | None:
        """Where rows of this shape wait for their INSERT; None where they need none."""
        columns = [self._to.table.columns[name] for name in shape]
        if bulk.go_straight(self._to.key, columns, self._automatic):
            return None
        held = bulk.held(columns)
        joined = self._changes.database.current
        assert joined is not None
        assert joined.session is not None
        await held.prepare(joined.session, made=held.name in self._made)
        self._made.add(held.name)
        return held

    async def _store_bulk(
        self,
        change: Change,
        shape: tuple[str, ...],
        held: bulk.Held | None,
        members: Sequence[Ready],
    ) -> None:
        records = [tuple(values.values()) for _, values, _ in members]
        if held is None:
            columns = [self._to.table.columns[name] for name in shape]
            await bulk.copy(change, self._to.table, columns, records)
            return
        await bulk.store(
            change,
            self._to.table,
            self._to.key,
            held,
            records,
            automatic=self._automatic,
            automatic_update=self._automatic_update,
            editable=self._editable,
        )


def _body(to: Writer, values: Values, row: Mapping[str, Any]) -> Values:
    """A row as it was sent: the row engine reads values itself. It takes more than a key."""
    if len(values) == 1 and to.key.name in values:
        raise InvalidRequest("it names a key and nothing else", field=to.key.name)
    return {name: row[name] for name in values}


def _told(row: int, error: ApiError) -> Fault:
    code = "FAILED_VALIDATION"
    if isinstance(error, NotUnique):
        code = "RECORD_NOT_UNIQUE"
    elif isinstance(error, Forbidden):
        code = "FORBIDDEN"
    elif "needs a value" in error.message:
        code = "NOT_NULL_VIOLATION"
    elif "related item" in error.message:
        code = "INVALID_FOREIGN_KEY"
    return Fault(row, error.field, code, error.message)


# ── the usual values without a detour; all others as every write reads them ───────────────────────


def _as_sent(value: Any) -> object:
    return value


def _reader(column: Column) -> Convert:
    if column.kind is Kind.INTEGER and column.pg_type in {"int4", "int8"}:
        return lambda value: (
            int(value)
            if type(value) is str and value.isascii() and value.isdigit() and len(value) < 10
            else stored(column, value)
        )
    if column.kind is Kind.TEXT and column.pg_type in {"varchar", "text"}:
        length = column.char_length
        most = int(length) if length is not None and length.isdigit() else 0
        most = most if column.pg_type == "varchar" and most else 10**9
        return lambda value: (
            value
            if type(value) is str and value.isascii() and len(value) <= most and "\0" not in value
            else stored(column, value)
        )
    return lambda value: stored(column, value)


# ── faults as the modern clients read them ────────────────────────────────────────────────────────


def grouped(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """One error a field and code, with the rows it is about."""
    groups: dict[tuple[str | None, str], list[Fault]] = {}
    for fault in faults:
        groups.setdefault((fault.field, fault.code), []).append(fault)
    errors: list[dict[str, Any]] = []
    for (name, code), members in groups.items():
        extensions: dict[str, Any] = {"code": code}
        if name is not None:
            extensions["field"] = name
        extensions["rows"] = _row_groups(sorted({fault.row for fault in members}))
        first = members[0]
        message = f"Row {first.row}: {first.message}"
        errors.append({"message": message, "extensions": extensions})
    return errors


def _row_groups(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Runs of more than two rows as ranges, the others as one list."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    single = [number for run in runs if len(run) <= 2 for number in run]
    found: list[dict[str, Any]] = [{"type": "lines", "rows": single}] if single else []
    found += [{"type": "range", "start": run[0], "end": run[-1]} for run in runs if len(run) > 2]
    return found
