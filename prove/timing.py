"""Does the time of an answer tell whose address it is? ``python -m prove.timing [ROUNDS]``.

A cluster of its own with one of each service. Sign-ins with a wrong password and requests to reset
a password, for addresses that somebody has and for addresses nobody has, one after the other in
random order, ROUNDS of each. Each known address is asked for a few times only and each request
comes from an address of its own (TRUSTED_PROXIES), so that no guess is slowed. Prints medians and
the p of a Mann-Whitney test. Fails when p < LIMIT_P and the medians differ by more than those of
two random halves of one kind do. Source: promises S8.
"""

import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import count
from typing import Final

import aiohttp

from local_cluster.cluster import Cluster

ROUNDS: Final = 200  # of each kind, a route
ASKED: Final = 4  # times one known address is asked for on one route: below what slows or limits
WARM_UP: Final = 10  # first answers that do not count
LIMIT_P: Final = 0.01
HALVINGS: Final = 400  # random ways to halve the times of one kind
PROXY: Final = "127.0.0.1"
KINDS: Final = ("known", "unknown")

_numbers = count(1)


async def prove(rounds: int) -> list[str]:
    """What is wrong; empty when the promise holds."""
    async with Cluster(environment={"TRUSTED_PROXIES": PROXY}) as cluster:
        url = f"{cluster.base_url.rstrip('/')}/api/1.1"
        async with aiohttp.ClientSession() as session:
            known = await _users(session, url, cluster.token, rounds // ASKED + 1)
            wrong: list[str] = []
            for route, status in (("auth/login", 401), ("auth/forgot-password", 200)):
                times = await _times(session, f"{url}/{route}", known, status, rounds)
                wrong += judge(route, times["known"], times["unknown"])
    return wrong


async def _users(
    session: aiohttp.ClientSession, url: str, token: str, number: int
) -> Sequence[str]:
    """Addresses of new users with passwords."""
    emails = [f"known{n:05}@example.com" for n in range(number)]
    for email in emails:
        body = {"email": email, "password": f"the password of {email}", "group": 1}
        headers = {"Authorization": f"Bearer {token}"}
        async with session.post(f"{url}/users", json=body, headers=headers) as reply:
            reply.raise_for_status()
    return emails


async def _times(
    session: aiohttp.ClientSession, url: str, known: Sequence[str], status: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of the answers by kind; one request at a time."""
    order = [kind for kind in KINDS for _ in range(rounds)]
    random.shuffle(order)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind in ["unknown"] * WARM_UP + order:
        number = next(_numbers)
        email = known[len(times["known"]) % len(known)] if kind == "known" else _unknown(number)
        body = {"email": email, "password": f"a wrong password {number}"}
        headers = {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}
        begun = time.perf_counter()
        async with session.post(url, json=body, headers=headers) as reply:
            await reply.read()
            took = time.perf_counter() - begun
            if reply.status != status:
                raise RuntimeError(f"{url} answered {reply.status} to {kind}")
        times[kind].append(took)
    times["unknown"] = times["unknown"][WARM_UP:]
    return times


def _unknown(number: int) -> str:
    return f"nobod{number:05}@example.com"  # as long as the others


def judge(what: str, known: Sequence[float], unknown: Sequence[float]) -> list[str]:
    """What the times give away; prints the figures. Times in seconds."""
    p = mann_whitney(known, unknown)
    apart = abs(statistics.median(known) - statistics.median(unknown))
    noise = max(halves_apart(known), halves_apart(unknown))
    print(
        f"{what}: median {statistics.median(known) * 1000:.2f} ms of {len(known)} known,"
        f" {statistics.median(unknown) * 1000:.2f} ms of {len(unknown)} unknown addresses;"
        f" {apart * 1000:.2f} ms apart, halves of one kind up to {noise * 1000:.2f} ms; p = {p:.3f}"
    )
    if p < LIMIT_P and apart > noise:
        return [f"{what} tells known from unknown addresses by {apart * 1000:.2f} ms"]
    return []


def halves_apart(times: Sequence[float]) -> float:
    """What the medians of two random halves differ by, but for the most extreme hundredth."""
    found: list[float] = []
    for _ in range(HALVINGS):
        mixed = random.sample(times, len(times))
        middle = len(mixed) // 2
        found.append(abs(statistics.median(mixed[:middle]) - statistics.median(mixed[middle:])))
    return statistics.quantiles(found, n=100)[-1]


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p that both come from one distribution: normal approximation, for times without
    ties. Source: Mann and Whitney, Annals of Mathematical Statistics 18, 1947.
    """
    ranked = sorted([(value, True) for value in first] + [(value, False) for value in second])
    ranks = sum(rank for rank, (_, of_first) in enumerate(ranked, 1) if of_first)
    n, m = len(first), len(second)
    u = ranks - n * (n + 1) / 2
    deviation = math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(u - n * m / 2) / deviation / math.sqrt(2))


def main() -> int:
    wrong = asyncio.run(prove(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
    for line in wrong:
        print(f"broken: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
