"""The catalogue of real tables: hostile names, adopted schemas, relations, closures."""

from shared.catalogue import Catalogue, load_catalogue
from shared.column_types import Kind
from shared.database import Database
from shared.sql import Sql, ident, param, raw


async def run(database: Database, *statements: Sql) -> Catalogue:
    for statement in statements:
        await database.execute(statement)
    return await load_catalogue(database)


async def test_hostile_names_are_only_names(database: Database) -> None:
    names = ('a"b', "a'; DROP TABLE x; --", "sélect", "order", "x" * 63, "a.b", " ", "%I")
    for name in names:
        await database.execute(
            raw("CREATE TABLE ")
            + ident(name)
            + raw(" (")
            + ident(name)
            + raw(" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
        )
        await database.execute(
            raw("SELECT directoire.manage(to_regclass(format('%I', ")
            + param(name)
            + raw("::text)))")
        )
    catalogue = await load_catalogue(database)
    for name in names:
        table = catalogue.tables[name]
        assert (table.primary_key, table.managed, list(table.columns)) == (name, True, [name])


async def test_an_adopted_schema_is_described_as_it_is(database: Database) -> None:
    catalogue = await run(
        database,
        raw("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')"),
        raw("CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0)"),
        raw("CREATE DOMAIN small_positive AS positive CHECK (VALUE < 10)"),
        raw(
            "CREATE TABLE people (id serial PRIMARY KEY, name varchar(40) UNIQUE DEFAULT 'x',"
            " score numeric(8,3), at timestamptz DEFAULT now(), mood mood, n small_positive,"
            " tags text[], ok boolean DEFAULT true, doc jsonb, day date, raw bytea, ref uuid,"
            " twice int GENERATED ALWAYS AS (n * 2) STORED)"
        ),
        raw("ALTER TABLE people DROP COLUMN tags"),
        raw("CREATE INDEX ON people (day, score)"),
        raw("COMMENT ON TABLE people IS 'All of them'"),
        raw("COMMENT ON COLUMN people.name IS 'As printed'"),
    )
    table = catalogue.tables["people"]
    assert (table.managed, table.writable, table.comment) == (False, False, "All of them")
    columns = table.columns
    assert list(columns) == [
        "id", "name", "score", "at", "mood", "n", "ok", "doc", "day", "raw", "ref", "twice",
    ]  # fmt: skip
    assert (columns["id"].auto_increment, columns["id"].key) == (True, "PRI")
    assert columns["id"].default is None
    name = columns["name"]
    assert (name.column_type, name.key, name.default) == ("varchar(40)", "UNI", "x")
    assert name.comment == "As printed"
    assert columns["score"].column_type == "decimal(8,3)"
    assert (columns["at"].kind, columns["at"].default) == (Kind.DATETIME_UTC, "CURRENT_TIMESTAMP")
    assert columns["mood"].column_type == "enum('sad','it''s ok')"
    assert (columns["n"].pg_type, columns["n"].nullable) == ("int4", False)
    assert (columns["ok"].column_type, columns["ok"].default) == ("tinyint(1)", "1")
    assert (columns["day"].key, columns["score"].key) == ("MUL", "")
    assert columns["ref"].column_type == "char(36)"
    assert columns["twice"].generated


async def test_a_table_without_a_key_of_one_column_is_read_only(database: Database) -> None:
    catalogue = await run(
        database,
        raw("CREATE TABLE pairs (a int, b int, active int, PRIMARY KEY (a, b))"),
        raw("CREATE TABLE heap (a int)"),
    )
    assert catalogue.tables["pairs"].primary_key is None
    assert catalogue.tables["heap"].primary_key is None
    assert not catalogue.tables["heap"].writable
    assert [c.key for c in catalogue.tables["pairs"].columns.values()] == ["PRI", "PRI", ""]
    assert catalogue.tables["pairs"].status_column == "active"


async def test_special_columns_are_found_where_they_fit(database: Database) -> None:
    catalogue = await run(
        database,
        raw(
            "CREATE TABLE books (id int PRIMARY KEY, active smallint, sort int, owner int, t text)"
        ),
        raw("CREATE TABLE other (id int PRIMARY KEY, active text, sort text, pos int, state int)"),
        raw(
            "INSERT INTO directus_tables (table_name, user_create_column, status_column)"
            " VALUES ('books', 'owner', NULL), ('other', 't', 'state')"
        ),
        raw(
            "INSERT INTO directus_columns (table_name, column_name, ui, data_type)"
            " VALUES ('other', 'pos', 'sort', NULL), ('books', 'gone', NULL, 'INT')"
        ),
    )
    books, other = catalogue.tables["books"], catalogue.tables["other"]
    assert (books.status_column, books.sort_column, books.owner_columns) == (
        "active", "sort", ("owner",),
    )  # fmt: skip
    assert (other.status_column, other.sort_column, other.owner_columns) == ("state", "pos", ())
    assert "gone" not in books.columns
    assert books.automatic_columns == {"owner"}


async def test_relations_to_many_are_columns_without_a_column(database: Database) -> None:
    catalogue = await run(
        database,
        raw("CREATE TABLE books (id int PRIMARY KEY)"),
        raw(
            "INSERT INTO directus_columns (table_name, column_name, data_type, relationship_type,"
            " related_table, junction_key_right, options) VALUES"
            " ('books', 'pages', 'ALIAS', 'ONETOMANY', 'pages', 'book', '{\"a\": [1]}'),"
            " ('nowhere', 'x', 'ALIAS', NULL, NULL, NULL, NULL)"
        ),
    )
    pages = catalogue.tables["books"].columns["pages"]
    assert pages.is_alias
    assert pages.relationship is not None
    assert pages.relationship.related_table == "pages"
    assert pages.options == {"a": [1]}
    assert "nowhere" not in catalogue.tables


async def test_the_closure_follows_cascades_and_no_plain_reference(database: Database) -> None:
    catalogue = await run(
        database,
        raw("CREATE TABLE a (id int PRIMARY KEY)"),
        raw("CREATE TABLE b (id int PRIMARY KEY REFERENCES a (id) ON DELETE CASCADE)"),
        raw("CREATE TABLE c (id int PRIMARY KEY REFERENCES b (id) ON UPDATE SET NULL)"),
        raw("CREATE TABLE d (id int PRIMARY KEY REFERENCES a (id))"),
        raw("CREATE TABLE kind (id int PRIMARY KEY)"),
        raw("CREATE TABLE special () INHERITS (kind)"),
        raw("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"),
        raw("CREATE TRIGGER f BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION f()"),
    )
    closures = {name: catalogue.tables[name].closure for name in ("a", "b", "d", "special")}
    assert closures == {
        "a": {"a", "b", "c"}, "b": {"b", "c"}, "d": {"d"}, "special": {"special", "kind"},
    }  # fmt: skip
    assert not catalogue.tables["a"].closure_known
    assert catalogue.tables["d"].closure_known


async def test_parts_of_a_table_are_no_tables(database: Database) -> None:
    catalogue = await run(
        database,
        raw("CREATE TABLE log (id int PRIMARY KEY) PARTITION BY RANGE (id)"),
        raw("CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (9)"),
        raw("SELECT directoire.manage('log')"),
    )
    assert "log_1" not in catalogue.tables
    assert catalogue.tables["log"].managed
    assert [name for name in catalogue.tables if "activity" in name] == ["directus_activity"]


async def test_system_tables_are_known_with_owners_and_states(database: Database) -> None:
    tables = (await load_catalogue(database)).tables
    owners = {name: table.owner_columns for name, table in tables.items() if table.owner_columns}
    assert owners == {
        "directus_activity": ("user",), "directus_bookmarks": ("user",),
        "directus_files": ("user",),
        "directus_messages_recipients": ("recipient",), "directus_preferences": ("user",),
        "directus_users": ("id",),
    }  # fmt: skip
    users = tables["directus_users"]
    assert (users.status_column, users.managed, users.is_system) == ("active", True, True)
    assert users.columns["active"].data_type == "TINYINT"
    group = users.columns["group"].relationship
    assert group is not None
    assert group.related_table == "directus_groups"
    assert not {"password", "salt", "token"} & users.columns.keys()
    assert tables["directus_activity"].primary_key == "id"
    assert not tables["directus_activity"].writable
    assert tables["directus_bookmarks"].status_column is None
