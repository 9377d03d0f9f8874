"""A cluster with two of everything, and lanes: each a table, a group and its one user."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Final

import aiohttp
import asyncpg
from lines import Lines
from wire import Api

from local_cluster.cluster import Cluster

# what makes it hold at once → the fail-point that switches it off
_OFF: Final = {"": "", "principals": "principals.holds=off"}  # gateways ask whether it still holds
MUTATION: Final = os.environ.get("RIGHTS_MUTATION", "")
FAULTS: Final = {"FAILPOINTS": _OFF[MUTATION], "FAILPOINTS_ALLOWED": "1"} if MUTATION else {}


@dataclass
class Lane:
    """What one round after the other gives and takes; other lanes never touch it."""

    number: int
    table: str  # with the columns text and more, and one row
    row: int
    notices: str  # a table that is never taken away
    group: int
    privilege: int
    elsewhere: int  # a group that may view the notices only
    email: str
    password: str
    user: int = 0


@dataclass(frozen=True)
class Held:
    """What a round asks with: an API token by its id, or what signing in gave (0)."""

    caller: Api
    token: int = 0


@dataclass
class Office:
    """An administrator, asked through any gateway, and what everybody is asked through."""

    admin: Api
    gateways: list[str]
    cluster: Cluster
    lines: Lines = field(default_factory=Lines)

    async def lane(self, number: int) -> Lane:
        admin = self.admin
        table = await admin.make_table(f"secrets{number}", text="VARCHAR:50", more="VARCHAR:50")
        notices = await admin.make_table(f"notices{number}", text="VARCHAR:50")
        body = {"text": "t", "more": "m", "active": 1}
        row = (await admin.post(f"tables/{table}/rows", body)).data["id"]
        group = (await admin.post("groups", {"name": f"Office {number}"})).data["id"]
        rights: list[int] = []
        for name in (table, notices, "directus_files"):
            right = {"table_name": name, "group_id": group, "allow_view": 2}
            rights.append((await admin.post(f"privileges/{group}", right)).data["id"])
        elsewhere = (await admin.post("groups", {"name": f"Elsewhere {number}"})).data["id"]
        right = {"table_name": notices, "group_id": elsewhere, "allow_view": 2}
        await admin.post(f"privileges/{elsewhere}", right)
        email, password = f"clerk{number}@example.com", f"seven quiet lanterns {number}"
        lane = Lane(number, table, row, notices, group, rights[0], elsewhere, email, password)
        await self.employ(lane)
        return lane

    async def employ(self, lane: Lane) -> None:
        """Make the lane's user."""
        body = {"email": lane.email, "group": lane.group, "password": lane.password}
        lane.user = (await self.admin.post("users", body)).data["id"]

    async def token(self, lane: Lane) -> Held:
        """A new token of the lane's user."""
        reply = await self.admin.post(f"users/{lane.user}/tokens", {"name": "round"})
        return Held(self.admin.as_(reply.data["token"]), reply.data["id"])

    async def signed_in(self, lane: Lane, route: str) -> Held:
        """What ``auth/<route>`` gives the lane's user for his password."""
        body = {"email": lane.email, "password": lane.password}
        data = (await self.admin.as_(None).post(f"auth/{route}", body)).data
        return Held(self.admin.as_(data.get("access_token") or data["token"]))

    async def link(self, lane: Lane) -> str:
        """A token as a mail to the lane's user would carry it."""
        token = token_urlsafe(32)
        connection = await asyncpg.connect(self.cluster.urls["DATABASE_URL"])
        try:
            await connection.execute(
                "INSERT INTO directoire.links (sha256, user_id, purpose, expires_at)"
                " VALUES ($1, $2, 'reset', now() + interval '1 hour')",
                sha256(token.encode()).digest(), lane.user,
            )  # fmt: skip
        finally:
            await connection.close()
        return token

    def everywhere(self, caller: Api) -> list[Api]:
        return [caller.at(url) for url in self.gateways]


class Listener:
    """What one stream of the activity was sent."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = asyncio.Event()
        self.heard = asyncio.Event()  # set whenever something came

    async def take(self, response: aiohttp.ClientResponse) -> None:
        try:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    self.events.append(json.loads(line[6:]))
                if line.startswith(b"event: end"):
                    break
                self.heard.set()
        except (aiohttp.ClientError, ConnectionError):
            pass  # broken off is ended as well
        finally:
            self.ended.set()
            self.heard.set()

    def rows_of(self, table: str, text: str) -> list[dict[str, Any]]:
        """What was told of rows of this table that hold ``text``."""
        found = [event for event in self.events if event["table_name"] == table]
        return [event for event in found if text in str(event)]

    async def until_told_of(self, table: str, text: str) -> None:
        """Everything that was written before that row of this table has come by then."""
        async with asyncio.timeout(60):
            while not self.rows_of(table, text) and not self.ended.is_set():
                self.heard.clear()
                await self.heard.wait()


@asynccontextmanager
async def listening(caller: Api) -> AsyncGenerator[Listener]:
    """An open stream; it has begun when this is entered."""
    url = f"{caller.base_url.rstrip('/')}/api/1.1/activity/stream"
    headers = {"Authorization": f"Bearer {caller.token}"}
    async with caller.session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        listener = Listener()
        task = asyncio.create_task(listener.take(response))
        async with asyncio.timeout(60):
            await listener.heard.wait()
        try:
            yield listener
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
