"""What is taken away is gone with the reply: at every gateway, in every service, cached or not.

Each round gives something, sees that it works everywhere (which fills every memory there is) and
opens streams; then it takes it away, asks again wherever it worked and listens on. Some lanes do so
at once; in some rounds Redis stands still meanwhile. ``RIGHTS_ROUNDS`` makes it long,
``RIGHTS_SECONDS`` ends it earlier.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import pytest
from office import Lane, Listener, Office, listening
from wire import Api, Reply

pytestmark = pytest.mark.xdist_group("at-once")

ROUNDS: Final = int(os.environ.get("RIGHTS_ROUNDS", "24"))
SECONDS: Final = float(os.environ.get("RIGHTS_SECONDS", "inf"))
PAUSED: Final = float(os.environ.get("RIGHTS_PAUSED", "0.1"))  # share of rounds with Redis paused
LANES: Final = 4  # as many as there are kinds


# ── taking ────────────────────────────────────────────────────────────────────────────────────────


async def revoke_token(office: Office, lane: Lane, token: int) -> None:
    reply = await office.admin.delete(f"users/{lane.user}/tokens/{token}")
    assert reply.json["success"] is True


async def disable_user(office: Office, lane: Lane, _token: int) -> None:
    assert (await office.admin.put(f"users/{lane.user}", {"active": 2})).status == 200


async def take_view(office: Office, lane: Lane, _token: int) -> None:
    await set_right(office, lane, allow_view=0)


async def hide_column(office: Office, lane: Lane, _token: int) -> None:
    await set_right(office, lane, read_field_blacklist="more")


async def set_right(office: Office, lane: Lane, **values: object) -> None:
    path = f"privileges/{lane.group}/{lane.privilege}"
    assert (await office.admin.put(path, values)).status == 200


async def give_back(office: Office, lane: Lane) -> None:
    assert (await office.admin.put(f"users/{lane.user}", {"active": 1})).status == 200
    await set_right(office, lane, allow_view=2, read_field_blacklist="")


TAKES: Final = {
    "token": revoke_token,
    "user": disable_user,
    "right": take_view,
    "column": hide_column,
}


# ── asking ────────────────────────────────────────────────────────────────────────────────────────

Shows = Callable[[Reply, Lane], bool]  # whether an answer holds what was taken


def answered(reply: Reply, _lane: Lane) -> bool:
    return reply.status == 200 and b'"success":false' not in reply.content


def tells_of_table(reply: Reply, lane: Lane) -> bool:
    return lane.table.encode() in reply.content and reply.status == 200


def tells_of_column(reply: Reply, _lane: Lane) -> bool:
    return b"more" in reply.content and reply.status == 200


# path → what it must show before, and must not after; one of each service at least where it can be
_ANY_SERVICE: Final[Mapping[str, Shows]] = {
    "tables/{table}/rows": answered,  # items-service, remembered by the gateways
    "tables/{table}": answered,  # schema-service
    "files?limit=1": answered,  # files-service
    "tables/{table}/preferences": answered,  # settings-service
    "users/{user}": answered,  # auth-service
    "activity?limit=1": answered,
}
PLACES: Final[Mapping[str, Mapping[str, Shows]]] = {
    "token": _ANY_SERVICE,
    "user": _ANY_SERVICE,
    "right": {
        "tables/{table}/rows": answered,
        "tables/{table}/rows/{row}": answered,
        "tables/{table}": answered,
        "tables/{table}/columns": answered,
        "tables/{table}/typeahead?columns=text&q=t": answered,
        "tables/{table}/rows/{row}/revisions": answered,
        "tables/{table}/meta/{row}": answered,
        "tables": tells_of_table,
        "activity?in[table_name]={table}": tells_of_table,
    },
    "column": {
        "tables/{table}/rows": tells_of_column,
        "tables/{table}/rows/{row}": tells_of_column,
        "tables/{table}/columns": tells_of_column,
        "tables/{table}/rows?filters[more]=m": answered,
        "tables/{table}/rows?orders[more]=ASC": answered,
        "tables/{table}/typeahead?columns=more&q=m": answered,
        "activity?in[table_name]={table}": tells_of_column,
    },
}


async def ask(caller: Api, lane: Lane, kind: str) -> list[str]:
    """The places that show what is to be taken."""
    places = PLACES[kind]
    paths = [path.format(table=lane.table, row=lane.row, user=lane.user) for path in places]
    replies = await asyncio.gather(*(caller.get(path) for path in paths))
    shown = zip(places.items(), replies, strict=True)
    return [path for (path, shows), reply in shown if shows(reply, lane)]


def heard(listener: Listener, lane: Lane, kind: str) -> list[str]:
    """What a stream told after the taking that it should not have."""
    told = listener.rows_of(lane.table)
    if kind == "column":
        return ["stream" for event in told if "more" in str(event["delta"]) + str(event["data"])]
    if kind in {"token", "user"}:
        told += listener.rows_of(lane.notices)
    return ["stream"] * len(told)


# ── rounds ────────────────────────────────────────────────────────────────────────────────────────


class Rounds:
    """Rounds of all lanes at once, and what came of them."""

    def __init__(self, office: Office, lanes: list[Lane]) -> None:
        self.office = office
        self.lanes = lanes
        self.leaks: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.asked = 0
        self.events = 0

    async def play(self, kinds: list[str], *, paused: bool) -> None:
        redis = self.office.cluster
        both = asyncio.Barrier(len(self.lanes) + 1)
        async with asyncio.TaskGroup() as tasks:
            for lane, kind in zip(self.lanes, kinds, strict=True):
                tasks.create_task(self._one(lane, kind, both))
            await both.wait()  # everything works everywhere
            if paused:
                redis.kill("redis", signal.SIGSTOP)
            try:
                await both.wait()
                await both.wait()  # it is taken, and has been asked for again
            finally:
                if paused:
                    redis.kill("redis", signal.SIGCONT)
            await both.wait()

    async def _one(self, lane: Lane, kind: str, both: asyncio.Barrier) -> None:
        office = self.office
        await give_back(office, lane)
        token, caller = await office.token(lane)
        everywhere = office.everywhere(caller)
        async with AsyncExitStack() as streams:
            for _ in range(2):  # the second one is remembered by the gateway
                for shown in await asyncio.gather(*(ask(c, lane, kind) for c in everywhere)):
                    assert shown == list(PLACES[kind]), kind
            listeners = [await streams.enter_async_context(listening(c)) for c in everywhere]
            await both.wait()
            await both.wait()
            await TAKES[kind](office, lane, token)
            await self._see(lane, kind, everywhere * 2)
            await self._listen(lane, kind, listeners)
            await both.wait()
            await both.wait()
            await self._see(lane, kind, everywhere)
        if kind != "token":
            await revoke_token(office, lane, token)
        self.done[kind] += 1

    async def _see(self, lane: Lane, kind: str, callers: list[Api]) -> None:
        for shown in await asyncio.gather(*(ask(caller, lane, kind) for caller in callers)):
            self.asked += len(PLACES[kind])
            self.leaks.update(f"{kind}: {path}" for path in shown)

    async def _listen(self, lane: Lane, kind: str, listeners: list[Listener]) -> None:
        """What is written after the reply to the taking does not come."""
        for listener in listeners:
            listener.events.clear()
        admin, text = self.office.admin, f"{time.monotonic()}"
        body = {"text": text, "more": text}
        assert (await admin.put(f"tables/{lane.table}/rows/{lane.row}", body)).status == 200
        assert (await admin.post(f"tables/{lane.notices}/rows", {"text": text})).status == 200
        for listener in listeners:
            if kind in {"token", "user"}:
                async with asyncio.timeout(60):
                    await listener.ended.wait()
            else:
                await listener.until_told_of(lane.notices)
                assert not listener.ended.is_set()
            self.events += 1
            self.leaks.update(f"{kind}: {leak}" for leak in heard(listener, lane, kind))


@pytest.mark.timeout(86_400)
async def test_nothing_is_answered_after_it_was_taken_away(office: Office) -> None:
    chance = random.Random(4)
    rounds = Rounds(office, [await office.lane(number) for number in range(LANES)])
    began = time.monotonic()
    for number in range(0, ROUNDS, LANES):
        kinds = chance.sample(list(TAKES), LANES)
        await rounds.play(kinds, paused=number == 0 or chance.random() < PAUSED)
        if time.monotonic() > began + SECONDS:
            break
    sys.stdout.write(
        f"rounds {dict(rounds.done)}, requests after the reply {rounds.asked}, streams"
        f" {rounds.events}, leaks {dict(rounds.leaks)}, {time.monotonic() - began:.0f} s\n"
    )
    assert rounds.leaks == {}


async def test_a_token_ends_when_it_expires_though_every_gateway_knows_it(office: Office) -> None:
    lane = await office.lane(99)
    body = {"name": "short", "expires_in": 2}
    reply = await office.admin.post(f"users/{lane.user}/tokens", body)
    everywhere = office.everywhere(office.admin.as_(reply.data["token"]))
    async with asyncio.timeout(20):
        while any(await asyncio.gather(*(ask(c, lane, "token") for c in everywhere))):
            pass
