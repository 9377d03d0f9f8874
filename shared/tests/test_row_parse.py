"""Parameters of a list request: pure, and never anything but an ApiError."""

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.brackets import parse_brackets
from shared.errors import InvalidRequest, InvalidValue
from shared.rows.operators import ALIASES, OPERATORS
from shared.rows.parse import MAX_CONDITIONS, MAX_ROWS, Filter, ListQuery, Order, parse_list


def parse(query: str) -> ListQuery:
    return parse_list(parse_brackets(query))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ListQuery()),
        ("foo=bar", ListQuery()),
        ("limit=&offset=&sort=&q=&ids=&status=", ListQuery()),
        ("limit=5&offset=2", ListQuery(limit=5, offset=2)),
        ("limit=-1", ListQuery(limit=-1)),
        ("perPage=5&currentPage=2&limit=9&offset=9", ListQuery(limit=5, page=2)),
        ("perPage=5", ListQuery(limit=5, page=0)),
        ("currentPage=3", ListQuery(page=3)),
        ("currentPage=3&limit=7", ListQuery(limit=7)),
        ("sort=a&sort_order=DESC&orderBy=b", ListQuery(orders=(Order("a", True),))),
        ("orderBy=b&order[c]=ASC", ListQuery(orders=(Order("b"),))),
        ("orders[a]=ASC&orders[b]=desc", ListQuery(orders=(Order("a"), Order("b", True)))),
        ("order=a,b", ListQuery(orders=(Order("a"), Order("b")))),
        ("ids=1,2", ListQuery(ids=("1", "2"))),
        ("ids[]=1&ids[]=2", ListQuery(ids=("1", "2"))),
        ("ids[0]=1&ids[1]=2", ListQuery(ids=("1", "2"))),
        ("status=0,1", ListQuery(statuses=("0", "1"))),
        ("preview=1", ListQuery(any_status=True)),
        ("preview=0", ListQuery()),
        ("in[a]=1,2&in[b][]=3", ListQuery(one_of=(("a", ("1", "2")), ("b", ("3",))))),
        ("columns=a,b&columns_visible=b,c", ListQuery(columns=("a", "b", "c"))),
        ("q=x&search=y", ListQuery(text="x")),
        ("search=y", ListQuery(text="y", text_everywhere=False)),
        ("single=1&meta=0", ListQuery(single=True, meta=False)),
        ("filters[a]=1", ListQuery(filters=(Filter("a", "eq", ("1",)),))),
        ("filters[a][in]=1,2", ListQuery(filters=(Filter("a", "in", ("1", "2")),))),
        ("filters[a][<=]=5", ListQuery(filters=(Filter("a", "lte", ("5",)),))),
        ("filters[a.b][eq]=5", ListQuery(filters=(Filter("a.b", "eq", ("5",)),))),
        (
            "filters[a][logical]=or&filters[a][like]=5&filters[a][gt]=1",
            ListQuery(filters=(Filter("a", "contains", ("5",), either=True),)),
        ),
        (
            "filters[s][in]=ny,nm&filters[s][logical]=or&filters[s][in]=or,la",
            ListQuery(filters=(Filter("s", "in", ("or", "la"), either=True),)),
        ),
    ],
)
def test_understands(query: str, expected: ListQuery) -> None:
    assert parse(query) == expected


@pytest.mark.parametrize("symbol", sorted(ALIASES))
def test_every_alias_names_an_operator(symbol: str) -> None:
    assert ALIASES[symbol] in OPERATORS
    (filter_,) = parse(f"filters[a][{quote(symbol)}]=1").filters
    assert filter_.operator == ALIASES[symbol]


def test_all_documented_operators_are_there() -> None:
    named = "eq neq lt lte gt gte in nin null nnull contains ncontains between nbetween"
    assert set(named.split()) | {"empty", "nempty", "has", "nhas"} <= set(OPERATORS)


@pytest.mark.parametrize(
    "query",
    [
        f"limit={MAX_ROWS + 1}",
        "&".join(f"filters[c{n}]=1" for n in range(MAX_CONDITIONS + 1)),
        "&".join(f"orders[c{n}]=ASC" for n in range(MAX_CONDITIONS + 1)),
        "&".join(f"in[c{n}]=1" for n in range(MAX_CONDITIONS + 1)),
        "limit=1e3",
        "limit=٣",
        "limit[]=1",
        "offset=9007199254740993",
    ],
)
def test_refuses(query: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(query)


NAMES = ("filters", "in", "orders", "order", "sort", "sort_order", "limit", "offset", "ids", "q")
MORE = ("perPage", "currentPage", "status", "columns", "search", "single", "meta", "joins")
KEYS = st.sampled_from(("a", "eq", "in", "<=", "logical", "between", "", "0", "ü")) | st.text()
VALUES = st.recursive(
    st.sampled_from(("1", "-1", "or", "a,b", "", "9" * 30, "1.5")) | st.text(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES + MORE), VALUES, max_size=6))
def test_nothing_but_an_api_error_comes_of_any_parameters(query: dict[str, object]) -> None:
    with suppress(InvalidRequest, InvalidValue):
        # hypothesis knows no recursion
        asked = parse_list(query)  # pyright: ignore[reportArgumentType]
        assert isinstance(asked, ListQuery)


@given(st.text(alphabet="abeqinltfrs[]=<>!&%,.0159ü+", max_size=80))
def test_nothing_but_an_api_error_comes_of_any_query_string(text: str) -> None:
    for query in (text, f"filters[{text}"):
        with suppress(InvalidRequest, InvalidValue):
            assert isinstance(parse(query), ListQuery)
