"""What is there but hidden, and what is not there, get one answer: 500 pairs. Promise S18.

A new row that names the key of a hidden one meets it as any duplicate, or is refused as any other.

Status, body and headers are compared, but for the name or number that was asked for, which both
have alike long, and what tells one request from another.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, product
from typing import Any, Final

import asyncpg
import pytest
from people import make_group, make_user
from wire import Api, Reply

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

EACH: Final = 25  # hidden rows, files, users and bookmarks
TABLES: Final = 5
MARK: Final = "kept from view"
ITS_OWN: Final = {"date", "x-request-id", "cache-status", "server-timing"}


@dataclass(frozen=True)
class Question:
    method: str
    path: str  # with {} for what is asked for
    body: Any = None


def of_one(path: str, body: Any) -> list[Question]:
    return [
        Question("GET", path),
        Question("PUT", path, body),
        Question("PATCH", path, body),
        Question("DELETE", path),
    ]


ROWS: Final = of_one("tables/{table}/rows/{{}}", {"title": "x"})
FILES: Final = [*of_one("files/{}", {"title": "x"}), Question("GET", "files/{}/link")]
USERS: Final = of_one("users/{}", {"first_name": "x"})
BOOKMARKS: Final = of_one("bookmarks/{}", {"title": "x"})
OF_TABLES: Final = [
    *of_one("tables/{}", {"comment": "x"}),
    *of_one("tables/{}/rows/1", {"title": "x"}),
    *of_one("tables/{}/columns/title", {"comment": "x"}),
    Question("GET", "tables/{}/rows"),
    Question("GET", "tables/{}/rows?filters[title][eq]=x&order[title]=asc"),
    Question("POST", "tables/{}/rows", {"title": "x"}),
    Question("POST", "tables/{}/rows/bulk", {"rows": [{"title": "x"}]}),
    Question("GET", "tables/{}/columns"),
    Question("POST", "tables/{}/columns", {"column_name": "c", "data_type": "INT"}),
    Question("GET", "tables/{}/typeahead?columns=title&q=x"),
    Question("GET", "tables/{}/preferences"),
]


def said(reply: Reply, name: object) -> tuple[int, str, dict[str, str]]:
    """An answer without the name that was asked for and what is its own."""
    body = reply.content.decode()
    if reply.json is not None and isinstance(reply.json.get("error"), dict):
        body = body.replace(str(reply.json["error"].get("request_id")), "-")
    headers = {k.lower(): v for k, v in reply.headers.items() if k.lower() not in ITS_OWN}
    asked = re.compile(rf"(?<![0-9a-z_]){re.escape(str(name))}(?![0-9a-z_])")
    return reply.status, asked.sub("{}", body), headers


async def compare(caller: Api, question: Question, hidden: object, missing: object) -> None:
    answers: list[tuple[int, str, dict[str, str]]] = []
    for name in (hidden, missing):
        path = question.path.format(name)
        reply = await caller.send(question.method, path, json=question.body)
        answers.append(said(reply, name))
    assert answers[0] == answers[1], (question, hidden, missing)
    assert MARK not in answers[0][1], (question, answers[0])


async def unused(connection: asyncpg.Connection, table: str, taken: Sequence[int]) -> Iterator[int]:
    """Numbers as long as the given ones that no row has, from the largest one down."""
    rows = await connection.fetch(f'SELECT id FROM "{table}"')
    there = {row["id"] for row in rows}
    most = 10 ** len(str(max(taken)))
    return (number for number in range(most - 1, most // 10 - 1, -1) if number not in there)


async def test_what_is_hidden_answers_like_what_is_missing(
    api: Api, cluster: Cluster, unique: str
) -> None:
    table = await api.make_table(f"shy_{unique}", title="VARCHAR:50", owner="INT")
    assert (await api.put(f"tables/{table}", {"user_create_column": "owner"})).status == 200
    own: dict[str, object] = {f"allow_{what}": 1 for what in ("view", "edit", "delete", "add")}
    rights = {table: own, "directus_files": own, "directus_bookmarks": own}
    group = await make_group(api, f"Shy {unique}", rights)
    caller, _ = await make_user(api, f"shy-{unique}", group)
    pairs = 0
    ids: dict[str, list[int]] = {"rows": [], "files": [], "users": [], "bookmarks": []}
    for n in range(EACH):
        user = {"email": f"h{n}-{unique}@example.com", "group": 1, "last_name": MARK}
        made = {
            "rows": ("tables/{table}/rows", {"title": MARK, "active": 1}),
            "files": ("files", {"name": f"h{n}.txt", "title": MARK, "data": "dA=="}),
            "users": ("users", user),
            "bookmarks": ("bookmarks", {"title": MARK, "url": f"/{unique}/{n}"}),
        }
        for kind, (path, body) in made.items():
            ids[kind].append((await api.post(path.format(table=table), body)).data["id"])
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    asked = {"rows": ROWS, "files": FILES, "users": USERS, "bookmarks": BOOKMARKS}
    stored = {"rows": table} | {
        kind: f"directus_{kind}" for kind in ("files", "users", "bookmarks")
    }
    for kind, questions in asked.items():
        longest = [number for number in ids[kind] if len(str(number)) == len(str(ids[kind][-1]))]
        missing = cycle(await unused(connection, stored[kind], longest))
        turns = -(-EACH // len(longest))  # where fewer are as long as the last, more often each
        for hidden, not_there in zip(longest * turns, missing, strict=False):
            for question in questions:
                path = question.path.format(table=table) if kind == "rows" else question.path
                await compare(
                    caller, Question(question.method, path, question.body), hidden, not_there
                )
                pairs += 1
    await connection.close()
    for number in range(TABLES):
        hidden = await api.make_table(f"hid{number}_{unique}", title="VARCHAR:50")
        await api.post(f"tables/{hidden}/rows", {"title": MARK, "active": 1})
        for question in OF_TABLES:
            await compare(caller, question, hidden, f"mis{number}_{unique}")
            pairs += 1
    assert pairs >= 500
    rows = await api.get(f"tables/{table}/rows?columns=title")
    assert [row["title"] for row in rows.data] == [MARK] * EACH, "and nothing was changed"


# what a caller may do: (view, add, edit)
KINDS: Final = ((1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 2), (0, 0, 2))
CONDITIONS: Final[list[dict[str, str]]] = [{}, {"If-None-Match": "*"}, {"If-Match": 'W/"0-0"'}]


async def test_the_key_of_a_hidden_row_is_a_duplicate_like_any_other(
    api: Api, cluster: Cluster, unique: str
) -> None:
    table = await api.make_table(f"keyed_{unique}", title="VARCHAR:50", owner="INT")
    assert (await api.put(f"tables/{table}", {"user_create_column": "owner"})).status == 200
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    await connection.execute(f'CREATE UNIQUE INDEX ON "{table}" (title)')
    await connection.close()
    made: dict[str, dict[str, Any]] = {
        f"tables/{table}/rows": {"title": MARK},
        "tables/directus_files/rows": {"name": "k.txt", "title": MARK, "data": "dA=="},
        "tables/directus_bookmarks/rows": {"title": MARK, "url": f"/{unique}"},
        "tables/directus_users/rows": {"email": f"kept-{unique}@example.com"},
        "bookmarks": {"title": MARK, "url": f"/{unique}"},
        "messages/rows": {"to": "1", "subject": MARK, "message": MARK},
    }
    hidden = {path: (await api.post(path, body)).data["id"] for path, body in made.items()}
    numbers = count(random.randrange(10**7, 10**9))
    met = 0
    for view, add, edit in KINDS:
        own = {"allow_view": view, "allow_add": add, "allow_edit": edit}
        rights: dict[str, dict[str, object]] = {
            name: {**own} for name in (table, "directus_files", "directus_messages")
        }
        group = await make_group(api, f"Keyed {view}{add}{edit} {unique}", rights)
        caller, _ = await make_user(api, f"keyed{view}{add}{edit}-{unique}", group)
        rows = f"tables/{table}/rows"
        for path, headers in product(made, CONDITIONS):
            answers: list[tuple[int, str, dict[str, str]]] = []
            for key in (hidden[path], next(numbers)):
                body = {**made[path], "id": key}
                for name in body.keys() & {"title", "email"}:  # no duplicate but for the key
                    body[name] = f"{next(numbers)}@example.com"
                answers.append(
                    said(await caller.send("POST", path, json=body, headers=headers), key)
                )
            if answers[1][0] == 200 and path != "messages/rows":  # which have no keys of a client's
                same = {"title": MARK}
                at, who = (rows, caller) if add else (rows, api)
                duplicate = said(await who.send("POST", at, json=same, headers=headers), MARK)
                assert answers[0] == duplicate, (path, headers, (view, add, edit))
                met += 1
            else:
                assert answers[0][0] == answers[1][0], (path, headers, (view, add, edit), answers)
                if answers[0][0] != 200:
                    assert answers[0] == answers[1], (path, headers, (view, add, edit))
    assert met >= len(KINDS) * len(CONDITIONS) // 2
    for path, key in hidden.items():
        reply = await api.get(f"{path}/{key}")
        assert reply.status == 200, "and nothing was changed"
        assert reply.json["data"].get("title", MARK) == MARK
