"""What is measured: each piece of work as we do it, and as its floor does it.

``cached`` reads name the goal against bytes from memory; everything else is compared with a bare
proxy before a bare service. A number met nowhere else (``{n}``) is not in the cache.
"""

import base64
import json
import os
from dataclasses import dataclass
from typing import Any, Final

TABLE: Final = "benchmark_rows"
ROWS_PATH: Final = f"/api/1.1/tables/{TABLE}/rows"
NEW_ROW: Final = json.dumps(
    {"title": "Title {n}", "city": "City 7", "amount": 7, "body": "0123456789abcdef" * 72}
)
CHANGE: Final = '{"amount": {id}}'
MEGABYTE: Final = base64.b64encode(os.urandom(1024 * 1024)).decode()
ROW_COUNT: Final = 10_000
BOOKS: Final = "benchmark_books"
MAKERS: Final = "benchmark_makers"
PAGES: Final = "benchmark_pages"
BOOK_COUNT: Final = 2_000  # each with one of a hundred makers and two pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``ours`` and ``floor`` are (method, path, body); ``goal`` is a ratio of their rates."""

    name: str
    ours: tuple[str, str, str]
    floor: tuple[str, str, str]
    goal: float
    cached: bool = False
    connections: int = 32


def row_read(number: int) -> dict[str, Any]:
    """One row of the table, about 1.2 KB, the same on both sides."""
    return {
        "active": 1,
        "title": f"Title {number}",
        "city": f"City {number % 100}",
        "amount": number % 1000,
        "body": f"{number:016x}" * 72,
    }


FILTERED: Final = "filters[city][eq]=City+7&filters[amount][gt]=100&sort=title&perPage=50"
CASES: Final = (
    Case(
        name="read one row, uncached",
        ours=("GET", f"{ROWS_PATH}/{{id}}?_={{n}}", ""),
        floor=("GET", "/rows/{id}?_={n}", ""),
        goal=0.6,
    ),
    Case(
        name="read one row, cached",
        ours=("GET", f"{ROWS_PATH}/1", ""),
        floor=("GET", "/memory/row", ""),
        goal=0.5,
        cached=True,
    ),
    Case(
        name="list of 200, uncached",
        ours=("GET", f"{ROWS_PATH}?perPage=200&_={{n}}", ""),
        floor=("GET", "/rows?limit=200&_={n}", ""),
        goal=0.75,
    ),
    Case(
        name="list of 200, cached",
        ours=("GET", f"{ROWS_PATH}?perPage=200", ""),
        floor=("GET", "/memory/rows", ""),
        goal=0.5,
        cached=True,
    ),
    Case(
        name="filtered, sorted list of 50",
        ours=("GET", f"{ROWS_PATH}?{FILTERED}&_={{n}}", ""),
        floor=("GET", "/filtered?city=City+7&amount=100&limit=50&_={n}", ""),
        goal=0.75,
    ),
    Case(
        name="list of 50 with relations",
        ours=("GET", f"/api/1.1/tables/{BOOKS}/rows?depth=1&perPage=50&_={{n}}", ""),
        floor=("GET", "/related?limit=50&_={n}", ""),
        goal=0.75,
    ),
    Case(
        name="create",
        ours=("POST", ROWS_PATH, NEW_ROW),
        floor=("POST", "/rows", NEW_ROW),
        goal=0.5,
    ),
    Case(
        name="update",
        ours=("PUT", f"{ROWS_PATH}/{{id}}", CHANGE),
        floor=("PUT", "/rows/{id}", CHANGE),
        goal=0.5,
    ),
    Case(
        name="upload 1 MB",
        ours=("POST", "/api/1.1/files", json.dumps({"name": "load.bin", "data": MEGABYTE})),
        floor=("POST", "/upload", json.dumps({"name": "load.bin", "data": MEGABYTE})),
        goal=0.8,
        connections=8,
    ),
)
