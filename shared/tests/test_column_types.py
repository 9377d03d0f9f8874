"""MySQL's types on PostgreSQL: every row of the mapping, both ways."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.column_types import (
    BadType,
    Found,
    Kind,
    declare,
    default_clause,
    default_text,
    default_ui,
    is_alias,
    kind_of,
    report,
)
from shared.sql import Sql, ident


def text(sql: Sql) -> str:
    return sql.render()[0]


@dataclass(frozen=True)
class Declared:
    type: str
    length: str | None
    definition: str
    column_type: str
    char_length: str | None = None
    check: str = ""


DECLARED = [
    Declared("INT", None, "integer", "int(11)"),
    Declared("integer", "4", "integer", "int(4)", "4"),
    Declared("INT unsigned", None, "bigint", "int(11) unsigned",
             check='"c" BETWEEN 0 AND 4294967295'),
    Declared("BIGINT", None, "bigint", "bigint(20)"),
    Declared("MEDIUMINT", None, "integer", "mediumint(9)"),
    Declared("SMALLINT", None, "smallint", "smallint(6)"),
    Declared("TINYINT", None, "smallint", "tinyint(1)"),
    Declared("BOOLEAN", None, "smallint", "tinyint(1)"),
    Declared("BIT", None, "smallint", "bit(1)"),
    Declared("YEAR", None, "smallint", "year(4)"),
    Declared("FLOAT", "8,2", "double precision", "float"),
    Declared("DOUBLE", None, "double precision", "double"),
    Declared("DECIMAL", "10,2", "numeric(10,2)", "decimal(10,2)", "10,2"),
    Declared("NUMERIC(6)", None, "numeric(6,0)", "decimal(6,0)", "6,0"),
    Declared("CHAR", "3", "varchar(3)", "char(3)", "3"),
    Declared("VARCHAR", None, "varchar(255)", "varchar(255)", "255"),
    Declared("varchar(50)", None, "varchar(50)", "varchar(50)", "50"),
    Declared("varchar(50)", "60", "varchar(60)", "varchar(60)", "60"),
    Declared("TINYTEXT", None, "text", "tinytext", "255"),
    Declared("TEXT", None, "text", "text", "65535"),
    Declared("MEDIUMTEXT", None, "text", "mediumtext", "16777215"),
    Declared("LONGTEXT", None, "text", "longtext", "4294967295"),
    Declared("DATE", None, "date", "date"),
    Declared("DATETIME", None, "timestamp(0)", "datetime"),
    Declared("TIMESTAMP", None, "timestamp(0)", "timestamp"),
    Declared("TIME", None, "time(0)", "time"),
    Declared("ENUM", "a, it's", "varchar", "enum('a','it''s')", "4",
             """"c" IN ('a', 'it''s')"""),
    Declared("ENUM('x,y','z')", None, "varchar", "enum('x,y','z')", "3", """"c" IN ('x,y', 'z')"""),
    Declared("SET", "a,b", "text", "set('a','b')", "3",
             """string_to_array("c", ',') <@ ARRAY['a', 'b']::text[]"""),
    Declared("BLOB", None, "bytea", "blob"),
    Declared("MEDIUMBLOB", None, "bytea", "mediumblob"),
    Declared("POINT", None, "text", "point"),
]  # fmt: skip


@pytest.mark.parametrize("case", DECLARED, ids=lambda case: f"{case.type} {case.length or ''}")
def test_a_declared_type_becomes_a_column_and_is_told_as_it_was_declared(case: Declared) -> None:
    declared = declare(case.type, case.length)
    assert text(declared.definition) == case.definition
    assert declared.reported.column_type == case.column_type
    assert declared.reported.char_length == case.char_length
    assert text(declared.check(ident("c"))) == case.check
    again = report(Found(declared.pg_type), declared.stored, declared.length)
    assert again.column_type == case.column_type


@pytest.mark.parametrize(
    ("data_type", "length"),
    [("", None), ("NONSENSE", None), ("INT", "x"), ("INT", "-1"), ("VARCHAR", "0"),
     ("VARCHAR", "65536"), ("DECIMAL", "70"), ("DECIMAL", "3,4"), ("ENUM", ""), ("SET", "'a,b'"),
     ("int; drop table x", None)],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(data_type: str, length: str | None) -> None:
    with pytest.raises(BadType):
        declare(data_type, length)


@dataclass(frozen=True)
class Foreign:
    found: Found
    data_type: str
    column_type: str
    kind: Kind


FOREIGN = [
    Foreign(Found("int4"), "INT", "int(11)", Kind.INTEGER),
    Foreign(Found("int8"), "BIGINT", "bigint(20)", Kind.INTEGER),
    Foreign(Found("int2"), "SMALLINT", "smallint(6)", Kind.INTEGER),
    Foreign(Found("bool"), "TINYINT", "tinyint(1)", Kind.BOOLEAN),
    Foreign(Found("float4"), "FLOAT", "float", Kind.FLOAT),
    Foreign(Found("float8"), "DOUBLE", "double", Kind.FLOAT),
    Foreign(Found("numeric", 655366), "DECIMAL", "decimal(10,2)", Kind.DECIMAL),
    Foreign(Found("numeric"), "DECIMAL", "decimal", Kind.DECIMAL),
    Foreign(Found("varchar", 24), "VARCHAR", "varchar(20)", Kind.TEXT),
    Foreign(Found("varchar"), "VARCHAR", "varchar", Kind.TEXT),
    Foreign(Found("bpchar", 7), "CHAR", "char(3)", Kind.TEXT),
    Foreign(Found("text"), "TEXT", "text", Kind.TEXT),
    Foreign(Found("date"), "DATE", "date", Kind.DATE),
    Foreign(Found("timestamp"), "DATETIME", "datetime", Kind.DATETIME),
    Foreign(Found("timestamptz"), "DATETIME", "datetime", Kind.DATETIME_UTC),
    Foreign(Found("time"), "TIME", "time", Kind.TIME),
    Foreign(Found("bytea"), "BLOB", "blob", Kind.BYTES),
    Foreign(Found("json"), "TEXT", "text", Kind.JSON),
    Foreign(Found("jsonb"), "TEXT", "text", Kind.JSON),
    Foreign(Found("uuid"), "CHAR", "char(36)", Kind.TEXT),
    Foreign(Found("mood", labels=("sad", "ok")), "ENUM", "enum('sad','ok')", Kind.TEXT),
    Foreign(Found("inet"), "TEXT", "text", Kind.TEXT),
]


@pytest.mark.parametrize("case", FOREIGN, ids=lambda case: case.found.pg_type)
def test_a_foreign_column_is_told_in_mysqls_words(case: Foreign) -> None:
    reported = report(case.found, None, None)
    assert (reported.data_type, reported.column_type) == (case.data_type, case.column_type)
    assert kind_of(case.found) is case.kind


def test_metadata_that_no_longer_fit_the_column_are_passed_over() -> None:
    assert report(Found("int4"), "VARCHAR", "20").data_type == "INT"
    assert report(Found("varchar", 14), "VARCHAR", "255").column_type == "varchar(10)"
    assert report(Found("text"), "NONSENSE", None).data_type == "TEXT"


@pytest.mark.parametrize(
    ("expression", "shown"),
    [(None, None), ("'2'::smallint", "2"), ("2", "2"), ("'a''b'::character varying", "a'b"),
     ("''::text", ""), ("'-1'::integer", "-1"), ("(-1)", "-1"), ("true", "1"), ("false", "0"),
     ("now()", "CURRENT_TIMESTAMP"), ("CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"),
     ("timezone('utc'::text, now())", "CURRENT_TIMESTAMP"),
     ("NULL::character varying", None), ("nextval('a_id_seq'::regclass)", None),
     ("lower('X'::text)", "lower('X'::text)"), ("E'a\\\\b'::text", "a\\b"),
     ("'2020-01-01 00:00:00'::timestamp without time zone", "2020-01-01 00:00:00")],
)  # fmt: skip
def test_a_default_is_shown_in_mysqls_manner(expression: str | None, shown: str | None) -> None:
    assert default_text(expression) == shown


def test_a_default_of_now_is_utc_and_a_timestamp_has_it_by_itself() -> None:
    stamp = declare("TIMESTAMP")
    assert text(default_clause(stamp, None)) == "timezone('utc', now())"
    assert text(default_clause(stamp, "CURRENT_TIMESTAMP")) == "timezone('utc', now())"
    assert text(default_clause(declare("DATETIME"), None)) == ""
    assert text(default_clause(declare("TINYINT"), "true")) == "1"


def test_interfaces_shown_when_none_is_stored() -> None:
    shown = {name: default_ui(name) for name in ("TINYINT", "TEXT", "VARCHAR", "DATETIME", "YEAR")}
    assert shown == {
        "TINYINT": "checkbox", "TEXT": "textarea", "VARCHAR": "textinput",
        "DATETIME": "datetime", "YEAR": "numeric",
    }  # fmt: skip
    assert is_alias("onetomany")
    assert not is_alias("INT")


@given(st.text(), st.none() | st.text())
def test_no_text_makes_a_column_of_more_than_one_type(data_type: str, length: str | None) -> None:
    try:
        declared = declare(data_type, length)
    except BadType:
        return
    assert "'" not in text(declared.definition)
    assert ";" not in text(declared.definition)
    assert report(Found(declared.pg_type), declared.stored, declared.length)


@given(st.text(alphabet=st.characters(exclude_characters="\0")))
def test_a_default_survives_the_way_into_ddl_and_back(value: str) -> None:
    clause = text(default_clause(declare("TEXT"), value))
    assert default_text(clause.strip() + "::text") == value
