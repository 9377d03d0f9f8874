"""The rights matrix: random rights, random requests, and a slow and obvious model of both.

Every answer must hold what the model (rights_world) says, no row, column, count, order, related
row, entry or event more or less, and every write must leave the tables as the model says.
``RIGHTS_REQUESTS`` makes it long; ``RIGHTS_SEED`` repeats a run.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

import pytest
import pytest_asyncio
from rights_world import SHAPES, USERS, WORDS, WORLD, Embedding, Model, Row, World

from items_service.app import make_app
from items_service.operations import export_query
from items_service.operations.export_query import plan_export
from items_service.operations.exporting import Export, export_rows
from items_service.settings import Settings
from shared.catalogue import Column, Table
from shared.context import Context
from shared.database import Database
from shared.errors import ApiError, InvalidRequest
from shared.rights import TableRights
from shared.rows import access, activity, may_write, plain_rows, plan, read, relations, through
from shared.rows.writer import Writer
from shared.service import IDENTITY_HEADER, KNOWLEDGE
from shared.sql import EMPTY, Sql, param, raw
from shared.testing import SIGNER, Client, environment, serving

REQUESTS: Final = int(os.environ.get("RIGHTS_REQUESTS", "3000"))
MOST: Final = 4000  # requests until a planner that forgets is noticed; mostly a few dozen
SEED: Final = int(os.environ.get("RIGHTS_SEED", "20"))


# ── reading ───────────────────────────────────────────────────────────────────────────────────────

Test = Callable[[Any], bool]


def _compared(number: Callable[[Any, Any], bool], wanted: Any) -> Test:
    return lambda value: value is not None and number(value, wanted)


@dataclass
class Asked:
    """One list request: the query as sent, and what the model makes of it."""

    model: Model
    query: list[str] = field(default_factory=list[str])
    faults: set[int] = field(default_factory=set[int])
    # one flat chain: AND binds tighter than OR
    chain: list[tuple[bool, Callable[[Row], bool]]] = field(
        default_factory=list[tuple[bool, Callable[[Row], bool]]]
    )
    further: list[Callable[[Row], bool]] = field(default_factory=list[Callable[[Row], bool]])
    orders: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    groups: list[str] = field(default_factory=list[str])
    columns: set[str] | None = None
    embedding: Embedding = field(default_factory=Embedding)
    limit: int = 200
    offset: int = 0

    def know(self, column: str) -> bool:
        """Whether the caller may name the column; a fault else."""
        if column not in self.model.readable():
            self.faults.add(400)
            return False
        return True

    def rows(self) -> list[Row]:
        def fits(row: Row) -> bool:
            alternatives: list[bool] = []
            for index, (either, test) in enumerate(self.chain):
                holds = test(row)
                if index == 0 or either:
                    alternatives.append(holds)
                else:
                    alternatives[-1] = alternatives[-1] and holds
            return (not alternatives or any(alternatives)) and all(t(row) for t in self.further)

        rows = [row for row in self.model.visible() if fits(row)]
        if self.groups:  # the first of each combination
            firsts: dict[tuple[Any, ...], Row] = {}
            for row in rows:
                firsts.setdefault(tuple(row[name] for name in self.groups), row)
            rows = [*firsts.values()]
        for name, descending in reversed(self.orders):
            rows.sort(
                key=lambda row, name=name: (row[name] is not None, _least(row[name])),
                reverse=descending,
            )
        return rows[self.offset : self.offset + self.limit]


def _least(value: Any) -> Any:
    return value if value is not None else 0


def some_list(world: World, model: Model) -> Asked:
    """A random list request."""
    chance = world.chance
    asked = Asked(model)
    shape = model.shape
    names = [*shape.columns, "no_such_column"]
    for name in chance.sample(names, chance.choice((0, 0, 1, 1, 2, 3))):
        _add_filter(asked, name, either=chance.random() < 0.3)
    for name in shape.relations:
        if chance.random() < 0.15:
            _add_relation_filter(asked, name, either=chance.random() < 0.3)
    if chance.random() < 0.1:
        _add_join(asked, chance.choice([name for name in SHAPES if name != model.table]))
    elif shape.relations or shape.to_one:
        for _ in range(chance.choice((0, 0, 1, 2))):
            _add_dotted(asked, either=chance.random() < 0.3)
    _add_lists(asked, names)
    _add_status(asked)
    if chance.random() < 0.15:
        _add_text(asked)
    _add_order_and_page(asked, names)
    if model.closed():
        asked.faults = {403}
    return asked


def _add_lists(asked: Asked, names: Sequence[str]) -> None:
    chance = asked.model.world.chance
    if chance.random() < 0.15:
        name, values = chance.choice(names), [str(chance.randint(1, 33)) for _ in range(6)]
        asked.query.append(f"in[{name}]={','.join(values)}")
        if asked.know(name):
            asked.further.append(_is_one_of(name, values))
    if chance.random() < 0.1:
        ids = [chance.randint(1, 60) for _ in range(8)]
        asked.query.append("ids=" + ",".join(map(str, ids)))
        asked.further.append(lambda row: row["id"] in ids)


def _add_order_and_page(asked: Asked, names: Sequence[str]) -> None:
    chance = asked.model.world.chance
    if chance.random() < 0.4:
        name, descending = chance.choice(names), chance.random() < 0.5
        form = chance.choice(("orders[{0}]={1}", "orderBy={0}&orderDirection={1}",
                              "sort={0}&sort_order={1}"))  # fmt: skip
        asked.query.append(form.format(name, "DESC" if descending else "ASC"))
        if asked.know(name):
            asked.orders = [(name, descending)]
    if chance.random() < 0.15:
        asked.groups = chance.sample(names, chance.choice((1, 1, 2)))
        asked.query.append("group_by=" + ",".join(asked.groups))
        known = [asked.know(name) for name in asked.groups]
        asked.groups = asked.groups if all(known) else []
    if chance.random() < 0.3:
        asked.limit, asked.offset = chance.choice((0, 1, 3, 10)), chance.choice((0, 1, 5))
        asked.query.append(f"limit={asked.limit}&offset={asked.offset}")
    if chance.random() < 0.2:
        asked.columns = set(chance.sample(names, 3))
        dotted: list[str] = []
        for name in (*asked.model.shape.relations, *asked.model.shape.to_one):
            far = asked.model.leads_to(name)
            if far is not None and chance.random() < 0.4:
                only = set(chance.sample([*far.shape.columns, "no_such_column"], 2))
                asked.embedding.inside[name] = only
                asked.columns.discard(name)
                dotted += [f"{name}.{column}" for column in sorted(only)]
        asked.query.append("columns=" + ",".join([*sorted(asked.columns), *dotted]))
    if chance.random() < 0.2:
        asked.embedding.depth = 0
        asked.query.append("depth=0")


def _is_one_of(name: str, values: Sequence[str]) -> Callable[[Row], bool]:
    return lambda row: row[name] is not None and str(row[name]) in values


def _some_test(chance: random.Random, *, text: bool) -> tuple[str, str, Test]:
    """An operator, its word, and whether a value fits."""
    wanted: Any = chance.choice(WORDS) if text else chance.randint(1, 33)
    tests: dict[str, tuple[str, Test]] = {
        "eq": (str(wanted), lambda value: value == wanted),
        "neq": (str(wanted), _compared(lambda x, y: x != y, wanted)),
        "null": ("1", lambda value: value is None),
        "nnull": ("1", lambda value: value is not None),
        "in": (f"{wanted},{wanted}", lambda value: value == wanted),
        "empty": ("1", lambda value: value is None or value == ""),
        "nempty": ("1", lambda value: value is not None and value != ""),
    }
    if text:
        part = str(wanted)[:2]
        tests["contains"] = (part, _compared(lambda x, y: y in x, part))
    else:
        tests["lt"] = (str(wanted), _compared(lambda x, y: x < y, wanted))
        tests["gte"] = (str(wanted), _compared(lambda x, y: x >= y, wanted))
    operator, (word, test) = chance.choice(list(tests.items()))
    return operator, word, test


def _ask_filter(asked: Asked, name: str, operator: str, word: str, *, either: bool) -> None:
    asked.query.append(f"filters[{name}][{operator}]={quote(word)}")
    if either:
        asked.query.append(f"filters[{name}][logical]=or")


def _add_filter(asked: Asked, name: str, *, either: bool) -> None:
    text = asked.model.shape.is_text(name)
    operator, word, test = _some_test(asked.model.world.chance, text=text)
    _ask_filter(asked, name, operator, word, either=either)
    if asked.know(name):
        asked.chain.append((either, lambda row: test(row[name])))


def _add_dotted(asked: Asked, *, either: bool) -> None:
    """A filter on a column behind one relation or two."""
    chance, end = asked.model.world.chance, asked.model
    steps: list[str] = []
    follows = True
    while not steps or (len(steps) < 2 and chance.random() < 0.4):
        names = [*end.shape.relations, *end.shape.to_one]
        if not names:
            break
        steps.append(chance.choice(names))
        follows = follows and end.can_follow(steps[-1])
        far = end.leads_to(steps[-1])
        assert far is not None
        end = far
    column = chance.choice([*end.shape.columns, "no_such_column"])
    name = ".".join((*steps, column))
    if any(f"filters[{name}]" in part for part in asked.query):
        return
    operator, word, test = _some_test(chance, text=end.shape.is_text(column))
    _ask_filter(asked, name, operator, word, either=either)
    if not follows or column not in end.readable():
        asked.faults.add(400)
        return
    asked.chain.append((either, lambda row: _exists(asked.model, steps, row, column, test)))


def _exists(model: Model, steps: Sequence[str], row: Row, column: str, test: Test) -> bool:
    if not steps:
        return test(row[column])
    far = model.leads_to(steps[0])
    assert far is not None
    found = model.behind(steps[0], row) or ()
    return any(_exists(far, steps[1:], other, column, test) for other in found)


def _add_join(asked: Asked, table: str) -> None:
    """Another table, joined for a filter on one of its columns."""
    model, chance = asked.model, asked.model.world.chance
    other = model.of(table)
    left = chance.choice(("id", *model.shape.numbers))
    right = chance.choice(("id", *other.shape.numbers))
    kind = chance.choice(("INNER", "LEFT"))
    column = chance.choice(other.shape.columns)
    asked.query.append(
        f"joins[{table}][on][]={model.table}.{left}&joins[{table}][on][]={table}.{right}"
    )
    asked.query.append(f"joins[{table}][type]={kind}")
    operator, word, test = _some_test(chance, text=other.shape.is_text(column))
    _ask_filter(asked, f"{table}.{column}", operator, word, either=False)
    known = left in model.readable() and {right, column} <= other.readable()
    if other.closed() or not known:
        asked.faults.add(400)
        return
    rows, none = other.visible(), dict.fromkeys(other.shape.columns)

    def joined(row: Row) -> list[Row]:
        found = [o for o in rows if o[right] is not None and o[right] == row[left]]
        return found or ([none] if kind == "LEFT" else [])

    asked.further.append(lambda row: bool(joined(row)))
    asked.chain.append((False, lambda row: any(test(o[column]) for o in joined(row))))


def _add_relation_filter(asked: Asked, name: str, *, either: bool) -> None:
    model = asked.model
    operator, least, word = model.world.chance.choice((("has", 2, "2"), ("nempty", 1, "1")))
    asked.query.append(f"filters[{name}][{operator}]={word}")
    if either:
        asked.query.append(f"filters[{name}][logical]=or")
    if not asked.know(name):
        return
    if model.related(name, {"id": 0}) is None:
        asked.faults.add(403)
        return
    asked.chain.append((either, lambda row: len(model.related(name, row) or ()) >= least))


def _add_status(asked: Asked) -> None:
    chance = asked.model.world.chance
    if not asked.model.shape.status:
        return
    statuses = chance.choice(([1], [1], [0], [2], [0, 1, 2], [1, 2], []))
    if not statuses:
        asked.query.append("preview=1")
        asked.embedding.any_status = True
        return
    if statuses != [1] or chance.random() < 0.5:
        asked.query.append("status=" + ",".join(map(str, statuses)))
    asked.further.append(lambda row: row["active"] in statuses)


def _add_text(asked: Asked) -> None:
    model = asked.model
    text = model.world.chance.choice(("ee", "a", "3", "1"))
    asked.query.append(f"q={text}")
    asked.further.append(lambda row: _holds_text(model, row, text))


def _holds_text(model: Model, row: Row, text: str) -> bool:
    """In a readable column, or in one of the rows one step away, but not behind a junction."""
    if _in_own(model, row, text):
        return True
    near = [name for name, relation in model.shape.relations.items() if relation.far is None]
    for name in (*near, *model.shape.to_one):
        far = model.leads_to(name)
        if far and any(_in_own(far, other, text) for other in model.behind(name, row) or ()):
            return True
    return False


def _in_own(model: Model, row: Row, text: str) -> bool:
    shown = model.shown(row)
    return any(value is not None and text in str(value) for value in shown.values())


def check_row(
    model: Model,
    got: Mapping[str, Any],
    row: Row,
    columns: set[str] | None = None,
    embedding: Embedding | None = None,
) -> None:
    """All that may be shown, and not a field more."""
    ask = embedding or Embedding()
    expected = model.shown(row)
    if columns is not None:
        expected = {name: value for name, value in expected.items() if name in columns}
    for name in model.readable() & {*model.shape.relations, *model.shape.to_one}:
        wanted = columns is None or name in columns
        if name in ask.inside or (wanted and ask.depth):
            expected[name] = model.embedded(name, row, ask)
    assert _bare(got) == expected


def _bare(value: Any) -> Any:
    """An answer without what it tells of itself."""
    if isinstance(value, dict):
        return {name: _bare(inner) for name, inner in value.items() if name != "meta"}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


async def try_list(world: World, model: Model) -> str:
    asked = some_list(world, model)
    old = world.chance.random() < 0.2
    path = f"/api/{'1' if old else '1.1'}/tables/{model.table}/rows?" + "&".join(asked.query)
    asked.embedding.old = old
    status, answer = await world.client.as_(model.principal).get(path)
    if asked.faults:
        assert status in asked.faults, (path, status, asked.faults, answer)
        return f"list {status}"
    assert status == 200, (path, answer)
    got = answer["rows"] if old else answer["data"]
    rows = asked.rows()
    assert [row.get("id", None) for row in got] == [
        row["id"] if asked.columns is None or "id" in asked.columns else None for row in rows
    ], path
    for shown, row in zip(got, rows, strict=True):
        check_row(model, shown, row, asked.columns, asked.embedding)
    check_counts(model, answer if old else answer["meta"], old=old)
    return "list 200"


def check_counts(model: Model, meta: Mapping[str, Any], *, old: bool) -> None:
    visible = model.visible()
    assert meta["total" if old else "total_entries"] == len(visible)
    if model.shape.status:
        for status, name in enumerate(("Delete", "Active", "Draft")):
            assert meta[name] == sum(row["active"] == status for row in visible)


async def try_item(world: World, model: Model) -> str:
    key = world.chance.randint(1, 60)
    path = f"tables/{model.table}/rows/{key}"
    status, answer = await world.client.as_(model.principal).get(path)
    if model.closed():
        assert status == 403
        return "item 403"
    assert status == 200
    row = next((row for row in model.visible() if row["id"] == key), None)
    if row is None:
        assert answer["data"] == []
    else:
        check_row(model, answer["data"], row)
    return "item 200"


async def try_typeahead(world: World, model: Model) -> str:
    chance = world.chance
    names = chance.sample([*model.shape.own, "no_such_column"], 2)
    text = chance.choice(("ee", "a", "3"))
    path = f"tables/{model.table}/typeahead?columns={','.join(names)}&q={text}"
    status, answer = await world.client.as_(model.principal).get(path)
    if model.closed() or not set(names) <= model.readable():
        assert status == (403 if model.closed() else 400), (path, answer)
        return f"typeahead {status}"
    expected: list[Row] = []
    for row in model.visible():
        values = [str(row[name]) for name in names if row[name] is not None]
        if row.get("active", 1) == 1 and any(text in value for value in values):
            expected.append({"id": row["id"], "value": " ".join(values)})
    assert [{"id": each["id"], "value": each["value"]} for each in answer] == expected, path
    return "typeahead 200"


# ── history ───────────────────────────────────────────────────────────────────────────────────────

ENTRY: Final = "id,table_name,row_id,action,identifier,data,delta,before"


def check_entries(got: Sequence[Row], expected: Sequence[Row]) -> None:
    decoded = [
        {n: json.loads(v) if n in {"data", "delta", "before"} and v else v for n, v in e.items()}
        for e in got
    ]
    for entry in decoded:
        entry.pop("position", None)
    assert decoded == expected


async def entries_seen(world: World, model: Model) -> dict[int, Row]:
    """Of all tables, oldest first."""
    models = {table: model.of(table) for table in SHAPES}
    found = [models[entry.table].entry(entry) for entry in await world.read_entries()]
    return {entry["id"]: entry for entry in found if entry is not None}


async def try_activity(world: World, model: Model) -> str:
    chance = world.chance
    seen = list((await entries_seen(world, model)).values())
    path, wanted = f"activity?limit=40&columns={ENTRY}", seen
    if chance.random() < 0.5:
        path += f"&in[table_name]={model.table}"
        wanted = [entry for entry in wanted if entry["table_name"] == model.table]
    if chance.random() < 0.6:
        name, word = chance.choice(("data", "delta", "before", "identifier")), chance.choice(WORDS)
        path += f"&filters[{name}][contains]={word}"
        wanted = [entry for entry in wanted if _tells(entry[name], word)]
    status, answer = await world.client.as_(model.principal).get(path)
    assert status == 200, (path, answer)
    check_entries(answer["data"], wanted[::-1][:40])
    assert answer["meta"]["total_entries"] == len(seen)
    return "activity 200"


def _tells(image: Row | str | None, word: str) -> bool:
    return word in (image.values() if isinstance(image, dict) else (image or ""))


async def try_revisions(world: World, model: Model) -> str:
    key = world.chance.choice([*world.rows[model.table], 999])
    path = f"tables/{model.table}/rows/{key}/revisions?columns={ENTRY}"
    status, answer = await world.client.as_(model.principal).get(path)
    if model.closed():
        assert status == 403
        return "revisions 403"
    seen = (await entries_seen(world, model)).values()
    mine = [e for e in seen if e["table_name"] == model.table and e["row_id"] == key]
    assert status == 200, (path, answer)
    check_entries(answer["data"], mine[::-1])
    return "revisions 200"


async def _feed(world: World, model: Model, most: int) -> tuple[int, list[Row]]:
    """A position, and what the caller may see of the feed after it."""
    last = await world.positions()
    after = max(0, last - world.chance.randint(1, most))
    found = await world.database.fetch(
        raw("SELECT id FROM directoire.feed WHERE position > ") + param(after)
        + raw(" ORDER BY position")
    )  # fmt: skip
    seen = await entries_seen(world, model)
    return after, [seen[row["id"]] for row in found if row["id"] in seen]


async def try_feed(world: World, model: Model) -> str:
    after, expected = await _feed(world, model, 300)
    path = f"activity?after={after}&limit=100&columns={ENTRY}"
    status, answer = await world.client.as_(model.principal).get(path)
    assert status == 200, (path, answer)
    check_entries(answer["data"], expected[:100])
    return "feed 200"


async def try_stream(world: World, model: Model) -> str:
    """Events as they are sent; one too many in between would take the place of another."""
    after, expected = await _feed(world, model, 60)
    headers = {IDENTITY_HEADER: SIGNER.sign(model.principal)}
    url = f"/api/1.1/activity/stream?after={after}"
    events: list[Row] = []
    async with world.client.http.get(url, headers=headers) as response, asyncio.timeout(60):
        assert response.status == 200
        while len(events) < len(expected):
            line = await response.content.readline()
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
    names = ENTRY.split(",")
    check_entries([{name: event[name] for name in names} for event in events], expected)
    return "stream 200"


async def try_export(world: World, model: Model) -> str:
    """The file of an export, made as the job makes it."""
    chance = world.chance
    context = await world.context(model.principal)
    asked = Asked(model, limit=1_000)
    names = chance.sample([*model.shape.columns, "no_such_column"], chance.choice((0, 1, 1, 2)))
    query: dict[str, Any] = {"filter": {}}
    for name in names:
        operator, word, test = _some_test(chance, text=model.shape.is_text(name))
        query["filter"][name] = {f"_{operator}": word}
        if asked.know(name):
            asked.further.append(lambda row, name=name, test=test: test(row[name]))
    if chance.random() < 0.3:
        query["search"] = chance.choice(("ee", "3"))
        asked.further.append(lambda row: _holds_text(model, row, query["search"]))
    if chance.random() < 0.3:
        name = chance.choice(model.shape.columns)
        query["sort"] = f"-{name}"
        if asked.know(name):
            asked.orders = [(name, True)]
    shows = _export_behind(asked, query)
    if model.closed() or asked.faults:
        with pytest.raises(ApiError) as refused:
            plan_export(context, model.table, query)
        assert refused.value.status == (403 if model.closed() else 400), query
        return f"export {refused.value.status}"
    plan = plan_export(context, model.table, query)
    pieces = [piece async for piece in export_rows(world.database, plan, "json", Export())]
    got = json.loads(b"".join(pieces))
    assert got == [model.shown(row) | shows(row) for row in asked.rows()], query
    return "export 200"


def _export_behind(asked: Asked, query: dict[str, Any]) -> Callable[[Row], Row]:
    """A filter on a column behind a relation, and that column shown; what a row shows of it."""
    model, chance = asked.model, asked.model.world.chance
    names = [*model.shape.relations, *model.shape.to_one]
    if not names or chance.random() < 0.5:
        return lambda _row: {}
    name = chance.choice(names)
    far = model.leads_to(name)
    assert far is not None
    column = chance.choice([*far.shape.columns, "no_such_column"])
    if not model.can_follow(name) or column not in far.readable():
        asked.faults.add(400)
    if chance.random() < 0.5:
        operator, word, test = _some_test(chance, text=far.shape.is_text(column))
        query["filter"][name] = {column: {f"_{operator}": word}}
        asked.further.append(lambda row: _exists(model, [name], row, column, test))
        return lambda _row: {}
    query["fields"] = ["*", f"{name}.id", f"{name}.{column}"]

    def shows(row: Row) -> Row:
        found = {other["id"]: other for other in model.behind(name, row) or ()}
        rows = [{"id": key, column: found[key][column]} for key in sorted(found)]
        return {name: rows if name in model.shape.relations else rows[0] if rows else None}

    return shows


# ── writing ───────────────────────────────────────────────────────────────────────────────────────

State = dict[int, Row]


def changed(model: Model, key: int, body: Row) -> Row | None:
    """The row as an update leaves it; None where the caller may not do that."""
    row = model.world.rows[model.table].get(key)
    shape = model.shape
    if row is None or not model.may("view", row):
        return None
    if model.blacklisted("write") & body.keys() & set(shape.columns):
        return None
    said = {name: value for name, value in body.items() if name in shape.own}
    if not said:
        return row if model.may("edit", row) else None
    others = said.keys() - {"active"}
    status = said.get("active", row.get("active"))
    moved = status != row.get("active")
    deletes = "active" in said and status == 0
    if (others or not (moved or deletes)) and not model.may("edit", row):
        return None
    if deletes:
        # what is deleted already stays so for whoever may edit it
        if not model.may("delete", row) and (moved or not model.may("edit", row)):
            return None
    elif moved and not (model.may("edit", row) and model.may("edit", row, status)):
        return None
    return row | said | ({shape.updater: model.user} if shape.updater else {})


def created(model: Model, body: Row) -> Row | None:
    """The new row, without its key; None where the caller may not add it."""
    shape = model.shape
    if model.blacklisted("write") & body.keys() & set(shape.columns):
        return None
    said = {name: value for name, value in body.items() if name in shape.own}
    empty: Row = dict.fromkeys(shape.columns)
    del empty["id"]
    if shape.status:
        empty["active"] = 2
    row = empty | said
    if not model.level("add", row.get("active")) or not said:
        return None
    for name in (shape.owner, shape.updater):
        if name:
            row[name] = model.user
    return row


def deleted(model: Model, keys: Sequence[int], *, soft: bool) -> State | None:
    """The table without these rows: all that the caller sees of them, or None for none."""
    rows = dict(model.world.rows[model.table])
    seen = [key for key in keys if key in rows and model.may("view", rows[key])]
    # what is deleted already stays so for whoever may edit it
    tries = soft and any(row["allow_delete"] for row in model.privileges())
    kept = {key for key in seen if tries and rows[key].get("active") == 0}
    if not seen or not all(
        model.may("delete", rows[key]) or (key in kept and model.may("edit", rows[key]))
        for key in seen
    ):
        return None
    for key in seen:
        if not soft:
            del rows[key]
        elif model.shape.status:
            shape = model.shape
            rows[key] = rows[key] | {"active": 0}
            if shape.updater:
                rows[key][shape.updater] = model.user
        else:
            return None
    return rows


def _beyond(model: Model) -> list[tuple[int, int]]:
    """Rows the caller may edit, each with a status in which he might not any more."""
    if not model.shape.status or model.closed() or "active" in model.blacklisted("write"):
        return []
    return [
        (key, status)
        for key, row in model.world.rows[model.table].items()
        for status in (1, 2)
        if model.may("view", row)
        and model.may("edit", row)
        and row["active"] != status
        and not model.may("edit", row, status)
    ]


def _some_key(model: Model) -> int:
    """Half of the time of a row that the caller sees, so that the rights to write decide."""
    chance, seen = model.world.chance, [row["id"] for row in model.visible()]
    key = chance.choice([*model.world.rows[model.table], 999])
    return chance.choice(seen) if seen and chance.random() < 0.5 else key


async def try_beyond(world: World, _model: Model) -> str:
    """Give a row such a status, as whoever can try: by chance alone it is met too seldom."""
    callers = [Model(world, *who, table) for who in USERS for table in SHAPES]
    can = [(model, beyond) for model in callers if (beyond := _beyond(model))]
    return await try_write(world, *world.chance.choice(can)) if can else "nobody can"


async def try_write(world: World, model: Model, beyond: Sequence[tuple[int, int]] = ()) -> str:
    """``beyond``: one of these updates, each a row's key and its new status."""
    chance = world.chance
    client = world.client.as_(model.principal)
    rows = world.rows[model.table]
    some_key = _some_key(model)
    path = f"tables/{model.table}/rows"
    kind = chance.choice(("update", "update", "create", "delete", "soft", "bulk", "bulk delete"))
    if beyond:
        kind = "update"
    expected: State | None = None
    made: Row | None = None
    body: Row = {}
    if kind == "update":
        body = world.some_body(model.shape)
        if beyond:
            some_key, status = chance.choice(beyond)
            body = (body if chance.random() < 0.5 else {}) | {"active": status}
        method = chance.choice(("PUT", "PATCH", "POST"))
        status, answer = await client.send(method, f"{path}/{some_key}", json=body)
        row = changed(model, some_key, body)
        expected = None if row is None else rows | {some_key: row}
    elif kind == "create":
        body = world.some_body(model.shape)
        status, answer = await client.post(path, body)
        made = created(model, body)
        if made is not None and status == 200:
            expected = rows | {answer["data"]["id"]: {**made, "id": answer["data"]["id"]}}
    elif kind in {"delete", "soft"}:
        ending = "?soft=1" if kind == "soft" else ""
        status, answer = await client.send("DELETE", f"{path}/{some_key}{ending}")
        expected = deleted(model, [some_key], soft=kind == "soft")
    elif kind == "bulk":
        keys = chance.sample(sorted(rows), 2)
        bodies = {key: world.some_body(model.shape) for key in keys}
        sent = [{**body, "id": key} for key, body in bodies.items()]
        status, answer = await client.send("PUT", f"{path}/bulk", json={"rows": sent})
        after = {key: changed(model, key, body) for key, body in bodies.items()}
        done = {key: row for key, row in after.items() if row is not None}
        expected = rows | done if len(done) == len(after) else None
        if "id" in model.blacklisted("write"):
            expected = None
    else:
        keys = chance.sample(sorted(rows), 2)
        sent = {"rows": [{"id": key} for key in keys]}
        status, answer = await client.send("DELETE", f"{path}/bulk", json=sent)
        expected = deleted(model, keys, soft=False)
    succeeded = status == 200 and _said_success(answer)
    told = (kind, path, body, model, status, answer)
    now = await world.read(model.table)
    wanted = rows if expected is None else expected
    both = now.keys() | wanted.keys()
    differ = {k: (now.get(k), wanted.get(k)) for k in both if now.get(k) != wanted.get(k)}
    assert not differ, f"{differ} {told}"
    assert succeeded == (expected is not None) or (made is None and now == rows), told
    assert made is None or succeeded, told
    if succeeded and kind == "update" and not model.closed():
        check_row(model, answer["data"], now[some_key], embedding=Embedding(any_status=True))
    world.rows[model.table] = now
    return f"{kind} {'done' if succeeded else 'refused'}"


def _said_success(answer: Any) -> bool:
    data = answer.get("data")
    inner = data.get("success", True) if isinstance(data, dict) else True
    return answer.get("success", True) is not False and inner is not False


# ── the tests ─────────────────────────────────────────────────────────────────────────────────────


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, redis_prefix: str) -> AsyncGenerator[World]:
    database = Database(database_url, size=2)
    for statement in WORLD:
        await database.execute(statement)
    settings = Settings.model_validate(environment(database_url, redis_prefix))
    app = make_app(settings)
    async with serving(app) as client:
        yield World(database, client, app[KNOWLEDGE], random.Random(SEED))
    await database.close()


ATTEMPTS: Final = {  # how often each is made
    try_list: 40,
    try_item: 12,
    try_write: 34,
    try_beyond: 4,
    try_typeahead: 6,
    try_activity: 6,
    try_revisions: 4,
    try_feed: 4,
    try_stream: 2,
    try_export: 6,
}


async def play(world: World, requests: int) -> dict[str, int]:
    """Random callers, tables and requests; how often each came out which way."""
    seen: dict[str, int] = {}
    for number in range(requests):
        if number % 100 == 0:
            await world.fill()
            await world.deal()
        user, group = world.chance.choice(USERS)
        model = Model(world, user, group, world.chance.choice(list(SHAPES)))
        (attempt,) = world.chance.choices(list(ATTEMPTS), list(ATTEMPTS.values()))
        outcome = await attempt(world, model)
        seen[outcome] = seen.get(outcome, 0) + 1
    return seen


@pytest.mark.timeout(86_400)
async def test_every_answer_and_every_write_is_what_the_model_says(world: World) -> None:
    seen = await play(world, REQUESTS)
    kinds = {"update", "create", "delete", "soft", "bulk", "bulk delete"}
    wanted = {f"{kind} {end}" for kind in kinds for end in ("done", "refused")}
    wanted |= {"list 200", "list 400", "list 403", "item 200", "item 403"}
    wanted |= {"typeahead 200", "typeahead 400", "typeahead 403", "export 200", "export 400"}
    wanted |= {"export 403", "activity 200", "revisions 200", "revisions 403", "feed 200"}
    wanted |= {"stream 200"}
    sys.stdout.write(f"{seen}\n")
    assert wanted <= seen.keys(), f"not met: {wanted - seen.keys()}"


def _all_rows(_rights: TableRights, _user: int, _alias: Sql) -> Sql:
    return EMPTY


def _all_columns(rights: TableRights) -> Any:
    return dict(rights.table.columns)


def _of_another(rights: TableRights, user: int, alias: Sql) -> Sql:
    return rights.condition("view", user + 1, alias)


def _general(rights: TableRights, action: str, _status: int | None) -> int:
    return getattr(rights.general, action)


def _every_row(self: through.Follower, access_: access.Access, alias: Sql) -> through.Named:
    self.used.append(access_)
    return through.Named(access_.table, alias, EMPTY)


def _any_table(context: Context, name: str | None) -> access.Access | None:
    table = context.catalogue.table(name) if name else None
    if table is None:
        return None
    rights = context.rights.of(table)
    return access.Access(table, rights, rights.readable(), None)


def _named_at_all(where: access.Access, name: str) -> Column | None:
    return where.table.columns.get(name)


def _any_column(where: access.Access, name: str, use: str) -> Column:
    found = where.table.columns.get(name)
    if found is None:
        raise InvalidRequest(f"{name} in {use}")
    return found


def _every_entry(_context: Context, _mine: object) -> Sql:
    return raw("true")


def _whole(image: Sql, *, admin: bool) -> Sql:
    return image + raw("::text")


def _shown_whole(planner: Any, where: access.Access, fields: Any, _alias: Sql, **_: bool) -> Any:
    planner._used.append((where, fields))
    return relations.Shown(where.table, fields, EMPTY, None)


_real_reader: Final = activity._reader  # pyright: ignore[reportPrivateUsage]


def _reads_all(context: Context, table: Table) -> activity.Reader | None:
    reader = _real_reader(context, table)
    return reader and replace(reader, everything=True)


def _sees_all(real: Callable[..., Any]) -> Callable[..., Any]:
    """A plan whose own rows are all the table's."""
    return lambda *args, **more: replace(real(*args, **more), visible=EMPTY)


def _counts_all(real: Callable[..., Any]) -> Callable[..., Any]:
    def counts(where: access.Access, query: object, _visible: Sql) -> object:
        return real(where, query, EMPTY)

    return counts


def _anything(*_: object) -> None:
    """In the place of what would refuse."""


def _forgotten(value: object) -> property:
    return property(lambda _self: value, _anything)


def _any_status(_to: Writer, _status: object) -> Sql:
    return EMPTY


def _edited_by_another(rights: TableRights, user: int, alias: Sql) -> Sql:
    return rights.condition("edit", user + 1, alias)


def _deleted_by_another(rights: TableRights, user: int, alias: Sql) -> Sql:
    return rights.condition("delete", user + 1, alias)


# what is forgotten → where it is decided, and what decides instead
MUTANTS: Final[Mapping[str, Sequence[tuple[Any, str, Any]]]] = {
    "rows that may be seen": [(TableRights, "view_condition", _all_rows)],
    "rows that may be edited": [(TableRights, "edit_condition", _all_rows)],
    "rows that may be deleted": [(TableRights, "delete_condition", _all_rows)],
    "columns that may be read": [(TableRights, "readable", _all_columns)],
    "the user in own rows": [(TableRights, "view_condition", _of_another)],
    "workflow rows": [(TableRights, "level", _general)],
    "rows behind a dotted name, a join or q": [(through.Follower, "_named", _every_row)],
    "tables that may be looked into": [
        (access, "reachable", _any_table), (through, "reachable", _any_table)
    ],
    "columns of filters": [(access.Access, "column", _any_column)],
    "columns behind a dotted name": [(access.Access, "named", _named_at_all)],
    "columns of typeahead, orders and joins": [(access.Access, "own_column", _any_column)],
    "embedded rows": [(vars(relations)["_Planner"], "_shown", _shown_whole)],
    "entries of the activity": [(activity, "_visible", _every_entry)],
    "columns of entries": [(activity, "_cut", _whole)],
    "what a row was before": [(activity, "_reader", _reads_all)],
    "rows of a list": [(read, "plan_list", _sees_all(read.plan_list))],
    "rows of an item": [(read, "plan_item", _sees_all(read.plan_item))],
    "rows of an export": [(export_query, "plan_access", _sees_all(export_query.plan_access))],
    "rows that are counted": [(plan, "_counts", _counts_all(vars(plan)["_counts"]))],
    "columns that may be written": [(TableRights, "write_blacklist", _forgotten(frozenset()))],
    "rows that a writer may see": [(Writer, "visible", _forgotten(EMPTY))],
    "the user in rows to edit": [(TableRights, "edit_condition", _edited_by_another)],
    "the user in rows to delete": [(TableRights, "delete_condition", _deleted_by_another)],
    "the status of a new row": [(plain_rows, "may_add", _anything)],
    "the status that a row shall have": [(may_write, "_level_condition", _any_status)],
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_the_matrix_notices_a_planner_that_forgets(
    world: World, monkeypatch: pytest.MonkeyPatch, mutant: str
) -> None:
    statuses: list[int] = []
    send = Client.send

    async def noted(client: Client, method: str, path: str, **more: Any) -> tuple[int, Any]:
        status, answer = await send(client, method, path, **more)
        statuses.append(status)
        return status, answer

    monkeypatch.setattr(Client, "send", noted)
    for place, name, forgets in MUTANTS[mutant]:
        monkeypatch.setattr(place, name, forgets)
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        await play(world, MOST)
    assert max(statuses) < 500, "what forgets must answer wrongly, not fail"
