"""What a picture's header tells: its size, and the words its maker put in (EXIF, IPTC).

Only HEADER bytes are looked at, of a picture at a time, and no pixel is decoded. Source: contract
7.7.
"""

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

PICTURES: Final = frozenset(
    {"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/tiff"}
)
HEADER: Final = 1024 * 1024  # bytes; what its camera wrote before the picture lies within
_READERS: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="picture")
_LONGEST: Final = {"title": 255, "location": 200, "caption": 4000, "tags": 2000}
# Records of IPTC-IIM 4.2, section 2
_TITLE, _KEYWORDS, _CITY, _PLACE, _STATE, _COUNTRY, _CAPTION = 5, 25, 90, 92, 95, 101, 120
_HEADLINE: Final = 105
_UTF8: Final = b"\x1b%G"
_DEGREES: Final = re.compile(r"(-?[\d.]+)(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class Picture:
    width: int | None = None
    height: int | None = None
    title: str = ""
    caption: str = ""
    tags: str = ""
    location: str = ""


async def picture_of(head: bytes, kind: str) -> Picture:
    """An empty one for what is no picture we read."""
    if kind not in PICTURES:
        return Picture()
    return await asyncio.get_running_loop().run_in_executor(_READERS, _read, head)


def _read(head: bytes) -> Picture:
    vips = _vips()
    try:
        image = vips.Image.new_from_buffer(head, "", access="sequential")
        fields = set(image.get_fields())
        exif = {
            name.partition("-")[2].partition("-")[2]: str(image.get(name))
            for name in fields
            if name.startswith("exif-")
            and name.endswith(("ImageDescription", "Latitude", "LatitudeRef", "Longitude",
                               "LongitudeRef", "XPTitle", "XPKeywords"))
        }  # fmt: skip
        iptc = bytes(image.get("iptc-data")) if "iptc-data" in fields else b""
        width, height = int(image.width), int(image.height)
    except vips.Error:
        return Picture()
    words = _iptc_words(iptc)
    described = _exif_text(exif.get("ImageDescription", ""))
    place = [words[one][0] for one in (_PLACE, _CITY, _STATE, _COUNTRY) if one in words]
    return Picture(
        width,
        height,
        title=_cut("title", words.get(_TITLE, words.get(_HEADLINE, [""]))[0]),
        caption=_cut("caption", words.get(_CAPTION, [described])[0]),
        tags=_cut("tags", ",".join(words.get(_KEYWORDS, []))),
        location=_cut("location", ", ".join(place) or _position(exif)),
    )


def _cut(field: str, text: str) -> str:
    return text.replace("\0", "").strip()[: _LONGEST[field]]


def _exif_text(value: str) -> str:
    """libvips adds what it knows of the type: ``A dog (A dog, ASCII, 6 components, 6 bytes)``."""
    text = re.sub(r" \((?s:.*), \w+, \d+ components, \d+ bytes\)$", "", value)
    return "" if text.isspace() else text


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
