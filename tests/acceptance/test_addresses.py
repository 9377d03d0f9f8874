"""Address lists of groups, through the whole cluster, with and without a proxy in front.

All of 127.0.0.0/8 is this machine: clients differ by the address they connect from. The cluster
believes X-Forwarded-For of PROXY and of nobody else (TRUSTED_PROXIES in conftest.py).
"""

from collections.abc import AsyncGenerator
from dataclasses import replace

import aiohttp
import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import PROXY, Api

pytestmark = pytest.mark.xdist_group("acceptance")

LISTED, STRANGER, BEHIND = "127.0.0.7", "127.0.0.8", "203.0.113.9"


@pytest_asyncio.fixture(loop_scope="session")
async def sessions() -> AsyncGenerator[dict[str, aiohttp.ClientSession]]:
    """Clients by the address they connect from."""
    made = {
        address: aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0)))
        for address in (LISTED, STRANGER, PROXY)
    }
    yield made
    for each in made.values():
        await each.close()


async def member_of(api: Api, unique: str, listed: str) -> Api:
    group = await make_group(api, f"Listed {unique}", {})
    reply = await api.patch(f"groups/{group}", {"restrict_to_ip_whitelist": listed})
    assert reply.data["restrict_to_ip_whitelist"] == listed
    caller, _ = await make_user(api, f"listed-{unique}", group)
    return caller


async def test_a_group_is_let_in_from_the_addresses_of_its_list(
    api: Api, sessions: dict[str, aiohttp.ClientSession], unique: str
) -> None:
    member = await member_of(api, unique, f"10.0.0.0/8, {LISTED}")
    for version in (member, member.v1()):
        inside = replace(version, session=sessions[LISTED])
        outside = replace(version, session=sessions[STRANGER])
        assert (await inside.get("users/me")).status == 200
        refused = await outside.get("users/me")
        assert refused.status == 401
        assert (await outside.get("tables")).status == 401, "whatever is asked for"
        unknown = await outside.as_("no token at all").get("users/me")
        assert refused.json["error"]["message"] == unknown.json["error"]["message"]
    assert (await replace(api, session=sessions[STRANGER]).get("users/me")).status == 200


async def test_a_changed_list_holds_from_the_reply_on(
    api: Api, sessions: dict[str, aiohttp.ClientSession], unique: str
) -> None:
    member = replace(await member_of(api, unique, LISTED), session=sessions[LISTED])
    group = (await member.get("users/me")).data["group"]["data"]["id"]
    for listed, status in ((STRANGER, 401), ("127.0.0.0/29", 200), ("nonsense", 401), ("", 200)):
        reply = await api.patch(f"groups/{group}", {"restrict_to_ip_whitelist": listed})
        assert reply.status == 200
        assert (await member.get("users/me")).status == status, listed


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        (PROXY, BEHIND, 200),
        (PROXY, f"6.6.6.6, {BEHIND}", 200),
        (PROXY, f"{BEHIND}, 6.6.6.6", 401),  # what the client wrote comes first
        (PROXY, f"{BEHIND}, {PROXY}", 200),  # two proxies one behind the other
        (PROXY, "nonsense", 401),
        (PROXY, None, 401),
        (STRANGER, BEHIND, 401),
        (STRANGER, f"{BEHIND}, {PROXY}", 401),
    ],
)
async def test_a_forwarded_address_is_believed_of_the_proxies_only(
    api: Api, sessions: dict[str, aiohttp.ClientSession], unique: str,
    peer: str, forwarded: str | None, status: int,
) -> None:  # fmt: skip
    member = replace(await member_of(api, unique, BEHIND), session=sessions[peer])
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert (await member.get("users/me", headers=headers)).status == status
    for name in ("Forwarded", "X-Real-IP", "X-Directoire-Client-Address", "X-Client-IP"):
        value = f"for={BEHIND}" if name == "Forwarded" else BEHIND
        assert (await member.get("users/me", headers={name: value})).status == 401, name
