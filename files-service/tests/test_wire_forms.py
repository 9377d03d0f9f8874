"""Base64, names and ranges, as clients send them."""

import base64
import binascii
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from files_service.operations.base64_data import decode, split_data
from files_service.operations.names import bare_name, stem_for
from files_service.operations.ranges import NotSatisfiable, asked_ranges
from shared.errors import InvalidRequest


async def decoded(text: str) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 100_001):
            yield text[start : start + 100_001].encode()

    return b"".join([chunk async for chunk in decode(pieces())])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 700_001])
async def test_base64_of_any_length_is_decoded_in_slices(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = base64.b64encode(data).decode()
    assert await decoded(text) == data
    assert await decoded(text.rstrip("=")) == data
    assert await decoded(text.replace("+", " ")) == data, "a form turns + into a blank"
    assert await decoded(base64.urlsafe_b64encode(data).decode()) == data
    assert await decoded(base64.encodebytes(data).decode()) == data


@pytest.mark.parametrize(
    "text",
    ["A", "AAAA=", "AA==AAAA", "AA==" + "A" * 300_000, "ab!d", "äbcd", "=", "====", "AAAA===="],
)
async def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        await decoded(text)


def strictly(text: bytes) -> bytes | None:
    """What the standard library makes of it, which takes four paddings for none; None: nothing."""
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
        return None if text.endswith(b"====") else decoded
    except binascii.Error:
        return None


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from("AAAABbz9+/=!\0\v\x7fé"), max_size=24).map("".join))
async def test_what_is_decoded_and_what_is_refused_is_as_the_standard_library_has_it(
    text: str,
) -> None:
    raw = text.encode()
    wanted = strictly(raw + b"=" * (-len(raw) % 4))
    if wanted is not None:
        assert await decoded(text) == wanted
        return
    with pytest.raises(InvalidRequest, match="not valid base64") as refused:
        await decoded(text)
    assert refused.value.field == "data"


def test_a_data_uri_tells_its_type() -> None:
    assert split_data("data:image/png;base64,AAAA") == ("image/png", "AAAA")
    assert split_data("data:text/plain;charset=utf-8;base64,AA") == (
        "text/plain;charset=utf-8",
        "AA",
    )
    assert split_data("data:;base64,AAAA") == (None, "AAAA")
    assert split_data("AAAA") == (None, "AAAA")
    for uri in ("data:text/plain,hello", "data:", "data:base64"):
        with pytest.raises(InvalidRequest):
            split_data(uri)


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\fakepath\\a.jpg", "a.jpg"),
        ("a.jpg", "a.jpg"),
        ("/", ""),
        ("..", ".."),
    ],
)
def test_folders_of_a_client_are_no_part_of_a_name(name: str, bare: str) -> None:
    assert bare_name(name) == bare


@pytest.mark.parametrize(
    ("naming", "name", "stem"),
    [
        ("file_id", "a.jpg", None),
        ("file_hash", "a.jpg", "dad329ca2ca63492b03acf9e001a9dce"),
        ("file_name", "Überblick 2013.PDF", "uberblick-2013"),
        ("file_name", "..", None),
        ("file_name", 'a"\r\nX: y.html', "a-X-y".lower()),
        ("file_name", "日本.txt", None),
    ],
)
def test_stored_names_are_made_of_safe_characters(naming: str, name: str, stem: str | None) -> None:
    assert stem_for(naming, name=name, key="0" * 36) == stem


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        (None, []),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=2-", [(2, 10)]),
        ("bytes=2-100", [(2, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=5-2", []),
        ("bytes=0-1,4-5", [(0, 2), (4, 6)]),
        ("bytes=0-1, 40-50", [(0, 2)]),
        ("bytes=0-,0-,0-", []),
        ("bytes=" + "0-0," * 17, []),
        ("bytes=-", []),
        ("lines=1-2", []),
        ("bytes=" + "9" * 5000 + "-", []),
    ],
)
def test_ranges_ask_for_parts_or_are_ignored(
    header: str | None, ranges: list[tuple[int, int]]
) -> None:
    assert asked_ranges(header, 10) == ranges


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=11-12", "bytes=-0"])
def test_a_range_outside_the_file_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(NotSatisfiable):
        asked_ranges(header, 10)


def test_an_empty_file_has_no_ranges() -> None:
    with pytest.raises(NotSatisfiable):
        asked_ranges("bytes=-1", 0)
