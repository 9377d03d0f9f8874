"""Files as somebody would send them who wants them run, or kept or read somewhere else."""

import random
from dataclasses import dataclass
from typing import Final

_STEMS: Final = (
    "a", "con", ".htaccess", "%2e%2e%2f", "a%00b", "x\u202egnp", "$(id)", "`id`", "<script>",
    "'; DROP TABLE directus_files; --", "ü" * 90, "a" * 150, "..\\..\\boot", "{{7*7}}",
    "x; filename=y", "\U0001f4a3", "aux:stream", "a|b>c",
)  # fmt: skip
_FOLDERS: Final = ("", "../", "../../../../", "/etc/", "C:\\", "\\\\host\\", "%2e%2e/", "incoming/")
_ENDINGS: Final = (
    "", ".html", ".svg", ".php", ".png", ".JPG", ".exe", ".js", ".xhtml", ".pdf", ".tar.gz", ".",
    ".png.php", ".swf", ".txt", ".xml", ".png ", ".p/hp", ".\u0455vg", ".%70hp", "." + "x" * 50,
)  # fmt: skip
_TYPES: Final = (
    "text/html", "image/svg+xml", "image/png", "application/pdf", "text/plain", "x", "a/b; c=d",
    "application/x-httpd-php", "text/html; charset=utf-7", "embed", "../..", "*/*",
)  # fmt: skip
_HEADS: Final = (
    b"<html><script>alert(1)</script>", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
    b"<?xml version='1.0'?><x/>", b"<?php system($_GET[0]);", b"MZ\0\0", b"\x7fELF", b"#!/bin/sh\n",
    b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"GIF89a<script>", b"\xff\xd8\xff\xe0", b"PK\x03\x04",
    b"\xff\xfe<\0h\0t\0m\0l\0", b"words ", b"\0", b"%!PS\n", b"alert(1)//",
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    name: str
    type: str
    content: bytes


def hostile_files(count: int, seed: int) -> list[Hostile]:
    """No two have the same content; all have a name: without one a file is refused."""
    dice = random.Random(seed)
    return [
        Hostile(
            dice.choice(_FOLDERS) + dice.choice(_STEMS) + dice.choice(_ENDINGS),
            dice.choice(_TYPES),
            dice.choice(_HEADS) + b" %d" % number + dice.randbytes(dice.randrange(40)),
        )
        for number in range(count)
    ]


def as_multipart(files: list[Hostile], boundary: str) -> bytes:
    body = b""
    for file in files:
        name = file.name.replace("\\", "\\\\").replace('"', '\\"')
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n'
            f"Content-Type: {file.type}\r\n\r\n"
        ).encode() + file.content + b"\r\n"  # fmt: skip
    return body + f"--{boundary}--\r\n".encode()
