"""What bytes are taken for, whatever the client says."""

import base64
from collections.abc import AsyncIterator

import puremagic
import pytest

from files_service.operations.content_types import content_type, may_be_known, title_of
from files_service.operations.pictures import Picture, Read, picture_of

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0"
ZIP = b"PK\x03\x04\x14\0\0\0"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

TYPES = [
    # bytes, name, claimed type → type, charset, extension
    (PNG, "a.png", None, "image/png", "binary", "png"),
    (PNG, "a.html", "text/html", "image/png", "binary", "png"),
    (JPEG, "x.jpg", "image/jpg", "image/jpeg", "binary", "jpg"),
    (JPEG, "x.jpeg", None, "image/jpeg", "binary", "jpeg"),
    (b"<html><script>x", "a.png", "image/png", "text/html", "us-ascii", "html"),
    (b"\xef\xbb\xbf <!DOCTYPE html>", "a.txt", None, "text/html", "utf-8", "html"),
    (b"<?xml version='1.0'?><svg xmlns=''/>", "a.jpg", "image/jpeg", "image/svg+xml", "us-ascii",
     "svg"),
    (b"a,b\n1,2\n", "x.csv", None, "text/csv", "us-ascii", "csv"),
    (b"hello", "h.html", "text/html", "text/plain", "us-ascii", "txt"),
    (b"hello", "h.jpg", "image/jpeg", "text/plain", "us-ascii", "txt"),
    (b'{"a": 1}', "x.json", None, "application/json", "us-ascii", "json"),
    ("Grüße".encode(), "g.md", None, "text/markdown", "utf-8", "md"),
    (b"%PDF-1.4\n%\xe2\xe3", "a.pdf", None, "application/pdf", "binary", "pdf"),
    (ZIP, "a.docx", DOCX, DOCX, "binary", "docx"),
    (b"\0\1\2\3", "x.jpg", "image/jpeg", "application/octet-stream", "binary", "jpg"),
    (b"\0\1\2\3", "x.html", "text/html", "application/octet-stream", "binary", "bin"),
    (b"", "e", "x/../../y", "text/plain", "us-ascii", "txt"),
]  # fmt: skip


@pytest.mark.parametrize(("head", "name", "claimed", "kind", "charset", "extension"), TYPES)
def test_the_bytes_decide_and_the_client_only_hints(
    head: bytes, name: str, claimed: str | None, kind: str, charset: str, extension: str
) -> None:
    found = content_type(head, name=name, claimed=claimed)
    assert (found.type, found.charset, found.extension) == (kind, charset, extension)


def test_no_signature_is_overlooked() -> None:
    """The quick look must not pass by what the long one would have seen."""
    for row in (*puremagic.magic_header_array, *puremagic.magic_footer_array):
        around = b"\xa5" * (row.offset if row.offset >= 0 else -row.offset - len(row.byte_match))
        text = around + row.byte_match if row.offset >= 0 else row.byte_match + around
        assert may_be_known(text), row
    assert not may_be_known(b"\xa5" * 70_000)


def giving(content: bytes) -> Read:
    async def between(start: int, end: int) -> AsyncIterator[bytes]:
        yield content[start:end]

    return between


async def test_a_picture_tells_its_size_and_a_broken_one_does_not() -> None:
    assert await picture_of(giving(PNG), len(PNG)) == Picture(1, 1)
    assert await picture_of(giving(PNG[:20]), 20) == Picture()
    svg = b"<svg width='9' height='9'/>"
    assert await picture_of(giving(svg), len(svg)) == Picture()


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("summer_holiday-2013.jpg", "Summer Holiday 2013"),
        ("a.tar.gz", "A Tar"),
        (".htaccess", "Htaccess"),
        ("Überblick.pdf", "Überblick"),
    ],
)
def test_a_title_is_made_of_the_words_of_the_name(name: str, title: str) -> None:
    assert title_of(name) == title
