"""A cluster with two of everything, and lanes: each a table, a group and its one user."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from lines import Lines
from wire import Api

from local_cluster.cluster import Cluster

# what makes it hold at once → the fail-point that switches it off
_OFF: Final = {"": "", "principals": "principals.holds=off"}  # gateways ask whether it still holds
MUTATION: Final = os.environ.get("RIGHTS_MUTATION", "")
FAULTS: Final = {"FAILPOINTS": _OFF[MUTATION], "FAILPOINTS_ALLOWED": "1"} if MUTATION else {}


@dataclass(frozen=True)
class Lane:
    """What one round after the other gives and takes; other lanes never touch it."""

    number: int
    table: str  # with the columns text and more, and one row
    row: int
    notices: str  # a table that is never taken away
    group: int
    privilege: int
    user: int
    email: str


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
        email = f"clerk{number}@example.com"
        user = (await admin.post("users", {"email": email, "group": group})).data["id"]
        return Lane(number, table, row, notices, group, rights[0], user, email)

    async def token(self, lane: Lane) -> tuple[int, Api]:
        """A new token of the lane's user."""
        reply = await self.admin.post(f"users/{lane.user}/tokens", {"name": "round"})
        return reply.data["id"], self.admin.as_(reply.data["token"])

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
