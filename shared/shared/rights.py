"""What one group may do with each table.

Levels: 0 nothing, 1 own rows, 2 all rows; for adding and altering 1 is yes. A row is somebody's own
when one of the table's owner columns holds that user's id. Source: contract 7.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.catalogue import Column, Reader, Table
from shared.identity import ADMINISTRATORS
from shared.sql import EMPTY, Sql, ident, join, param, raw

Action = Literal["view", "add", "edit", "delete", "alter"]
Level = Literal[0, 1, 2]


@dataclass(frozen=True, slots=True)
class Levels:
    """One row of directus_privileges."""

    view: int = 0
    add: int = 0
    edit: int = 0
    delete: int = 0
    alter: int = 0
    read_blacklist: frozenset[str] = frozenset()
    write_blacklist: frozenset[str] = frozenset()


NOTHING = Levels()
EVERYTHING = Levels(view=2, add=2, edit=2, delete=2, alter=2)


@dataclass(frozen=True, slots=True)
class TableRights:
    """A group's rights on one table.

    ``view``, ``add`` … are the highest level over all statuses: 0 means the table is closed for that
    action. Which rows, say the conditions. ``by_status`` holds the workflow rows: for items in that
    status they stand in the place of ``general`` (reading 62).
    """

    table: Table
    general: Levels
    by_status: Mapping[int, Levels]
    view: int
    add: int
    edit: int
    delete: int
    alter: int
    read_blacklist: frozenset[str]
    write_blacklist: frozenset[str]

    def readable(self) -> dict[str, Column]:
        """The columns this group may know of, in the table's order. Key and status always are."""
        return {n: c for n, c in self.table.columns.items() if n not in self.read_blacklist}

    def writable(self) -> dict[str, Column]:
        """The columns a body may name without being refused."""
        return {n: c for n, c in self.table.columns.items() if n not in self.write_blacklist}

    def level(self, action: Action, status: int | None) -> int:
        """The level for items in this status (None: the table has no status)."""
        raise NotImplementedError

    def view_condition(self, user: int, alias: Sql) -> Sql:
        """Which rows of ``alias`` this user may see: EMPTY for all, ``false`` for none."""
        raise NotImplementedError

    def edit_condition(self, user: int, alias: Sql) -> Sql:
        raise NotImplementedError

    def delete_condition(self, user: int, alias: Sql) -> Sql:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one group, administrators (group 1) included: they may do everything."""

    group: int
    privileges: Mapping[str, Mapping[int, Levels]]  # table → status (0: any) → levels
    _known: dict[str, TableRights] = field(default_factory=dict[str, TableRights], compare=False)

    @property
    def admin(self) -> bool:
        return self.group == ADMINISTRATORS

    def of(self, table: Table) -> TableRights:
        raise NotImplementedError


def owned(table: Table, user: int, alias: Sql) -> Sql:
    """The rows of ``alias`` that belong to ``user``; ``false`` on a table without owner column."""
    own = [alias + raw(".") + ident(name) + raw(" = ") + param(user) for name in table.owner_columns]
    return raw("(") + join(" OR ", own) + raw(")") if own else raw("false")


async def load_rights(session: Reader, group: int) -> Rights:
    """One round trip."""
    raise NotImplementedError


__all__ = ["EMPTY", "Levels", "Rights", "TableRights", "load_rights", "owned"]
