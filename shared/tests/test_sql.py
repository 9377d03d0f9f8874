"""SQL as a value: nothing from outside ever becomes its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.database import Database
from shared.queries import load_queries
from shared.sql import EMPTY, NameTooLong, fixed, ident, join, param, raw


def test_parameters_number_themselves() -> None:
    conditions = [
        ident(name) + raw(" = ") + param(value) for name, value in {"a": 1, "b": 2}.items()
    ]
    sql = raw("SELECT ") + param("x") + raw(" WHERE ") + join(" AND ", conditions)
    assert sql.render() == ('SELECT $1 WHERE "a" = $2 AND "b" = $3', ["x", 1, 2])


def test_an_empty_fragment_is_false() -> None:
    assert not EMPTY
    assert raw("x")


def test_a_fixed_statement_numbers_its_own() -> None:
    assert fixed("SELECT $1, $1", 5).render() == ("SELECT $1, $1", [5])


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_name_must_be_one(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        ident(name)


def test_a_name_that_would_be_cut_is_refused() -> None:
    ident("é" * 31)
    with pytest.raises(NameTooLong):
        ident("é" * 32)


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES.filter(lambda name: len(name.encode()) <= 63))
def test_a_quoted_name_ends_where_it_should(name: str) -> None:
    text, _ = ident(name).render()
    assert text[0] == text[-1] == '"'
    assert text[1:-1].replace('""', "") == name.replace('"', "")


async def test_hostile_names_are_only_names(database: Database) -> None:
    hostile = 'ev"il; drop table x--'
    sql = raw("SELECT ") + param("value") + raw(" AS ") + ident(hostile)
    row = await database.fetchrow(sql)
    assert row is not None
    assert dict(row) == {hostile: "value"}


def test_queries_come_by_name() -> None:
    queries = load_queries("shared", "remembered.sql")
    assert queries["version"].endswith("WHERE name = $1")
