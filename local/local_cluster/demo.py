"""The demo's data, loaded through the public API like anybody's.

Airports of the world (PyPI airportsdata), countries (PyPI pycountry), the two small tables that the
API's documentation uses, three groups with different rights, their users, and a few files.
"""

import base64
import csv
import io
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import aiohttp
import airportsdata
import pycountry

Row = Mapping[str, Any]
Progress = Callable[[str, int, int], None]  # what, done, of how many

_BATCH: Final = 1000  # rows in one bulk request
_TIMEOUT: Final = aiohttp.ClientTimeout(total=120)

COUNTRIES: Final = {
    "code": ("CHAR", "2", "Two letters, ISO 3166-1"),
    "alpha_3": ("CHAR", "3", "Three letters, ISO 3166-1"),
    "numeric": ("CHAR", "3", "Three digits, ISO 3166-1"),
    "name": ("VARCHAR", "100", "Common name"),
    "official_name": ("VARCHAR", "100", "Official name, where it is another"),
    "flag": ("VARCHAR", "8", "Flag as an emoji"),
}
AIRPORTS: Final = {
    "icao": ("CHAR", "4", "Code of the International Civil Aviation Organization"),
    "iata": ("CHAR", "3", "Code on tickets and luggage, where there is one"),
    "name": ("VARCHAR", "100", "Name"),
    "city": ("VARCHAR", "60", "City"),
    "subd": ("VARCHAR", "60", "State, province or region"),
    "country": ("CHAR", "2", "Two letters, ISO 3166-1"),
    "elevation": ("DOUBLE", "", "Feet above sea level"),
    "lat": ("DOUBLE", "", "Latitude in degrees"),
    "lon": ("DOUBLE", "", "Longitude in degrees"),
    "tz": ("VARCHAR", "40", "Time zone"),
    "lid": ("VARCHAR", "10", "Local identifier"),
}
CUSTOMERS: Final = {
    "name": ("VARCHAR", "100", "Customer's name"),
    "email": ("VARCHAR", "100", "Where to write to"),
    "country": ("CHAR", "2", "Two letters, lower case"),
    "state": ("CHAR", "2", "Two letters, lower case"),
}
PROJECTS: Final = {
    "title": ("VARCHAR", "100", "Project's title"),
    "created_by": ("INT", "", "Who created it"),
}
DELETED, ACTIVE, DRAFT = 0, 1, 2
CUSTOMER_ROWS: Final = [
    {"name": name, "email": f"{name.split()[0].lower()}@shop.example", "country": country}
    | {"state": state, "active": active}
    for name, country, state, active in (
        ("Ada Baker", "us", "ny", ACTIVE),
        ("Ben Castillo", "us", "ny", ACTIVE),
        ("Chloe Diaz", "us", "nm", ACTIVE),
        ("Dan Ekberg", "us", "or", ACTIVE),
        ("Eva Fontenot", "us", "la", ACTIVE),
        ("Finn Gruber", "de", None, ACTIVE),
        ("Grace Hall", "gb", None, ACTIVE),
        ("Hugo Ibarra", "mx", None, ACTIVE),
        ("Ida Jensen", "dk", None, DRAFT),
        ("Jon Keller", "us", "nm", DRAFT),
        ("Kim Lee", "us", "or", DELETED),
    )
]
PROJECT_ROWS: Final = [
    {"title": "John's website", "active": ACTIVE},
    {"title": "School Website", "active": ACTIVE},
    {"title": "Museum guide", "active": DRAFT},
    {"title": "Last year's fair", "active": DELETED},
]
# group → table → privileges; a table not named here does not exist for the group
GROUPS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "Editors": {
        "airports": {"allow_view": 2},
        "countries": {"allow_view": 2},
        "customers": {"allow_view": 2, "allow_add": 1, "allow_edit": 2, "allow_delete": 2},
        "projects": {"allow_view": 2, "allow_add": 1, "allow_edit": 2, "allow_delete": 2},
        "directus_files": {"allow_view": 2, "allow_add": 1, "allow_edit": 2},
    },
    "Authors": {
        "airports": {"allow_view": 2},
        "projects": {"allow_view": 1, "allow_add": 1, "allow_edit": 1, "allow_delete": 1},
    },
    "Readers": {
        "airports": {"allow_view": 2},
        "countries": {"allow_view": 2},
        "customers": {"allow_view": 2, "read_field_blacklist": "email"},
        "directus_files": {"allow_view": 2},
    },
}


class DemoFailed(Exception):
    """The API refused a part of the demo; the message has its answer."""


class Api:
    """The public API, as any client sees it."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._root = f"{base_url.rstrip('/')}/api/1.1/"

    async def send(self, method: str, path: str, body: object = None) -> Any:
        """The ``data`` of the answer. Raises DemoFailed for anything but success."""
        async with self._session.request(method, self._root + path, json=body) as response:
            answer = await response.json()
            if response.status != 200 or answer.get("success") is False:
                raise DemoFailed(f"{method} {path}: {response.status} {answer}")
            return answer.get("data")


async def load_demo(base_url: str, token: str, progress: Progress) -> dict[str, str]:
    """Fill an empty instance; returns the API tokens of the demo's users by user name.

    Raises DemoFailed when the API refuses something, for example because tables exist already.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        api = Api(session, base_url)
        countries = await _load_countries(api, progress)
        await _load_airports(api, countries, progress)
        await _load_customers_and_projects(api)
        tokens = await _make_groups_and_users(api, progress)
        await _make_files(api, progress)
        return tokens


async def is_loaded(base_url: str, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        tables = await Api(session, base_url).send("GET", "tables")
        return any(table["name"] == "airports" for table in tables)


async def _load_countries(api: Api, progress: Progress) -> dict[str, int]:
    """Ids of the countries by their two letters."""
    await _create_table(api, "countries", COUNTRIES)
    rows = [
        {
            "code": country.alpha_2,
            "alpha_3": country.alpha_3,
            "numeric": country.numeric,
            "name": country.name,
            "official_name": getattr(country, "official_name", None),
            "flag": country.flag,
            "active": ACTIVE,
        }
        for country in pycountry.countries
    ]
    stored = await _create_rows(api, "countries", rows, progress)
    return {row["code"]: row["id"] for row in stored}


async def _load_airports(api: Api, countries: Mapping[str, int], progress: Progress) -> None:
    await _create_table(api, "airports", AIRPORTS)
    many_to_one = {
        "column_name": "country_id",
        "data_type": "INT",
        "ui": "many_to_one",
        "relationship_type": "MANYTOONE",
        "related_table": "countries",
        "junction_key_right": "country_id",
        "comment": "The country's row",
    }
    await api.send("POST", "tables/airports/columns", many_to_one)
    rows = [
        # Kosovo has an airport but no code in ISO 3166-1
        {**airport, "country_id": countries.get(airport["country"]), "active": ACTIVE}
        for airport in _airports()
    ]
    await _create_rows(api, "airports", rows, progress)


def _airports() -> Iterable[Row]:
    return airportsdata.load("ICAO").values()  # pyright: ignore[reportReturnType]


async def _load_customers_and_projects(api: Api) -> None:
    await _create_table(api, "customers", CUSTOMERS)
    await _create_table(api, "projects", PROJECTS)
    await api.send("PUT", "tables/projects", {"user_create_column": "created_by"})
    await api.send("POST", "tables/customers/rows/bulk", {"rows": CUSTOMER_ROWS})
    await api.send("POST", "tables/projects/rows/bulk", {"rows": PROJECT_ROWS})


async def _create_table(api: Api, name: str, columns: Mapping[str, tuple[str, str, str]]) -> None:
    await api.send("POST", "tables", {"name": name})
    for column, (data_type, length, comment) in columns.items():
        body = {"column_name": column, "data_type": data_type, "comment": comment}
        if length:
            body["char_length"] = length
        await api.send("POST", f"tables/{name}/columns", body)


async def _create_rows(
    api: Api, table: str, rows: Sequence[Row], progress: Progress
) -> list[dict[str, Any]]:
    stored: list[dict[str, Any]] = []
    for batch in _batches(rows):
        stored += await api.send("POST", f"tables/{table}/rows/bulk", {"rows": batch})
        progress(table, len(stored), len(rows))
    return stored


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    following = iter(rows)
    while batch := list(islice(following, _BATCH)):
        yield batch


async def _make_groups_and_users(api: Api, progress: Progress) -> dict[str, str]:
    tokens: dict[str, str] = {}
    for done, (name, privileges) in enumerate(GROUPS.items(), start=1):
        group = await api.send("POST", "groups", {"name": name})
        for table, levels in privileges.items():
            body = {"table_name": table, "group_id": group["id"], **levels}
            await api.send("POST", f"privileges/{group['id']}", body)
        user = name.lower().removesuffix("s")
        tokens[user] = secrets.token_urlsafe(24)
        await api.send(
            "POST",
            "users",
            {
                "email": f"{user}@demo.example",
                "first_name": user.capitalize(),
                "last_name": "Demo",
                "password": secrets.token_urlsafe(18),
                "token": tokens[user],
                "group": group["id"],
            },
        )
        progress("groups and users", done, len(GROUPS))
    return tokens


async def _make_files(api: Api, progress: Progress) -> None:
    files = {
        "airports-of-the-world.png": ("image/png", _map_of_airports()),
        "busiest-time-zones.csv": ("text/csv", _airports_by_time_zone()),
        "welcome.txt": ("text/plain", b"Welcome to Directoire: this file is served by it.\n"),
    }
    for done, (name, (content_type, content)) in enumerate(files.items(), start=1):
        data = f"data:{content_type};base64,{base64.b64encode(content).decode()}"
        await api.send("POST", "files", {"name": name, "type": content_type, "data": data})
        progress("files", done, len(files))


def _map_of_airports(width: int = 720, height: int = 360) -> bytes:
    """A picture of all airports: one light dot each on dark ground, as a PNG."""
    rows = [bytearray(width) for _ in range(height)]
    for airport in _airports():
        x = int((airport["lon"] + 180) / 360 * (width - 1))
        y = int((90 - airport["lat"]) / 180 * (height - 1))
        rows[y][x] = min(255, rows[y][x] + 80)
    pixels = b"".join(b"\0" + row for row in rows)  # each line begins with its filter: none
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + _png_chunk(b"IDAT", zlib.compress(pixels, 9))
        + _png_chunk(b"IEND", b"")
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _airports_by_time_zone() -> bytes:
    counts: dict[str, int] = {}
    for airport in _airports():
        counts[airport["tz"]] = counts.get(airport["tz"], 0) + 1
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["time zone", "airports"])
    writer.writerows(sorted(counts.items(), key=lambda entry: -entry[1])[:50])
    return text.getvalue().encode()
