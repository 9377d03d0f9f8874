"""The last administrator stays, whoever races; hashing stands in nobody's way, known or not.

``RACES`` makes it long. Source: promises S8, S9.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from typing import Any, Final

import bcrypt
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from auth_service.app import make_app
from auth_service.operations import links, passwords
from auth_service.settings import Settings
from shared import passwords as hashing
from shared.database import Database
from shared.identity import Principal
from shared.mail import queue_mail
from shared.sql import param, raw
from shared.testing import Client, environment, serving

RACES: Final = int(os.environ.get("RACES", "12"))
PASSWORD: Final = "correct horse battery staple"
NOW: Final = "$argon2id$v=19$m=19456,t=2,p=1"
OLD_KINDS: Final = ("$2b$05", "$argon2id$v=19$m=8192,t=1,p=1")
OTHER_HASHES: Final = {  # by who has them: two of bcrypt, which cost the same, and an old Argon2
    "php@example.com": "$2y$05$" + bcrypt.hashpw(b"x" * 15, bcrypt.gensalt(5)).decode()[7:],
    "six@example.com": bcrypt.hashpw(b"y" * 15, bcrypt.gensalt(5)).decode(),
    "old@example.com": PasswordHasher(1, 8192, 1).hash("z" * 15),
}
WAYS: Final[tuple[tuple[str, Any], ...]] = (
    ("DELETE", None),
    ("PUT", {"active": 2}),
    ("PUT", {"group": 2}),
)


@pytest_asyncio.fixture(loop_scope="session")
async def service(database_url: str, redis_prefix: str) -> AsyncGenerator[Client]:
    async with serving(
        make_app(Settings.model_validate(environment(database_url, redis_prefix)))
    ) as c:
        yield c


@pytest_asyncio.fixture(loop_scope="session")
async def two(database: Database) -> tuple[Principal, Principal]:
    """Two administrators, and nobody else."""
    await database.execute(raw("INSERT INTO directus_groups (id, name) VALUES (2, 'readers')"))
    await database.execute(
        raw("INSERT INTO directus_users (id, email, \"group\") VALUES (1, 'a@example.com', 1),")
        + raw(" (2, 'b@example.com', 1)")
    )
    return Principal(user=1, group=1), Principal(user=2, group=1)


@pytest.mark.timeout(3600)
async def test_two_administrators_that_remove_each_other_leave_one(
    service: Client, database: Database, two: tuple[Principal, Principal]
) -> None:
    for race in range(RACES):
        method, body = WAYS[race % len(WAYS)]
        await database.execute(raw('UPDATE directus_users SET active = 1, "group" = 1'))
        statuses = await asyncio.gather(
            *(
                service.as_(two[mine]).send(method, f"users/{two[other].user}", json=body)
                for mine, other in ((0, 1), (1, 0))
            )
        )
        left = await database.fetchval(
            raw('SELECT count(*) FROM directus_users WHERE active = 1 AND "group" = 1')
        )
        assert left == 1, statuses
        assert sorted(status for status, _ in statuses) == [200, 403]


async def test_a_token_that_two_use_at_once_is_good_once(
    service: Client, database: Database, two: tuple[Principal, Principal]
) -> None:
    await keep_password(database, 1)
    body = {"email": "a@example.com", "password": PASSWORD}
    for _ in range(RACES):
        async with service.http.post("/api/1.1/auth/login", json=body) as response:
            token = (await response.json())["data"]["refresh_token"]

        async def turn(token: str = token) -> int:
            sent = {"refresh_token": token}
            async with service.http.post("/api/1.1/auth/refresh", json=sent) as response:
                return response.status

        assert (await asyncio.gather(turn(), turn())).count(200) <= 1
        assert sorted(await asyncio.gather(turn(), turn())) == [401, 401], "spent"


async def keep_password(database: Database, user: int, password_hash: str = "") -> None:
    kept = password_hash or hashing.hash_password(PASSWORD)
    await database.execute(
        raw("INSERT INTO directoire.credentials (user_id, password_hash) VALUES (")
        + param(user) + raw(", ") + param(kept) + raw(")")
    )  # fmt: skip


async def test_sign_ins_never_stall_reads(
    service: Client, database: Database, two: tuple[Principal, Principal]
) -> None:
    await keep_password(database, 1)

    async def sign_in(number: int) -> int:
        body = {"email": f"{number}@example.com", "password": "a wrong password"}
        async with service.http.post("/api/1.1/auth/login", json=body) as response:
            return response.status

    waiting = [asyncio.create_task(sign_in(number)) for number in range(40)]
    await asyncio.sleep(0)
    for _ in range(5):
        assert (await service.get("users"))[0] == 200
    assert sum(not task.done() for task in waiting) > 20, "reads did not wait for them"
    assert set(await asyncio.gather(*waiting)) == {401}


def kind_of(password_hash: str) -> str:
    if password_hash.startswith(("$2b$", "$2y$")):
        return f"$2b${password_hash[4:6]}"
    return password_hash.rsplit("$", 2)[0]


@pytest.mark.parametrize("stored", [{}, OTHER_HASHES], ids=["of one kind", "of several kinds"])
@pytest.mark.parametrize(
    "email", ["a@example.com", "nobody@example.com", "disabled@example.com", *OTHER_HASHES]
)
async def test_any_address_costs_the_same_hashes_in_a_thread_and_the_same_statements(
    service: Client,
    database: Database,
    two: tuple[Principal, Principal],
    monkeypatch: pytest.MonkeyPatch,
    email: str,
    stored: dict[str, str],
) -> None:
    await keep_password(database, 1)
    for user, (other, password_hash) in enumerate(stored.items(), 3):
        await database.execute(
            raw('INSERT INTO directus_users (id, email, "group") VALUES (')
            + param(user) + raw(", ") + param(other) + raw(", 1)")
        )  # fmt: skip
        await keep_password(database, user, password_hash)
    await database.execute(
        raw("UPDATE directus_users SET email = 'disabled@example.com', active = 2 WHERE id = 2")
    )
    await keep_password(database, 2)
    checked: list[tuple[str, str]] = []
    real = passwords.verify_password

    def verify(password_hash: str, password: str) -> bool:
        checked.append((kind_of(password_hash), threading.current_thread().name.partition("_")[0]))
        return real(password_hash, password)

    monkeypatch.setattr(passwords, "verify_password", verify)
    said: list[str] = []
    for name in ("fetch", "fetchrow", "fetchval", "execute"):
        _note(monkeypatch, name, said)
    body = {"email": email, "password": "a wrong password"}
    async with service.http.post("/api/1.1/auth/login", json=body) as response:
        assert response.status == 401
    kinds = {NOW, *(OLD_KINDS if stored else ())}
    assert sorted(checked) == [(kind, "password") for kind in sorted(kinds)]
    own = [each for each in said if "directoire.relay" not in each]  # the lease's, now and then
    assert len(own) == 3, "the account, the count of guesses, the entry"


@pytest.mark.parametrize("email", ["a@example.com", "nobody@example.com"])
async def test_a_forgotten_password_takes_the_same_steps_for_any_address(
    service: Client,
    two: tuple[Principal, Principal],
    monkeypatch: pytest.MonkeyPatch,
    email: str,
) -> None:
    rendered: list[str] = []
    queued: list[str] = []
    real = links.render

    def render(package: str, template: str, **values: Any) -> str:
        rendered.append(template)
        return real(package, template, **values)

    async def queue(change: Any, to: str, subject: str, text: str) -> None:
        queued.append(to)
        await queue_mail(change, to, subject, text)

    monkeypatch.setattr(links, "render", render)
    monkeypatch.setattr(links, "queue_mail", queue)
    clock = asyncio.get_running_loop().time
    begun = clock()
    async with service.http.post(
        "/api/1.1/auth/forgot-password", json={"email": email}
    ) as response:
        assert (response.status, await response.json()) == (200, {"success": True})
    assert clock() - begun >= links.ANSWERED_AFTER, "not when the work happens to be done"
    assert rendered == ["reset.txt"]
    assert queued == ([email] if email.startswith("a@") else [])


def _note(monkeypatch: pytest.MonkeyPatch, name: str, said: list[str]) -> None:
    real = getattr(Database, name)

    async def noted(self: Database, sql: Any) -> Any:
        said.append(sql.render()[0])
        return await real(self, sql)

    monkeypatch.setattr(Database, name, noted)
