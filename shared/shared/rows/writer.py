"""Who writes to a table, and what he may see of it; remembered while nothing changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from asyncpg import Record
from msgspec.structs import replace

from shared.catalogue import Catalogue, Column, Table
from shared.context import Actor, Context
from shared.errors import Forbidden, InvalidRequest
from shared.preconditions import Precondition
from shared.rights import Rights, TableRights
from shared.rows import write
from shared.rows.access import TABLE, Field, known_table, primary_key, versioned_by, visible_fields
from shared.rows.compile import row_version, shown_fields
from shared.sql import Sql, raw
from shared.stamps import ALL, table_topic
from shared.system_tables import SystemTable, system_table

DELETED: Final = 0  # the status of soft-deleted rows

_KEPT: Final = 1024  # writers a process remembers


class Writer(msgspec.Struct, frozen=True):
    """A table the caller may change in some way, and what he may see of it."""

    table: Table
    rights: TableRights
    system: SystemTable | None
    key: Column
    fields: Mapping[str, Field]
    shown: Sql
    version: Sql  # of a row of alias ``t``, for this caller
    user: int
    actor: Actor
    precondition: Precondition
    strict: bool
    related: bool  # has relations

    @property
    def unchanged(self) -> Sql:
        """The row is of a version that the caller has seen; none is, where it must be new."""
        if self.precondition.absent:
            return raw("false")
        return write.is_version(self.version, self.precondition.versions)

    @property
    def visible(self) -> Sql:
        return self.rights.view_condition(self.user, TABLE)

    @property
    def topics(self) -> set[str]:
        topics = {table_topic(name) for name in self.table.closure | {self.table.name}}
        return topics if self.table.closure_known else topics | {ALL}

    @property
    def status(self) -> Column | None:
        name = self.table.status_column
        return None if name is None else self.table.columns[name]


def writer(context: Context, name: str) -> Writer:
    """Raises Forbidden, NotFound (administrators), InvalidRequest for a table that is read only."""
    key = (name, context.principal.group, context.principal.user)
    known = _writers.get(key)
    if known is not None and known[0] is context.catalogue and known[1] is context.rights:
        return replace(
            known[2],
            actor=_comparing(context.actor),
            precondition=context.precondition,
            strict=context.strict,
        )
    made = _writer(context, name)
    if len(_writers) >= _KEPT:
        del _writers[next(iter(_writers))]  # the oldest: dicts keep their order
    _writers[key] = (context.catalogue, context.rights, made)
    return made


def _writer(context: Context, name: str) -> Writer:
    table = known_table(context, name)
    rights = context.rights.of(table)
    if not (rights.add or rights.edit or rights.delete):
        raise Forbidden
    system = system_table(name, context.principal, rights)
    if not table.writable:
        reason = (
            "its changes are not recorded: adopt it first"
            if table.primary_key is not None
            else "it has no primary key of one column"
        )
        raise InvalidRequest(f'The table "{name}" is read only: {reason}.')
    key = primary_key(table)
    fields = visible_fields(context, table) if rights.view else {key.name: key}
    return Writer(
        table=table,
        rights=rights,
        system=system,
        key=key,
        fields=fields,
        shown=shown_fields(table, fields),
        version=row_version(table, versioned_by(table, system, fields)),
        user=context.principal.user,
        actor=_comparing(context.actor),
        precondition=context.precondition,
        strict=context.strict,
        related=any(column.relationship for column in table.columns.values()),
    )


def _comparing(actor: Actor) -> Actor:
    """The rows' own statements compare what If-Match names."""
    return actor if actor.seen is None else replace(actor, seen=None)


# They hold for these very objects: knowledge is replaced as a whole.
_writers: dict[tuple[str, int, int], tuple[Catalogue, Rights, Writer]] = {}


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as the caller is shown it, and the version of what is stored."""

    shown: dict[str, Any]
    version: str | None


def as_shown(to: Writer, record: Record) -> Stored:
    return Stored(dict(zip(to.fields, record, strict=False)), record["?version"])
