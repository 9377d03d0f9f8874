"""Two systems that differ in nothing but what a caller may not see answer him the same bytes.

The second one is a copy in which every hidden value was changed: blacklisted columns, rows he may
not view, tables that are closed to him. ``RIGHTS_PAIRS`` makes it long. Source: promises S3, S18.
"""

import os
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import pytest
import pytest_asyncio
from rights_world import SHAPES, USERS, WORDS, WORLD, Model, World

from items_service.app import make_app
from items_service.settings import Settings
from shared.catalogue import Column
from shared.database import Database
from shared.rights import TableRights
from shared.service import IDENTITY_HEADER, KNOWLEDGE
from shared.sql import EMPTY, Sql, ident, param, raw
from shared.testing import SIGNER, environment, fresh_database, serving

PAIRS: Final = int(os.environ.get("RIGHTS_PAIRS", "120"))
A_DEAL: Final = 60  # requests of one caller, then the next
OPERATORS: Final = (
    "eq", "neq", "lt", "gte", "in", "nin", "contains", "ncontains", "like", "null", "nempty",
    "between", "has", "rlike",
)  # fmt: skip


Pair = tuple[World, World]


@asynccontextmanager
async def a_world(url: str, redis_prefix: str) -> AsyncGenerator[World]:
    """The same one again for each call: chance begins anew."""
    database = Database(url, size=2)
    for statement in WORLD:
        await database.execute(statement)
    app = make_app(Settings.model_validate(environment(url, redis_prefix)))
    async with serving(app) as client:
        yield World(database, client, app[KNOWLEDGE], random.Random(7))
    await database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def pair(
    database_url: str, template_database: str, redis_prefix: str
) -> AsyncGenerator[Pair]:
    async with (
        fresh_database(template_database) as second,
        a_world(database_url, f"{redis_prefix}1:") as original,
        a_world(second, f"{redis_prefix}2:") as other,
    ):
        yield original, other


async def make_equal(pair: Pair) -> None:
    """New rights in both; rows of the second as those of the first."""
    original, other = pair
    for world in pair:
        await world.fill()
        await world.deal()
    for name, shape in SHAPES.items():
        for key, row in original.rows[name].items():
            mine = other.rows[name].get(key, {})
            for column in (*shape.numbers, *shape.texts):
                if mine.get(column) != row[column]:
                    await set_value(other.database, name, key, column, row[column])


async def set_value(database: Database, table: str, key: int, column: str, value: Any) -> None:
    await database.execute(
        raw("UPDATE public.") + ident(table) + raw(" SET ") + ident(column) + raw(" = ")
        + param(value) + raw(" WHERE id = ") + param(key)
    )  # fmt: skip


async def change_what_is_hidden(database: Database, model: Model) -> int:
    """Other values for all that the caller may not see; how many rows were changed."""
    changed, chance = 0, random.Random(1)
    for name, shape in SHAPES.items():
        table = model.of(name)
        seen = {row["id"] for row in table.visible()} if not table.closed() else set[int]()
        hidden = set(shape.own) - table.readable() - {"active"}
        for key in model.world.rows[name]:
            columns = hidden if key in seen else {*shape.numbers, *shape.texts}
            for column in sorted(columns):
                value: Any = chance.choice(("hidden", *WORDS))
                if not shape.is_text(column):
                    value = chance.randint(1, 33)
                await set_value(database, name, key, column, value)
                changed += 1
    return changed


def some_path(chance: random.Random, table: str) -> str:
    """A read of anything, named rightly or not."""
    shape = SHAPES[table]
    names = [*shape.columns, *shape.relations, "no_such_column"]
    names += [f"{r}.{chance.choice(('id', 'f', 'b', 'word', 'd'))}" for r in shape.relations]
    names += [f"{r}.{chance.choice(('id', 'a', 'b', 'd'))}" for r in shape.to_one]
    kind = chance.random()
    if kind < 0.2:
        return f"tables/{table}/rows/{chance.randint(1, 40)}"
    if kind < 0.3:
        columns = ",".join(chance.sample(shape.own, 2))
        return f"tables/{table}/typeahead?columns={columns}&q={chance.choice(('e', 'h', '1'))}"
    query = ["preview=1"]
    for name in chance.sample(names, chance.choice((0, 1, 1, 2))):
        word = chance.choice((*WORDS, "hidden", "1", "7", "3,20"))
        query.append(f"filters[{name}][{chance.choice(OPERATORS)}]={quote(word)}")
    if chance.random() < 0.4:
        query.append(f"orders[{chance.choice(names)}]={chance.choice(('ASC', 'DESC'))}")
    if chance.random() < 0.3:
        query.append(f"q={chance.choice(('e', 'hid', '2'))}")
    if chance.random() < 0.2:
        query.append(f"group_by={chance.choice(names)}")
    if chance.random() < 0.2:
        other = chance.choice([name for name in SHAPES if name != table])
        query.append(f"joins[{other}][on][]={table}.id&joins[{other}][on][]={other}.id")
        query.append(f"filters[{other}.{chance.choice(SHAPES[other].own)}][nempty]=1")
    if chance.random() < 0.3:
        query.append(f"limit={chance.choice((1, 3))}&depth={chance.choice((0, 1, 2))}")
    return f"tables/{table}/rows?" + "&".join(query)


async def answer(world: World, model: Model, path: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, but for what names the request.

    The versions of rows of which nothing is hidden name transactions, which no two systems share.
    """
    table = path.split("/")[1]
    whole = table in SHAPES and set(SHAPES[table].columns) <= model.of(table).readable()
    headers = {IDENTITY_HEADER: SIGNER.sign(model.principal)}
    async with world.client.http.get(f"/api/1.1/{path}", headers=headers) as response:
        body = re.sub(rb'"request_id":"[^"]*"', b"", await response.read())
        its_own = {"date", "x-request-id"}
        named = {n.lower(): v for n, v in response.headers.items()}
        said = {n: v for n, v in named.items() if n not in its_own}
        if whole and "etag" in said:
            said["etag"] = re.sub(r'^"[0-9]{1,20}\.', '"', said["etag"])
        return response.status, body, said


async def differences(pair: Pair) -> tuple[int, Counter[int], list[str]]:
    """Hidden values that were changed, how requests ended, and the paths answered differently."""
    original, other = pair
    chance, changed, seen, found = random.Random(5), 0, Counter[int](), list[str]()
    while seen.total() < PAIRS:
        await make_equal(pair)
        model = Model(original, *chance.choice(USERS), "stories")
        changed += await change_what_is_hidden(other.database, model)
        for _ in range(A_DEAL):
            path = some_path(chance, chance.choice(list(SHAPES)))
            one, two = await answer(original, model, path), await answer(other, model, path)
            seen[one[0]] += 1
            if one != two:
                found.append(f"{path}: {one} / {two}")
    return changed, seen, found


@pytest.mark.timeout(86_400)
async def test_what_is_hidden_changes_no_answer(pair: Pair) -> None:
    changed, seen, found = await differences(pair)
    sys.stdout.write(f"{changed} hidden values changed, {dict(seen)}\n")
    assert found == []
    assert changed > PAIRS
    assert {200, 400, 403} <= seen.keys() <= {200, 400, 403, 422}


def _all_rows(_rights: TableRights, _user: int, _alias: Sql) -> Sql:
    return EMPTY


def _all_columns(rights: TableRights) -> dict[str, Column]:
    return dict(rights.table.columns)


@pytest.mark.parametrize("forgets", ["rows", "columns"])
async def test_a_planner_that_forgets_is_noticed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, forgets: str
) -> None:
    if forgets == "rows":
        monkeypatch.setattr(TableRights, "view_condition", _all_rows)
    else:
        monkeypatch.setattr(TableRights, "readable", _all_columns)
    _, _, found = await differences(pair)
    assert found


async def test_a_hidden_table_is_told_like_a_missing_one(pair: Pair) -> None:
    """In status, body and headers, for every way to ask."""
    world, _ = pair
    await world.fill()
    await world.deal()
    await world.database.execute(raw("DELETE FROM directus_privileges WHERE table_name = 'plain'"))
    model = Model(world, *USERS[0], "plain")
    ways = ("rows", "rows/1", "rows/1/revisions", "typeahead?columns=h&q=e", "meta/1",
            "rows?filters[h]=x", "rows?orders[nothing]=ASC", "rows?ids=1,2")  # fmt: skip
    for way in ways:
        hidden = await answer(world, model, f"tables/plain/{way}")
        missing = await answer(world, model, f"tables/nowhere/{way}")
        assert hidden == missing, way
        assert hidden[0] == 403, way
    for name in ("g", "nothing"):
        query = f"joins[plain][on][]=tags.id&joins[plain][on][]=plain.{name}"
        joined = await answer(world, model.of("tags"), f"tables/tags/rows?{query}")
        other = await answer(
            world, model.of("tags"), f"tables/tags/rows?{query.replace('plain', 'nowhere')}"
        )
        assert joined[0] in {400, 403}
        assert joined[1].replace(b"plain", b"nowhere") == other[1]
