"""Every route of every service: nothing without a valid identity, and no data without a right.

The routes are those of the services' own tables, so a new one is asked as well; whatever is open to
anybody, or to any token, is declared here. Source: promises S1, S10.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from typing import Any, Final
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio
from people import make_group, make_user
from wire import Api, Reply

from gateway.routes import RoutingTable
from local_cluster.cluster import Cluster
from local_cluster.home import PRIVATE_KEY, Home
from shared.announcements import HEADER as ANNOUNCED_HEADER
from shared.http import DEPENDS_HEADER, SCOPE_HEADER
from shared.identity import IdentitySigner, Principal, generate_keys
from shared.service import IDENTITY_HEADER, Route

pytestmark = pytest.mark.xdist_group("acceptance")

_PARAMETER: Final = re.compile(r"\{(\w+)(?::([^}]*))?\}")
SERVICES: Final = ("auth", "items", "files", "schema", "settings")
_STORED_FILES: Final = "public where PUBLIC_FILES is set, as here"
PUBLIC: Final[Mapping[str, str]] = {
    "POST auth/request-token": "signs in",
    "POST auth/login": "signs in",
    "POST auth/refresh": "its own token is the credential",
    "POST auth/forgot-password": "sends a mail, says nothing",
    "POST auth/reset-password": "the mailed token is the credential",
    "GET /asyncapi.json": "a document of the bus, the same for all",
    "OPTIONS files/tus": "what the server can do",
    "GET /storage/uploads/{name}": _STORED_FILES,
    "GET /storage/uploads/thumbs/{name}": _STORED_FILES,
    "GET /thumbnail/{width}/{height}/{rest:.+}": _STORED_FILES,
    "HEAD /storage/uploads/{name}": _STORED_FILES,
    "HEAD /storage/uploads/thumbs/{name}": _STORED_FILES,
    "HEAD /thumbnail/{width}/{height}/{rest:.+}": _STORED_FILES,
}
_OWN: Final = "what is the caller's own, which is nothing yet"
_PEOPLE: Final = "tables/{table:directus_users|directus_groups}"
_SETTINGS: Final = (
    "tables/{table:directus_settings|directus_preferences|directus_bookmarks|directus_messages"
    "|directus_messages_recipients}"
)
ANY_TOKEN: Final[Mapping[str, str]] = {
    "GET auth/logout": "ends the caller's own session",
    "POST auth/logout": "ends the caller's own session",
    "GET random": "chance",
    "POST random": "chance",
    "GET utils/random/string": "chance",
    "POST hash": "of the caller's text",
    "POST utils/hash/generate": "of the caller's text",
    "GET tables": "those that may be viewed: a new group may view its users' own rows",
    "GET activity": "entries of what may be viewed",
    "GET users": "the caller",
    "GET users/{id}": "a user that may not be seen is an empty list",
    f"GET {_PEOPLE}/meta/{{id}}": "the same",
    f"GET {_PEOPLE}/rows": "the caller",
    f"GET {_PEOPLE}/rows/{{id}}": "a row that may not be seen is an empty list",
    f"GET {_PEOPLE}/rows/{{id}}/revisions": "the same",
    f"GET {_SETTINGS}/meta/{{id}}": _OWN,
    f"GET {_SETTINGS}/rows": _OWN,
    f"GET {_SETTINGS}/rows/{{id}}": _OWN,
    f"GET {_SETTINGS}/rows/{{id}}/revisions": _OWN,
    "GET bookmarks": _OWN,
    "GET bookmarks/self": _OWN,
    "GET bookmarks/user/{user}": _OWN,
    "GET bookmarks/{id}": _OWN,
    "GET messages": _OWN,
    "GET messages/recipients": "groups and users that may be seen",
    "GET messages/rows": _OWN,
    "GET messages/self": _OWN,
    "GET utils/jobs": _OWN,
}


@dataclass(frozen=True)
class Call:
    """One method and path of a service, as it is asked."""

    service: str
    route: str  # as in PUBLIC
    method: str
    path: str
    public: bool


def calls(values: Mapping[str, str]) -> Iterator[Call]:
    """Every route with values for its parameters; each of several tables that it names."""
    for service in SERVICES:
        routes: list[Route] = import_module(f"{service}_service.routes").ROUTES
        for route in routes:
            named = _PARAMETER.findall(route.path)
            choices = [
                [(name, choice) for choice in pattern.split("|")]
                if name == "table" and pattern
                else [(name, values[name])]
                for name, pattern in named
            ]
            for chosen in product(*choices):
                path = _PARAMETER.sub(lambda found, c=dict(chosen): c[found[1]], route.path)
                known = f"{route.method} {route.path}"
                for root in ("/api/1.1/", "/api/1/") if route.versioned else ("",):
                    yield Call(service, known, route.method, root + path, route.public)


@dataclass(frozen=True)
class Vault:
    """An installation whose every kind of row holds the canary; and who must not see it."""

    admin: Api
    canary: str
    values: Mapping[str, str]
    nobody: Api  # a token of a group without a single right

    async def shown(self) -> list[Any]:
        """What the administrator sees of the canaries."""
        paths = [
            f"tables/{self.values['table']}/rows", f"users/{self.values['user']}",
            f"files/{self.values['id']}", "messages/self", "bookmarks/self",
            f"groups/{self.values['group']}", f"privileges/{self.values['group']}",
            f"tables/{self.values['table']}/columns", "settings/global",
        ]  # fmt: skip
        return [(await self.admin.get(path)).json for path in paths]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def vault(api: Api) -> AsyncGenerator[Vault]:
    table = await api.make_table("vault_of_all", secret="VARCHAR:100", other="VARCHAR:100")
    canary = "canary5f3a91"
    group = await make_group(api, canary, {table: {"allow_view": 2, "nav_listed": 1}})
    _, user = await make_user(api, "keeper", group, position=canary, last_name=canary)
    upload = {"name": "vault.txt", "title": canary, "data": "data:text/plain;base64,Y2FuYXJ5"}
    file = (await api.post("files", upload)).data["id"]
    for _ in range(file):  # so that the row, and the file of that number, are there
        await api.post(f"tables/{table}/rows", {"secret": canary, "other": canary, "active": 1})
    message = {"subject": canary, "message": canary, "recipients": f"0_{user}"}
    await api.post("messages/rows", message)
    await api.post("bookmarks", {"title": canary, "url": canary})
    nobody, _ = await make_user(api, "nobody-at-all", await make_group(api, "Nothing", {}))
    values = {
        "table": table, "id": str(file), "token": "1", "column": "secret", "ui": "textinput",
        "group": str(group), "which": table, "collection": "global", "user": str(user),
        "upload": "a" * 32, "name": "vault.txt", "width": "10", "height": "10",
        "rest": "crop/vault.txt", "key": str(uuid4()),
    }  # fmt: skip
    yield Vault(api, canary, values, nobody)


def body_of(call: Call) -> object:
    if call.method in {"GET", "HEAD", "OPTIONS"}:
        return None
    rows = [{"id": 1, "secret": "overwritten", "title": "overwritten", "position": "overwritten"}]
    return {**rows[0], "rows": rows, "name": "overwritten", "active": 0, "string": "x"}


def test_what_is_open_to_anybody_is_declared(vault: Vault) -> None:
    assert {call.route for call in calls(vault.values) if call.public} == set(PUBLIC)
    table = RoutingTable()
    for call in calls(vault.values):
        route = table.match(call.path).route(call.method)
        if route is not None:  # else it is of the inside, or not routed at all
            assert (route.public or route.either) == call.public, call


def forged() -> Mapping[str, dict[str, str]]:
    """What a stranger may send to be taken for somebody; by what it tries."""
    stranger = generate_keys()
    signed = IdentitySigner(stranger.private_key).sign(Principal(user=1, group=1))
    inside = {
        IDENTITY_HEADER: signed,
        "X-Directoire-Stamps": "a 1 1 1 1",
        "X-Directoire-Client-Address": "127.0.0.1",
        "X-Directoire-Request-Id": "1",
        "X-Directoire-Deadline": "60",
        DEPENDS_HEADER: "t:directus_users",
        SCOPE_HEADER: "group",
        ANNOUNCED_HEADER: "forged t:directus_users",
        "Connection": "X-Directoire-Identity",
    }
    return {
        "nothing": {},
        "garbage": {"Authorization": "Bearer garbage"},
        "the other carrier": {"Authorization": "Basic Z2FyYmFnZTo="},
        "internal headers": inside,
    }


@pytest.mark.parametrize("kind", forged())
async def test_no_route_answers_a_stranger(vault: Vault, kind: str) -> None:
    stranger, headers = vault.admin.as_(None), forged()[kind]
    before, asked = await vault.shown(), 0
    for call in calls(vault.values):
        if call.public:
            continue
        reply = await stranger.send(call.method, call.path, json=body_of(call), headers=headers)
        inner = call.path.startswith("/internal")
        assert reply.status == (404 if inner else 401), (call, reply.content)
        asked += 1
    assert asked > 600
    assert await vault.shown() == before


@dataclass(frozen=True)
class Former:
    """A credential that was good, and is not any more, or not like this."""

    token: str | None
    headers: Mapping[str, str]
    query: str = ""


async def formers(api: Api) -> Mapping[str, Former]:
    """Each of an administrator, or of a group that may do all; by what became of it."""
    made: dict[str, Former] = {}
    password = "amber lorries climb slowly"
    levels: dict[str, object] = {
        "allow_view": 2,
        "allow_add": 2,
        "allow_edit": 2,
        "allow_delete": 2,
    }
    for name in ("disabled", "drafted", "deleted", "gone"):
        caller, user = await make_user(api, f"former-{name}", 1, password=password)
        assert (await caller.get("users")).status == 200
        made[name] = Former(caller.token, {})
        status = {"disabled": {"active": 0}, "drafted": {"active": 2}}.get(name)
        if status:
            assert (await api.put(f"tables/directus_users/rows/{user}", status)).status == 200
        else:
            soft = "?soft=1" if name == "gone" else ""
            done = await api.delete(f"tables/directus_users/rows/{user}{soft}")
            assert done.status == 200, done.json
    listed = await make_group(api, "Elsewhere", {"directus_files": levels})
    caller, _ = await make_user(api, "former-elsewhere", listed)
    assert (await caller.get("users")).status == 200
    await api.patch(f"groups/{listed}", {"restrict_to_ip_whitelist": "203.0.113.9"})
    made["not on the group's list"] = Former(caller.token, {})
    caller, user = await make_user(api, "former-signed-in", 1, password=password)
    brief = await api.post(f"users/{user}/tokens", {"name": "brief", "expires_in": 1})
    made["expired"] = Former(brief.data["token"], {})
    token, other = str(caller.token), chr(ord(str(caller.token)[-1]) ^ 1)
    made["tampered with"] = Former(token[:-1] + other, {})
    made["cut"] = Former(token[:-1], {})
    made["in a cookie"] = Former(None, {"Cookie": f"access_token={token}; token={token}"})
    made["in another header"] = Former(None, {"X-Access-Token": token, "X-Api-Key": token})
    made["of another scheme"] = Former(None, {"Authorization": f"Token {token}"})
    made["beside garbage in the query"] = Former(token, {}, "?access_token=garbage")
    made["of the user's name"] = Former(None, {"Authorization": "Basic YWRtaW46YWRtaW4="})
    async with asyncio.timeout(60):  # the second that the brief one lives
        while (await api.as_(made["expired"].token).get("users")).status == 200:
            pass
    return made


async def test_no_route_answers_a_token_that_is_none_any_more(vault: Vault) -> None:
    before, asked = await vault.shown(), 0
    kinds = await formers(vault.admin)

    async def ask(call: Call, what: str, former: Former) -> None:
        reply = await vault.admin.as_(former.token).send(
            call.method, call.path + former.query, json=body_of(call), headers=former.headers
        )
        inner = call.path.startswith("/internal")
        assert reply.status == (404 if inner else 401), (call, what, reply.content)

    for call in calls(vault.values):
        if call.public or call.path.startswith("/api/1/"):
            continue
        await asyncio.gather(*(ask(call, what, former) for what, former in kinds.items()))
        asked += len(kinds)
    assert asked > 4000
    assert await vault.shown() == before


async def test_no_route_shows_or_changes_anything_without_a_right(vault: Vault) -> None:
    before = await vault.shown()
    answered: Counter[str] = Counter()
    for call in calls(vault.values):
        if call.public or call.path.endswith("activity/stream"):
            continue
        reply = await vault.nobody.send(call.method, call.path, json=body_of(call))
        assert vault.canary.encode() not in reply.content, call
        assert reply.status < 500, (call, reply.content)
        if not _refused(reply):
            answered[call.route] += 1
    assert set(answered) == set(ANY_TOKEN)
    assert await vault.shown() == before


def _refused(reply: Reply) -> bool:
    return reply.status >= 400 or b'"success":false' in reply.content


def straight(cluster: Cluster) -> Mapping[str, dict[str, str]]:
    """Identities that no gateway made for this service; by what is wrong with them."""
    key = Home(cluster.data).secret(PRIVATE_KEY)
    admin = Principal(user=1, group=1)
    good = IdentitySigner(key).sign(admin)
    key_id = jwt.get_unverified_header(good)["kid"]
    other = generate_keys()

    def signed(by: str = key, **changes: object) -> str:
        claims = jwt.decode(good, options={"verify_signature": False}) | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, by, "EdDSA", headers={"kid": key_id})

    wrong = {
        "garbage": "garbage",
        "of another key": IdentitySigner(other.private_key).sign(admin),
        "of another key under this one's name": signed(other.private_key),
        "of another audience": IdentitySigner(key).sign(admin, "custom:hello"),
        "of another issuer": signed(iss="directoire-auth"),
        "stale": signed(iat=1, exp=2),
        "without an end": signed(exp=None),
        "without a beginning": signed(iat=None),
        "for longer than a minute": signed(exp=1 << 40),
        "cut": good[:-4],
        "without a signature": good.rpartition(".")[0] + ".",
    }
    return {"nothing": {}} | {what: {IDENTITY_HEADER: token} for what, token in wrong.items()}


async def test_no_service_answers_whom_its_gateway_does_not_name(
    vault: Vault, cluster: Cluster
) -> None:
    before, asked = await vault.shown(), 0
    identities = straight(cluster)
    ports = cluster.ports
    for call in calls(vault.values):
        direct = vault.admin.as_(None).at(f"http://127.0.0.1:{ports[f'{call.service}-service']}")
        for what, headers in identities.items():
            if call.path.startswith("/api/1/") or (call.public and not headers):
                continue
            reply = await direct.send(call.method, call.path, json=body_of(call), headers=headers)
            assert reply.status == 401, (call, what, reply.content)
            asked += 1
    assert asked > 2000
    assert await vault.shown() == before
