"""The settings of the instance, kept in directus_settings: stored values over defaults.

On the wire every value is a string. Source: contract 7.12.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.database import Reader
from shared.errors import InvalidRequest
from shared.sql import raw

DEFAULTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "global": {
            "cms_user_auto_sign_out": "60",
            "project_name": "Directoire",
            "project_url": "",
            "cms_color": "#7ac943",
            "rows_per_page": "200",
            "cms_thumbnail_url": "",
        },
        "files": {
            "allowed_thumbnails": "",
            "thumbnail_quality": "100",
            "thumbnail_size": "200",
            "file_naming": "file_id",
            "thumbnail_crop_enabled": "1",
            "youtube_api_key": "",
        },
    }
)
MAX_ROWS_PER_PAGE: Final = 10_000
FILE_NAMINGS: Final = ("file_id", "file_hash", "file_name")

_TYPES: Final = re.compile(r"(?:[a-z]+/(?:\*|[a-z0-9.+-]+)(?:\s*,\s*|$))*")
_SIZES: Final = re.compile(r"(?:[1-9]\d{0,3}x[1-9]\d{0,3}(?:\s*,\s*|$))*")
QUOTA: Final = "quota"  # of every group; "quota_3" of group 3

Check = Callable[[str], str | None]  # a value → what is wrong with it


def _number(low: int, high: int) -> Check:
    def check(value: str) -> str | None:
        if value.isascii() and value.isdigit() and low <= int(value[:9]) <= high:
            return None
        return f"must be a whole number from {low} to {high}"

    return check


def _one_of(*choices: str) -> Check:
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"


def _list_of(pattern: re.Pattern[str], what: str) -> Check:
    return lambda value: None if pattern.fullmatch(value.strip()) else f"must be a list of {what}"


def _bytes(value: str) -> str | None:
    return None if value == "" else _number(0, 999_999_999)(value[:9])


CHECKS: Final[Mapping[tuple[str, str], Check]] = {
    ("global", "rows_per_page"): _number(1, MAX_ROWS_PER_PAGE),
    ("global", "cms_user_auto_sign_out"): _number(0, 525_600),  # minutes
    ("files", "thumbnail_quality"): _number(1, 100),
    ("files", "thumbnail_size"): _number(1, 4096),  # pixels
    ("files", "thumbnail_crop_enabled"): _one_of("0", "1"),
    ("files", "file_naming"): _one_of(*FILE_NAMINGS),
    ("files", "allowed_thumbnails"): _list_of(_SIZES, "sizes such as 200x200,640x480"),
    ("files", "allowed_types"): _list_of(_TYPES, "types such as image/*,application/pdf"),
    ("files", QUOTA): _bytes,
}


def check_setting(collection: str, name: str, value: str) -> None:
    """Raises InvalidRequest for a value that a known setting cannot have."""
    if collection == "files" and name.startswith(f"{QUOTA}_"):
        name = QUOTA
    check = CHECKS.get((collection, name))
    fault = check(value) if check else None
    if fault:
        raise InvalidRequest(f'The setting "{name}" {fault}.', field=name)


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """Every collection with its values, defaults filled in."""

    collections: Mapping[str, Mapping[str, str]]

    @property
    def rows_per_page(self) -> int:
        """How many rows a list without a limit has."""
        return int(self._valid("global", "rows_per_page"))

    @property
    def file_naming(self) -> str:
        """One of FILE_NAMINGS: how stored files are called."""
        return self._valid("files", "file_naming")

    @property
    def thumbnail_size(self) -> int:
        """Pixels of the longer side."""
        return int(self._valid("files", "thumbnail_size"))

    @property
    def thumbnail_quality(self) -> int:
        """1 to 100."""
        return int(self._valid("files", "thumbnail_quality"))

    @property
    def thumbnail_crop(self) -> bool:
        """Whether thumbnails are cut to a square."""
        return self._valid("files", "thumbnail_crop_enabled") == "1"

    @property
    def allowed_thumbnails(self) -> frozenset[tuple[int, int]]:
        """Widths and heights that ``/thumbnail/…`` makes."""
        sizes = _words(self._valid("files", "allowed_thumbnails"))
        pairs = [size.partition("x") for size in sizes]
        return frozenset((int(width), int(height)) for width, _, height in pairs)

    @property
    def allowed_types(self) -> frozenset[str]:
        """Types of files that are taken, ``image/*`` among them; empty: all."""
        return _words(self.collections["files"].get("allowed_types", ""))

    def quota_of(self, group: int) -> int | None:
        """Bytes that the files of a group's users may have together; None: no limit."""
        values = self.collections["files"]
        value = values.get(f"{QUOTA}_{group}") or values.get(QUOTA, "")
        return int(value) if value.isascii() and value.isdigit() else None

    def _valid(self, collection: str, name: str) -> str:
        """The stored value, or the default where plain SQL has stored what cannot be meant."""
        value = self.collections[collection][name]
        fault = CHECKS[collection, name](value)
        return DEFAULTS[collection][name] if fault else value


def _words(value: str) -> frozenset[str]:
    return frozenset(word.strip() for word in value.split(",") if word.strip())


def over_defaults(stored: Mapping[tuple[str, str], str]) -> SystemSettings:
    """``stored`` maps (collection, name) to values; a collection without defaults is kept too."""
    collections = {collection: dict(values) for collection, values in DEFAULTS.items()}
    for (collection, name), value in stored.items():
        collections.setdefault(collection, {})[name] = value
    return SystemSettings(collections)


_STORED: Final = raw(
    "SELECT collection, name, coalesce(value, '') AS value"
    " FROM public.directus_settings ORDER BY id"
)


async def load_system_settings(session: Reader) -> SystemSettings:
    """One round trip."""
    rows = await session.fetch(_STORED)
    return over_defaults({(row["collection"], row["name"]): row["value"] for row in rows})
