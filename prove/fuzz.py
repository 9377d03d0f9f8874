"""Ask hostile questions for a long time, beside a whole cluster.

`python -m prove.fuzz [SECONDS [SEED]]` prints how often which status came, and every request that
was answered by a fault of ours, with the seed that asks it again.
"""

import asyncio
import sys
import time

import aiohttp

from local_cluster.cluster import Cluster
from prove.hostile import Fuzzed, Hostile

SECONDS = 600.0
TOGETHER = 32  # requests at once
ENOUGH = 20  # faults


async def fuzz(seconds: float, seed: int) -> Fuzzed:
    """Asks a cluster of its own, with servers of its own."""
    async with Cluster() as cluster, aiohttp.ClientSession() as session:
        fuzzed = Fuzzed(session, cluster.base_url, cluster.token)
        await fuzzed.prepare()
        until = time.monotonic() + seconds
        while time.monotonic() < until and len(fuzzed.faults) < ENOUGH:
            for found in await fuzzed.ask(Hostile(seed).requests(TOGETHER)):
                print(f"seed {seed}: {found[:2000]}", flush=True)
            seed += 1
        return fuzzed


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    fuzzed = asyncio.run(fuzz(seconds, seed))
    for status, times in sorted(fuzzed.statuses.items()):
        print(f"{status}: {times}")
    sys.exit(f"{len(fuzzed.faults)} faults" if fuzzed.faults else 0)


if __name__ == "__main__":
    main()
