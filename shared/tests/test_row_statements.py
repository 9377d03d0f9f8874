"""Plans and writes as SQL: names quoted, values bound, every write run by its actor."""

from contextlib import suppress
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue import Column, Table
from shared.column_types import Kind
from shared.context import Actor
from shared.errors import InvalidValue
from shared.rows import write
from shared.rows.access import TABLE
from shared.rows.compile import compile_item, compile_list, shown_fields
from shared.rows.operators import OPERATORS, pattern
from shared.rows.plan import Compare, Counts, ItemPlan, ReadPlan
from shared.rows.values import Unfit, bound, compared, equal_values, stored
from shared.rows.write import Batch
from shared.sql import EMPTY, raw

EVIL = 'na"me'


def column(name: str, kind: Kind, pg_type: str, **more: Any) -> Column:
    values: dict[str, Any] = dict.fromkeys(field.name for field in fields(Column)) | {
        "name": name,
        "pg_type": pg_type,
        "nullable": True,
        "kind": kind,
    }
    return Column(**(values | more))


ID = column("id", Kind.INTEGER, "int4", nullable=False, key="PRI", auto_increment=True)
TITLE = column("title", Kind.TEXT, "varchar", char_length="5")
PRICE = column("price", Kind.DECIMAL, "numeric", precision=4, scale=2)
KINDS = [
    ID,
    TITLE,
    PRICE,
    column("small", Kind.INTEGER, "int2"),
    column("float", Kind.FLOAT, "float4"),
    column("flag", Kind.BOOLEAN, "bool"),
    column("day", Kind.DATE, "date"),
    column("moment", Kind.DATETIME, "timestamp"),
    column("utc", Kind.DATETIME_UTC, "timestamptz"),
    column("time", Kind.TIME, "time"),
    column("bytes", Kind.BYTES, "bytea"),
    column("json", Kind.JSON, "jsonb"),
    column("code", Kind.TEXT, "uuid"),
    column("net", Kind.TEXT, "inet"),
    column(EVIL, Kind.TEXT, "text"),
]

PLAIN: dict[str, Any] = dict.fromkeys(field.name for field in fields(Table)) | {
    "name": EVIL,
    "oid": 42,
    "columns": {found.name: found for found in KINDS},
    "primary_key": "id",
    "owner_columns": (),
    "managed": True,
    "is_system": False,
}
THINGS = Table(**PLAIN)
LIST = ReadPlan(
    table=THINGS,
    fields={"id": ID, EVIL: THINGS.columns[EVIL]},
    visible=EMPTY,
    filters=(),
    one_of=(),
    text=None,
    text_columns=(),
    orders=((ID, False),),
    limit=200,
    offset=0,
    clipped=False,
    counts=None,
    single=False,
    meta=True,
    depends=frozenset(),
    scope="group",
    cacheable=True,
)
ACTOR = Actor(5, "request-1")


def test_a_list_is_one_statement_of_quoted_names() -> None:
    text, values = compile_list(LIST).render()
    assert text == (
        'SELECT t."id" AS "id", t."na""me" AS "na""me", true AS "?found"'
        ' FROM public."na""me" AS t ORDER BY t."id" LIMIT \'200\''
    )
    assert values == []


def test_counts_come_in_the_same_statement() -> None:
    text, _ = compile_list(replace(LIST, counts=Counts(kept=True, status=None))).render()
    assert "directoire.table_counts('42'::oid)" in text
    assert text.endswith("r ON true")
    counted = replace(LIST, counts=Counts(kept=False, status=None), visible=raw("t.own"))
    text, _ = compile_list(counted).render()
    assert text.count("(t.own)") == 2


def test_an_unusual_limit_is_bound() -> None:
    text, values = compile_list(replace(LIST, limit=37, offset=3)).render()
    assert text.endswith("LIMIT $1::int8 OFFSET $2::int8")
    assert values == [37, 3]


def test_filters_are_a_chain_inside_one_pair_of_parentheses() -> None:
    chain = (
        Compare(ID, "gt", ("1",), either=False),
        Compare(TITLE, "eq", ("a",), either=False),
        Compare(ID, "eq", ("9",), either=True),
    )
    text, values = compile_list(replace(LIST, filters=chain, visible=raw("t.own"))).render()
    assert ' WHERE (t.own) AND ((t."id" > $1::"int4") AND (t."title" = $2::"varchar")' in text
    assert ' OR (t."id" = $3::"int4"))' in text
    assert values == [1, "a", 9]


def test_text_sorts_without_case_and_nulls_as_in_mysql() -> None:
    text, _ = compile_list(replace(LIST, orders=((TITLE, False), (PRICE, True)))).render()
    ordered = 'ORDER BY lower(t."title") NULLS FIRST, t."price" DESC NULLS LAST'
    assert ordered in text


def test_equal_shapes_have_equal_text() -> None:
    texts = {
        compile_list(
            replace(LIST, filters=(Compare(TITLE, "eq", (word,), either=False),))
        ).render()[0]
        for word in ("a", "b'; DROP TABLE x; --", "ü" * 500)
    }
    assert len(texts) == 1


def test_an_item_is_found_by_its_bound_key() -> None:
    plan = ItemPlan(THINGS, {"id": ID}, raw("t.own"), ID, frozenset(), "group", cacheable=True)
    text, values = compile_item(plan).render()
    assert text.endswith('WHERE (t."id" = $1::"int4") AND (t.own)')
    assert len(values) == 1


def batch(*rows: dict[str, object]) -> Batch:
    return Batch(
        table=THINGS,
        key=ID,
        columns=tuple(THINGS.columns[name] for name in rows[0]),
        rows=rows,
        automatic={"net": raw("made()")},
        automatic_update={"net": raw("changed()")},
        actor=ACTOR,
        version=raw("t.xmin::text"),
    )


ONE = batch({"id": 1, "title": "a"})
MANY = batch({"id": 1, "title": "a"}, {"id": 2, "title": "b"})
SHOWN = shown_fields(THINGS, {"id": ID})
WRITES = {
    "insert": write.insert(batch({"title": "a"}), SHOWN),
    "insert many": write.insert(batch({"title": "a"}, {"title": "b"}), SHOWN),
    "put": write.put(ONE, SHOWN, [], add=True, edit=True),
    "put many": write.put(MANY, SHOWN, [], add=True, edit=True),
    "only add": write.put(ONE, SHOWN, [], add=True, edit=False),
    "only edit": write.put(ONE, SHOWN, [], add=False, edit=True),
    "update": write.update(ONE, SHOWN, [raw("t.own")]),
    "update many": write.update(MANY, SHOWN, [raw("t.own")]),
    "delete": write.delete(THINGS, ID, [1], [raw("t.own")], ACTOR),
    "delete many": write.delete(THINGS, ID, [1, 2], [raw("t.own")], ACTOR),
}


@pytest.mark.parametrize("name", sorted(WRITES))
def test_every_source_of_rows_refers_to_the_actor(name: str) -> None:
    text, values = WRITES[name].render()
    assert text.startswith("WITH ctx AS (SELECT set_config('directoire.actor', $1, true)")
    assert values[:2] == ["5", "request-1"]
    sources = text.count("INSERT INTO") + text.count("UPDATE public") + text.count("DELETE FROM")
    assert sources >= 1
    assert text.count("FROM ctx") + text.count("USING ctx") == sources


@pytest.mark.parametrize("name", ["update", "update many", "delete", "delete many"])
def test_the_rights_stand_in_the_statement_that_writes(name: str) -> None:
    assert "AND (t.own)" in WRITES[name].render()[0]


# ── values ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Kind.INTEGER, " 7 ", 7),
        (Kind.INTEGER, Decimal("7.0"), 7),
        (Kind.INTEGER, "True", 1),
        (Kind.INTEGER, "on", 1),
        (Kind.INTEGER, False, 0),
        (Kind.INTEGER, "", None),
        (Kind.DECIMAL, "1.50", Decimal("1.50")),
        (Kind.BOOLEAN, "false", False),
        (Kind.DATE, "0000-00-00", None),
        (Kind.DATETIME, "0000-00-00 00:00:00", None),
        (Kind.TEXT, "", ""),
        (Kind.TEXT, 5, "5"),
        (Kind.TEXT, True, "1"),
        (Kind.JSON, {"a": Decimal("1.10")}, '{"a":1.10}'),
    ],
)
def test_stores(kind: Kind, given: object, expected: object) -> None:
    found = next(c for c in KINDS if c.kind is kind)
    assert stored(found, given) == expected


@pytest.mark.parametrize(
    ("name", "given"),
    [("title", "123456"), ("price", "99.995"), ("small", 32768), ("id", "1.5"), ("float", "1e99")],
)
def test_what_does_not_fit_names_column_and_value(name: str, given: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        stored(THINGS.columns[name], given)
    assert caught.value.field == name
    assert str(given) in caught.value.message


def test_like_has_no_live_wildcards() -> None:
    assert pattern("50%_\\") == "%50\\%\\_\\\\%"


ANYTHING = st.text() | st.sampled_from(
    ("NaN", "inf", "1e999999", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "-0", "\ud800")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | ANYTHING,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(KINDS), ANYTHING)
def test_any_word_compares_or_is_unfit(found: Column, word: str) -> None:
    assert len(equal_values(found, (word,))) <= 1
    with suppress(Unfit):
        compared(found, word)


@given(st.sampled_from(KINDS), JSON)
def test_any_json_is_stored_or_refused(found: Column, value: object) -> None:
    with suppress(InvalidValue):
        assert isinstance(bound(found, stored(found, value)).render()[0], str)


@given(st.sampled_from(KINDS), st.sampled_from(sorted(OPERATORS)), st.lists(ANYTHING, max_size=3))
def test_any_words_make_a_condition(found: Column, name: str, words: list[str]) -> None:
    operator = OPERATORS[name]
    if operator.on_values is not None and (operator.takes_list or len(words) == 1):
        text, _ = operator.on_values(found, TABLE, tuple(words)).render()
        assert text.startswith(("t.", "(t.", "false"))
