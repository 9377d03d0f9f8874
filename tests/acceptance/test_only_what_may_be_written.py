"""Nobody but an administrator writes a column that is not his to write. Promise S4.

Every column of every system table, and the key, the owner and the protected column of an own one,
through every way a value travels in; by everybody who may not. Judged by plain SQL.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Final
from urllib.parse import quote

import asyncpg
import pytest
import pytest_asyncio
from bulk import upload
from people import make_group, make_user
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

ALL: Final[Mapping[str, object]] = {
    "allow_view": 2, "allow_add": 2, "allow_edit": 2, "allow_delete": 2, "allow_alter": 2
}  # fmt: skip
READING: Final[Mapping[str, object]] = {"allow_view": 2}
# these decide over rights and schema, or are the record of what was done: administrators' alone
ADMINISTRATORS: Final = (
    "directus_privileges", "directus_groups", "directus_tables", "directus_columns",
    "directus_activity",
)  # fmt: skip
WAYS: Final = (
    "PUT", "PATCH", "POST to the row", "POST with its key", "bulk", "import", "form",
    "the key twice", "in capitals", "among blanks", "1.0",
)  # fmt: skip

EACH: Final = int(os.environ.get("WAYS", "3"))  # of a closed table's column; 11 are all


@dataclass(frozen=True)
class Target:
    """One stored row, an administrator's, and the columns of its table."""

    table: str
    key: Any
    key_column: str
    columns: Mapping[str, str]  # → SQL type

    def other(self, column: str) -> Any:
        """A value that the column could take, and that the row does not hold."""
        kind = self.columns[column]
        if column == "id":
            return 999_999
        if kind in {"integer", "bigint", "smallint", "numeric"}:
            return 2
        return "2030-01-01 00:00:00" if "time" in kind or kind == "date" else "overwritten"


async def target(connection: asyncpg.Connection, table: str, key: int | None = None) -> Target:
    """The row of that key, else the first."""
    key_column = await connection.fetchval(
        "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid"
        " AND attnum = indkey[0] WHERE indisprimary AND indrelid = $1::text::regclass", table,
    )  # fmt: skip
    first = await connection.fetchval(f'SELECT min({key_column}) FROM public."{table}"')
    found = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = $1", table,
    )  # fmt: skip
    return Target(
        table, key or first, key_column, {row["column_name"]: row["data_type"] for row in found}
    )


async def state(connection: asyncpg.Connection, table: str) -> list[str]:
    """Every row of a table as text."""
    found = await connection.fetch(f'SELECT to_jsonb(t)::text FROM public."{table}" t ORDER BY 1')
    return [row[0] for row in found]


async def send(caller: Api, to: Target, column: str, way: str) -> int:
    """One attempt; its status."""
    value, rows = to.other(column), f"tables/{to.table}/rows"
    row, body = f"{rows}/{to.key}", {column: value}
    keyed = {to.key_column: to.key, **body}
    match way:
        case "PUT" | "PATCH":
            reply = await caller.send(way, row, json=body)
        case "POST to the row":
            reply = await caller.post(row, body)
        case "POST with its key":
            reply = await caller.post(rows, keyed)
        case "bulk":
            reply = await caller.put(f"{rows}/bulk", {"rows": [keyed]})
        case "import":
            reply = await upload(caller, to.table, f"{to.key_column},{column}\n{to.key},{value}\n")
        case "form":
            reply = await caller.send("PUT", row, form=f"{column}={quote(str(value))}")
        case "the key twice":
            text = f'{{"{column}": null, "{column}": {json.dumps(value)}}}'
            return await raw(caller, row, text)
        case "in capitals":
            reply = await caller.put(row, {column.upper(): value, column.title(): value})
        case "among blanks":
            reply = await caller.put(row, {f" {column}": value, f"{column} ": value})
        case _:
            reply = await caller.v1().put(row, body)
    return reply.status


async def raw(caller: Api, path: str, text: str) -> int:
    url = f"{caller.base_url.rstrip('/')}/api/1.1/{path}"
    headers = {"Authorization": f"Bearer {caller.token}", "Content-Type": "application/json"}
    async with caller.session.put(url, data=text, headers=headers) as response:
        await response.read()
        return response.status


@dataclass(frozen=True)
class Vault:
    connection: asyncpg.Connection
    system: Sequence[Target]  # one of each system table
    own: Target  # of the table ``letters``, whose owner is an administrator
    callers: Mapping[str, Api]

    async def stored(self) -> dict[str, list[str]]:
        tables = [*self.system, self.own]
        return {each.table: await state(self.connection, each.table) for each in tables}

    async def try_all(
        self, caller: Api, targets: Sequence[Target], columns: Any = None, ways: int = len(WAYS)
    ) -> int:
        """Every column in so many ways, which take turns; how many attempts that was."""
        turns = cycle(WAYS)
        tries = [
            (to, column, way)
            for to in targets
            for column in columns or to.columns
            for way in islice(turns, ways)
        ]

        async def some(part: Iterator[tuple[Target, str, str]]) -> None:
            for to, column, way in part:
                status = await send(caller, to, column, way)
                assert status < 500, (to.table, column, way)

        part = iter(tries)
        await asyncio.gather(*(some(part) for _ in range(6)))
        return len(tries)


@pytest_asyncio.fixture(loop_scope="session")
async def vault(api: Api, cluster: Cluster, unique: str) -> AsyncGenerator[Vault]:
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    table = await api.make_table(
        f"letters_{unique}", text="VARCHAR:50", secret="VARCHAR:50", owner="INT", changed="INT"
    )
    await api.put(
        f"tables/{table}", {"user_create_column": "owner", "user_update_column": "changed"}
    )
    letter = (
        await api.post(f"tables/{table}/rows", {"text": "a", "secret": "b", "active": 1})
    ).data
    file = (await api.post("files", {"name": "a.txt", "data": "data:text/plain;base64,YQ=="})).data
    await api.post("bookmarks", {"title": unique, "url": unique})
    await api.post("messages/rows", {"subject": unique, "message": unique, "recipients": "0_1"})
    await api.post(f"tables/{table}/preferences", {"title": unique, "sort": "text"})
    await api.put("settings/global", {"rows_per_page": 200})
    names = [
        row["relname"]
        for row in await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p') AND relname LIKE 'directus\\_%' ORDER BY 1"
        )
    ]
    system: list[Target] = []
    for name in names:
        key = {"directus_files": file["id"], "directus_users": 1}.get(name)
        system.append(await target(connection, name, key))
    everything = dict.fromkeys((*names, table), ALL)
    protected = {
        each.table: {**ALL, "write_field_blacklist": ",".join(each.columns)} for each in system
    } | {table: {**ALL, "write_field_blacklist": "secret"}}
    callers: dict[str, Api] = {}
    for kind, rights in (
        ("of no rights", {}),
        ("a reader", dict.fromkeys((*names, table), READING)),
        ("of protected columns", protected),
        ("of all rights", everything),
    ):
        group = await make_group(api, f"{kind} {unique}", rights)
        callers[kind], user = await make_user(api, f"{kind.replace(' ', '-')}-{unique}", group)
        if kind == "of all rights":
            made = await api.post(f"users/{user}/tokens", {"name": "narrow", "scope": "read"})
            callers["of a token to read"] = api.as_(made.data["token"])
    own = await target(connection, table, letter["id"])
    yield Vault(connection, system, own, callers)
    await connection.close()


# everybody may add to these, as himself, and what was added is recorded
OF_EVERYBODY: Final = {"directus_bookmarks", "directus_preferences", "directus_activity"}


@pytest.mark.parametrize(
    "kind", ["of no rights", "a reader", "of protected columns", "of a token to read"]
)
async def test_no_column_of_a_system_table_is_written(vault: Vault, kind: str) -> None:
    before = await vault.stored()
    assert [table for table, rows in before.items() if not rows] == [], "nothing to overwrite"
    # a column is protected for itself, a table that is closed is so for all its columns
    ways = len(WAYS) if kind == "of protected columns" else EACH
    assert await vault.try_all(vault.callers[kind], vault.system, ways=ways) > 100 * ways
    check(before, await vault.stored(), OF_EVERYBODY)


async def test_all_rights_to_all_tables_do_not_make_an_administrator(vault: Vault) -> None:
    targets = [each for each in vault.system if each.table in {*ADMINISTRATORS, "directus_users"}]
    before = await vault.stored()
    assert await vault.try_all(vault.callers["of all rights"], targets) > 700
    check(before, await vault.stored(), {"directus_activity"})


async def test_key_owner_and_protected_columns_stay(vault: Vault) -> None:
    query = f'SELECT id, owner, secret FROM public."{vault.own.table}"'
    before = await vault.connection.fetch(query)
    await vault.try_all(vault.callers["of all rights"], [vault.own], ["id", "owner"])
    await vault.try_all(vault.callers["of protected columns"], [vault.own], ["secret"])
    for kind in ("of no rights", "a reader", "of a token to read"):
        await vault.try_all(vault.callers[kind], [vault.own])
    assert (await vault.connection.fetch(query))[: len(before)] == before
    assert await send(vault.callers["of all rights"], vault.own, "text", "PUT") == 200
    texts = await vault.connection.fetch(f'SELECT text FROM public."{vault.own.table}"')
    assert "overwritten" in {row["text"] for row in texts}, "what may be written is"


def check(
    before: Mapping[str, list[str]], after: Mapping[str, list[str]], growing: set[str]
) -> None:
    for table, rows in before.items():
        left = set(after[table])
        changed = [row for row in rows if row not in left]
        assert changed == [], (table, changed)
        assert len(after[table]) == len(rows) or table in growing, table
