"""Columns come, change and go while the table is read and written: only the answers tell.

Several replicas; no fault of ours, no stale column after the reply, and waits that end.
"""

import asyncio
import itertools
import time

import pytest
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

ROUNDS = 3  # of an added, an altered and a dropped column each
EVERY = 0.3  # seconds between changes
RATE = 200  # requests a second
LONGEST = 5.0  # seconds: the lock's budget, and room for a busy machine


async def load(
    api: Api, urls: list[str], table: str, slow: list[float], stop: asyncio.Event
) -> None:
    """One of RATE / 10 clients of ten requests a second; raises for any answer but 200."""
    for number in itertools.count():
        if stop.is_set():
            return
        at = api.at(urls[number % len(urls)])
        begun = time.monotonic()
        path = f"tables/{table}/rows"
        if number % 5 == 0:
            reply = await at.put(f"{path}/1", {"n": number})
        else:
            reply = await at.get(f"{path}/1" if number % 2 else path)
        assert reply.status == 200, (reply.status, reply.json)
        slow.append(time.monotonic() - begun)
        await asyncio.sleep(max(0.0, 0.1 - slow[-1]))


async def test_columns_change_under_load(api: Api, cluster: Cluster, unique: str) -> None:
    table = await api.make_table(f"moving_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"n": 1, "active": 1})
    urls = cluster.gateway_urls
    stop, times = asyncio.Event(), list[float]()
    clients = [asyncio.create_task(load(api, urls, table, times, stop)) for _ in range(RATE // 10)]

    async def shows(value: object) -> None:
        """Any gateway, any replica, at once."""
        for _ in range(3):
            for url in urls:
                row = (await api.at(url).get(f"tables/{table}/rows/1")).data
                assert row.get("more", "absent") == value

    try:
        for number in range(ROUNDS):
            columns = f"tables/{table}/columns"
            body = {"column_name": "more", "data_type": "INT"}
            assert (await api.post(columns, body)).status == 200
            await shows(None)
            assert (await api.put(f"tables/{table}/rows/1", {"more": number})).status == 200
            await shows(number)
            await asyncio.sleep(EVERY)
            altered = {"data_type": "VARCHAR", "char_length": 20}
            assert (await api.put(f"{columns}/more", altered)).status == 200
            await shows(str(number))
            await asyncio.sleep(EVERY)
            assert (await api.delete(f"{columns}/more")).json.get("success") is not False
            await shows("absent")
            await asyncio.sleep(EVERY)
    finally:
        stop.set()
        await asyncio.gather(*clients)
    assert len(times) > 100
    assert max(times) < LONGEST
