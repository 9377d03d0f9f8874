"""Multipart bodies, cut anywhere."""

from collections.abc import AsyncIterator

import pytest

from shared.errors import InvalidRequest
from shared.multipart import parts

HEAD = b'Content-Disposition: form-data; name="a"; filename="a b.bin"\r\nContent-Type: x/y'
FILE = b"\r\n--\r\n--b\r--bound\r\n\r\n--boundar\r\n" * 3
BODY = (
    b"before\r\n--boundary \r\n" + HEAD + b"\r\n\r\n" + FILE + b"\r\n--boundary\r\n"
    b'content-disposition: form-data; name="empty"\r\n\r\n\r\n--boundary\r\n'
    b'Content-Disposition: form-data; name="nothing"\r\n\r\n--boundary\r\n'
    b"Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''%C3%A4.txt\r\n\r\n--not"
    b"\r\n--boundary--\r\nafter"
)


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 31, 64, 1000])
async def test_the_parts_are_the_same_however_the_body_is_cut(size: int) -> None:
    found = [
        (part.name, part.filename, part.type, b"".join([chunk async for chunk in part.chunks]))
        async for part in parts(cut(BODY, size), "boundary")
    ]
    assert found == [
        ("a", "a b.bin", "x/y", FILE),
        ("empty", None, None, b""),
        ("nothing", None, None, b""),
        ("f", "ä.txt", None, b"--not"),
    ]


async def test_what_is_left_of_a_part_is_passed_by() -> None:
    assert [part.name async for part in parts(cut(BODY, 9), "boundary")] == [
        "a", "empty", "nothing", "f",
    ]  # fmt: skip


async def test_a_large_piece_goes_on_as_it_came() -> None:
    piece = b"\xa5" * 200_000
    begin = b"--b\r\n" + HEAD + b"\r\n\r\n"

    async def body() -> AsyncIterator[bytes]:
        for chunk in (begin + piece, piece, piece, b"\r\n--b--"):
            yield chunk

    async for part in parts(body(), "b"):
        chunks = [chunk async for chunk in part.chunks]
        assert chunks == [piece] * 3
        assert chunks[1] is piece


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"", "b"),
        (b"--b", "b"),
        (b"--b\r\n" + HEAD, "b"),
        (b"--b\r\n" + HEAD + b"\r\n\r\nhalf", "b"),
        (b"--bc\r\n" + HEAD + b"\r\n\r\nx\r\n--b--", "b"),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--", "b"),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--", "b"),
        (b"--b\r\nX: " + b"x" * 20_000 + b"\r\n\r\nx\r\n--b--", "b"),
        (b"--b\r\n" + HEAD.replace(b"x/y", b"multipart/mixed") + b"\r\n\r\nx\r\n--b--", "b"),
        (BODY, ""),
        (BODY, "b" * 71),
    ],
)
async def test_what_is_no_multipart_is_refused(body: bytes, boundary: str) -> None:
    with pytest.raises(InvalidRequest):
        _ = [part.name async for part in parts(cut(body, 1000), boundary)]


async def test_a_name_may_hold_semicolons() -> None:
    head = b'Content-Disposition: form-data; name="a"; filename="a; b; c=d;.bin"; x=y'
    body = b"--b\r\n" + head + b"\r\n\r\nz\r\n--b--"
    assert [part.filename async for part in parts(cut(body, 7), "b")] == ["a; b; c=d;.bin"]
