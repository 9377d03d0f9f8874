"""What is taken away is gone with the reply: at every gateway, in every service, cached or not.

Each round gives something, sees that it works everywhere (which fills every memory there is), takes
it away, and asks again wherever it worked. ``RIGHTS_ROUNDS`` makes it long; in some rounds Redis
stands still while the right is taken.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import pytest
import pytest_asyncio
from wire import Api

from local_cluster.cluster import Cluster
from shared.testing import server, with_database

pytestmark = pytest.mark.xdist_group("at-once")

ROUNDS: Final = int(os.environ.get("RIGHTS_ROUNDS", "24"))
PAUSED: Final = float(os.environ.get("RIGHTS_PAUSED", "0.1"))  # share of rounds with Redis paused


@dataclass
class Office:
    """An administrator, a table, and a group with one user, asked through every gateway."""

    admin: Api
    gateways: list[str]
    cluster: Cluster
    table: str
    group: int
    privilege: int
    user: int
    number: int = 0

    async def token(self) -> tuple[int, Api]:
        """A new token of the user."""
        reply = await self.admin.post(f"users/{self.user}/tokens", {"name": "round"})
        return reply.data["id"], self.admin.as_(reply.data["token"])

    def everywhere(self, caller: Api) -> list[Api]:
        return [caller.at(url) for url in self.gateways]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def office(session: "object") -> AsyncGenerator[Office]:
    """Two gateways, two of each service that is asked here, and a Redis that can be stopped."""
    async with Cluster(
        database_url=with_database(server("DATABASE_URL"), f"at_once_{uuid4().hex}"),
        amqp_url=server("AMQP_URL"),
        replicas={"gateway": 2, "items-service": 2, "auth-service": 2},
    ) as cluster:
        admin = Api(session, cluster.base_url, cluster.token)  # pyright: ignore[reportArgumentType]
        table = await admin.make_table("secrets", text="VARCHAR:50", more="VARCHAR:50")
        for number in range(3):
            body = {"text": f"t{number}", "more": "m", "active": 1}
            assert (await admin.post(f"tables/{table}/rows", body)).status == 200
        group = (await admin.post("groups", {"name": "Office"})).data["id"]
        right = {"table_name": table, "group_id": group, "allow_view": 2}
        privilege = (await admin.post(f"privileges/{group}", right)).data["id"]
        body = {"email": "ann@example.com", "group": group}
        user = (await admin.post("users", body)).data["id"]
        yield Office(admin, cluster.gateway_urls, cluster, table, group, privilege, user)


Check = Callable[[Api], Awaitable[bool]]  # whether the caller still gets what was taken


async def revoke_token(office: Office, token: int) -> None:
    reply = await office.admin.delete(f"users/{office.user}/tokens/{token}")
    assert reply.json["success"] is True


async def disable_user(office: Office, _token: int) -> None:
    assert (await office.admin.put(f"users/{office.user}", {"active": 2})).status == 200


async def take_view(office: Office, _token: int) -> None:
    await set_right(office, allow_view=0)


async def hide_column(office: Office, _token: int) -> None:
    await set_right(office, read_field_blacklist="more")


async def set_right(office: Office, **values: object) -> None:
    path = f"privileges/{office.group}/{office.privilege}"
    assert (await office.admin.put(path, values)).status == 200


async def give_back(office: Office) -> None:
    assert (await office.admin.put(f"users/{office.user}", {"active": 1})).status == 200
    await set_right(office, allow_view=2, read_field_blacklist="")


TAKES: Final = {
    "token": revoke_token,
    "user": disable_user,
    "right": take_view,
    "column": hide_column,
}


async def works(caller: Api, office: Office, kind: str) -> bool:
    """Whether the caller gets what this kind of taking takes."""
    reply = await caller.get(f"tables/{office.table}/rows")
    if kind == "column":
        return any("more" in row for row in reply.data)
    return reply.status == 200


async def one_round(office: Office, kind: str, *, paused: bool) -> int:
    """How many requests were answered that should not have been."""
    await give_back(office)
    token, caller = await office.token()
    everywhere = office.everywhere(caller)
    for _ in range(2):  # the second one is remembered by the gateway
        assert all(await asyncio.gather(*(works(c, office, kind) for c in everywhere))), kind
    if paused:
        office.cluster.kill("redis", signal.SIGSTOP)
    try:
        await TAKES[kind](office, token)
        late = await asyncio.gather(*(works(c, office, kind) for c in everywhere * 2))
    finally:
        if paused:
            office.cluster.kill("redis", signal.SIGCONT)
    late += await asyncio.gather(*(works(c, office, kind) for c in everywhere))
    if kind != "token":
        await revoke_token(office, token)
    return sum(late)


@pytest.mark.timeout(86_400)
async def test_nothing_is_answered_after_it_was_taken_away(office: Office) -> None:
    chance = random.Random(4)
    leaks = dict.fromkeys(TAKES, 0)
    kinds = list(TAKES)
    for number in range(ROUNDS):
        kind = kinds[number % len(kinds)]
        paused = number < len(kinds) or chance.random() < PAUSED
        leaks[kind] += await one_round(office, kind, paused=paused)
    assert leaks == dict.fromkeys(TAKES, 0)


async def test_a_token_ends_when_it_expires_though_every_gateway_knows_it(office: Office) -> None:
    await give_back(office)
    body = {"name": "short", "expires_in": 2}
    reply = await office.admin.post(f"users/{office.user}/tokens", body)
    everywhere = office.everywhere(office.admin.as_(reply.data["token"]))
    async with asyncio.timeout(20):
        while any(await asyncio.gather(*(works(c, office, "token") for c in everywhere))):
            pass
