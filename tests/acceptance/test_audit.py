"""What happens to accounts and rights is recorded, and no secret of it is anywhere to be read.

One scene plays each deed once, on a user and a group of its own, while a queue on the bus listens.
Then the entries are looked at, and everything that keeps or tells something is searched for the
very passwords, tokens and hashes that were used: promises S16.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import aio_pika
import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from mail_sink import Mailbox
from operator_commands import operate
from people import make_group
from test_signing_in import token_mailed_to
from wire import Api, Reply

from local_cluster.cluster import Cluster
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")

Entry = Mapping[str, Any]  # id, table_name, row_id, action, user, request_id, before, after


@dataclass
class Scene:
    """A user and his group; ``secrets`` by what they are, ``entries`` by deed."""

    api: Api
    mailbox: Mailbox
    database: asyncpg.Connection
    cluster: Cluster
    email: str = ""
    user: int = 0
    group: int = 0
    privilege: int = 0
    token: int = 0
    session: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    entries: dict[str, list[Entry]] = field(default_factory=dict[str, list[Entry]])
    told: list[bytes] = field(default_factory=list[bytes])  # the bus, message by message

    @property
    def anybody(self) -> Api:
        return self.api.as_(None)

    def secret(self, name: str, value: str | None = None) -> str:
        """A secret to be used, and its digest, remembered; a new password without ``value``."""
        value = value or f"{name} {uuid4().hex}"
        self.secrets[name] = value
        self.secrets[f"digest of {name}"] = sha256(value.encode()).hexdigest()
        return value

    async def sign_in(self, route: str, password: str, email: str | None = None) -> Reply:
        body = {"email": email or self.email, "password": password}
        return await self.anybody.post(f"auth/{route}", body)

    async def note_hash(self, name: str) -> None:
        query = "SELECT password_hash FROM directoire.credentials WHERE user_id = $1"
        self.secrets[f"hash of {name}"] = await self.database.fetchval(query, self.user)


async def add_user(scene: Scene) -> None:
    scene.group = await make_group(scene.api, f"Audited {scene.email}", {})
    password = scene.secret("first password")
    body = {"email": scene.email, "group": scene.group, "password": password}
    scene.user = (await scene.api.post("users", body)).data["id"]
    await scene.note_hash("first password")


async def request_token(scene: Scene) -> None:
    reply = await scene.sign_in("request-token", scene.secrets["first password"])
    token = scene.secret("requested token", reply.data["token"])
    assert (await scene.anybody.get(f"users/me?access_token={token}")).status == 200
    assert (await scene.anybody.get(f"nowhere?access_token={token}")).status == 404


async def login(scene: Scene) -> None:
    scene.session = (await scene.sign_in("login", scene.secrets["first password"])).data
    scene.secret("access token", scene.session["access_token"])
    scene.secret("refresh token", scene.session["refresh_token"])


async def fail(scene: Scene) -> None:
    assert (await scene.sign_in("login", scene.secret("wrong password"))).status == 401


async def fail_as_nobody(scene: Scene) -> None:
    unknown = f"nobody-{scene.email}"
    reply = await scene.sign_in("login", scene.secret("password of nobody"), unknown)
    assert reply.status == 401


TRIED = """
INSERT INTO directoire.guesses (who, level, at) VALUES ($1, 50, now())
    ON CONFLICT (who) DO UPDATE SET level = 50, at = now()
"""


async def tried_lately(scene: Scene, email: str) -> None:
    """By strangers, and from here."""
    for place in ("", "\x00127.0.0.1"):
        who = sha256(f"account\x00{email}{place}".encode()).digest()
        await scene.database.execute(TRIED, who)


async def slow(scene: Scene) -> None:
    await tried_lately(scene, scene.email)
    reply = await scene.sign_in("login", scene.secret("slowed password"))
    assert reply.status == 429


async def slow_as_nobody(scene: Scene) -> None:
    unknown = f"nobody-{scene.email}"
    await tried_lately(scene, unknown)
    reply = await scene.sign_in("login", scene.secret("slowed password of nobody"), unknown)
    assert reply.status == 429


async def unlock(scene: Scene) -> None:
    await operate(scene.cluster, "unlock", scene.email)


async def ask_for_reset(scene: Scene) -> None:
    await scene.anybody.post("auth/forgot-password", {"email": scene.email})


async def ask_for_reset_of_nobody(scene: Scene) -> None:
    await scene.anybody.post("auth/forgot-password", {"email": f"nobody-{scene.email}"})


async def reset(scene: Scene) -> None:
    token = scene.secret("mailed token", await token_mailed_to(scene.mailbox, scene.email))
    body = {"token": token, "password": scene.secret("second password")}
    assert (await scene.anybody.post("auth/reset-password", body)).status == 200
    await scene.note_hash("second password")


async def set_password(scene: Scene) -> None:
    body = {"password": scene.secret("third password")}
    assert (await scene.api.put(f"users/{scene.user}", body)).status == 200
    await scene.note_hash("third password")


async def set_token(scene: Scene) -> None:
    body = {"token": scene.secret("static token", f"static-{uuid4().hex}")}
    assert (await scene.api.put(f"users/{scene.user}", body)).status == 200


async def make_token(scene: Scene) -> None:
    reply = await scene.api.post(f"users/{scene.user}/tokens", {"name": "audited"})
    scene.secret("named token", reply.data["token"])
    scene.token = reply.data["id"]


async def remove_token(scene: Scene) -> None:
    assert (await scene.api.delete(f"users/{scene.user}/tokens/{scene.token}")).status == 200


async def reuse_refresh_token(scene: Scene) -> None:
    session = (await scene.sign_in("login", scene.secrets["third password"])).data
    spent = {"refresh_token": scene.secret("spent refresh token", session["refresh_token"])}
    following = (await scene.anybody.post("auth/refresh", spent)).data
    scene.secret("next refresh token", following["refresh_token"])
    scene.secret("next access token", following["access_token"])
    assert (await scene.anybody.post("auth/refresh", spent)).status == 401


async def logout(scene: Scene) -> None:
    session = (await scene.sign_in("login", scene.secrets["third password"])).data
    caller = scene.api.as_(scene.secret("last access token", session["access_token"]))
    assert (await caller.post("auth/logout")).status == 200


async def add_privilege(scene: Scene) -> None:
    body = {"table_name": "directus_files", "group_id": scene.group, "allow_view": 1}
    scene.privilege = (await scene.api.post(f"privileges/{scene.group}", body)).data["id"]


async def change_privilege(scene: Scene) -> None:
    path = f"tables/directus_privileges/rows/{scene.privilege}"
    assert (await scene.api.put(path, {"allow_view": 2})).status == 200


async def remove_privilege(scene: Scene) -> None:
    path = f"tables/directus_privileges/rows/{scene.privilege}"
    assert (await scene.api.delete(path)).status == 200


async def change_group(scene: Scene) -> None:
    body = {"restrict_to_ip_whitelist": "127.0.0.0/8"}
    assert (await scene.api.patch(f"groups/{scene.group}", body)).status == 200


async def move_user(scene: Scene) -> None:
    assert (await scene.api.put(f"users/{scene.user}", {"group": 1})).status == 200


async def disable_user(scene: Scene) -> None:
    assert (await scene.api.put(f"users/{scene.user}", {"active": 2})).status == 200


@dataclass(frozen=True)
class Expected:
    """The entry that a deed must leave: what ``after`` holds, at the least."""

    deed: Callable[[Scene], Awaitable[None]]
    action: str
    after: Mapping[str, object]
    about: str | None = "user"  # which of the scene's things; None for none
    by: str = "admin"


USERS = "directus_users"
# In the order they are played.
DEEDS = (
    Expected(add_user, "ADD", {}),
    Expected(request_token, "LOGIN", {"by": "request-token"}, by="user"),
    Expected(login, "LOGIN", {"by": "login"}, by="user"),
    Expected(fail, "LOGIN", {"failed": True}, by="nobody"),
    Expected(fail_as_nobody, "LOGIN", {"failed": True}, None, by="nobody"),
    Expected(slow, "LOGIN", {"failed": True, "slowed": True}, by="nobody"),
    Expected(slow_as_nobody, "LOGIN", {"failed": True, "slowed": True}, None, by="nobody"),
    Expected(unlock, "UPDATE", {"sign_in": "unlocked"}, by="nobody"),
    Expected(ask_for_reset, "LOGIN", {"reset": "asked"}, by="nobody"),
    Expected(ask_for_reset_of_nobody, "LOGIN", {"reset": "asked"}, None, by="nobody"),
    Expected(reset, "UPDATE", {"password": "reset"}, by="user"),
    Expected(set_password, "UPDATE", {"password": "set"}),
    Expected(set_token, "UPDATE", {"token": "set"}),
    Expected(make_token, "UPDATE", {"name": "audited", "scope": ""}),
    Expected(remove_token, "UPDATE", {}),
    Expected(reuse_refresh_token, "UPDATE", {"sign_in": "refresh token reused"}, by="user"),
    Expected(logout, "UPDATE", {"sign_in": "logout"}, by="user"),
    Expected(add_privilege, "ADD", {"allow_view": 1}, "privilege"),
    Expected(change_privilege, "UPDATE", {"allow_view": 2}, "privilege"),
    Expected(remove_privilege, "DELETE", {}, "privilege"),
    Expected(change_group, "UPDATE", {"restrict_to_ip_whitelist": "127.0.0.0/8"}, "group"),
    Expected(move_user, "UPDATE", {"group": 1}),
    Expected(disable_user, "UPDATE", {"active": 2}),
)
TABLES = {
    "user": USERS,
    "privilege": "directus_privileges",
    "group": "directus_groups",
    None: USERS,
}
ENTRIES = "SELECT * FROM public.directus_activity WHERE id > $1 ORDER BY id"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(api: Api, cluster: Cluster, mailbox: Mailbox) -> AsyncGenerator[Scene]:
    """All deeds, done."""
    bus = await aio_pika.connect(cluster.urls["AMQP_URL"])
    database = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    try:
        channel = await bus.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(
            await channel.declare_exchange(cluster.exchange, "topic", durable=True), "#"
        )
        scene = Scene(
            api, mailbox, database, cluster, email=f"audited-{uuid4().hex[:8]}@example.com"
        )

        async def keep(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            scene.told.append(message.body)

        await queue.consume(keep, no_ack=True)
        for expected in DEEDS:
            last = await database.fetchval("SELECT max(id) FROM public.directus_activity") or 0
            await expected.deed(scene)
            scene.entries[expected.deed.__name__] = [
                dict(row) for row in await database.fetch(ENTRIES, last)
            ]

        async def told() -> bool:
            last = max(entry["id"] for entry in scene.entries["disable_user"])
            return any(json.loads(body)["id"] == str(last) for body in scene.told)

        await eventually(told, what="the last entry on the bus")
        yield scene
    finally:
        await database.close()
        await bus.close()


@pytest.mark.parametrize("expected", DEEDS, ids=lambda expected: expected.deed.__name__)
async def test_the_deed_is_recorded(scene: Scene, expected: Expected) -> None:
    about = None if expected.about is None else str(getattr(scene, expected.about))
    by = {"admin": 1, "user": scene.user, "nobody": 0}[expected.by]
    found = [
        entry
        for entry in scene.entries[expected.deed.__name__]
        if (entry["table_name"], entry["row_id"]) == (TABLES[expected.about], about)
        and (entry["action"], entry["user"]) == (expected.action, by)
        and expected.after.items() <= json.loads(entry["after"] or "{}").items()
    ]
    assert found, scene.entries[expected.deed.__name__]
    assert all(entry["request_id"] for entry in found)
    if by == 1:
        query = f"activity?filters[id]={found[0]['id']}"
        (shown,) = (await scene.api.get(query)).data
        assert (shown["table_name"], shown["action"]) == (TABLES[expected.about], expected.action)


def secrets_in(scene: Scene, text: str) -> Iterator[str]:
    """Names of the scene's secrets that a text holds, as they are or as JSON writes them."""
    for name, value in scene.secrets.items():
        if value in text or json.dumps(value)[1:-1] in text:
            yield name


def test_the_search_finds_what_is_there(scene: Scene) -> None:
    assert len(scene.secrets) > 25
    text = json.dumps(list(scene.secrets.values()))
    assert set(secrets_in(scene, text)) == set(scene.secrets)


async def test_no_entry_holds_a_secret_for_whoever_asks(scene: Scene) -> None:
    stored = json.dumps([entry for found in scene.entries.values() for entry in found], default=str)
    assert scene.email in stored
    assert not list(secrets_in(scene, stored))
    number = sum(map(len, scene.entries.values()))
    assert number >= len(DEEDS)
    paths = (
        f"activity?limit={number}",
        f"users/{scene.user}",
        f"tables/directus_users/rows/{scene.user}/revisions",
        f"users/{scene.user}/tokens",
    )
    for path in paths:
        for caller in (scene.api, scene.api.v1()):
            reply = await caller.get(path)
            assert reply.status == 200, path
            assert not list(secrets_in(scene, reply.content.decode())), path


async def test_no_message_on_the_bus_holds_a_secret(scene: Scene) -> None:
    text = "\n".join(body.decode() for body in scene.told)
    assert scene.email in text
    assert not list(secrets_in(scene, text))


async def test_no_log_and_no_metric_holds_a_secret(
    scene: Scene, cluster: Cluster, session: aiohttp.ClientSession
) -> None:
    logs = {log.name: log.read_text(errors="replace") for log in (cluster.data / "logs").iterdir()}
    kinds = {name.removesuffix("-2") for name in cluster.ports}
    assert {"gateway", "auth-service", "items-service"} <= kinds
    assert all(any(kind in name for name in logs) for kind in kinds)
    for name, text in logs.items():
        assert not list(secrets_in(scene, text)), name
    for name, port in cluster.ports.items():
        async with asyncio.timeout(60), session.get(f"http://127.0.0.1:{port}/metrics") as reply:
            shown = await reply.text()
        if reply.status == 200:
            assert not list(secrets_in(scene, shown)), name
        else:
            assert "service" not in name
            assert "gateway" not in name
