"""No sequence of requests of somebody who is no administrator changes who may do what. Promise S9.

Random sequences of up to five requests, by members of a poor group and of one that may do
everything to every table that a privilege can name. After each, the graph of rights is read by
plain SQL: groups, privileges, who is in which group, the ways into the accounts of others, the
columns that decide about owners and statuses. ``SEQUENCES`` makes it long: ``make prove-rising``.
"""

import os
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import Api, Reply

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

SEQUENCES: Final = int(os.environ.get("SEQUENCES", "60"))
LONGEST: Final = 5
SYSTEM: Final = (
    "directus_users", "directus_groups", "directus_privileges", "directus_tables",
    "directus_columns", "directus_settings", "directus_files", "directus_activity",
    "directus_bookmarks", "directus_preferences", "directus_messages",
)  # fmt: skip
RIGHTS: Final = ("allow_view", "allow_add", "allow_edit", "allow_delete", "allow_alter")
EVERYTHING: Final[dict[str, object]] = dict.fromkeys(RIGHTS, 2)

# $1 the callers, $2 everybody else who was there before
_GIVEN: Final = "WITH given AS (SELECT $1::int[] AS own, $2::int[] AS others) "
GRAPH: Final = {
    "groups": "SELECT to_jsonb(g)::text FROM directus_groups g, given ORDER BY g.id",
    "privileges": "SELECT to_jsonb(p)::text FROM directus_privileges p, given ORDER BY p.id",
    "members": 'SELECT u.id, u."group", "group" = 1 AND active = 1, email'
    " FROM directus_users u, given WHERE u.id = ANY (others) ORDER BY u.id",
    "callers": 'SELECT u.id, u."group" FROM directus_users u, given WHERE u.id = ANY (own)'
    " ORDER BY u.id",
    "new ones": 'SELECT DISTINCT u."group" FROM directus_users u, given'
    ' WHERE u.id <> ALL (own || others) AND u."group" NOT IN'
    ' (SELECT "group" FROM directus_users WHERE id = ANY (own))',
    "tokens": "SELECT t.user_id, t.sha256, t.scope FROM directoire.tokens t, given"
    " WHERE t.user_id = ANY (others) ORDER BY t.id",
    "passwords": "SELECT c.user_id, c.password_hash FROM directoire.credentials c, given"
    " WHERE c.user_id = ANY (others) ORDER BY c.user_id",
    "owners": "SELECT t.table_name, t.user_create_column, t.status_column FROM directus_tables t,"
    " given ORDER BY t.table_name",
}
Graph = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class World:
    connection: asyncpg.Connection
    callers: list[Api]
    own: list[int]  # the callers' ids
    others: list[int]
    names: dict[str, list[Any]]  # what stands in the braces of a path

    async def graph(self) -> Graph:
        return {
            what: [
                tuple(row)
                for row in await self.connection.fetch(_GIVEN + query, self.own, self.others)
            ]
            for what, query in GRAPH.items()
        }


@pytest_asyncio.fixture(loop_scope="session")
async def world(api: Api, cluster: Cluster, unique: str) -> AsyncGenerator[World]:
    table = await api.make_table(f"rising_{unique}", n="INT", owner="INT")
    everything = dict.fromkeys((*SYSTEM, table), EVERYTHING)
    # who may delete users does so, which raises nobody
    everything["directus_users"] = {**EVERYTHING, "allow_delete": 0}
    poor = await make_group(api, f"P {unique}", {})
    rich = await make_group(api, f"R {unique}", everything)
    callers: list[Api] = []
    own: list[int] = []
    for name, group in (("poor", poor), ("rich", rich)):
        caller, user = await make_user(api, f"{name}-{unique}", group)
        callers.append(caller)
        own.append(user)
        made = await api.post(f"users/{user}/tokens", {"name": "narrow", "scope": "read"})
        callers.append(api.as_(made.data["token"]))
    _, other = await make_user(
        api, f"other-{unique}", rich, password=f"amber lorries {unique} climb"
    )
    shown = (await api.get(f"privileges/{rich}")).data
    privileges = [row["id"] for row in shown if "id" in row]  # the others are not stored
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    rows = await connection.fetch("SELECT id FROM directus_users WHERE id <> ALL ($1::int[])", own)
    names = {
        "user": [1, other, "me", *own],
        "group": [1, poor, rich],
        "privilege": [1, *privileges],
        "table": [table, *SYSTEM],
        "row": [1, other, poor, rich, *own, *privileges[:3]],
    }
    yield World(connection, callers, own, [row["id"] for row in rows], names)
    await connection.close()


PATHS: Final = (
    "users", "users/{user}", "users/{user}/tokens", "users/{user}/tokens/{row}", "users/invite",
    "groups", "groups/{group}", "privileges/{group}", "privileges/{group}/{privilege}",
    "privileges/{group}/{table}", "tables", "tables/{table}", "tables/{table}/columns",
    "tables/{table}/columns/owner", "tables/{table}/rows", "tables/{table}/rows/{row}",
    "tables/{table}/rows/bulk", "tables/directus_privileges/rows",
    "tables/directus_privileges/rows/{privilege}", "tables/directus_users/rows/{user}",
    "tables/directus_groups/rows/{group}", "tables/{table}/preferences", "settings",
    "settings/global", "files", "bookmarks", "messages/rows", "auth/reset-password",
    "tables/directus_users/rows/{row}?columns=id", "import",
)  # fmt: skip
METHODS: Final = ("POST", "PUT", "PATCH", "DELETE", "POST", "PUT", "GET")


def body_of(chance: random.Random, names: dict[str, list[Any]]) -> dict[str, Any]:
    """Some of what would raise somebody, in the ways of both versions."""
    group = chance.choice([1, "1", 1.0, chance.choice(names["group"])])
    parts: list[dict[str, Any]] = [
        {"group": group},
        {"group": {"id": group}},
        {"group": {"data": {"id": group}}},
        {"Group": group, "GROUP": group},
        {"group_id": group, "table_name": chance.choice(names["table"])},
        dict.fromkeys(RIGHTS, chance.choice([2, "2", 1, 0])),
        {"read_field_blacklist": "", "write_field_blacklist": "", "to_view": 1},
        {"active": chance.choice([0, 1, 2])},
        {"token": f"taken-over-{chance.randrange(10**9)}"},
        {"password": f"amber lorries climb {chance.randrange(10**9)}"},
        {"email": f"risen{chance.randrange(10**9)}@example.com"},
        {"id": chance.choice(names["row"])},
        {"name": f"raised{chance.randrange(10**9)}", "restrict_to_ip_whitelist": "0.0.0.0/0"},
        {"user_create_column": "n", "status_column": "n", "user_update_column": "owner"},
        {"privileges": [{"id": 1, "allow_view": 2}], "users": [{"id": 1, "group": group}]},
        {"scope": "", "expires_in": 100, "user_id": 1, "user": 1},
        {"column_name": f"c{chance.randrange(10**6)}", "data_type": "INT"},
        {"value": "1", "collection": "global", "cms_user_auto_sign_out": "1"},
    ]
    chosen: dict[str, Any] = {}
    for part in chance.sample(parts, chance.randint(1, 5)):
        chosen.update(part)
    if chance.random() < 0.15:
        return {"rows": [chosen, {**chosen, "id": chance.choice(names["row"])}]}
    return chosen


async def one_request(world: World, caller: Api, chance: random.Random) -> tuple[str, Reply]:
    path = chance.choice(PATHS).format_map({n: chance.choice(v) for n, v in world.names.items()})
    method, body = chance.choice(METHODS), body_of(chance, world.names)
    caller = caller.v1() if chance.random() < 0.3 else caller
    headers = {"X-HTTP-Method-Override": "DELETE"} if chance.random() < 0.05 else {}
    if path == f"tables/{world.names['table'][0]}" and (headers or method == "DELETE"):
        method, headers = "PATCH", {}  # who may alter a table may drop it, which raises nobody
    if method in ("GET", "DELETE"):
        reply = await caller.send(method, path, headers=headers)
    elif chance.random() < 0.2:
        flat = {k: v for k, v in body.items() if not isinstance(v, (dict, list))}
        reply = await caller.send(method, path, form=urlencode(flat), headers=headers)
    else:
        reply = await caller.send(method, path, json=body, headers=headers)
    return f"{method} {path} {body} → {reply.status}", reply


@pytest.mark.timeout(0)
async def test_no_sequence_changes_who_may_do_what(world: World) -> None:
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    before = await world.graph()
    done = 0
    for _ in range(SEQUENCES):
        await world.connection.execute(  # they may end their own accounts
            "UPDATE directus_users SET active = 1 WHERE id = ANY ($1::int[])", world.own
        )
        caller = chance.choice(world.callers)
        said: list[str] = []
        for _ in range(chance.randint(1, LONGEST)):
            line, reply = await one_request(world, caller, chance)
            said.append(line)
            done += reply.status == 200
            assert reply.status < 500, (seed, said)
        after = await world.graph()
        changed = [what for what in GRAPH if before[what] != after[what]]
        assert changed == [], (seed, said, [(before[w], after[w]) for w in changed])
    assert done > SEQUENCES // 20, "some of it is allowed: the callers are not simply shut out"
