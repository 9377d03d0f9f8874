"""Rows with related rows: embedded in answers, nested in bodies, reached by filters; both versions.

A publisher has authors, an author has books, a book has tags.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")


@dataclass(frozen=True)
class Library:
    """The names of its tables, each with a suffix of its own."""

    publishers: str
    authors: str
    books: str
    tags: str
    links: str

    @property
    def rows(self) -> str:
        return f"tables/{self.books}/rows"

    def spelled(self, text: str) -> str:
        """``@books`` is the name of that table."""
        for name in ("publishers", "authors", "books", "tags", "links"):
            text = text.replace(f"@{name}", getattr(self, name))
        return text


async def _many_to_one(api: Api, table: str, name: str, related: str) -> None:
    body = {"column_name": name, "data_type": "INT", "ui": "many_to_one", "related_table": related}
    assert (await api.post(f"tables/{table}/columns", body)).data["name"] == name


async def _to_many(api: Api, table: str, name: str, **relation: str) -> None:
    body = {"column_name": name, "data_type": "ALIAS", **relation}
    assert (await api.post(f"tables/{table}/columns", body)).data["name"] == name


async def make_library(api: Api) -> Library:
    suffix = uuid4().hex[:8]
    of = Library(*(f"{name}_{suffix}" for name in ("pubs", "authors", "books", "tags", "links")))
    await api.make_table(of.publishers, name="VARCHAR:40")
    await api.make_table(of.authors, name="VARCHAR:40")
    await api.make_table(of.books, title="VARCHAR:40", pages="INT", blurb="VARCHAR:40")
    await api.make_table(of.tags, word="VARCHAR:40")
    await api.make_table(of.links)
    await _many_to_one(api, of.authors, "publisher", of.publishers)
    await _many_to_one(api, of.books, "author", of.authors)
    await _many_to_one(api, of.links, "book", of.books)
    await _many_to_one(api, of.links, "tag", of.tags)
    await _to_many(api, of.publishers, "authors", relationship_type="ONETOMANY",
                   related_table=of.authors, junction_key_right="publisher")  # fmt: skip
    await _to_many(api, of.authors, "books", relationship_type="ONETOMANY",
                   related_table=of.books, junction_key_right="author")  # fmt: skip
    await _to_many(api, of.books, "tags", relationship_type="MANYTOMANY", related_table=of.tags,
                   junction_table=of.links, junction_key_left="book",
                   junction_key_right="tag")  # fmt: skip
    return of


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def library(api: Api) -> Library:
    """What the tests read and do not change."""
    of = await make_library(api)
    for name in ("North", "South"):
        await api.post(f"tables/{of.publishers}/rows", {"name": name, "active": 1})
    for name, publisher in (("Ada", 1), ("Ben", 2), ("Cleo", None)):
        body = {"name": name, "publisher": publisher, "active": 1}
        await api.post(f"tables/{of.authors}/rows", body)
    for word in ("old", "rare", "new"):
        await api.post(f"tables/{of.tags}/rows", {"word": word, "active": 1})
    books = [
        ("Alpha", 100, 1, "x", [1, 2]), ("Beta", 200, 1, "", [1]), ("Gamma", 300, 2, None, [3]),
        ("Delta", 400, None, "y", []),
    ]  # fmt: skip
    for title, pages, author, blurb, tags in books:
        body = {"title": title, "pages": pages, "author": author, "blurb": blurb, "active": 1}
        book = (await api.post(f"tables/{of.books}/rows", body)).data["id"]
        links = [{"book": book, "tag": tag, "active": 1} for tag in tags]
        if links:
            assert (await api.post(f"tables/{of.links}/rows/bulk", {"rows": links})).data
    return of


@pytest_asyncio.fixture(loop_scope="session")
async def own_library(api: Api) -> Library:
    """Empty, for a test that writes."""
    return await make_library(api)


def only(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


# ── embedded ──────────────────────────────────────────────────────────────────────────────────────


async def test_1_1_wraps_each_related_thing_in_an_envelope_of_its_own(
    api: Api, library: Library
) -> None:
    row = (await api.get(f"{library.rows}/1?columns=id,author.name,tags.word")).data
    links = row["tags"].pop("junction")
    assert row == {
        "id": 1,
        "author": {"meta": {"table": library.authors, "type": "item"}, "data": {"name": "Ada"}},
        "tags": {
            "meta": {"table": library.tags, "type": "collection", "total": 2},
            "data": [{"word": "old"}, {"word": "rare"}],
        },
    }
    assert [only(link, "id", "book", "tag") for link in links["data"]] == [
        {"id": 1, "book": 1, "tag": 1},
        {"id": 2, "book": 1, "tag": 2},
    ]
    author = (await api.get(f"tables/{library.authors}/rows/1?columns=books.title")).data
    assert author["books"] == {
        "meta": {"table": library.books, "type": "collection", "total": 2},
        "data": [{"title": "Alpha"}, {"title": "Beta"}],
    }


async def test_1_0_has_bare_objects_and_rows(api: Api, library: Library) -> None:
    old = api.v1()
    row = (await old.get(f"{library.rows}/1?columns=id,author.name,tags.word")).json
    assert row == {
        "id": 1,
        "author": {"name": "Ada"},
        "tags": {"rows": [{"id": 1, "data": {"word": "old"}}, {"id": 2, "data": {"word": "rare"}}]},
    }
    author = (await old.get(f"tables/{library.authors}/rows/1?columns=books.title")).json
    assert author == {"books": {"rows": [{"title": "Alpha"}, {"title": "Beta"}]}}


def reach(value: Any) -> int:
    """How many levels of related rows are inside, along the many-to-one relations."""
    for name in ("author", "publisher", "book"):
        if isinstance(inside := value.get(name), dict):
            return 1 + reach(inside.get("data", inside))
    return 0


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize(("depth", "reached"), [("0", 0), ("", 1), ("1", 1), ("2", 2), ("3", 3)])
async def test_depth_embeds_that_many_levels(
    api: Api, library: Library, version: str, depth: str, reached: int
) -> None:
    caller = api if version == "1.1" else api.v1()
    query = f"?depth={depth}" if depth else ""
    path = f"tables/{library.links}/rows/1{query}"
    answer = (await caller.get(path)).json
    row = answer["data"] if version == "1.1" else answer
    assert reach(row) == reached
    if not reached:
        assert only(row, "book", "tag") == {"book": 1, "tag": 1}
    listed = (await caller.get(f"tables/{library.links}/rows{query}")).json
    first = (listed["data"] if version == "1.1" else listed["rows"])[0]
    assert first == row


async def test_deeper_than_three_is_refused(api: Api, library: Library) -> None:
    reply = await api.get(f"{library.rows}?depth=4")
    assert (reply.status, reply.json["error"]["field"]) == (400, "depth")


async def test_what_may_not_be_viewed_shows_its_key_alone(
    api: Api, library: Library, unique: str
) -> None:
    group = await make_group(api, f"readers {unique}", {library.books: {"allow_view": 2}})
    reader, _ = await make_user(api, f"reader{unique}", group)
    row = (await reader.get(f"{library.rows}/1")).data
    assert row["author"] == {"data": {"id": 1}}
    assert row["tags"]["data"] == []
    assert (await reader.v1().get(f"{library.rows}/1")).json["author"] == 1


# ── reached by filters, joins and columns ─────────────────────────────────────────────────────────

ON = "joins[@authors][on][]=@books.author&joins[@authors][on][]=@authors.id"
LEFT = "joins[@authors][type]=LEFT"
EITHER = "filters[author.name][eq]=Ben&filters[author.name][logical]=or"
FINDS = [
    ("a filter through many-to-one", "filters[author.name]=Ada", ["Alpha", "Beta"]),
    ("two steps", "filters[author.publisher.name][eq]=South", ["Gamma"]),
    ("through many-to-many", "filters[tags.word]=rare", ["Alpha"]),
    ("contains on a relation searches its text", "filters[author][contains]=BEN", ["Gamma"]),
    ("has: at least so many", "filters[tags][has]=2", ["Alpha"]),
    ("has 0: none", "filters[tags][has]=0", ["Delta"]),
    ("nhas", "filters[tags][nhas]=2", ["Beta", "Gamma", "Delta"]),
    ("all: related to each of them", "filters[tags][all]=1,2", ["Alpha"]),
    ("empty: no related rows", "filters[tags][empty]=1", ["Delta"]),
    ("nempty: some", "filters[tags][nempty]=1", ["Alpha", "Beta", "Gamma"]),
    ("empty of text: null or ''", "filters[blurb][empty]=1", ["Beta", "Gamma"]),
    ("between as CSV", "filters[pages][between]=200,300", ["Beta", "Gamma"]),
    ("between as an array", "filters[pages][between][]=100&filters[pages][between][]=200",
     ["Alpha", "Beta"]),
    ("or across a relation", f"filters[pages]=400&{EITHER}", ["Gamma", "Delta"]),
    ("an inner join by a column of the other table", ON + "&filters[@authors.name]=Ben", ["Gamma"]),
    ("a left join finds who has none", f"{ON}&{LEFT}&filters[@authors.id][null]=1", ["Delta"]),
    ("q looks into related rows", "q=Ada", ["Alpha", "Beta"]),
]  # fmt: skip


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize(("query", "titles"), [f[1:] for f in FINDS], ids=[f[0] for f in FINDS])
async def test_finds(
    api: Api, library: Library, query: str, titles: list[str], version: str
) -> None:
    caller = api if version == "1.1" else api.v1()
    answer = (await caller.get(f"{library.rows}?{library.spelled(query)}")).json
    rows = answer["data"] if version == "1.1" else answer["rows"]
    assert [row["title"] for row in rows] == titles


async def test_has_on_one_to_many(api: Api, library: Library) -> None:
    path = f"tables/{library.authors}/rows?columns=name&filters[books]"
    assert (await api.get(f"{path}[has]=2")).data == [{"name": "Ada"}]
    assert (await api.get(f"{path}[empty]=1")).data == [{"name": "Cleo"}]
    assert (await api.get(f"{path}[all]=1,2")).data == [{"name": "Ada"}]
    assert (await api.get(f"{path[:-1]}.tags.word]=new")).data == [{"name": "Ben"}]


UNKNOWN = [
    ("an unknown step", "filters[author.shoe]=1", "shoe"),
    ("an unknown relation", "filters[shoe.name]=1", "shoe"),
    ("a join of an unknown table", "joins[shoe][on][]=@books.id&joins[shoe][on][]=shoe.id", "shoe"),
    ("has on a column of its own", "filters[title][has]=1", "has"),
]


@pytest.mark.parametrize(("query", "named"), [u[1:] for u in UNKNOWN], ids=[u[0] for u in UNKNOWN])
async def test_what_leads_nowhere_is_named(
    api: Api, library: Library, query: str, named: str
) -> None:
    reply = await api.get(f"{library.rows}?{library.spelled(query)}")
    assert reply.status == 400
    assert named in reply.json["error"]["message"]


async def test_joins_and_dotted_names_end_where_rights_end(
    api: Api, library: Library, unique: str
) -> None:
    """Of a table that may not be viewed nothing is to be learned, as of one that is not there."""
    group = await make_group(api, f"bound {unique}", {library.books: {"allow_view": 2}})
    reader, _ = await make_user(api, f"bound{unique}", group)
    for query in (f"{ON}&filters[@authors.name]=Ben", "filters[author.name]=Ada"):
        refused = await reader.get(f"{library.rows}?{library.spelled(query)}")
        nowhere = library.spelled(query).replace(library.authors, "nowhere")
        unknown = await reader.get(f"{library.rows}?{nowhere.replace('author.', 'nowhere.')}")
        assert refused.status == unknown.status == 400
    assert (await reader.get(f"{library.rows}?q=Ada")).data == []
    shown = (await reader.get(f"{library.rows}?columns=title,author.name")).data
    assert [row["title"] for row in shown] == ["Alpha", "Beta", "Gamma", "Delta"]
    assert all("name" not in str(row.get("author")) for row in shown)


INCOMPLETE = [
    ("ONETOMANY", {"related_table": "@tags"}, "junction_key_right"),
    ("MANYTOMANY", {"related_table": "@tags", "junction_table": "@links"}, "junction_key_left"),
    ("MANYTOMANY", {"related_table": "@tags", "junction_key_left": "book",
                    "junction_key_right": "tag"}, "junction_table"),
    ("MANYTOONE", {}, "related_table"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said", "missing"), INCOMPLETE)
async def test_incomplete_metadata_of_a_relation_are_424_and_named(
    api: Api, library: Library, unique: str, kind: str, said: dict[str, str], missing: str
) -> None:
    table, name = await api.make_table(f"half_{unique}", title="VARCHAR:9"), "lead"
    declared = {"data_type": "INT" if kind == "MANYTOONE" else "ALIAS", "relationship_type": kind}
    body = {key: library.spelled(value) for key, value in (said | declared).items()}
    assert (await api.post(f"tables/{table}/columns", {"column_name": name, **body})).status == 200
    row: object = {"word": "x"} if kind == "MANYTOONE" else [{"word": "x"}]
    refused = await api.post(f"tables/{table}/rows", {"title": "t", name: row})
    filtered = await api.get(f"tables/{table}/rows?filters[{name}.word]=x")
    for reply in (refused, filtered):
        assert (reply.status, reply.json["error"]["code"]) == (424, "INCOMPLETE_RELATION")
        assert missing in reply.json["error"]["message"]
    assert (await api.post(f"tables/{table}/rows", {"title": "t", "active": 1})).status == 200
    assert len((await api.get(f"tables/{table}/rows")).data) == 1  # reading goes on without it


# ── nested in bodies ──────────────────────────────────────────────────────────────────────────────


def inner(value: Any) -> Any:
    """The related object of either version."""
    return value.get("data", value)


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_many_to_one_takes_an_object(api: Api, own_library: Library, version: str) -> None:
    of, caller = own_library, api if version == "1.1" else api.v1()
    body = {"title": "One", "author": {"name": "New", "publisher": {"name": "Deep"}}}
    created = inner((await caller.post(of.rows, body)).json)
    assert inner(created["author"])["name"] == "New"
    assert (await api.get(f"tables/{of.publishers}/rows/1")).data["name"] == "Deep"
    path = f"{of.rows}/{created['id']}"
    changed = inner((await caller.put(path, {"author": {"id": 1, "name": "Newer"}})).json)
    assert inner(changed["author"])["name"] == "Newer"
    kept = inner((await caller.patch(path, {"author": 1, "title": "Two"})).json)
    assert (kept["title"], inner(kept["author"])["name"]) == ("Two", "Newer")
    assert (await api.get(f"tables/{of.authors}/rows?preview=1&count=exact")).json["meta"][
        "total_entries"
    ] == 1
    gone = inner((await caller.put(path, {"author": None})).json)
    assert gone["author"] is None


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_one_to_many_creates_changes_and_detaches(
    api: Api, own_library: Library, version: str
) -> None:
    of, caller = own_library, api if version == "1.1" else api.v1()
    path = f"tables/{of.authors}/rows"
    books = [{"title": "a", "active": 1}, {"title": "b", "active": 1}]
    author = inner((await caller.post(path, {"name": "A", "active": 1, "books": books})).json)

    def titles(row: Any) -> list[tuple[int, str]]:
        held = row["books"].get("data", row["books"].get("rows"))
        return [(book["id"], book["title"]) for book in held]

    assert titles(author) == [(1, "a"), (2, "b")]
    body = {"books": [{"id": 1, "title": "a2"}, {"title": "c", "active": 1}]}
    changed = inner((await caller.put(f"{path}/1", body)).json)
    assert titles(changed) == [(1, "a2"), (2, "b"), (3, "c")]
    body = {"books": [{"id": 2, "active": 0}]}
    left = inner((await caller.put(f"{path}/1?preview=0", body)).json)
    assert (2, "b") not in titles(inner((await caller.get(f"{path}/1")).json)), left
    assert (await api.get(f"{of.rows}/2")).data["active"] == 0


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_many_to_many_links_and_unlinks(api: Api, own_library: Library, version: str) -> None:
    of, caller = own_library, api if version == "1.1" else api.v1()
    await api.post(f"tables/{of.tags}/rows", {"word": "known", "active": 1})
    entries = [
        {"active": 1, "data": {"id": 1}},
        {"active": 1, "data": {"word": "made", "active": 1}},
    ]
    body = {"title": "T", "active": 1, "tags": entries}
    book = inner((await caller.post(of.rows, body)).json)
    path = f"{of.rows}/{book['id']}"
    shown = (await api.get(f"{path}?columns=tags.word")).data["tags"]
    assert shown["data"] == [{"word": "known"}, {"word": "made"}]
    first = shown["junction"]["data"][0]["id"]
    await caller.put(path, {"tags": [{"id": first, "active": 0}]})
    shown = (await api.get(f"{path}?columns=tags.word")).data["tags"]
    assert shown["data"] == [{"word": "made"}]
    kept = (await api.get(f"tables/{of.tags}/rows/1")).data
    assert (kept["word"], kept["active"]) == ("known", 1)  # the link went, not the tag


async def test_a_form_nests_too(api: Api, own_library: Library) -> None:
    of = own_library
    form = (
        "name=F&active=1&books[0][title]=x&books[0][active]=1&books[1][title]=y&publisher[name]=P"
    )
    author = (await api.post(f"tables/{of.authors}/rows", form=form)).data
    assert [book["title"] for book in author["books"]["data"]] == ["x", "y"]
    assert author["publisher"]["data"]["name"] == "P"


async def test_a_fault_inside_leaves_nothing(api: Api, own_library: Library) -> None:
    of = own_library
    body = {"name": "A", "books": [{"title": "fits"}, {"title": "x" * 41}]}
    assert (await api.post(f"tables/{of.authors}/rows", body)).status == 422
    for table in (of.authors, of.books):
        assert (await api.get(f"tables/{table}/rows?preview=1")).data == []


async def test_nested_rows_need_the_rights_on_their_own_table(
    api: Api, own_library: Library, unique: str
) -> None:
    of = own_library
    rights = {
        of.books: {"allow_view": 2, "allow_add": 1, "allow_edit": 2},
        of.authors: {"allow_view": 2},
    }
    group = await make_group(api, f"writers {unique}", rights)
    writer, _ = await make_user(api, f"writer{unique}", group)
    await api.post(f"tables/{of.authors}/rows", {"name": "Kept", "active": 1})
    for author in ({"name": "Mine"}, {"id": 1, "name": "Mine"}):
        reply = await writer.post(of.rows, {"title": "T", "author": author})
        assert reply.status == 403, reply.json
    assert (await api.get(f"{of.rows}?preview=1")).data == []
    assert [r["name"] for r in (await api.get(f"tables/{of.authors}/rows")).data] == ["Kept"]
    linked = await writer.post(of.rows, {"title": "T", "author": {"id": 1, "name": "Kept"}})
    assert linked.data["author"]["data"]["name"] == "Kept"


async def test_what_is_changed_inside_is_seen_at_once_from_either_side(
    api: Api, own_library: Library
) -> None:
    """Asked for often enough to be remembered: a nested write raises every table it touched."""
    of = own_library
    await api.post(of.rows, {"title": "T", "active": 1, "author": {"name": "A", "active": 1}})
    for _ in range(4):
        assert (await api.get(f"{of.rows}/1")).data["author"]["data"]["name"] == "A"
        assert (await api.get(f"tables/{of.authors}/rows/1")).data["name"] == "A"
    await api.put(f"{of.rows}/1", {"author": {"id": 1, "name": "B"}})
    assert (await api.get(f"tables/{of.authors}/rows/1")).data["name"] == "B"
    await api.put(f"tables/{of.authors}/rows/1", {"name": "C"})
    assert (await api.get(f"{of.rows}/1")).data["author"]["data"]["name"] == "C"
