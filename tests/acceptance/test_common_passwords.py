"""What is tried first is refused as a password, on every road that sets one. Promise S8.

Every tenth of the 3,000 most common ones; ``shared/tests/test_guessable.py`` has them all.
"""

import asyncio

import pytest
from people import make_group, make_user
from wire import Api, Reply
from zxcvbn.frequency_lists import FREQUENCY_LISTS

pytestmark = pytest.mark.xdist_group("acceptance")

GOOD = "correct horse battery staple"


def assert_told_what_would_do(reply: Reply) -> None:
    assert (reply.status, reply.json["error"]["field"]) == (422, "password"), reply.json
    assert "Four words" in reply.json["error"]["message"]


async def test_common_passwords_are_refused_however_they_are_made_longer(
    api: Api, unique: str
) -> None:
    email = f"common-{unique}@example.com"
    longer = [
        f"{word.capitalize()}1234567890123" for word in FREQUENCY_LISTS["passwords"][:3000:10]
    ]
    busy = asyncio.Semaphore(8)

    async def ask(password: str) -> Reply:
        async with busy:
            return await api.post("users", {"email": email, "group": 1, "password": password})

    for reply in await asyncio.gather(*(ask(password) for password in longer)):
        assert_told_what_would_do(reply)
    listed = await api.get(f"users?filters[email][eq]={email}")
    assert listed.data == [], "and nobody was made"


@pytest.mark.parametrize("easy", ["monkey123monkey123", "{name} {name} 2024", "directoire-2024-x"])
async def test_every_road_to_a_password_refuses_an_easy_one(
    api: Api, unique: str, easy: str
) -> None:
    name = f"ada{unique}"
    group = await make_group(api, f"Easy {name}", {})
    own, user = await make_user(api, name, group, first_name="Ada", password=GOOD)
    body = {"password": easy.format(name=name)}
    for caller, method, path in (
        (own, "PUT", "users/me"),
        (own, "PATCH", "users/me"),
        (own, "PUT", f"tables/directus_users/rows/{user}"),
        (api, "PUT", f"users/{user}"),
        (api, "PATCH", f"tables/directus_users/rows/{user}"),
        (api.v1(), "PUT", f"users/{user}"),
    ):
        reply = await caller.send(method, path, json=body)
        error = reply.json["error"]
        assert (reply.status, error["field"]) == (422, "password"), (method, path, reply.json)
    new = {"email": f"{name}@example.org", "group": group, **body}
    for path in ("users", "tables/directus_users/rows"):
        assert_told_what_would_do(await api.post(path, new))
    bulk = {"rows": [{**new, "password": GOOD}, {**new, "email": f"{name}@example.net"}]}
    assert (await api.post("tables/directus_users/rows/bulk", bulk)).status == 422
    signing_in = {"email": f"{name}@example.com", "password": GOOD}
    assert (await api.as_(None).post("auth/login", signing_in)).status == 200, "the former is good"
    assert (await own.put("users/me", {"password": f"{GOOD} {unique}"})).status == 200
