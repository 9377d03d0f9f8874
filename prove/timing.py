"""Does the time of an answer tell what it must not? ``python -m prove.timing [ROUNDS]``.

A cluster of its own with one of each service. In every round each kind is asked once, in random
order: sign-ins with a wrong password and requests to reset one, for addresses that somebody has,
that nobody has, of disabled and of locked accounts; and things that are there but hidden, beside
things that are not. Each known address is asked for a few times only and each request comes from an
address of its own (TRUSTED_PROXIES), so that no guess is slowed but those at the locked accounts.

A difference counts when it is found twice: with p < LIMIT_P by Mann-Whitney in ROUNDS of each, and
again in ROUNDS more, the same way round. So chance is met once in LIMIT_P² / 2 of the comparisons,
and a difference that is there, however small, is found as soon as ROUNDS suffice to see it once.
Prints medians and p. Source: promises S8 and S18.
"""

import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import aiohttp

from local_cluster.cluster import Cluster

ROUNDS: Final = 1000  # of each kind, a comparison
ASKED: Final = 4  # times one known address is asked for on one route: below what slows or limits
LOCKED_AFTER: Final = 25  # guesses from different addresses
WARM_UP: Final = 20  # first rounds that do not count
LIMIT_P: Final = 0.01
HIDDEN: Final = 50  # rows, files and users that the asking user may not see
PROXY: Final = "127.0.0.1"
PASSWORD: Final = "lorries climb amber hillsides"

Ask = Callable[[int], Awaitable[None]]  # the number of the round
Times = dict[str, list[float]]  # kind → seconds

_numbers = count(1)


@dataclass(frozen=True)
class Matter:
    """What is asked, by kinds; of each pair nobody may know one from the other by the time.

    ``together``: the kinds of a round at the same time, for answers that mostly wait.
    """

    name: str
    asks: Mapping[str, Ask]
    pairs: Sequence[tuple[str, str]]
    together: bool = False


class Api:
    """The cluster's API, each request from an address of its own."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str | None) -> None:
        self._session, self._url, self._token = session, url, token

    def as_(self, token: str | None) -> "Api":
        return Api(self._session, self._url, token)

    async def send(self, method: str, path: str, status: int | None, body: Any = None) -> Any:
        """The JSON of the answer. Raises RuntimeError for another status; None is any."""
        number = next(_numbers)
        headers = {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        url = f"{self._url}/{path}"
        async with self._session.request(method, url, json=body, headers=headers) as reply:
            answer = await reply.json()
            if status is not None and reply.status != status:
                raise RuntimeError(f"{method} {path} answered {reply.status}, not {status}")
            return answer


async def prove(rounds: int) -> list[str]:
    """What is wrong; empty when the promises hold."""
    async with (
        Cluster(environment={"TRUSTED_PROXIES": PROXY}) as cluster,
        aiohttp.ClientSession() as session,
    ):
        admin = Api(session, f"{cluster.base_url.rstrip('/')}/api/1.1", cluster.token)
        matters = [*await _of_accounts(admin, rounds), *await _of_hidden_things(admin)]
        return [line for matter in matters for line in await _compared(matter, rounds)]


async def _compared(matter: Matter, rounds: int) -> list[str]:
    first = await _times(matter, rounds)
    found = {pair: _told(matter, pair, first) for pair in matter.pairs}
    suspects = [pair for pair in matter.pairs if found[pair]]
    if not suspects:
        return []
    again = await _times(matter, rounds)
    return [
        f"{matter.name}: its time tells {pair[0]} from {pair[1]}"
        for pair in suspects
        if _told(matter, pair, again) == found[pair]
    ]


async def _times(matter: Matter, rounds: int) -> Times:
    """Seconds of the answers by kind, of rounds that ask each kind once."""
    times: Times = {kind: [] for kind in matter.asks}

    async def timed(kind: str, number: int) -> None:
        begun = time.perf_counter()
        await matter.asks[kind](number)
        times[kind].append(time.perf_counter() - begun)

    for number in range(WARM_UP + rounds):
        order = random.sample(list(matter.asks), len(matter.asks))
        if matter.together:
            await asyncio.gather(*(timed(kind, number) for kind in order))
            continue
        for kind in order:
            await timed(kind, number)
    return {kind: taken[WARM_UP:] for kind, taken in times.items()}


def _told(matter: Matter, pair: tuple[str, str], times: Times) -> int:
    """1 or -1 when the first of a pair takes longer or shorter, 0 when nobody can tell."""
    first, second = (times[kind] for kind in pair)
    p, sign = mann_whitney(first, second)
    print(
        f"{matter.name}: {pair[0]} {statistics.median(first) * 1000:.2f} ms,"
        f" {pair[1]} {statistics.median(second) * 1000:.2f} ms, {len(first)} each; p = {p:.3g}",
        flush=True,
    )
    return sign if p < LIMIT_P else 0


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> tuple[float, int]:
    """Two-sided p that both come from one distribution, and whether the first is the longer one:
    normal approximation, for times without ties. Source: Mann and Whitney, Annals of Mathematical
    Statistics 18, 1947.
    """
    ranked = sorted([(value, True) for value in first] + [(value, False) for value in second])
    ranks = sum(rank for rank, (_, of_first) in enumerate(ranked, 1) if of_first)
    n, m = len(first), len(second)
    above = ranks - n * (n + 1) / 2 - n * m / 2
    deviation = math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(above) / deviation / math.sqrt(2)), 1 if above > 0 else -1


# ── accounts ──────────────────────────────────────────────────────────────────────────────────────


async def _of_accounts(admin: Api, rounds: int) -> list[Matter]:
    # a second time each is asked for when a difference is looked at again
    number = 2 * (rounds + WARM_UP) // ASKED + 1
    known, disabled = await _users(admin, "known", number), await _users(admin, "disab", number)
    for user in disabled.values():
        await admin.send("PUT", f"users/{user}", 200, {"active": 2})
    locked = list(await _users(admin, "lockd", number))
    anybody = admin.as_(None)
    for email in (locked[0], _nobody(0)):
        for _ in range(LOCKED_AFTER):
            await _sign_in(anybody, email)

    def sign_in(emails: Sequence[str] | None, status: int) -> Ask:
        return lambda n: _post(anybody, "auth/login", _one(emails, n), status)

    def reset(emails: Sequence[str] | None) -> Ask:
        return lambda n: _post(anybody, "auth/forgot-password", _one(emails, n), 200)

    return [
        Matter(
            "auth/login",
            {
                "known": sign_in(list(known), 401),
                "unknown": sign_in(None, 401),
                "disabled": sign_in(list(disabled), 401),
                "locked": sign_in(locked[:1], 429),
                "locked and unknown": sign_in([_nobody(0)], 429),
            },
            [("known", "unknown"), ("disabled", "unknown"), ("locked", "locked and unknown")],
        ),
        Matter(
            "auth/forgot-password",
            {
                "known": reset(list(known)),
                "unknown": reset(None),
                "disabled": reset(list(disabled)),
                "locked": reset(locked),
            },
            [("known", "unknown"), ("disabled", "unknown"), ("locked", "unknown")],
            together=True,
        ),
    ]


async def _users(admin: Api, name: str, number: int) -> dict[str, int]:
    """Addresses and ids of new users with passwords."""
    made: dict[str, int] = {}
    for n in range(number):
        email = f"{name}{n:06}@example.com"
        body = {"email": email, "password": PASSWORD, "group": 1}
        made[email] = (await admin.send("POST", "users", 200, body))["data"]["id"]
    return made


def _one(emails: Sequence[str] | None, number: int) -> str:
    return _nobody(next(_numbers)) if emails is None else emails[number % len(emails)]


def _nobody(number: int) -> str:
    return f"nobdy{number:06}@example.com"  # as long as the others


async def _post(anybody: Api, path: str, email: str, status: int) -> None:
    body = {"email": email, "password": f"a wrong password {next(_numbers)}"}
    await anybody.send("POST", path, status, body)


async def _sign_in(anybody: Api, email: str) -> None:
    """Any number of times: the answer turns from 401 to 429."""
    try:
        await _post(anybody, "auth/login", email, 401)
    except RuntimeError:
        await _post(anybody, "auth/login", email, 429)


# ── what is hidden ────────────────────────────────────────────────────────────────────────────────


async def _of_hidden_things(admin: Api) -> list[Matter]:
    """Asked by somebody who sees his own rows only, of one table, and himself."""
    group = (await admin.send("POST", "groups", 200, {"name": "timed"}))["data"]["id"]
    owned = {"table_name": "timed", "group_id": group, "allow_view": 1}
    await admin.send("POST", "tables", 200, {"name": "timed"})
    await admin.send("POST", "tables", 200, {"name": "hiddn"})
    owner = {"column_name": "owner", "data_type": "INT"}
    await admin.send("POST", "tables/timed/columns", 200, owner)
    await admin.send("PUT", "tables/timed", 200, {"user_create_column": "owner"})
    await admin.send("POST", f"privileges/{group}", 200, owned)
    rows, files, users = [], [], []
    for n in range(HIDDEN):
        row = {"active": 1}
        rows.append((await admin.send("POST", "tables/timed/rows", 200, row))["data"]["id"])
        file = {"name": f"t{n}.txt", "data": "data:text/plain;base64,dA=="}
        files.append((await admin.send("POST", "files", 200, file))["data"]["id"])
        user = {"email": f"hidden{n}@example.com", "group": 1}
        users.append((await admin.send("POST", "users", 200, user))["data"]["id"])
    me = {"email": "asks@example.com", "group": group, "token": "the-token-of-who-asks-0123"}
    await admin.send("POST", "users", 200, me)
    caller = admin.as_(me["token"])
    return [
        _hidden(caller, "tables/timed/rows/{}", rows),
        _hidden(caller, "files/{}", files),
        _hidden(caller, "users/{}", users),
        _hidden(caller, "tables/{}/rows", ["hiddn"]),
    ]


def _hidden(caller: Api, path: str, there: Sequence[Any]) -> Matter:
    """Questions that no gateway has an answer to from before."""

    def ask(names: Sequence[Any]) -> Ask:
        async def one(number: int) -> None:
            asked = f"{path.format(names[number % len(names)])}?n={next(_numbers):07}"
            await caller.send("GET", asked, None)

        return one

    missing = [name + 5000 if isinstance(name, int) else f"x{name[1:]}" for name in there]
    asks = {"hidden": ask(there), "missing": ask(missing)}
    return Matter(path, asks, [("hidden", "missing")])


def main() -> int:
    wrong = asyncio.run(prove(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
    for line in wrong:
        print(f"broken: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
