"""What only shows when the event loop is busy with something else."""

import asyncio
import time
from uuid import uuid4

from redis import Redis

from shared.redis_pipeline import TOGETHER, Pipeline
from shared.testing import server


async def test_redis_begins_before_the_turn_that_asks_it_is_over() -> None:
    pipeline, key = Pipeline(server("REDIS_URL"), timeout=60), f"test:{uuid4().hex}"
    assert await pipeline.command("PING") == b"PONG"
    counted: list[int] = []

    def look() -> None:
        """Nothing else happens in the loop meanwhile."""
        with Redis.from_url(server("REDIS_URL")) as redis:
            limit = time.monotonic() + 5
            found = 0
            while found < TOGETHER and time.monotonic() < limit:
                found = int(redis.get(key) or 0)
            counted.append(found)

    asking = [asyncio.create_task(pipeline.command("INCR", key)) for _ in range(TOGETHER)]
    asyncio.get_running_loop().call_soon(look)
    assert sorted(await asyncio.gather(*asking)) == [1, 2, 3, 4]
    assert counted == [TOGETHER]
    await pipeline.command("DEL", key)
    await pipeline.close()
