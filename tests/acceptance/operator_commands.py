"""The commands of operators, run as an operator runs them."""

import asyncio
import os
import sys

from local_cluster.cluster import Cluster
from local_cluster.home import Home


async def operate(cluster: Cluster, *arguments: str, typed: str = "", fails: bool = False) -> str:
    """What ``python -m auth_service.operators`` says; it must succeed, or fail."""
    urls = {name: cluster.urls[name] for name in ("DATABASE_URL", "REDIS_URL")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_service.operators", *arguments,
        env={**os.environ, **urls, "REDIS_PREFIX": f"{Home(cluster.data).instance}:"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate(typed.encode())
    assert (process.returncode != 0) is fails, said.decode()
    return said.decode()
