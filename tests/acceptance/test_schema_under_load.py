"""Columns come, change and go while the table is read and written: only the answers tell.

Several replicas; no fault of ours, no stale column after the reply, and waits that end. The long
form is `make prove-schema`.
"""

import pytest
from wire import Api

from local_cluster.cluster import Cluster
from prove.schema import Moving, prove

pytestmark = pytest.mark.xdist_group("acceptance")


async def test_columns_change_under_load(api: Api, cluster: Cluster, unique: str) -> None:
    table = await api.make_table(f"moving_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"id": 1, "n": 1, "active": 1})
    verdict = await prove(Moving(cluster.gateway_urls, cluster.token, table), 2.0, every=0.3)
    assert verdict.wrong == [], str(verdict)
    assert verdict.changes >= 3
    assert verdict.requests > 100
