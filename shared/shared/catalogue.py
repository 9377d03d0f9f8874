"""The managed schema as the API sees it: PostgreSQL's catalogue joined with the API's metadata.

A ``Catalogue`` is a value: loaded once, never changed, replaced whole when the schema moves on.
Names are looked up in it before they reach SQL; what is not in it does not exist.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from asyncpg import Record

from shared.column_types import ALIASES, Found, Kind, default_text, kind_of, report
from shared.database import Reader
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("shared", "catalogue.sql")
SYSTEM_PREFIX: Final = "directus_"
NEW_COLUMN_SORT: Final = 9999  # contract 7.2

RelationshipType = Literal["MANYTOONE", "ONETOMANY", "MANYTOMANY"]
Key = Literal["PRI", "UNI", "MUL", ""]


@dataclass(frozen=True, slots=True)
class Relationship:
    """How a column leads to other rows; the keys are columns of the junction or related table.

    MANYTOONE: this column holds the key of ``related_table``.
    ONETOMANY: ``junction_key_right`` is the column of ``related_table`` that points here.
    MANYTOMANY: ``junction_key_left`` points here, ``junction_key_right`` at ``related_table``.
    """

    type: RelationshipType
    related_table: str | None
    junction_table: str | None
    junction_key_left: str | None
    junction_key_right: str | None


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    position: int  # attnum; aliases come after all others
    pg_type: str  # as in pg_type.typname: int4, varchar, timestamp; '' for an alias
    data_type: str  # MySQL's name, upper case: INT, VARCHAR, ALIAS
    char_length: str | None
    column_type: str | None  # MySQL's full type: varchar(255)
    precision: int | None
    scale: int | None
    nullable: bool
    default: str | None  # text in MySQL's manner: 2, CURRENT_TIMESTAMP
    key: Key
    auto_increment: bool
    kind: Kind
    ui: str | None
    hidden_list: bool
    hidden_input: bool
    required: bool  # as stored; the key is required whatever stands there
    sort: int | None
    comment: str
    options: Mapping[str, Any]
    relationship: Relationship | None
    generated: bool  # computed by PostgreSQL: never written

    @property
    def is_alias(self) -> bool:
        """Metadata only: there is no such column in the database."""
        return self.kind is Kind.ALIAS


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    oid: int
    columns: Mapping[str, Column]  # in the order they are shown
    primary_key: str | None  # None also for a key of several columns
    status_column: str | None
    sort_column: str | None
    owner_columns: tuple[str, ...]  # integer columns that hold the id of the row's owner
    managed: bool  # its changes are recorded: answers may be cached, rows may be written
    is_system: bool
    closure: frozenset[str]  # tables a write here may touch, itself among them
    closure_known: bool  # False: triggers of others make it unknowable, raise "all"
    user_create_column: str | None
    user_update_column: str | None
    date_create_column: str | None
    date_update_column: str | None
    hidden: bool
    single: bool
    is_junction_table: bool
    footer: bool
    primary_column: str | None
    comment: str
    date_created: datetime | None
    default_status: str | None
    list_view: str | None
    column_groupings: str | None
    filter_column_blacklist: str | None
    display_template: str | None
    preview_url: str | None
    require_if_match: bool = False  # a change of a row must name the version it has seen
    versioned: bool = True  # a row's version can be told: not of partitioned tables

    @property
    def writable(self) -> bool:
        """A table without a single-column key, or one nobody adopted, is read only (reading 70)."""
        return self.managed and self.primary_key is not None

    @property
    def automatic_columns(self) -> frozenset[str]:
        """Filled by the server; clients cannot write them (reading 56)."""
        names = (
            self.user_create_column,
            self.user_update_column,
            self.date_create_column,
            self.date_update_column,
        )
        return frozenset(name for name in names if name is not None and name in self.columns)


@dataclass(frozen=True, slots=True)
class Catalogue:
    tables: Mapping[str, Table]  # by name, sorted
    schema_name: str  # the name of the database: what MySQL calls a schema

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)


async def load_catalogue(session: Reader) -> Catalogue:
    """Read the whole schema: two round trips, some milliseconds."""
    tables = await session.fetch(fixed(QUERIES["tables"]))
    columns = await session.fetch(fixed(QUERIES["columns"]))
    by_table: dict[str, dict[str, Column]] = {row["name"]: {} for row in tables}
    for row in columns:
        known = by_table.get(row["table_name"])
        column = _column(row)
        if known is not None and column is not None:
            known[column.name] = column
    closures = _closures({row["name"]: row["touches"] for row in tables})
    unknowable = {row["name"] for row in tables if row["foreign"]}
    return Catalogue(
        tables={
            row["name"]: _table(row, by_table[row["name"]], closures[row["name"]], unknowable)
            for row in tables
        },
        schema_name=tables[0]["schema_name"],
    )


# ── columns ───────────────────────────────────────────────────────────────────────────────────────

# The relation the servers knew without metadata: a user is shown with its group.
_BUILT_IN_RELATIONSHIPS: Final[Mapping[tuple[str, str], Relationship]] = {
    ("directus_users", "group"): Relationship("MANYTOONE", "directus_groups", None, None, "group"),
}
_AFTER_ALL: Final = 10_000  # PostgreSQL has at most 1600 columns
_RELATIONSHIPS: Final = ("MANYTOONE", "ONETOMANY", "MANYTOMANY")


@lru_cache(maxsize=16_384)
def _column(row: Record) -> Column | None:
    """None for metadata that a dropped column has left behind.

    Remembered by the whole row: a change of the schema leaves nearly all columns as they were.
    """
    if row["oid"] is None:
        return _alias(row)
    found = Found(row["pg_type"], row["typmod"], tuple(msgspec.json.decode(row["labels"] or b"[]")))
    expression: str | None = row["default_expression"]
    automatic = row["identity"] or (expression or "").startswith("nextval(")
    reported = report(found, row["data_type"] or _system_type(row), row["char_length"])
    if automatic and reported.column_type and not reported.column_type.endswith("unsigned"):
        reported = replace(reported, column_type=f"{reported.column_type} unsigned")
    return Column(
        name=row["column_name"],
        position=row["position"],
        pg_type=row["pg_type"],
        data_type=reported.data_type,
        char_length=reported.char_length,
        column_type=reported.column_type,
        precision=reported.precision,
        scale=reported.scale,
        nullable=row["nullable"],
        default=None if row["generated"] else default_text(expression),
        key=row["key"],
        auto_increment=automatic,
        kind=kind_of(found),
        generated=row["generated"],
        relationship=_relationship(row),
        **_metadata(row),
    )


def _system_type(row: Record) -> str | None:
    """The flags and states of system tables were TINYINT, and clients show them as such."""
    small = row["pg_type"] == "int2" and row["table_name"].startswith(SYSTEM_PREFIX)
    return "TINYINT" if small else None


def _alias(row: Record) -> Column | None:
    relationship = _relationship(row)
    data_type = (row["data_type"] or "").upper()
    related = relationship is not None and relationship.type != "MANYTOONE"
    if not related and data_type not in ALIASES:
        return None
    return Column(
        name=row["column_name"],
        position=_AFTER_ALL,
        pg_type="",
        data_type=data_type if data_type in ALIASES else "ALIAS",
        char_length=None,
        column_type=None,
        precision=None,
        scale=None,
        nullable=True,
        default=None,
        key="",
        auto_increment=False,
        kind=Kind.ALIAS,
        generated=False,
        relationship=relationship,
        **_metadata(row),
    )


def _metadata(row: Record) -> dict[str, Any]:
    options = msgspec.json.decode(row["options"]) if row["options"] else {}
    return {
        "ui": row["ui"] or None,
        "hidden_list": bool(row["hidden_list"]),
        "hidden_input": bool(row["hidden_input"]),
        "required": bool(row["required"]),
        "sort": row["sort"],
        "comment": row["comment"],
        "options": options if isinstance(options, dict) else {},
    }


def _relationship(row: Record) -> Relationship | None:
    stored = (row["relationship_type"] or "").upper()
    if stored not in _RELATIONSHIPS:
        return _BUILT_IN_RELATIONSHIPS.get((row["table_name"], row["column_name"]))
    return Relationship(
        type=stored,
        related_table=row["related_table"] or None,
        junction_table=row["junction_table"] or None,
        junction_key_left=row["junction_key_left"] or None,
        junction_key_right=row["junction_key_right"] or None,
    )


# ── tables ────────────────────────────────────────────────────────────────────────────────────────

STATUS_COLUMN: Final = "active"  # reading 7
ACTIVITY: Final = "directus_activity"  # its key holds the time too, only to be partitioned by it
# Bookmarks have a column of that name, which was never their status (contract 4).
_WITHOUT_STATUS: Final = frozenset({"directus_bookmarks"})
_BUILT_IN_OWNERS: Final[Mapping[str, str]] = {
    "directus_files": "user",
    "directus_users": "id",
    "directus_messages_recipients": "recipient",
    "directus_preferences": "user",
    "directus_bookmarks": "user",
    "directus_activity": "user",
}


def _table(
    row: Mapping[str, Any],
    columns: Mapping[str, Column],
    closure: frozenset[str],
    unknowable: set[str],
) -> Table:
    name: str = row["name"]
    key: list[str] = ["id"] if name == ACTIVITY else row["primary_key"]
    return Table(
        name=name,
        oid=row["oid"],
        columns=columns,
        primary_key=key[0] if len(key) == 1 else None,
        status_column=_status_column(name, row["status_column"], columns),
        sort_column=_sort_column(row["sort_column"], columns),
        owner_columns=_owner_columns(name, row["user_create_column"], columns),
        managed=row["managed"],
        is_system=name.startswith(SYSTEM_PREFIX),
        closure=closure,
        closure_known=not closure & unknowable,
        user_create_column=row["user_create_column"] or None,
        user_update_column=row["user_update_column"] or None,
        date_create_column=row["date_create_column"] or None,
        date_update_column=row["date_update_column"] or None,
        hidden=bool(row["hidden"]),
        single=bool(row["single"]),
        is_junction_table=bool(row["is_junction_table"]),
        footer=bool(row["footer"]),
        primary_column=row["primary_column"] or None,
        comment=row["comment"],
        date_created=row["date_created"],
        default_status=row["default_status"],
        list_view=row["list_view"],
        column_groupings=row["column_groupings"],
        filter_column_blacklist=row["filter_column_blacklist"],
        display_template=row["display_template"],
        preview_url=row["preview_url"],
        require_if_match=bool(row["require_if_match"]),
        versioned=row["versioned"],
    )


def _status_column(name: str, stored: str | None, columns: Mapping[str, Column]) -> str | None:
    """As directoire.status_column_of: the kept counts must speak of the same column."""
    if name in _WITHOUT_STATUS:
        return None
    column = columns.get(stored or STATUS_COLUMN)
    return column.name if column is not None and column.kind is Kind.INTEGER else None


def _sort_column(stored: str | None, columns: Mapping[str, Column]) -> str | None:
    """Source: reading 47."""
    numbers = {n: c for n, c in columns.items() if c.kind in (Kind.INTEGER, Kind.FLOAT)}
    by_ui = [column.name for column in numbers.values() if column.ui == "sort"]
    candidates = [*by_ui, "sort", stored]
    return next((name for name in candidates if name in numbers), None)


def _owner_columns(name: str, stored: str | None, columns: Mapping[str, Column]) -> tuple[str, ...]:
    """Only integer columns can hold a user's id; the rest would own nothing, or fail to compare."""
    candidates = dict.fromkeys((_BUILT_IN_OWNERS.get(name) or "", stored or ""))
    found = [columns[candidate] for candidate in candidates if candidate in columns]
    return tuple(column.name for column in found if column.kind is Kind.INTEGER)


def _closures(touches: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """For each table all that a write may reach, over any number of steps."""
    closures: dict[str, frozenset[str]] = {}
    for name in touches:
        reached = {name}
        open_ = [name]
        while open_:
            new = set(touches[open_.pop()]) - reached
            reached |= new
            open_.extend(new)
        closures[name] = frozenset(reached)
    return closures
