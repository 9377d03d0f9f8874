"""What an export says of relations, its filters, its metadata, and how to follow on from it."""

import asyncio
import csv
import io
import json
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio
import yaml
from bulk import export, library_file
from people import make_group, make_user
from wire import Api

from directoire_consumer import Mirror, replay
from local_cluster.cluster import Cluster
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")


@dataclass(frozen=True)
class Shelf:
    """A book has an author and tags; an author has books."""

    authors: str
    books: str
    tags: str
    links: str


async def _relation(api: Api, table: str, name: str, kind: str, **relation: str) -> None:
    body = {"column_name": name, "data_type": kind, **relation}
    assert (await api.post(f"tables/{table}/columns", body)).status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shelf(api: Api) -> Shelf:
    of = Shelf("shelf_authors", "shelf_books", "shelf_tags", "shelf_links")
    await api.make_table(of.authors, name="VARCHAR", city="VARCHAR")
    await api.make_table(of.books, title="VARCHAR", pages="INT")
    await api.make_table(of.tags, word="VARCHAR")
    await api.make_table(of.links)
    one = {"ui": "many_to_one"}
    await _relation(api, of.books, "author", "INT", related_table=of.authors, **one)
    await _relation(api, of.links, "book", "INT", related_table=of.books, **one)
    await _relation(api, of.links, "tag", "INT", related_table=of.tags, **one)
    await _relation(
        api, of.authors, "books", "ALIAS", relationship_type="ONETOMANY",
        related_table=of.books, junction_key_right="author",
    )  # fmt: skip
    await _relation(
        api, of.books, "tags", "ALIAS", relationship_type="MANYTOMANY", related_table=of.tags,
        junction_table=of.links, junction_key_left="book", junction_key_right="tag",
    )  # fmt: skip
    rows: list[tuple[str, dict[str, Any]]] = [
        (of.authors, {"name": "Ada", "city": "Oslo"}),
        (of.authors, {"name": "Ben_", "city": None}),
        (of.tags, {"word": "old"}),
        (of.tags, {"word": "rare"}),
        (of.books, {"title": "Alpha", "pages": 100, "author": 1}),
        (of.books, {"title": "Beta", "pages": 200, "author": 1}),
        (of.books, {"title": "Gamma 100%", "pages": 300, "author": 2}),
        (of.books, {"title": "delta", "pages": None, "author": None}),
        (of.links, {"book": 1, "tag": 1}),
        (of.links, {"book": 1, "tag": 2}),
        (of.links, {"book": 2, "tag": 1}),
    ]
    for table, row in rows:
        assert (await api.post(f"tables/{table}/rows", {**row, "active": 1})).status == 200
    return of


async def exported(api: Api, table: str, query: dict[str, Any], form: str = "json") -> Any:
    _, content = await library_file(api, await export(api, table, form, query))
    return json.loads(content) if form == "json" else content.decode()


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"title": {"_starts_with": "A"}}, ["Alpha"]),
    ({"title": {"_starts_with": "a"}}, []),
    ({"title": {"_istarts_with": "a"}}, ["Alpha"]),
    ({"title": {"_nstarts_with": "A"}}, ["Beta", "Gamma 100%", "delta"]),
    ({"title": {"_nistarts_with": "D"}}, ["Alpha", "Beta", "Gamma 100%"]),
    ({"title": {"_ends_with": "0%"}}, ["Gamma 100%"]),
    ({"title": {"_ends_with": "_"}}, []),
    ({"title": {"_iends_with": "TA"}}, ["Beta", "delta"]),
    ({"title": {"_nends_with": "a"}}, ["Gamma 100%"]),
    ({"title": {"_niends_with": "A"}}, ["Gamma 100%"]),
    ({"title": {"_contains": "et"}}, ["Beta"]),
    ({"title": {"_icontains": "ELT"}}, ["delta"]),
    ({"title": {"_ncontains": "l"}}, ["Beta", "Gamma 100%"]),
    ({"pages": {"_gt": 100, "_lte": 300}}, ["Beta", "Gamma 100%"]),
    ({"pages": {"_gte": 300}}, ["Gamma 100%"]),
    ({"pages": {"_lt": 200}}, ["Alpha"]),
    ({"pages": {"_neq": 100}}, ["Beta", "Gamma 100%"]),
    ({"pages": {"_in": [100, 300]}}, ["Alpha", "Gamma 100%"]),
    ({"pages": {"_nin": "100,300"}}, ["Beta"]),
    ({"pages": {"_between": [100, 200]}}, ["Alpha", "Beta"]),
    ({"pages": {"_nbetween": [100, 200]}}, ["Gamma 100%"]),
    ({"pages": {"_null": True}}, ["delta"]),
    ({"pages": {"_null": False}}, ["Alpha", "Beta", "Gamma 100%"]),
    ({"pages": {"_nnull": True}}, ["Alpha", "Beta", "Gamma 100%"]),
    ({"title": {"_empty": True}}, []),
    ({"title": {"_nempty": True}}, ["Alpha", "Beta", "Gamma 100%", "delta"]),
    ({"_or": [{"pages": {"_eq": 100}}, {"title": {"_eq": "delta"}}]}, ["Alpha", "delta"]),
    ({"_and": [{"pages": {"_gt": 100}}, {"author": {"_eq": 1}}]}, ["Beta"]),
    ({"author": {"name": {"_eq": "Ada"}}}, ["Alpha", "Beta"]),
    ({"author": {"name": {"_starts_with": "Ben_"}}}, ["Gamma 100%"]),
    ({"author": {"_or": [{"city": {"_null": True}}, {"name": {"_eq": "x"}}]}}, ["Gamma 100%"]),
    ({"author": {"books": {"title": {"_eq": "Beta"}}}}, ["Alpha", "Beta"]),
    ({"tags": {"word": {"_eq": "old"}}}, ["Alpha", "Beta"]),
    ({"tags": {"_some": {"word": {"_eq": "rare"}}}}, ["Alpha"]),
    ({"tags": {"_none": {"word": {"_eq": "old"}}}}, ["Gamma 100%", "delta"]),
    ({"tags": {"_null": True}}, ["Gamma 100%", "delta"]),
    ({"tags": {"_nempty": True}}, ["Alpha", "Beta"]),
    ({"author": {"_null": True}}, ["delta"]),
]


async def test_every_operator_of_the_modern_filters(api: Api, shelf: Shelf) -> None:
    """One export at a time would take long: they are begun together."""
    queries = [{"fields": "title", "sort": "id", "filter": tree} for tree, _ in FILTERS]
    found = await asyncio.gather(*(exported(api, shelf.books, query) for query in queries))
    for (tree, titles), rows in zip(FILTERS, found, strict=True):
        assert [row["title"] for row in rows] == titles, tree


async def test_fields_behind_relations_in_every_format(api: Api, shelf: Shelf) -> None:
    fields = ["title", "author.name", "author.city", "tags.word"]
    query = {"fields": fields, "sort": "id", "limit": 3}
    rows = await exported(api, shelf.books, query)
    assert rows[:2] == [
        {"title": "Alpha", "author": {"name": "Ada", "city": "Oslo"},
         "tags": [{"word": "old"}, {"word": "rare"}]},
        {"title": "Beta", "author": {"name": "Ada", "city": "Oslo"}, "tags": [{"word": "old"}]},
    ]  # fmt: skip
    text = await exported(api, shelf.books, query, "csv")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert list(lines[0]) == ["title", "author.name", "author.city", "tags"]
    assert lines[0]["author.city"] == "Oslo"
    assert json.loads(lines[0]["tags"]) == [{"word": "old"}, {"word": "rare"}]
    assert lines[2]["author.city"] == ""
    assert yaml.safe_load(await exported(api, shelf.books, query, "yaml")) == rows
    root = ET.fromstring(await exported(api, shelf.books, query, "xml"))
    assert [word.text for word in root.findall("data[1]/tags/word")] == ["old", "rare"]
    ndjson = await exported(api, shelf.books, query, "ndjson")
    assert [json.loads(line) for line in ndjson.splitlines()] == rows


async def test_stars_deep_and_alias(api: Api, shelf: Shelf) -> None:
    rows = await exported(api, shelf.books, {"fields": ["*", "author.*"], "sort": "id"})
    assert rows[0]["author"]["name"] == "Ada"
    assert rows[0]["title"] == "Alpha"
    assert rows[3]["author"] is None
    rows = await exported(api, shelf.authors, {"fields": ["*.title"], "sort": "id"})
    assert rows[0] == {"books": [{"title": "Alpha"}, {"title": "Beta"}]}
    query = {
        "fields": ["called", "last.title", "all.title", "all.tags.word"],
        "alias": {"called": "name", "last": "books", "all": "books"},
        "deep": {
            "last": {"_sort": ["-pages"], "_limit": 1},
            "all": {"_filter": {"pages": {"_lt": 150}}, "tags": {"_sort": "-word", "_limit": 1}},
        },
        "sort": "id",
        "limit": 1,
    }
    assert await exported(api, shelf.authors, query) == [
        {
            "called": "Ada",
            "last": [{"title": "Beta"}],
            "all": [{"title": "Alpha", "tags": [{"word": "rare"}]}],
        }
    ]
    query = {"filters": {"author.name": {"eq": "Ada"}}, "fields": "title", "search": "beta"}
    assert await exported(api, shelf.books, query) == [{"title": "Beta"}]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"fields": ["nothing"]}, "nothing"),
        ({"fields": ["author.nothing"]}, "author.nothing"),
        ({"fields": ["title.word"]}, "title"),
        ({"filter": {"author": {"nothing": {"_eq": 1}}}}, "nothing"),
        ({"filter": {"title": {"_regex": "x"}}}, "_regex"),
        ({"filter": {"tags": {"_eq": 1}}}, "_eq"),
        ({"filter": {"title": "x"}}, "needs an operator"),
        ({"filter": [1]}, "filter"),
        ({"fields": ["tags.word"], "deep": {"tags": {"_group": 1}}}, "_group"),
        ({"sort": "nothing"}, "nothing"),
        ({"limit": "many"}, "limit"),
        ({"alias": 5}, "alias"),
    ],
)
async def test_a_query_that_makes_no_sense_fails_the_job_and_tells_why(
    api: Api, shelf: Shelf, query: dict[str, Any], names: str
) -> None:
    job = await export(api, shelf.books, "json", query)
    assert job["state"] == "failed"
    assert names in job["message"]
    told = (await api.get("messages/rows")).data
    mine = [one for one in told if one["subject"] == f"The export of {shelf.books} failed"]
    assert any(job["message"] in one["message"] for one in mine)


async def test_nothing_hidden_comes_out_behind_relations(
    api: Api, shelf: Shelf, unique: str
) -> None:
    rights = {shelf.books: {"allow_view": 2}}
    reader, _ = await make_user(api, f"r-{unique}", await make_group(api, f"r {unique}", rights))
    for query in (
        {"fields": ["author.name"]},
        {"filter": {"author": {"name": {"_starts_with": "A"}}}},
        {"fields": ["tags.word"]},
        {"filter": {"tags": {"_some": {"word": {"_eq": "old"}}}}},
    ):
        job = await export(reader, shelf.books, "json", query)
        assert job["state"] == "failed", query
        assert "unknown" in job["message"]
    right = {"allow_view": 2, "read_field_blacklist": "city"}
    seeing = await make_group(api, f"s {unique}", {**rights, shelf.authors: right})
    reader, _ = await make_user(api, f"s-{unique}", seeing)
    job = await export(reader, shelf.books, "json", {"fields": ["author.*"], "limit": 1})
    _, content = await library_file(api, job)
    assert json.loads(content)[0]["author"].keys() >= {"id", "name"}
    assert b"Oslo" not in content
    for query in (
        {"fields": ["author.city"]},
        {"filter": {"author": {"city": {"_starts_with": "O"}}}},
        {"fields": ["author.name"], "deep": {"author": {"_filter": {"city": {"_nnull": True}}}}},
    ):
        assert (await export(reader, shelf.books, "json", query))["state"] == "failed", query


async def test_the_file_is_named_as_asked(api: Api, shelf: Shelf) -> None:
    told = {"title": "Mine", "filename_download": "mine.json", "folder": "reports"}
    record, _ = await library_file(api, await export(api, shelf.books, "json", {}, **told))
    assert record["title"] == "Mine"
    assert "reports" in record["tags"].split(",")
    assert record["type"] == "application/json"


async def test_a_consumer_loads_an_export_and_follows_without_a_seam(
    api: Api, cluster: Cluster, unique: str
) -> None:
    table = await api.make_table(f"seam_{unique}", title="VARCHAR", number="INT")
    path = f"tables/{table}/rows"
    stop = asyncio.Event()

    async def write(writer: int) -> None:
        """Rows come, change and go while the export is made."""
        number = 0
        while not stop.is_set():
            number += 1
            body = {"title": f"{writer}", "number": number, "active": 1}
            key = (await api.post(path, body)).data["id"]
            await api.put(f"{path}/{key}", {"number": -number})
            if number % 3 == 0:
                await api.delete(f"{path}/{key}")

    writers = [asyncio.create_task(write(number)) for number in range(3)]
    try:

        async def begun() -> bool:
            return (await api.get(path)).json["meta"]["total_entries"] >= 30

        await eventually(begun, what="rows to export")
        job = await export(api, table, "json", {})
        _, content = await library_file(api, job)
        before = (await api.get(path)).json["meta"]["total_entries"]

        async def went_on() -> bool:
            return (await api.get(path)).json["meta"]["total_entries"] > before + 10

        await eventually(went_on, what="rows after the export")
    finally:
        stop.set()
        await asyncio.gather(*writers)
    wanted = {str(row["id"]): row for row in (await api.get(f"{path}?limit=-1&status=0,1,2")).data}

    async def followed() -> bool:
        mirror = Mirror(table)
        mirror.rows = {str(row["id"]): row for row in json.loads(content)}
        first = job["result"]["position"] + 1
        url = cluster.urls["AMQP_URL"]
        async for event in replay(url, exchange=cluster.exchange, first=first, follow=False):
            mirror.apply(event)
        return mirror.rows == wanted

    await eventually(followed, what="the same rows by the export and the feed behind it")
