"""What one group may do with each table.

Levels: 0 nothing, 1 own rows, 2 all rows; for adding and altering 1 is yes. A row is somebody's own
when one of the table's owner columns holds that user's id. Source: contract 7.4.

Here is what a privilege means. Who asks it, and makes it part of a plan, and nobody else:
``rows/access`` (the tables, columns and rows a caller reads), ``rows/through`` (the same behind a
dotted name, a join, ``q``), ``rows/may_write`` (what a writer may do to which row). What is above
privileges stands in ``system_tables`` (what only administrators, or only users themselves, do to
users, groups and privileges) and ``Scope`` below (how far a token reaches). An entry of the
activity is as readable as its row: ``rows/activity``. Whether files may be read without
a token at all: files-service's ``operations/access``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from shared.catalogue import Column, Table
from shared.database import Reader
from shared.identity import ADMINISTRATORS
from shared.sql import EMPTY, Sql, ident, join, param, raw

Action = Literal["view", "add", "edit", "delete", "alter"]
_MOST_SCOPES: Final = 64  # of one group, remembered
ANY_STATUS: Final = 0  # null and 0 both mean any status (reading 62)


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


NOTHING: Final = Levels()
EVERYTHING: Final = Levels(view=2, add=2, edit=2, delete=2, alter=2)

# Everybody may read and write own preferences and bookmarks (contract 7.4).
_FLOOR: Final[Mapping[str, Levels]] = {
    "directus_preferences": Levels(view=1, add=1, edit=1, delete=1),
    "directus_bookmarks": Levels(view=1, add=1, edit=1, delete=1),
}
# What decides over rights and schema, and what records changes, is never anybody else's to write.
_ADMINISTRATORS_WRITE: Final = frozenset(
    {
        "directus_privileges",
        "directus_groups",
        "directus_tables",
        "directus_columns",
        "directus_activity",
    }
)


@dataclass(frozen=True, slots=True)
class TableRights:
    """A group's rights on one table.

    ``view``, ``add`` … are the highest level over all statuses: 0 closes the table for that action,
    above it the conditions say which rows. ``by_status`` holds the workflow rows: for items in that
    status they stand in the place of ``general`` (reading 62). A column that any of them blacklists
    counts as blacklisted in all.
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
        """The level for items in this status; None where the table has no status."""
        levels = self.general if status is None else self.by_status.get(status, self.general)
        return getattr(levels, action)

    def condition(self, action: Literal["view", "edit", "delete"], user: int, alias: Sql) -> Sql:
        """The rows of ``alias`` this user may see or change: EMPTY for all, ``false`` for none."""
        levels = {status: self.level(action, status) for status in self.by_status}
        general = self.level(action, None)
        if all(level == general for level in levels.values()):
            return _rows(general, self.table, user, alias)
        assert self.table.status_column is not None  # or there were no workflow rows
        status = alias + raw(".") + ident(self.table.status_column)
        cases = [
            raw("WHEN ")
            + param(number)
            + raw("::int4 THEN ")
            + _true(level, self.table, user, alias)
            for number, level in levels.items()
        ]
        rest = raw(" ELSE ") + _true(general, self.table, user, alias)
        return raw("CASE ") + status + raw(" ") + join(" ", cases) + rest + raw(" END")

    def view_condition(self, user: int, alias: Sql) -> Sql:
        return self.condition("view", user, alias)

    def edit_condition(self, user: int, alias: Sql) -> Sql:
        return self.condition("edit", user, alias)

    def delete_condition(self, user: int, alias: Sql) -> Sql:
        return self.condition("delete", user, alias)

    def depends_on_user(self, action: Action = "view") -> bool:
        """Whether two users of this group can be answered differently."""
        return any(getattr(levels, action) == 1 for levels in self._rows())

    def _rows(self) -> tuple[Levels, ...]:
        return (self.general, *self.by_status.values())


def owned(table: Table, user: int, alias: Sql) -> Sql:
    """The rows of ``alias`` that belong to ``user``; ``false`` on a table without owner column."""
    own = [
        alias + raw(".") + ident(name) + raw(" = ") + param(user) + raw("::int4")
        for name in table.owner_columns
    ]
    return raw("(") + join(" OR ", own) + raw(")") if own else raw("false")


def _rows(level: int, table: Table, user: int, alias: Sql) -> Sql:
    if level >= 2:
        return EMPTY
    return owned(table, user, alias) if level == 1 else raw("false")


def _true(level: int, table: Table, user: int, alias: Sql) -> Sql:
    return _rows(level, table, user, alias) or raw("true")


@dataclass(frozen=True, slots=True)
class Scope:
    """What of its user's rights a token carries. ``tables`` None: all of them."""

    read_only: bool
    tables: frozenset[str] | None

    def admits(self, method: str, path: str) -> bool:
        """Whether a token of this scope may be used for a request at all.

        With tables named, nothing but those tables' own paths is open: what else a service
        serves rests on no table right.
        """
        if self.read_only and method not in {"GET", "HEAD"}:
            return False
        if self.tables is None:
            return True
        parts = path.strip("/").split("/")  # api, version, tables, name, …
        return len(parts) > 3 and parts[2] == "tables" and parts[3] in self.tables

    def limit(self, table: str, levels: Levels) -> Levels:
        if self.tables is not None and table not in self.tables:
            return NOTHING
        if self.read_only:
            return replace(levels, add=0, edit=0, delete=0, alter=0)
        return levels


def scope_of(text: str) -> Scope:
    """Raises ValueError for words that mean nothing."""
    words = text.split()
    tables = frozenset(word.removeprefix("table:") for word in words if word.startswith("table:"))
    if not words or "" in tables or any(w != "read" and w[:6] != "table:" for w in words):
        raise ValueError(text)
    return Scope("read" in words, tables or None)


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one group, administrators (group 1) included: they may do everything.

    ``scope``: the token in use carries a part of them only, an administrator's too.
    """

    group: int
    privileges: Mapping[str, Mapping[int, Levels]]  # table → status (ANY_STATUS: general) → row
    scope: Scope | None = None
    _known: dict[str, TableRights] = field(default_factory=dict[str, TableRights], compare=False)
    _scoped: dict[str, "Rights"] = field(default_factory=dict[str, "Rights"], compare=False)

    @property
    def admin(self) -> bool:
        return self.group == ADMINISTRATORS and self.scope is None

    def within(self, scope: str) -> "Rights":
        """These rights as a token of this scope carries them; the same object each time."""
        if not scope:
            return self
        known = self._scoped.get(scope)
        if known is None:
            if len(self._scoped) >= _MOST_SCOPES:
                self._scoped.clear()
            known = self._scoped[scope] = Rights(self.group, self.privileges, scope_of(scope))
        return known

    def of(self, table: Table) -> TableRights:
        known = self._known.get(table.name)
        if known is None or known.table is not table:
            known = self._known[table.name] = self._of(table)
        return known

    def _of(self, table: Table) -> TableRights:
        scope = self.scope
        if self.group == ADMINISTRATORS:
            levels = EVERYTHING if scope is None else scope.limit(table.name, EVERYTHING)
            return _table_rights(table, levels, {})
        rows = self.privileges.get(table.name, {})
        general = _at_least(rows.get(ANY_STATUS, NOTHING), _FLOOR.get(table.name, NOTHING))
        workflow = {status: row for status, row in rows.items() if status != ANY_STATUS}
        if table.status_column is None:
            workflow = {}
        if scope is not None:
            general = scope.limit(table.name, general)
            workflow = {status: scope.limit(table.name, row) for status, row in workflow.items()}
        return _table_rights(
            table,
            _on(table, general),
            {status: _on(table, row) for status, row in workflow.items()},
        )


def _at_least(levels: Levels, floor: Levels) -> Levels:
    return Levels(
        view=max(levels.view, floor.view),
        add=max(levels.add, floor.add),
        edit=max(levels.edit, floor.edit),
        delete=max(levels.delete, floor.delete),
        alter=levels.alter,
        read_blacklist=levels.read_blacklist,
        write_blacklist=levels.write_blacklist,
    )


def _on(table: Table, levels: Levels) -> Levels:
    """The stored row as it works on this table.

    Own rows of a table that knows no owner: none to see, editing and deleting refused (reading 36).
    Neither the key nor the status can be kept from a reader.
    """
    writes = table.name not in _ADMINISTRATORS_WRITE
    least = 1 if table.owner_columns else 2
    return Levels(
        view=levels.view,
        add=levels.add if writes else 0,
        edit=levels.edit if writes and levels.edit >= least else 0,
        delete=levels.delete if writes and levels.delete >= least else 0,
        alter=levels.alter,
        read_blacklist=levels.read_blacklist - {table.primary_key, table.status_column},
        write_blacklist=levels.write_blacklist,
    )


def _table_rights(table: Table, general: Levels, by_status: Mapping[int, Levels]) -> TableRights:
    rows = (general, *by_status.values())
    return TableRights(
        table=table,
        general=general,
        by_status=by_status,
        view=max(row.view for row in rows),
        add=max(row.add for row in rows),
        edit=max(row.edit for row in rows),
        delete=max(row.delete for row in rows),
        alter=max(row.alter for row in rows),
        read_blacklist=frozenset[str]().union(*(row.read_blacklist for row in rows)),
        write_blacklist=frozenset[str]().union(*(row.write_blacklist for row in rows)),
    )


_PRIVILEGES: Final = raw(
    "SELECT table_name, coalesce(status_id, 0) AS status, allow_view, allow_add, allow_edit,"
    " allow_delete, allow_alter, read_field_blacklist, write_field_blacklist"
    " FROM public.directus_privileges WHERE group_id = "
)


async def load_rights(session: Reader, group: int) -> Rights:
    """One round trip. Of several rows for one table and status the newest counts."""
    rows = await session.fetch(_PRIVILEGES + param(group) + raw(" ORDER BY id"))
    privileges: dict[str, dict[int, Levels]] = {}
    for row in rows:
        privileges.setdefault(row["table_name"], {})[row["status"]] = _levels(row)
    return Rights(group, privileges)


def _levels(row: Mapping[str, Any]) -> Levels:
    return Levels(
        view=_level(row["allow_view"]),
        add=_level(row["allow_add"]),
        edit=_level(row["allow_edit"]),
        delete=_level(row["allow_delete"]),
        alter=_level(row["allow_alter"]),
        read_blacklist=names_of(row["read_field_blacklist"]),
        write_blacklist=names_of(row["write_field_blacklist"]),
    )


def _level(stored: int | None) -> int:
    return min(max(stored or 0, 0), 2)


def names_of(stored: str | None) -> frozenset[str]:
    """The names in a CSV blacklist."""
    return frozenset(name.strip() for name in (stored or "").split(",") if name.strip())
