"""Columns come, change and go under load: ``python -m prove.schema [SECONDS]``.

Two replicas of gateway, items-service and schema-service, RATE requests a second on one table, and
a change of its columns every second: added, altered, dropped. No answer may be a fault of ours, no
answer after a change's reply may show the column as it was before, whichever replicas it comes
through, and nobody waits longer than the lock's budget and a busy machine explain.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import uvloop

from local_cluster.cluster import Cluster
from prove.client import Answer, Client

SECONDS: Final = 300.0
EVERY: Final = 1.0  # seconds between two changes
RATE: Final = 200  # requests a second
CLIENTS: Final = 20
LONGEST: Final = 5.0  # seconds: the lock's budget of 3, and room for a busy machine
_LOOKS: Final = 3  # through each gateway, after each change


@dataclass
class Verdict:
    """``slowest`` in seconds, of a read or a write of a row; ``change`` of a change of columns."""

    requests: int = 0
    changes: int = 0
    slowest: float = 0.0
    what: str = ""  # the slowest request was
    change: float = 0.0
    wrong: list[str] = field(default_factory=list[str])

    def met(self, what: str, answer: Answer) -> None:
        self.requests += 1
        if answer.ended - answer.begun > self.slowest:
            self.slowest, self.what = answer.ended - answer.begun, what
        if answer.status != 200:
            self.wrong.append(f"{what}: {answer.status} {answer.body[:200]!r}")

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.changes} changes: {len(self.wrong)} wrong; "
            f"the slowest request ({self.what}) {self.slowest:.2f} s, "
            f"the slowest change {self.change:.2f} s"
            + "".join(f"\n  {line}" for line in self.wrong[:10])
        )


@dataclass
class Moving:
    """One table whose columns move; it has an integer column ``n`` and a row 1."""

    gateways: Sequence[str]
    token: str
    table: str
    verdict: Verdict = field(default_factory=Verdict)

    async def keep_asking(self, turn: int, stop: asyncio.Event) -> None:
        """One of CLIENTS: reads rows and lists, every fifth request writes."""
        client = Client([*self.gateways])
        rows = f"tables/{self.table}/rows"
        for number in itertools.count(turn):
            if stop.is_set():
                break
            body, method, path = None, "GET", f"{rows}/1" if number % 2 else rows
            if number % 5 == 0:
                method, path, body = "PUT", f"{rows}/1", {"n": number}
            answer = await client.send(number, method, path, self.token, body)
            self.verdict.met(f"{method} {path}", answer)
            await asyncio.sleep(max(0.0, CLIENTS / RATE - (answer.ended - answer.begun)))
        client.close()

    async def change_once(self, client: Client, number: int) -> None:
        """The column ``more`` is added, altered or dropped; then everybody must know."""
        columns = f"tables/{self.table}/columns"
        value: object
        match number % 3:
            case 0:
                body = {"column_name": "more", "data_type": "INT"}
                answer = await client.send(number, "POST", columns, self.token, body)
                value = None
            case 1:
                body = {"data_type": "VARCHAR", "char_length": 20}
                answer = await client.send(number, "PUT", f"{columns}/more", self.token, body)
                value = str(number - 1)
            case _:
                answer = await client.send(number, "DELETE", f"{columns}/more", self.token)
                value = "absent"
        self.verdict.changes += 1
        self.verdict.change = max(self.verdict.change, answer.ended - answer.begun)
        if answer.status != 200:
            self.verdict.wrong.append(f"change {number}: {answer.status} {answer.body[:200]!r}")
            return
        await self.look(client, number, value)
        if number % 3 == 0:
            row = f"tables/{self.table}/rows/1"
            self.verdict.met(
                "a value", await client.send(0, "PUT", row, self.token, {"more": number})
            )
            await self.look(client, number, number)

    async def look(self, client: Client, number: int, value: object) -> None:
        """Any gateway, any replica, at once."""
        for turn in range(_LOOKS * len(self.gateways)):
            row = f"tables/{self.table}/rows/1"
            answer = await client.send(turn, "GET", row, self.token)
            self.verdict.met("a look", answer)
            if answer.status != 200:
                continue
            data: dict[str, Any] = answer.json()["data"]
            if (seen := data.get("more", "absent")) != value:
                told = f"{seen!r} instead of {value!r}"
                self.verdict.wrong.append(f"stale after change {number}: {told}; {answer.told}")


async def prove(moving: Moving, seconds: float, *, every: float = EVERY) -> Verdict:
    """Change columns for so long, and a whole number of times added, altered, dropped."""
    stop = asyncio.Event()
    asking = [asyncio.create_task(moving.keep_asking(turn, stop)) for turn in range(CLIENTS)]
    client = Client([*moving.gateways])
    until = time.monotonic() + seconds
    try:
        for number in itertools.count():
            if number % 3 == 0 and time.monotonic() > until:
                break
            due = time.monotonic() + every
            await moving.change_once(client, number)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    finally:
        stop.set()
        await asyncio.gather(*asking)
        client.close()
    if max(moving.verdict.slowest, moving.verdict.change) > LONGEST:
        moving.verdict.wrong.append(f"somebody waited longer than {LONGEST} s")
    return moving.verdict


async def alone(seconds: float) -> Verdict:
    """On a cluster of its own."""
    limits = {"RATE_PER_TOKEN": "100000", "RATE_PER_ADDRESS": "100000"}
    replicas = {"gateway": 2, "items-service": 2, "schema-service": 2}
    async with Cluster(replicas=replicas, environment=limits) as cluster:
        moving = Moving(cluster.gateway_urls, cluster.token, "moving")
        client = Client(cluster.gateway_urls)
        for path, body in (
            ("tables", {"name": "moving"}),
            ("tables/moving/columns", {"column_name": "n", "data_type": "INT"}),
            ("tables/moving/rows", {"id": 1, "n": 1, "active": 1}),
        ):
            answer = await client.send(0, "POST", path, cluster.token, body)
            assert answer.status == 200, answer
        client.close()
        return await prove(moving, seconds)


def main() -> None:
    verdict = uvloop.run(alone(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
    print(verdict)
    sys.exit(bool(verdict.wrong))


if __name__ == "__main__":
    main()
