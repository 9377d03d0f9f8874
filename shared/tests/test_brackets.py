"""PHP brackets, as old clients spell them."""

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.brackets import MAX_DEPTH, MAX_PARAMETERS, Value, as_list, flag, parse_brackets
from shared.errors import InvalidRequest


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    parsed: dict[str, Value]


@pytest.mark.parametrize(
    "case",
    [
        Case("nothing is no parameter", "", {}),
        Case("a plain pair", "a=1", {"a": "1"}),
        Case("a name without a value is empty", "system", {"system": ""}),
        Case("the last of a repeated key wins", "a=1&a=2", {"a": "2"}),
        Case("empty brackets number themselves", "ids[]=1&ids[]=2", {"ids": {"0": "1", "1": "2"}}),
        Case("numbers in brackets", "ids[0]=1&ids[1]=2", {"ids": {"0": "1", "1": "2"}}),
        Case(
            "empty brackets go on after a number", "a[5]=x&a[]=y", {"a": {"5": "x", "6": "y"}}
        ),
        Case("an operator as a symbol", "filters[a][<=]=5", {"filters": {"a": {"<=": "5"}}}),
        Case("its equals sign raw", "f%5Ba%5D%5B<=%5D=5", {"f": {"a": {"<=": "5"}}}),
        Case("a value may hold brackets", "a=b[c=d]", {"a": "b[c=d]"}),
        Case("brackets may be encoded", "f%5Ba%5D%5Beq%5D=us", {"f": {"a": {"eq": "us"}}}),
        Case("dots inside brackets stay", "filters[a.b][eq]=1", {"filters": {"a.b": {"eq": "1"}}}),
        Case("an equals sign as operator", "filters[a][%3D]=1", {"filters": {"a": {"=": "1"}}}),
        Case("plus is a blank", "title=School+Website", {"title": "School Website"}),
        Case("an unclosed bracket is part of the name", "a[b=1", {"a[b": "1"}),
        Case("rows of a form", "r[0][t]=x&r[1][t]=y", {"r": {"0": {"t": "x"}, "1": {"t": "y"}}}),
    ],
    ids=lambda case: case.name,
)  # fmt: skip
def test_parses(case: Case) -> None:
    assert parse_brackets(case.text) == case.parsed


def test_the_order_of_filters_is_kept() -> None:
    parsed = parse_brackets("filters[b]=1&filters[a]=2")["filters"]
    assert isinstance(parsed, dict)
    assert list(parsed) == ["b", "a"]


@pytest.mark.parametrize(
    "text",
    ["%ff=1", "a=%ff", "a=%00", "a" + "[x]" * (MAX_DEPTH + 1) + "=1", "&".join(["a=1"] * 20_001)],
    ids=["bad name", "bad value", "NUL", "too deep", "too many"],
)
def test_refuses_what_cannot_be_meant(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_brackets(text)


def test_the_limit_itself_is_allowed() -> None:
    assert parse_brackets("&".join(f"a{n}=1" for n in range(MAX_PARAMETERS)))


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert isinstance(parse_brackets(text), dict)


@given(st.dictionaries(st.text(min_size=1).filter(lambda t: "\0" not in t), st.text()))
def test_encoded_pairs_come_back(pairs: dict[str, str]) -> None:
    clean = {k: v for k, v in pairs.items() if "[" not in k and "\0" not in v}
    text = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in clean.items())
    assert parse_brackets(text) == clean


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, []),
        ("1,2", ["1", "2"]),
        (" a , ,b", ["a", "b"]),
        ({"0": "1", "1": "a,b"}, ["1", "a,b"]),
    ],
)
def test_lists_come_as_csv_or_array(value: Value | None, words: list[str]) -> None:
    assert as_list(value) == words


@pytest.mark.parametrize(
    ("value", "set_"),
    [("1", True), ("true", True), ("True", True), ("0", False), ("", False), (None, False)],
)
def test_flags(value: str | None, set_: bool) -> None:
    assert flag(value) is set_
