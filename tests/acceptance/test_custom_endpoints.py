"""A service of the operator's own, the example of examples/, behind the gateway."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import jwt
import pytest
import pytest_asyncio
from wire import Api

from local_cluster.cluster import Cluster
from local_cluster.home import PRIVATE_KEY, PUBLIC_KEYS, Home
from shared.identity import IdentitySigner, Principal
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello.py"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hello(cluster: Cluster, api: Api, custom_port: int) -> AsyncGenerator[Api]:
    """The API, with the example running where CUSTOM_ROUTES says."""
    environment = {
        "IDENTITY_PUBLIC_KEYS": Home(cluster.data).secret(PUBLIC_KEYS),
        "PORT": str(custom_port),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, str(EXAMPLE), env=environment)

    async def answers() -> bool:
        gateways = [api.at(url) for url in cluster.gateway_urls]
        replies = [await gateway.get("custom/hello/greeting") for gateway in gateways]
        return {reply.status for reply in replies} == {200}

    try:
        await eventually(answers, within=30, what="the example")
        yield api
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_the_example_knows_who_asks(hello: Api, version: str) -> None:
    caller = hello if version == "1.1" else hello.v1()
    reply = await caller.get("custom/hello/greeting/?name=Ann")
    assert reply.json == {"data": {"greeting": "Hello, Ann!", "group": 1}}
    reply = await caller.post("custom/hello/greeting", {"name": "Bob"})
    assert reply.json["data"]["greeting"] == "Hello, Bob!"


async def test_without_a_token_nobody_gets_through(hello: Api) -> None:
    assert (await hello.as_(None).get("custom/hello/greeting")).status == 401
    assert (await hello.as_("wrong-token").get("custom/hello/greeting")).status == 401


async def test_names_nobody_configured_lead_nowhere(hello: Api) -> None:
    assert (await hello.get("custom/other/greeting")).status == 404
    reply = await hello.get("custom/hello/nothing")
    assert (reply.status, reply.json["success"]) == (404, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "inside"},
        {"aud": "custom:other"},
        {"iss": "somebody"},
        {"exp": 1 << 40},
        {"exp": None},
    ],
)
async def test_an_identity_that_no_gateway_made_for_this_service_is_refused(
    hello: Api, cluster: Cluster, custom_port: int, changes: dict[str, object]
) -> None:
    key = Home(cluster.data).secret(PRIVATE_KEY)
    good = IdentitySigner(key).sign(Principal(user=1, group=1), "custom:hello")
    claims = jwt.decode(good, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    key_id = jwt.get_unverified_header(good)["kid"]
    forged = jwt.encode(claims, key, "EdDSA", headers={"kid": key_id})
    straight = hello.at(f"http://127.0.0.1:{custom_port}").as_(None)

    async def status(identity: str) -> int:
        headers = {"X-Directoire-Identity": identity}
        return (await straight.get("custom/hello/greeting", headers=headers)).status

    assert await status(good) == 200
    assert await status(forged) == 401
    assert (await straight.get("custom/hello/greeting")).status == 401


async def test_what_a_client_says_of_itself_ends_at_the_gateway(hello: Api) -> None:
    reply = await hello.get("custom/hello/greeting", headers={"X-Directoire-Identity": "forged"})
    assert reply.json["data"]["group"] == 1
