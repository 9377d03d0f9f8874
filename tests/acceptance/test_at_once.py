"""What is taken away is gone with the reply: at every gateway, in every service, cached or not.

Each round gives something, sees that it works everywhere (which fills every memory there is) and
opens streams; then it takes it away, asks again wherever it worked and listens on. Lanes do so at
once, each with a table, a group and a user of its own; in some rounds Redis stands still meanwhile,
for all lanes. ``RIGHTS_ROUNDS`` makes it long, ``RIGHTS_SECONDS`` ends it earlier; with
``RIGHTS_MUTATION`` a mechanism is off, and leaks must be found.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import pytest
from lines import Heard
from office import MUTATION, Held, Lane, Listener, Office, listening
from wire import Api

pytestmark = pytest.mark.xdist_group("at-once")

ROUNDS: Final = int(os.environ.get("RIGHTS_ROUNDS", "24"))
SECONDS: Final = float(os.environ.get("RIGHTS_SECONDS", "inf"))
PAUSED: Final = float(os.environ.get("RIGHTS_PAUSED", "0.1"))  # share of rounds with Redis paused
LANES: Final = int(os.environ.get("RIGHTS_LANES", "4"))
STRETCH: Final = 40  # rounds a lane plays by itself at most, before it waits for the others


# ── taking ────────────────────────────────────────────────────────────────────────────────────────


async def revoke_token(office: Office, lane: Lane, held: Held) -> None:
    reply = await office.admin.delete(f"users/{lane.user}/tokens/{held.token}")
    assert reply.json["success"] is True


async def disable_user(office: Office, lane: Lane, _held: Held) -> None:
    await set_user(office, lane, active=2)


async def delete_user(office: Office, lane: Lane, _held: Held) -> None:
    assert (await office.admin.delete(f"tables/directus_users/rows/{lane.user}")).status == 200


async def move_user(office: Office, lane: Lane, _held: Held) -> None:
    await set_user(office, lane, group=lane.elsewhere)


async def log_out(_office: Office, _lane: Lane, held: Held) -> None:
    assert (await held.caller.post("auth/logout")).status == 200


async def change_password(office: Office, lane: Lane, _held: Held) -> None:
    """By an administrator, or by a mailed token."""
    lane.password = f"eleven quiet lanterns {time.monotonic()}"
    if lane.number % 2:
        await set_user(office, lane, password=lane.password)
        return
    body = {"token": await office.link(lane), "password": lane.password}
    assert (await office.admin.as_(None).post("auth/reset-password", body)).status == 200


async def take_view(office: Office, lane: Lane, _held: Held) -> None:
    await set_right(office, lane, allow_view=0)


async def hide_column(office: Office, lane: Lane, _held: Held) -> None:
    await set_right(office, lane, read_field_blacklist="more")


async def set_user(office: Office, lane: Lane, **values: object) -> None:
    assert (await office.admin.put(f"users/{lane.user}", values)).status == 200


async def set_right(office: Office, lane: Lane, **values: object) -> None:
    path = f"privileges/{lane.group}/{lane.privilege}"
    assert (await office.admin.put(path, values)).status == 200


async def give_back(office: Office, lane: Lane, kind: str, held: Held) -> None:
    """What a round of this kind took; and the token, where it is there yet."""
    if kind == "user":
        await set_user(office, lane, active=1)
    elif kind == "deleted user":
        await office.employ(lane)
        return
    elif kind == "group":
        await set_user(office, lane, group=lane.group)
    elif kind == "right":
        await set_right(office, lane, allow_view=2)
    elif kind == "column":
        await set_right(office, lane, read_field_blacklist="")
    if held.token and kind != "token":
        await revoke_token(office, lane, held)


TAKES: Final = {
    "token": revoke_token,
    "user": disable_user,
    "deleted user": delete_user,
    "group": move_user,
    "logout": log_out,
    "password": change_password,
    "right": take_view,
    "column": hide_column,
}
ENDS: Final = TAKES.keys() - {"group", "right", "column"}  # after these nobody is signed in
STREAMS_END: Final = ENDS | {"group"}  # a stream has one group
SIGN_INS: Final = {"logout": "login", "password": "request-token"}  # how, for these


# ── asking ────────────────────────────────────────────────────────────────────────────────────────

Shows = Callable[[Heard, Lane], bool]  # whether an answer holds what was taken


def answered(reply: Heard, _lane: Lane) -> bool:
    return reply.status == 200 and b'"success":false' not in reply.content


def tells_of_table(reply: Heard, lane: Lane) -> bool:
    return lane.table.encode() in reply.content and reply.status == 200


def tells_of_column(reply: Heard, _lane: Lane) -> bool:
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
_OF_TABLE: Final[Mapping[str, Shows]] = {
    "tables/{table}/rows": answered,
    "tables/{table}/rows/{row}": answered,
    "tables/{table}": answered,
    "tables/{table}/columns": answered,
    "tables/{table}/typeahead?columns=text&q=t": answered,
    "tables/{table}/rows/{row}/revisions": answered,
    "tables/{table}/meta/{row}": answered,
    "tables": tells_of_table,
    "activity?in[table_name]={table}": tells_of_table,
}
PLACES: Final[Mapping[str, Mapping[str, Shows]]] = {
    **dict.fromkeys(ENDS, _ANY_SERVICE),
    "group": {**_OF_TABLE, "files?limit=1": answered},
    "right": _OF_TABLE,
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


async def ask(office: Office, caller: Api, lane: Lane, kind: str) -> tuple[list[str], int]:
    """The places that show what is to be taken, and how many answers came from memory."""
    places = PLACES[kind]
    paths = [path.format(table=lane.table, row=lane.row, user=lane.user) for path in places]
    replies = await asyncio.gather(*(office.lines.get(caller, path) for path in paths))
    shown = zip(places.items(), replies, strict=True)
    found = [path for (path, shows), reply in shown if shows(reply, lane)]
    return found, sum(reply.remembered for reply in replies)


def heard(listener: Listener, lane: Lane, kind: str, text: str) -> list[str]:
    """What a stream told of the writes after the taking that it should not have.

    ``text`` is in them: what was written in the round before may be told late, and rightly so.
    """
    told = listener.rows_of(lane.table, text)
    if kind == "column":
        return ["stream" for event in told if "more" in str(event["delta"]) + str(event["data"])]
    if kind in ENDS:
        told += listener.rows_of(lane.notices, text)
    return ["stream"] * len(told)


# ── rounds ────────────────────────────────────────────────────────────────────────────────────────


class Rounds:
    """Rounds of all lanes at once, and what came of them."""

    def __init__(self, office: Office, lanes: list[Lane]) -> None:
        self.office = office
        self.lanes = lanes
        self.leaks: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.paused = 0
        self.asked = 0
        self.remembered = 0  # answers before a taking that came from memory
        self.events = 0

    async def play(self, stretch: Sequence[Sequence[str]]) -> None:
        """Every lane plays its kinds, one after the other, for itself."""
        async with asyncio.TaskGroup() as tasks:
            for lane, kinds in zip(self.lanes, zip(*stretch, strict=True), strict=True):
                tasks.create_task(self._several(lane, kinds))

    async def _several(self, lane: Lane, kinds: Sequence[str]) -> None:
        for kind in kinds:
            await self._one(lane, kind, None)

    async def play_paused(self, kinds: Sequence[str]) -> None:
        """A round of each lane; Redis stands still while all of them take, ask and listen."""
        redis = self.office.cluster
        both = asyncio.Barrier(len(self.lanes) + 1)
        async with asyncio.TaskGroup() as tasks:
            for lane, kind in zip(self.lanes, kinds, strict=True):
                tasks.create_task(self._one(lane, kind, both))
            await both.wait()  # everything works everywhere
            redis.kill("redis", signal.SIGSTOP)
            try:
                await both.wait()
                await both.wait()  # it is taken, and has been asked for again
            finally:
                redis.kill("redis", signal.SIGCONT)
            await both.wait()
        self.paused += len(kinds)

    async def _one(self, lane: Lane, kind: str, both: asyncio.Barrier | None) -> None:
        office = self.office
        if kind in SIGN_INS:
            held = await office.signed_in(lane, SIGN_INS[kind])
        else:
            held = await office.token(lane)
        everywhere = office.everywhere(held.caller)
        async with AsyncExitStack() as streams:
            for place in everywhere * 2:  # what is asked for again is remembered, and found
                await self._works(place, lane, kind)
            listeners = [await streams.enter_async_context(listening(c)) for c in everywhere]
            if both is not None:
                await both.wait()
                await both.wait()
            await TAKES[kind](office, lane, held)
            await self._see(lane, kind, everywhere * 2)
            await self._listen(lane, kind, listeners)
            if both is not None:
                await both.wait()
                await both.wait()
            await self._see(lane, kind, everywhere)
        await give_back(office, lane, kind, held)
        self.done[kind] += 1

    async def _works(self, place: Api, lane: Lane, kind: str) -> None:
        shown, remembered = await ask(self.office, place, lane, kind)
        assert shown == list(PLACES[kind]), (kind, set(PLACES[kind]) - set(shown))
        self.remembered += remembered

    async def _see(self, lane: Lane, kind: str, callers: list[Api]) -> None:
        answers = await asyncio.gather(*(ask(self.office, c, lane, kind) for c in callers))
        for shown, _ in answers:
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
            if kind in STREAMS_END:
                async with asyncio.timeout(60):
                    await listener.ended.wait()
            else:
                await listener.until_told_of(lane.notices, text)
                assert not listener.ended.is_set()
            self.events += 1
            self.leaks.update(f"{kind}: {leak}" for leak in heard(listener, lane, kind, text))

    def verdict(self, seconds: float) -> str:
        return (
            f"{self.done.total()} rounds in {seconds:.0f} s {dict(self.done)}, {self.paused} of"
            f" them while Redis was paused; {self.remembered} answers before a taking came from"
            f" memory; after the reply {self.asked} requests and {self.events} streams:"
            f" {self.leaks.total()} leaks {dict(self.leaks)}\n"
        )


def plays() -> list[tuple[bool, list[str]]]:
    """Whether Redis is paused, and the kind of each lane; every kind is met while it is."""
    chance = random.Random(4)
    deck: list[str] = []
    found: list[tuple[bool, list[str]]] = []
    met: set[str] = set()  # while it is paused
    for number in range(-(-ROUNDS // LANES)):
        while len(deck) < LANES:
            deck += chance.sample([*TAKES], len(TAKES))
        kinds, deck = deck[:LANES], deck[LANES:]
        paused = chance.random() < PAUSED or (number > 0 and not met.issuperset(kinds))
        if paused:
            met.update(kinds)
        found.append((paused, kinds))
    return found


@pytest.mark.timeout(86_400)
async def test_nothing_is_answered_after_it_was_taken_away(office: Office) -> None:
    rounds = Rounds(office, [await office.lane(number) for number in range(LANES)])
    began = time.monotonic()
    for paused, group in itertools.groupby(plays(), key=lambda play: play[0]):
        kinds = [play[1] for play in group]
        if paused:
            for each in kinds:
                await rounds.play_paused(each)
        else:
            for first in range(0, len(kinds), STRETCH):
                await rounds.play(kinds[first : first + STRETCH])
        if time.monotonic() > began + SECONDS:
            break
    sys.stdout.write(rounds.verdict(time.monotonic() - began))
    assert rounds.remembered > 0, "what is taken was in nobody's memory"
    assert rounds.done.keys() == TAKES.keys()
    assert rounds.paused >= LANES
    assert bool(rounds.leaks) == bool(MUTATION)


async def test_a_token_ends_when_it_expires_though_every_gateway_knows_it(office: Office) -> None:
    lane = await office.lane(99)
    for life in (3, 10, 30):  # seconds: a slow machine needs a longer one to ask in time
        until = time.monotonic() + life
        body = {"name": "short", "expires_in": life}
        reply = await office.admin.post(f"users/{lane.user}/tokens", body)
        everywhere = office.everywhere(office.admin.as_(reply.data["token"]))
        before = [await ask(office, place, lane, "token") for place in everywhere * 2]
        if time.monotonic() < until:
            break
    else:
        pytest.fail("no gateway was asked before the token expired")
    assert {len(shown) for shown, _ in before} == {len(PLACES["token"])}
    assert sum(remembered for _, remembered in before[-2:]) > 0
    async with asyncio.timeout(life + 20):
        while any([(await ask(office, place, lane, "token"))[0] for place in everywhere]):
            pass
    assert time.monotonic() > until - 1, "it ended too early"
