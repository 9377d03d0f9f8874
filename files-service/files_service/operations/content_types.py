"""What bytes are: their type and their charset. The client only hints.

Source: contract 7.7 and reading 58.
"""

import itertools
import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import puremagic

from files_service.operations.pictures import PICTURES

_SEEN: Final = 64 * 1024  # bytes looked at
HEAD: Final = _SEEN + 1  # bytes wanted of a file: one more tells that it goes on
_KNOWN: Final = mimetypes.MimeTypes()  # Python's own table, not the machine's
for _type, _suffix in (
    ("text/markdown", ".md"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", ".pptx"),
    ("application/vnd.oasis.opendocument.text", ".odt"),
    ("application/vnd.oasis.opendocument.spreadsheet", ".ods"),
    ("application/epub+zip", ".epub"),
):
    _KNOWN.add_type(_type, _suffix)
BINARY: Final = "application/octet-stream"
_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,63}")
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,10}")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SURE: Final = 0.4  # puremagic's own confidence; below it a signature is one or two letters
_ALIASES: Final = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "application/x-pdf": "application/pdf",
    "text/xml": "application/xml",
    "application/x-zip-compressed": "application/zip",
}
# Containers whose own signature says less than the name or the client does.
_CONTAINERS: Final = {"application/zip", "application/xml", "application/octet-stream"}
_EXTENSIONS: Final = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/tiff": "tif",
    "image/bmp": "bmp",
    "image/svg+xml": "svg",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/json": "json",
    "application/xml": "xml",
    "text/html": "html",
    "text/plain": "txt",
    "text/csv": "csv",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "audio/mpeg": "mp3",
}
# What puremagic may name only after reading letters that also begin ordinary text.
_MARKUP: Final = (
    (re.compile(rb"<svg[\s>]", re.IGNORECASE), "image/svg+xml"),
    (re.compile(rb"<(!doctype\s+html|html|head|body|script|iframe)\b", re.IGNORECASE), "text/html"),
    (re.compile(rb"^<\?xml\b", re.IGNORECASE), "application/xml"),
)


@dataclass(frozen=True, slots=True)
class ContentType:
    type: str  # such as image/jpeg
    charset: str  # binary, us-ascii or utf-8
    extension: str  # of the stored name, without the dot; "" for none


def content_type(head: bytes, *, name: str, claimed: str | None) -> ContentType:
    """The type of a file that begins with ``head``.

    ``claimed`` (the client's) and the extension of ``name`` are believed only where the bytes do
    not contradict them: text stays text, a signature stays what it is.
    """
    hint = _normal(claimed) or _normal(_KNOWN.guess_type(name, strict=False)[0])
    charset = _charset(head)
    found = _markup(head) or _signature(head)
    if found is None or found in _CONTAINERS:
        if charset == "binary":
            refined = hint if hint and not _is_text(hint) and hint not in PICTURES else None
        else:
            refined = hint if hint and _is_text(hint) and hint not in _ACTIVE else None
        found = refined or found or ("text/plain" if charset != "binary" else BINARY)
    return ContentType(found, charset, _extension(found, name))


# Types a browser runs: given only to bytes that show them.
_ACTIVE: Final = frozenset({"text/html", "image/svg+xml", "application/xhtml+xml"})


def _normal(claimed: str | None) -> str | None:
    if not claimed:
        return None
    bare = claimed.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(bare):
        return None
    return _ALIASES.get(bare, bare)


def _is_text(kind: str) -> bool:
    return (
        kind.startswith("text/")
        or kind.endswith(("+xml", "+json"))
        or kind in {"application/json", "application/xml", "application/javascript"}
    )


def _markup(head: bytes) -> str | None:
    start = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"<"):
        return None
    return next((kind for pattern, kind in _MARKUP if pattern.search(start)), None)


_AVIF: Final = (b"ftypavif", b"ftypavis")  # its container is MP4's, too


def _signature(head: bytes) -> str | None:
    if head[4:12] in _AVIF:
        return "image/avif"
    if not may_be_known(head[:_SEEN]):
        return None
    try:
        matches = puremagic.magic_string(head[:_SEEN])
    except (puremagic.PureError, ValueError, IndexError):
        return None
    for match in matches:
        if match.mime_type and (match.confidence >= _SURE or len(match.byte_match or b"") > 2):
            return _ALIASES.get(match.mime_type, match.mime_type)
    return None


def _places(*tables: Iterable[puremagic.PureMagic]) -> dict[tuple[int, int], set[bytes]]:
    places: dict[tuple[int, int], set[bytes]] = {}
    for row in itertools.chain(*tables):
        end = row.offset + len(row.byte_match)
        places.setdefault((row.offset, end), set()).add(row.byte_match)
    return places


# Where signatures stand, and which: 140 looks tell mostly what puremagic's 1,400 do, that none is.
_HEADERS: Final = _places(puremagic.magic_header_array)
_FOOTERS: Final = _places(puremagic.magic_footer_array)


def may_be_known(text: bytes) -> bool:
    """Whether puremagic has a signature that this text may bear."""
    return any(text[start:end] in known for (start, end), known in _HEADERS.items()) or any(
        text[start : end or None] in known for (start, end), known in _FOOTERS.items()
    )


def _charset(head: bytes) -> str:
    cut = head[:_SEEN]
    try:
        text = cut.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(cut) == len(head) or error.start < len(cut) - 3:
            return "binary"
        text = cut[: error.start].decode("utf-8")  # a character was cut in two
    if _CONTROLS.search(text):
        return "binary"
    return "us-ascii" if text.isascii() else "utf-8"


def _extension(kind: str, name: str) -> str:
    """The name's own extension where it fits the type, else the type's usual one."""
    own = name.rpartition(".")[2].lower() if "." in name else ""
    if _EXTENSION.fullmatch(own):
        guessed = _normal(_KNOWN.guess_type(f"x.{own}", strict=False)[0])
        if guessed == kind or (kind == BINARY and guessed not in _ACTIVE):
            return own
    usual = _KNOWN.guess_extension(kind, strict=False) or ""
    return _EXTENSIONS.get(kind, usual.removeprefix("."))


def title_of(name: str) -> str:
    """``summer_holiday-2013.jpg`` → ``Summer Holiday 2013``."""
    stem = name.rpartition(".")[0] or name
    words = re.split(r"[\s_.\-]+", stem)
    return " ".join(word[:1].upper() + word[1:] for word in words if word)
