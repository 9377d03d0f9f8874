"""Whatever is asked, by whatever verb, parameter and body: no fault of ours, and a reason if no.

The long form is `make prove-fuzz`.
"""

import asyncio
import time

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from wire import Api

from local_cluster.cluster import Cluster
from prove.hostile import TABLE, Fuzzed, Hostile, fault, message

pytestmark = pytest.mark.xdist_group("clients")

SECONDS = 20.0
TOGETHER = 32  # requests at once


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fuzzed(session: aiohttp.ClientSession, cluster: Cluster) -> Fuzzed:
    fuzzed = Fuzzed(session, cluster.base_url, cluster.token)
    await fuzzed.prepare()
    return fuzzed


async def test_no_request_meets_a_fault_of_ours(fuzzed: Fuzzed) -> None:
    loop = asyncio.get_running_loop()
    until = time.monotonic() + SECONDS

    @settings(
        max_examples=150,
        derandomize=True,  # make prove-fuzz asks something new each time
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.integers(min_value=0, max_value=2**32))
    def ask(seed: int) -> None:
        if time.monotonic() < until:
            requests = Hostile(seed).requests(TOGETHER)
            found = asyncio.run_coroutine_threadsafe(fuzzed.ask(requests), loop).result()
            assert found == [], f"with seed {seed}"

    await asyncio.to_thread(ask)
    asked = sum(fuzzed.statuses.values())
    assert asked > 1000
    assert fuzzed.statuses[200] > asked / 20, "hardly anything was understood"


@pytest.mark.parametrize(
    ("json", "status"),
    [
        ({"price": 1e308}, 422),
        ({"price": "9" * 40}, 422),
        ({"price": "123456789.123456789012345678901234567890"}, 422),
        ({"price": "12345678.005"}, 200),
    ],
)
async def test_a_number_out_of_range_is_refused(
    api: Api, unique: str, json: object, status: int
) -> None:
    table = await api.make_table(f"prices_{unique}", price="DECIMAL:10,2")
    assert (await api.post(f"tables/{table}/rows", json)).status == status


async def test_a_body_that_is_not_in_its_encoding_is_refused_and_harms_nobody_else(
    fuzzed: Fuzzed, api: Api
) -> None:
    broken = {"Content-Encoding": "gzip"}
    row = {"title": "x"}
    for path in (f"tables/{TABLE}/rows", "nowhere"):
        for _ in range(3):
            reply = await api.post(path, row, headers=broken)
            assert reply.status in {400, 404}, reply.json
            assert (await api.post(f"tables/{TABLE}/rows", row)).status == 200


async def test_an_address_the_gateway_takes_is_taken_by_the_services(
    fuzzed: Fuzzed, api: Api
) -> None:
    ids = ",".join(["7"] * 6000)
    assert (await api.get(f"tables/{TABLE}/rows?ids={ids}")).status == 200
    reply = await api.get(f"tables/{TABLE}/rows?ids={ids},{ids}")
    assert (reply.status, reply.json["success"]) == (431, False)


@pytest.mark.parametrize(
    ("status", "content_type", "content"),
    [
        (500, "application/json", b'{"success":false,"error":{"message":"x"}}'),
        (400, "text/plain", b"no"),
        (400, "application/json", b'{"success":false}'),
        (200, "application/json", b'{"a":"Traceback (most recent call last)"}'),
    ],
)
def test_a_fault_is_seen(status: int, content_type: str, content: bytes) -> None:
    assert fault(status, content_type, content, "GET") is not None


def test_every_shape_of_a_refusal_has_a_message() -> None:
    assert message({"success": False, "error": {"message": "a"}}) == "a"
    assert message({"success": False, "message": "b"}) == "b"
    assert message({"errors": [{"message": "c"}]}) == "c"
    assert message({"type": "about:blank", "detail": "d"}) == "d"
    assert message({"success": False}) is None
