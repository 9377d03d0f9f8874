"""The commands of operators, run as an operator runs them, against a cluster under load."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from office import Office
from operator_commands import operate
from wire import Api

from local_cluster.home import PRIVATE_KEY, PUBLIC_KEYS, Home
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("at-once")
PASSWORD = "a password nobody guesses"


def inodes(files: Iterable[str]) -> list[int]:
    return [Path(path).stat().st_ino for path in files]


async def signs_in(api: Api, email: str, password: str) -> int:
    body = {"email": email, "password": password}
    return (await api.as_(None).post("auth/login", body)).status


async def test_a_lost_administrator_password_is_set_anew(office: Office, unique: str) -> None:
    email = f"{unique}@example.com"
    forgotten = "the one that is forgotten"
    body = {"email": email, "group": 1, "password": forgotten}
    assert (await office.admin.post("users", body)).status == 200
    signing_in = {"email": email, "password": forgotten}
    answer = await office.admin.as_(None).post("auth/request-token", signing_in)
    former = office.admin.as_(answer.data["token"])
    assert (await former.get("users/me")).status == 200
    said = await operate(office.cluster, "set-password", email, typed=f"{email} 2024\n", fails=True)
    assert "too easy to guess" in said
    said = await operate(office.cluster, "set-password", email, typed=f"{PASSWORD}\n")
    assert email in said
    assert PASSWORD not in said
    assert (await former.get("users/me")).status == 401, "what signed in before has ended"
    assert await signs_in(office.admin, email, forgotten) == 401
    assert await signs_in(office.admin, email, PASSWORD) == 200


async def test_an_account_under_attack_is_unlocked(office: Office, unique: str) -> None:
    email = f"{unique}@example.com"
    body = {"email": email, "group": 1, "password": PASSWORD}
    assert (await office.admin.post("users", body)).status == 200
    found = await asyncio.gather(*(signs_in(office.admin, email, f"guess {n}") for n in range(20)))
    assert Counter(found)[429] > 0
    assert await signs_in(office.admin, email, PASSWORD) == 429
    await operate(office.cluster, "unlock", email)
    assert await signs_in(office.admin, email, PASSWORD) == 200


async def test_keys_turn_under_load_and_nobody_is_refused(office: Office) -> None:
    home = Home(office.cluster.data)
    files = (str(home.secret_file(PRIVATE_KEY)), str(home.secret_file(PUBLIC_KEYS)))
    former = {path: home.secret(path) for path in (PRIVATE_KEY, PUBLIC_KEYS)}
    mounted = inodes(files)
    gateways = office.everywhere(office.admin)
    paths = ("tables", "users?limit=1", "settings", "files?limit=1", "activity?limit=1")
    statuses: Counter[int] = Counter()
    turning = True

    async def load(caller: Api) -> None:
        number = 0
        while turning:
            number += 1  # a question never asked before: no gateway answers it from memory
            for path in paths:
                reply = await caller.get(f"{path}{'&' if '?' in path else '?'}n={number}")
                statuses[reply.status] += 1

    async with asyncio.TaskGroup() as tasks:
        for caller in gateways:
            tasks.create_task(load(caller))
        await operate(office.cluster, "rotate-identity", *files, "--overlap", "2")
        before = statuses[200]

        async def served() -> bool:
            return statuses[200] > before + 50

        await eventually(served)
        turning = False
    assert set(statuses) == {200}, statuses
    assert home.secret(PRIVATE_KEY) != former[PRIVATE_KEY]
    assert inodes(files) == mounted, "a container that has one of them mounted sees it"
    (old,) = json.loads(former[PUBLIC_KEYS])["keys"]
    (new,) = json.loads(home.secret(PUBLIC_KEYS))["keys"]
    assert new["kid"] != old["kid"]


async def test_access_tokens_outlive_the_key_they_were_signed_with(
    office: Office, unique: str
) -> None:
    email = f"{unique}@example.com"
    body = {"email": email, "group": 1, "password": PASSWORD}
    assert (await office.admin.post("users", body)).status == 200
    anybody = office.admin.as_(None)
    session = (await anybody.post("auth/login", {"email": email, "password": PASSWORD})).data
    await operate(office.cluster, "rotate-signing-keys")
    caller = office.admin.as_(session["access_token"])
    assert (await caller.get("users/me")).status == 200
    renewed = await anybody.post("auth/refresh", {"refresh_token": session["refresh_token"]})
    assert (await office.admin.as_(renewed.data["access_token"]).get("users/me")).status == 200
