"""What a picture's header tells: its size, and the words its maker put in (EXIF, IPTC).

Only its two ends are looked at, of a picture at a time, and no pixel is decoded. Source: contract
7.7.
"""

import asyncio
import os
import re
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

PICTURES: Final = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/tiff"}
)
HEADER: Final = 1024 * 1024  # bytes; what its camera wrote before the picture lies within
_ENDING: Final = 256 * 1024  # bytes; what was written behind the picture lies within
_DIRECTORY: Final = 64 * 1024  # bytes before and behind where a TIFF says that its directory is
_READERS: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="picture")
_LONGEST: Final = {"title": 255, "location": 200, "caption": 4000, "tags": 2000}
# Records of IPTC-IIM 4.2, section 2
_TITLE, _KEYWORDS, _CITY, _PLACE, _STATE, _COUNTRY, _CAPTION = 5, 25, 90, 92, 95, 101, 120
_HEADLINE: Final = 105
_UTF8: Final = b"\x1b%G"
_XP_TITLE, _XP_KEYWORDS = 0x9C9B, 0x9C9E  # of Windows, in UTF-16
_DEGREES: Final = re.compile(r"(-?[\d.]+)(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class Picture:
    width: int | None = None
    height: int | None = None
    title: str = ""
    caption: str = ""
    tags: str = ""
    location: str = ""


Read = Callable[[int, int], AsyncIterator[bytes]]


async def picture_of(read: Read, size: int) -> Picture:
    """An empty one for what is no picture we can read; ``read`` gives the bytes between two places.

    Decoders seek and want a whole file: they get one as large as the picture, with its two ends
    and nothing between, which takes no memory.
    """
    copy = os.memfd_create("picture")
    try:
        os.truncate(copy, size)
        await _fill(copy, read, 0, min(HEADER, size))
        if size > HEADER:
            directory = min(_directory_of_tiff(os.pread(copy, 16, 0)), size)
            start = max(HEADER, directory - _DIRECTORY)
            await _fill(copy, read, start, min(size, directory + _DIRECTORY))
            await _fill(copy, read, max(HEADER, size - _ENDING), size)
    except BaseException:
        os.close(copy)
        raise
    running = _READERS.submit(_read, copy)
    running.add_done_callback(lambda _: os.close(copy))  # also of one that never began
    return await asyncio.wrap_future(running)


async def _fill(copy: int, read: Read, start: int, end: int) -> None:
    if start < end:
        async for chunk in read(start, end):
            start += os.pwrite(copy, chunk, start)


def _directory_of_tiff(head: bytes) -> int:
    """Where the first directory of a TIFF or BigTIFF stands; 0 for other pictures."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return 0
    version, near, far = struct.unpack(f"{order}2xHI Q", head)
    return {42: near, 43: far}.get(version, 0)


def _read(copy: int) -> Picture:
    vips = _vips()
    try:
        image = vips.Image.new_from_source(
            vips.Source.new_from_descriptor(copy), "", access="sequential"
        )
        fields = set(image.get_fields())
        exif = {
            name.partition("-")[2].partition("-")[2]: str(image.get(name))
            for name in fields
            if name.startswith("exif-")
            and name.endswith(
                ("ImageDescription", "Latitude", "LatitudeRef", "Longitude", "LongitudeRef")
            )
        }
        raw = bytes(image.get("exif-data")) if "exif-data" in fields else b""
        iptc = bytes(image.get("iptc-data")) if "iptc-data" in fields else b""
        width, height = int(image.width), int(image.height)
    except vips.Error:
        return Picture()
    words = _iptc_words(iptc)
    titled, tagged = _windows_text(raw, _XP_TITLE), _windows_text(raw, _XP_KEYWORDS)
    described = _exif_text(exif.get("ImageDescription", ""))
    place = [words[one][0] for one in (_PLACE, _CITY, _STATE, _COUNTRY) if one in words]
    return Picture(
        width,
        height,
        title=_cut("title", words.get(_TITLE, words.get(_HEADLINE, [titled]))[0]),
        caption=_cut("caption", words.get(_CAPTION, [described])[0]),
        tags=_cut("tags", ",".join(words.get(_KEYWORDS, _listed(tagged)))),
        location=_cut("location", ", ".join(place) or _position(exif)),
    )


def _cut(field: str, text: str) -> str:
    return text.replace("\0", "").strip()[: _LONGEST[field]]


def _exif_text(value: str) -> str:
    """libvips says it twice, with the type: ``A dog (A dog, ASCII, 6 components, 6 bytes)``."""
    twice = re.sub(r", \w+, \d+ components, \d+ bytes\)$", "", value)
    text = twice[: (len(twice) - 2) // 2]
    if twice != f"{text} ({text}":
        text = twice.partition(" (")[0]
    return "" if text.isspace() else text


def _windows_text(exif: bytes, tag: int) -> str:
    """What Windows keeps in a tag of the first directory; "" where there is none.

    libexif loses characters of more than 16 bits. Source: TIFF 6.0, section 2.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (at,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            found, size, start = struct.unpack_from(f"{order}H2xII", tiff, entry)
            if found == tag:
                start = start if size > 4 else entry + 8
                return tiff[start : start + size].decode("utf-16-le", "replace")
    except struct.error:
        pass  # it was cut, or is none
    return ""


def _listed(text: str) -> list[str]:
    """Windows' keywords: ``sea; sun``."""
    return [word.strip(" \0") for word in text.split(";") if word.strip(" \0")]


def _position(exif: dict[str, str]) -> str:
    """``52.5200, 13.4050`` from degrees, minutes, seconds; nothing where one is missing."""
    parts: list[str] = []
    for axis, negative in (("Latitude", "S"), ("Longitude", "W")):
        numbers = _DEGREES.findall(_exif_text(exif.get(f"GPS{axis}", "")))[:3]
        if len(numbers) < 3:
            return ""
        try:
            degrees = sum(
                float(top) / float(bottom or 1) / 60**place
                for place, (top, bottom) in enumerate(numbers)
            )
        except (ValueError, ZeroDivisionError):
            return ""
        sign = -1 if _exif_text(exif.get(f"GPS{axis}Ref", "")).startswith(negative) else 1
        parts.append(f"{sign * degrees:.4f}")
    return ", ".join(parts)


def _iptc_words(data: bytes) -> dict[int, list[str]]:
    """The text of section 2 by record, from a Photoshop segment or bare IIM."""
    words: dict[int, list[str]] = {}
    utf8 = False
    for section, record, value in _iptc_records(_iim_in(data)):
        if (section, record) == (1, 90):
            utf8 = value == _UTF8
        elif section == 2:
            try:
                text = value.decode("utf-8")
            except UnicodeDecodeError:
                text = value.decode("utf-8" if utf8 else "latin-1", "replace")
            if text.strip("\0 "):
                words.setdefault(record, []).append(text)
    return words


def _iim_in(data: bytes) -> bytes:
    """The resource 0x0404 of a Photoshop segment holds the records."""
    at = data.find(b"8BIM\x04\x04")
    if at < 0:
        return data
    name = data[at + 6 : at + 7]
    start = at + 6 + (len(name) and (name[0] + 2) // 2 * 2)
    size = int.from_bytes(data[start : start + 4], "big")
    return data[start + 4 : start + 4 + size]


def _iptc_records(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = data.find(b"\x1c")
    while 0 <= at <= len(data) - 5 and data[at] == 0x1C:
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if size & 0x8000:
            return  # an extended record: no text is that long
        yield data[at + 1], data[at + 2], data[at + 5 : at + 5 + size]
        at += 5 + size


@cache
def _vips() -> Any:
    """libvips costs memory: it is loaded with the first picture.

    Loaders that were never fuzzed are blocked, and nothing is kept between pictures.
    """
    import pyvips  # noqa: PLC0415

    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)
    return pyvips
