"""The managed schema as the API sees it: PostgreSQL's catalogue joined with the API's metadata.

A ``Catalogue`` is a value: loaded once, never changed, replaced as a whole when the schema moves on.
Names are looked up in it before they reach SQL; what is not in it does not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from shared.column_types import Kind
from shared.sql import Sql

SYSTEM_PREFIX = "directus_"

RelationshipType = Literal["MANYTOONE", "ONETOMANY", "MANYTOMANY"]
Key = Literal["PRI", "UNI", "MUL", ""]


class Reader(Protocol):
    """A Database or one Session of it."""

    async def fetch(self, sql: Sql) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Relationship:
    """How a column leads to other rows; the keys are column names of the junction (or related) table.

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
    required: bool
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

    @property
    def writable(self) -> bool:
        """A table without a single-column key, or one nobody adopted, is read only."""
        return self.managed and self.primary_key is not None

    @property
    def automatic_columns(self) -> frozenset[str]:
        """Filled by the server; a client's value for them is ignored. Source: reading 56."""
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
    """Read the whole schema. Two round trips, some milliseconds."""
    raise NotImplementedError
