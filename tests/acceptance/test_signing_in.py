"""Signing in, forgotten passwords and invitations, through the gateway and a mail server."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import pytest
from mail_sink import Mailbox
from people import make_group
from wire import Api, Reply

from local_cluster.cluster import Cluster
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")

OLD, NEW = "correct horse battery staple", "another phrase, long enough"
TOKEN = re.compile(r"^([A-Za-z0-9_-]{43})\r?$", re.MULTILINE)


async def signs_in(api: Api, email: str, password: str) -> int:
    body = {"email": email, "password": password}
    return (await api.as_(None).post("auth/login", body)).status


async def token_mailed_to(mailbox: Mailbox, email: str, number: int = 1) -> str:
    """What stands in the newest of so many mails."""

    async def came() -> bool:
        return len(mailbox.to(email)) >= number

    await eventually(came, what=f"mail {number} to {email}")
    found = TOKEN.search(str(mailbox.to(email)[-1].get_content()))
    assert found is not None
    return found[1]


async def links_of(cluster: Cluster, email: str) -> list[asyncpg.Record]:
    """What is stored of the tokens mailed to an address: ``row`` as text, ``left`` of its life."""
    connection = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    try:
        return await connection.fetch(
            "SELECT links::text AS row, expires_at - now() AS left FROM directoire.links"
            " JOIN directus_users users ON users.id = user_id WHERE email = $1", email,
        )  # fmt: skip
    finally:
        await connection.close()


async def reset(api: Api, token: str, password: str) -> Reply:
    body = {"token": token, "password": password}
    return await api.as_(None).post("auth/reset-password", body)


async def test_a_forgotten_password_is_set_by_a_mailed_token_once(
    api: Api, cluster: Cluster, mailbox: Mailbox, unique: str
) -> None:
    email, anybody = f"{unique}@example.com", api.as_(None)
    group = await make_group(api, f"Readers {unique}", {})
    assert (
        await api.post("users", {"email": email, "group": group, "password": OLD})
    ).status == 200
    session = (await anybody.post("auth/login", {"email": email, "password": OLD})).data
    asked = await anybody.post("auth/forgot-password", {"email": email})
    assert asked.json == {"success": True}
    first = await token_mailed_to(mailbox, email)
    await anybody.post("auth/forgot-password", {"email": email.upper()})
    token = await token_mailed_to(mailbox, email, 2)
    assert (await reset(api, first, NEW)).status == 400, "the newest one counts"
    assert await signs_in(api, email, OLD) == 200, "a request changes nothing"
    for easy in ("too short", "letmein 1234567890123", f"{unique} 2024 {unique} 2024"):
        refused = await reset(api, token, easy)
        assert (refused.status, refused.json["error"]["field"]) == (422, "password"), easy
    assert await signs_in(api, email, OLD) == 200

    (link,) = await links_of(cluster, email)
    assert token not in link["row"], "hashed"
    assert 3500 < link["left"].total_seconds() <= 3600

    both = await asyncio.gather(reset(api, token, NEW), reset(api, token, NEW))
    assert sorted(reply.status for reply in both) == [200, 400], "once, whoever is first"
    assert await signs_in(api, email, OLD) == 401
    assert await signs_in(api, email, NEW) == 200
    former = api.as_(session["access_token"])
    assert (await former.get("users/me")).status == 401, "what signed in before has ended"


CHANGED_BY: Final = {
    "himself": ("PUT", "users/me", {"password": NEW}),
    "an administrator": ("PATCH", "users/{user}", {"password": NEW}),
    "an administrator, among others": (
        "PUT", "tables/directus_users/rows", {"rows": [{"id": "{user}", "password": NEW}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("by", CHANGED_BY)
async def test_another_password_ends_what_was_signed_in_with_the_former_one(
    api: Api, cluster: Cluster, mailbox: Mailbox, unique: str, by: str
) -> None:
    email, anybody = f"{unique}@example.com", api.as_(None)
    group = await make_group(api, f"Writers {unique}", {})
    body = {"email": email, "group": group, "password": OLD}
    user = (await api.post("users", body)).data["id"]
    signing_in = {"email": email, "password": OLD}
    mine, other, third = [(await anybody.post("auth/login", signing_in)).data for _ in range(3)]
    requested = (await anybody.post("auth/request-token", signing_in)).data["token"]
    named = (await api.post(f"users/{user}/tokens", {"name": "reports"})).data["token"]
    await anybody.post("auth/forgot-password", {"email": email})
    link = await token_mailed_to(mailbox, email)
    gateways = [api.at(url) for url in cluster.gateway_urls]
    assert len(gateways) == 2
    tokens = {
        "of the session in use": mine["access_token"],
        "of another session": other["access_token"],
        "of auth/request-token": requested,
        "by name": named,
    }

    async def statuses(gateway: Api) -> dict[str, int]:
        return {
            kind: (await gateway.as_(token).get("users/me")).status
            for kind, token in tokens.items()
        }

    for gateway in gateways * 2:
        assert set((await statuses(gateway)).values()) == {200}

    method, path, said = CHANGED_BY[by]
    caller = api.as_(mine["access_token"]) if by == "himself" else api
    said = json.loads(json.dumps(said).replace("{user}", str(user)))
    reply = await caller.send(method, path.format(user=user), json=said)
    assert reply.status == 200, reply.json

    spared = 200 if by == "himself" else 401
    for gateway in gateways:
        assert await statuses(gateway) == {
            "of the session in use": spared,
            "of another session": 401,
            "of auth/request-token": 401,
            "by name": 200,
        }
    for gateway, session, status in (
        (gateways[0], other, 401), (gateways[1], third, 401), (gateways[1], mine, spared),
    ):  # fmt: skip
        refreshing = {"refresh_token": session["refresh_token"]}
        assert (await gateway.as_(None).post("auth/refresh", refreshing)).status == status
    assert (await reset(api, link, f"{NEW} again")).status == 400
    assert await signs_in(api, email, OLD) == 401
    assert await signs_in(api, email, NEW) == 200


async def test_whoever_is_invited_sets_a_password_by_mail(
    api: Api, cluster: Cluster, mailbox: Mailbox, unique: str
) -> None:
    email = f"invited-{unique}@example.com"
    group = await make_group(api, f"Guests {unique}", {})
    assert (await api.post("users/invite", {"email": email, "group": group})).status == 200

    token = await token_mailed_to(mailbox, email)
    assert await signs_in(api, email, NEW) == 401
    assert (await reset(api, token, f"{email} 2024")).status == 422
    (link,) = await links_of(cluster, email)
    assert token not in link["row"], "hashed"
    assert 3000 < link["left"].total_seconds() <= 3600

    both = await asyncio.gather(reset(api, token, NEW), reset(api, token, NEW))
    assert sorted(reply.status for reply in both) == [200, 400], "once, whoever is first"
    assert await signs_in(api, email, NEW) == 200
    (user,) = (await api.get(f"users?filters[email]={email}")).data
    assert user["invite_accepted"] == 1

    again = await api.post("users/invite", {"email": email, "group": group})
    assert (again.status, len(again.data)) == (200, 1), "as for any address"
    last = f"last-{unique}@example.com"
    await api.post("users/invite", {"email": last, "group": group})
    await token_mailed_to(mailbox, last)
    assert len(mailbox.to(email)) == 1, "and no mail to who has an account"
    assert await signs_in(api, email, NEW) == 200
    stranger = api.as_("no token at all")
    assert (await stranger.post("users/invite", {"email": "x@example.com"})).status == 401


def _said(reply: Reply) -> tuple[int, Any, Mapping[str, str]]:
    """An answer without what tells one request from another."""
    body = dict(reply.json)
    if isinstance(body.get("error"), dict):
        body["error"] = {k: v for k, v in body["error"].items() if k != "request_id"}
    its_own = {"date", "x-request-id"}
    headers = {name: v for name, v in reply.headers.items() if name.lower() not in its_own}
    return reply.status, body, headers


@pytest.mark.parametrize("route", ["auth/request-token", "auth/login", "auth/forgot-password"])
async def test_known_unknown_and_disabled_addresses_get_one_answer(
    api: Api, mailbox: Mailbox, unique: str, route: str
) -> None:
    known, disabled = f"known-{unique}@example.com", f"disabled-{unique}@example.com"
    await api.post("users", {"email": known, "password": OLD, "group": 1})
    user = (await api.post("users", {"email": disabled, "password": OLD, "group": 1})).data["id"]
    assert (await api.put(f"users/{user}", {"active": 2})).status == 200
    anybody = api.as_(None)
    said = [
        _said(await anybody.post(route, {"email": email, "password": "a wrong password"}))
        for email in (known, disabled, f"nobody-{unique}@example.com")
    ]
    assert said[0] == said[1] == said[2]
    assert said[0][0] == (200 if "forgot" in route else 401)
