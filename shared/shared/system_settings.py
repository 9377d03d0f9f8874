"""The settings of the instance, kept in directus_settings: stored values over defaults.

On the wire every value is a string. Source: contract 7.12.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from shared.catalogue import Reader
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

Check = Callable[[str], str | None]  # a value → what is wrong with it


def _number(low: int, high: int) -> Check:
    def check(value: str) -> str | None:
        if value.isascii() and value.isdigit() and low <= int(value[:9]) <= high:
            return None
        return f"must be a whole number from {low} to {high}"

    return check


def _one_of(*choices: str) -> Check:
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"


CHECKS: Final[Mapping[tuple[str, str], Check]] = {
    ("global", "rows_per_page"): _number(1, MAX_ROWS_PER_PAGE),
    ("global", "cms_user_auto_sign_out"): _number(0, 525_600),  # minutes
    ("files", "thumbnail_quality"): _number(1, 100),
    ("files", "thumbnail_size"): _number(1, 4096),  # pixels
    ("files", "thumbnail_crop_enabled"): _one_of("0", "1"),
    ("files", "file_naming"): _one_of(*FILE_NAMINGS),
}


def check_setting(collection: str, name: str, value: str) -> None:
    """Raises InvalidRequest for a value that a known setting cannot have."""
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

    def _valid(self, collection: str, name: str) -> str:
        """The stored value, or the default where plain SQL has stored what cannot be meant."""
        value = self.collections[collection][name]
        fault = CHECKS[collection, name](value)
        return DEFAULTS[collection][name] if fault else value


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
