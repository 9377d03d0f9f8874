"""Does the time of an answer tell what it must not? ``python -m prove.timing [ROUNDS [MUTATION]]``.

A cluster of its own with one of each service. In every round each kind is asked once, in random
order: sign-ins with a wrong password and requests to reset one, for addresses that somebody has,
that nobody has, of disabled and of locked accounts, then of accounts whose hashes are bcrypt or an
older Argon2 as well; and things that are there but hidden, beside
things that are not. Each known address is asked for a few times only and each request comes from an
address of its own (TRUSTED_PROXIES), so that no guess is slowed but those at the locked accounts.

Each pair is compared in two ways: by Mann-Whitney, and by how the fastest LOWEST of the answers are
shared, where what else the machine does is in the way the least. A difference counts when it is
found twice: with p < LIMIT_P in ROUNDS of each, and again in ROUNDS more, the same way round. So
chance is met once in some 10,000 comparisons, and a difference that is there, however small, is
found as soon as ROUNDS suffice to see it once. Prints medians and p. Source: promises S8 and S18.

With a MUTATION one mechanism is off, only what rests on it is asked, and it must be found:

wait  a forgotten password is answered when the work happens to be done
hash  no password is hashed where there is none to compare it with
kinds a password is compared with one hash, of whatever kind it is
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
import asyncpg
import bcrypt
from argon2 import PasswordHasher

from local_cluster.cluster import Cluster

ROUNDS: Final = 1000  # of each kind, a comparison
ASKED: Final = 4  # times one known address is asked for on one route: below what slows or limits
WARM_UP: Final = 20  # first rounds that do not count
LIMIT_P: Final = 0.01
LOWEST: Final = 0.1  # of the answers
HIDDEN: Final = 50  # rows, files and users that the asking user may not see
BCRYPT_COST: Final = 10  # what PHP took by itself; each failed sign-in costs it, too
PROXY: Final = "127.0.0.1"
PASSWORD: Final = "lorries climb amber hillsides"
_OF_KINDS: Final = "auth/login, hashes of several kinds"
_OFF: Final = {  # mutation → its fail-point, and the matter that must tell
    "wait": ("links.wait=off", "auth/forgot-password"),
    "hash": ("passwords.nobody=off", "auth/login"),
    "kinds": ("passwords.kinds=off", _OF_KINDS),
}

_SAME_PASSWORD: Final = """
INSERT INTO directoire.credentials (user_id, password_hash)
SELECT unnest($2::int[]), password_hash FROM directoire.credentials WHERE user_id = $1
"""
_OTHER_PASSWORD: Final = """
UPDATE directoire.credentials AS credentials
   SET password_hash = $2
  FROM public.directus_users AS users
 WHERE users.id = credentials.user_id AND users.email = ANY ($1::text[])
"""
_LOCKED: Final = """
INSERT INTO directoire.guesses (who, level, at)
SELECT sha256(convert_to('account', 'UTF8') || '\\x00' || convert_to(email, 'UTF8')), 1000, now()
  FROM unnest($1::text[]) AS email
    ON CONFLICT (who) DO UPDATE SET level = excluded.level
"""

Ask = Callable[[int], Awaitable[None]]  # the number of the round
Times = dict[str, list[float]]  # kind → seconds

_numbers = count(1)


@dataclass(frozen=True)
class Matter:
    """What is asked, by kinds; of each pair nobody may know one from the other by the time."""

    name: str
    asks: Mapping[str, Ask]
    pairs: Sequence[tuple[str, str]]
    prepare: Callable[[], Awaitable[None]] | None = None  # once, before the first is asked


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


async def prove(rounds: int, mutation: str = "") -> list[str]:
    """What is wrong; empty when the promises hold. With a mutation: empty when it was noticed."""
    off, only = _OFF[mutation] if mutation else ("", "")
    environment = {"TRUSTED_PROXIES": PROXY, "FAILPOINTS": off, "FAILPOINTS_ALLOWED": "1"}
    async with Cluster(environment=environment) as cluster, aiohttp.ClientSession() as session:
        admin = Api(session, f"{cluster.base_url.rstrip('/')}/api/1.1", cluster.token)
        matters = await _of_accounts(admin, cluster.urls["DATABASE_URL"], rounds)
        if not mutation:
            matters += await _of_hidden_things(admin)
        asked = [matter for matter in matters if not only or matter.name == only]
        told = [line for matter in asked for line in await _compared(matter, rounds)]
    if not mutation:
        return told
    print("\n".join(f"noticed: {line}" for line in told))
    return [] if told else [f"nothing was told while {mutation} was off"]


async def _compared(matter: Matter, rounds: int) -> list[str]:
    if matter.prepare is not None:
        await matter.prepare()
    first = await _times(matter, rounds)
    found = {pair: _told(matter, pair, first) for pair in matter.pairs}
    suspects = [pair for pair in matter.pairs if any(found[pair])]
    if not suspects:
        return []
    again = await _times(matter, rounds)
    return [
        f"{matter.name}: its time tells {pair[0]} from {pair[1]}"
        for pair in suspects
        if any(s and s == t for s, t in zip(found[pair], _told(matter, pair, again), strict=True))
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
        for kind in order:
            await timed(kind, number)
    return {kind: taken[WARM_UP:] for kind, taken in times.items()}


def _told(matter: Matter, pair: tuple[str, str], times: Times) -> tuple[int, ...]:
    """By each comparison: 1 or -1 when the first of a pair takes longer or shorter, else 0."""
    first, second = (times[kind] for kind in pair)
    compared = mann_whitney(first, second), of_the_fastest(first, second)
    print(
        f"{matter.name}: {pair[0]} {statistics.median(first) * 1000:.2f} ms,"
        f" {pair[1]} {statistics.median(second) * 1000:.2f} ms, {len(first)} each;"
        f" p = {compared[0][0]:.3g}, of the fastest {compared[1][0]:.3g}",
        flush=True,
    )
    return tuple(sign if p < LIMIT_P else 0 for p, sign in compared)


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> tuple[float, int]:
    """Two-sided p that both come from one distribution, and 1 or -1 for the first as the longer or
    shorter one: normal approximation, for times without ties. Source: Mann and Whitney, Annals of
    Mathematical Statistics 18, 1947.
    """
    ranked = _ranked(first, second)
    ranks = sum(rank for rank, of_first in enumerate(ranked, 1) if of_first)
    n, m = len(first), len(second)
    above = ranks - n * (n + 1) / 2 - n * m / 2
    return _p(above, n * m * (n + m + 1) / 12)


def of_the_fastest(first: Sequence[float], second: Sequence[float]) -> tuple[float, int]:
    """The same, by whose the fastest LOWEST of both are: the hypergeometric distribution, normally
    approximated.
    """
    ranked = _ranked(first, second)
    n, whole = len(first), len(ranked)
    drawn = int(whole * LOWEST)
    above = drawn * n / whole - sum(ranked[:drawn])
    share = n / whole
    return _p(above, drawn * share * (1 - share) * (whole - drawn) / (whole - 1))


def _ranked(first: Sequence[float], second: Sequence[float]) -> list[bool]:
    """Whether each of both, from the shortest on, is the first's."""
    both = [(value, True) for value in first] + [(value, False) for value in second]
    return [of_first for _, of_first in sorted(both)]


def _p(above: float, variance: float) -> tuple[float, int]:
    return math.erfc(abs(above) / math.sqrt(2 * variance)), 1 if above > 0 else -1


# ── accounts ──────────────────────────────────────────────────────────────────────────────────────


async def _of_accounts(admin: Api, url: str, rounds: int) -> list[Matter]:
    # a second time each is asked for when a difference is looked at again
    number = 2 * (rounds + WARM_UP) // ASKED + 1
    known, disabled, locked = [
        await _users(admin, url, name, number) for name in ("known", "disab", "lockd")
    ]
    bcrypted, aged = [await _users(admin, url, name, number) for name in ("crypt", "older")]
    for user in disabled.values():
        await admin.send("PUT", f"users/{user}", 200, {"active": 2})
    # as many: the first attempt refused at each leaves an entry
    locked_too = [_nobody(900_000 + n) for n in range(number)]
    await _tell(url, _LOCKED, [*locked, *locked_too])
    anybody = admin.as_(None)

    def sign_in(emails: Sequence[str] | None, status: int) -> Ask:
        return lambda n: _post(anybody, "auth/login", _one(emails, n), status)

    async def other_hashes() -> None:
        secret = PASSWORD.encode()
        hashed = bcrypt.hashpw(secret, bcrypt.gensalt(BCRYPT_COST)).decode()
        await _tell(url, _OTHER_PASSWORD, list(bcrypted), hashed)
        await _tell(url, _OTHER_PASSWORD, list(aged), PasswordHasher(1, 8192, 1).hash(PASSWORD))

    def reset(emails: Sequence[str] | None) -> Ask:
        return lambda n: _post(anybody, "auth/forgot-password", _one(emails, n), 200)

    return [
        Matter(
            "auth/login",
            {
                "known": sign_in(list(known), 401),
                "unknown": sign_in(None, 401),
                "disabled": sign_in(list(disabled), 401),
                "locked": sign_in(list(locked), 429),
                "locked and unknown": sign_in(locked_too, 429),
            },
            [("known", "unknown"), ("disabled", "unknown"), ("locked", "locked and unknown")],
        ),
        Matter(
            "auth/forgot-password",
            {
                "known": reset(list(known)),
                "unknown": reset(None),
                "disabled": reset(list(disabled)),
                "locked": reset(list(locked)),
            },
            [("known", "unknown"), ("disabled", "unknown"), ("locked", "unknown")],
        ),
        Matter(
            _OF_KINDS,
            {
                "bcrypt": sign_in(list(bcrypted), 401),
                "old": sign_in(list(aged), 401),
                "unknown": sign_in(None, 401),
            },
            [("bcrypt", "unknown"), ("old", "unknown")],
            other_hashes,
        ),
    ]


async def _users(admin: Api, url: str, name: str, number: int) -> dict[str, int]:
    """Addresses and ids of new users with passwords: one is hashed, the others have it too."""
    made: dict[str, int] = {}
    for n in range(number):
        email = f"{name}{n:06}@example.com"
        body = {"email": email, "group": 1} | ({} if n else {"password": PASSWORD})
        made[email] = (await admin.send("POST", "users", 200, body))["data"]["id"]
    first, *others = made.values()
    await _tell(url, _SAME_PASSWORD, first, others)
    return made


async def _tell(url: str, statement: str, *values: object) -> None:
    database = await asyncpg.connect(url)
    try:
        await database.execute(statement, *values)
    finally:
        await database.close()


def _one(emails: Sequence[str] | None, number: int) -> str:
    return _nobody(next(_numbers)) if emails is None else emails[number % len(emails)]


def _nobody(number: int) -> str:
    return f"nobdy{number:06}@example.com"  # as long as the others


async def _post(anybody: Api, path: str, email: str, status: int) -> None:
    body = {"email": email, "password": f"a wrong password {next(_numbers)}"}
    await anybody.send("POST", path, status, body)


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
    rows, files, users, bookmarks, messages = [], [], [], [], []
    for n in range(HIDDEN):
        row = {"active": 1}
        rows.append((await admin.send("POST", "tables/timed/rows", 200, row))["data"]["id"])
        file = {"name": f"t{n}.txt", "data": "data:text/plain;base64,dA=="}
        files.append((await admin.send("POST", "files", 200, file))["data"]["id"])
        user = {"email": f"hidden{n}@example.com", "group": 1}
        users.append((await admin.send("POST", "users", 200, user))["data"]["id"])
        bookmark = {"title": f"hidden {n}", "url": f"/{n}"}
        bookmarks.append((await admin.send("POST", "bookmarks", 200, bookmark))["data"]["id"])
        message = {"to": str(users[0]), "subject": f"hidden {n}", "message": "hidden"}
        messages.append((await admin.send("POST", "messages/rows", 200, message))["data"]["id"])
    me = {"email": "asks@example.com", "group": group, "token": "the-token-of-who-asks-0123"}
    await admin.send("POST", "users", 200, me)
    caller = admin.as_(me["token"])
    return [
        _hidden(caller, "tables/timed/rows/{}", rows),
        _hidden(caller, "files/{}", files),
        _hidden(caller, "users/{}", users),
        _hidden(caller, "bookmarks/{}", bookmarks),
        _hidden(caller, "messages/rows/{}", messages),
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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    wrong = asyncio.run(prove(rounds, sys.argv[2] if len(sys.argv) > 2 else ""))
    for line in wrong:
        print(f"broken: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
