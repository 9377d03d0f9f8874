"""Files that a body brings in its relations: ``{name, type, data}`` where a file's key could stand.

Their bytes are stored before the transaction of the row begins, for that takes as long as it takes;
their records are made in it. Should it fail, the bytes are given back. Source: contract 7.3.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from msgspec.structs import replace

from shared.catalogue import Table
from shared.changes import Changes
from shared.context import Context
from shared.errors import InvalidValue
from shared.file_records import add_record
from shared.new_file import NewFile

_FILES: Final = "directus_files"


class SentFile(dict[str, Any]):
    """What a body says of a file, without its bytes: they are stored, and wait for a record."""

    def __init__(self, fields: Mapping[str, Any], new: NewFile) -> None:
        super().__init__(fields)
        self.new = new


class SentFiles:
    """The files of one body."""

    def __init__(self, context: Context) -> None:
        self.keys: list[str] = []
        self._context = context

    async def stored(self, table: Table, value: Any) -> Any:
        """The value, which stands for rows of ``table``, with each file in it stored."""
        if isinstance(value, list):
            return [await self.stored(table, entry) for entry in value]
        if not isinstance(value, Mapping):
            return value
        if table.name == _FILES and isinstance(value.get("data"), str) and value["data"]:
            return await self._store(value)
        tables = self._context.catalogue.tables
        kept = dict(value)
        for name, inner in value.items():
            if isinstance(inner, Mapping | list):
                column = table.columns.get(name)
                relation = None if column is None else column.relationship
                # no relation: {data: …}, {rows: […]}, a form's {0: …}; they hold rows of the same
                inside = table if relation is None else tables.get(relation.related_table or "")
                if inside is not None:
                    kept[name] = await self.stored(inside, inner)
        return kept

    async def _store(self, body: Mapping[str, Any]) -> SentFile:
        store = self._context.files
        if store is None:
            raise InvalidValue("send the bytes of a file to files, and its id here", field="data")
        if body.get("id") not in {None, ""}:
            raise InvalidValue("other bytes for a file are sent to files/<id>", field="data")
        new = await store.store(body)
        if new.storage_key is not None:
            self.keys.append(new.storage_key)
        return SentFile({name: body[name] for name in body if name != "data"}, new)


@asynccontextmanager
async def sent_files(context: Context) -> AsyncGenerator[SentFiles]:
    """Give the bytes back if the block fails; those with a record stay."""
    sent = SentFiles(context)
    try:
        yield sent
    except BaseException:
        if context.files is not None:
            for key in sent.keys:
                await context.files.forget(key)
        raise


async def record_sent(changes: Changes, context: Context, file: SentFile) -> int:
    """The file's record, in the transaction of its row; returns its key."""
    async with changes.transaction(replace(context.actor, seen=None)) as change:
        return await add_record(change, context, file.new)
