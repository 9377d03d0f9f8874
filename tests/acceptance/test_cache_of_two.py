"""Two callers who differ in one input of a decision share the cache and nothing else. Promise S13.

Pairs are generated: the second caller is the first but for the group, the user, the scope of the
token, a right, a status, or the list of addresses. What only the first may see holds a mark. The
first asks until everything is answered from memory; then the second asks, in every spelling of the
same question, while the first goes on, WORKERS questions at a time; and meets neither a mark nor an
answer that was kept for the first.
"""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pytest
from people import make_group
from redis.asyncio import Redis
from wire import Api, Reply

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

WORKERS: Final = 8
READS: Final = (
    "tables/{table}/rows", "tables/{table}/rows?limit=5&offset=0", "tables/{table}/rows/{row}",
    "tables/{table}/rows?columns=id,title&order[id]=desc", "tables/{table}/columns",
    "tables/{table}", "tables", "tables/{table}/typeahead?columns=title&q=mark", "users",
    "users/me", "users/{user}", "files", "files/{file}", "groups", "privileges/{group}",
    "settings", "activity?limit=20", "bookmarks", "messages/rows", "tables/{table}/preferences",
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """``marked`` is in everything that only administrators and the first caller may see."""

    api: Api
    marked: str
    names: Mapping[str, object]
    table: str
    group: int

    async def member(self, name: str, group: int, scope: str = "") -> tuple[Api, int]:
        """A new user of a group, by a token of this scope."""
        body = {"email": f"{name}-{self.table}@example.com", "group": group}
        user = (await self.api.post("users", body)).data["id"]
        return await self.token_of(user, scope), user

    async def token_of(self, user: int, scope: str = "") -> Api:
        body = {"name": f"pair {scope}", "scope": scope}
        return self.api.as_((await self.api.post(f"users/{user}/tokens", body)).data["token"])


async def make_scene(api: Api, unique: str) -> Scene:
    marked = f"mark{unique}"
    table = await api.make_table(f"pair_{unique}", title="VARCHAR:50", owner="INT")
    assert (await api.put(f"tables/{table}", {"user_create_column": "owner"})).status == 200
    full: dict[str, object] = {f"allow_{what}": 2 for what in ("view", "edit", "add", "delete")}
    see: dict[str, object] = {"allow_view": 2}
    rights = {
        table: full, "directus_users": see, "directus_files": full, "directus_settings": see,
        "directus_groups": see, "directus_activity": see,
    }  # fmt: skip
    group = await make_group(api, f"Pair {marked}", rights)
    row = (await api.post(f"tables/{table}/rows", {"title": marked, "active": 1})).data["id"]
    file = {"name": f"{marked}.txt", "title": marked, "data": "data:text/plain;base64,dA=="}
    body = {"email": f"{marked}@example.com", "group": 1, "first_name": marked}
    names = {
        "table": table,
        "row": row,
        "file": (await api.post("files", file)).data["id"],
        "user": (await api.post("users", body)).data["id"],
        "group": group,
    }
    assert (await api.post("bookmarks", {"title": marked, "url": f"/{marked}"})).status == 200
    return Scene(api, marked, names, table, group)


Pair = Callable[[Scene], Awaitable[tuple[Api, Api]]]  # the one who may, and the one who may not


async def of_groups(scene: Scene) -> tuple[Api, Api]:
    poor = await make_group(scene.api, f"Poor {scene.table}", {})
    return (await scene.member("a", scene.group))[0], (await scene.member("b", poor))[0]


async def of_administrators(scene: Scene) -> tuple[Api, Api]:
    poor = await make_group(scene.api, f"Poorer {scene.table}", {})
    return scene.api, (await scene.member("c", poor))[0]


async def of_owners(scene: Scene) -> tuple[Api, Api]:
    """Two of one group that sees its own rows: one of them has made one."""
    own: dict[str, object] = dict.fromkeys(("allow_view", "allow_add"), 1)
    group = await make_group(scene.api, f"Own {scene.table}", {scene.table: own})
    first, _ = await scene.member("owner", group)
    second, _ = await scene.member("other", group)
    made = await first.post(f"tables/{scene.table}/rows", {"title": scene.marked, "active": 1})
    assert made.status == 200
    return first, second


async def of_scopes(scene: Scene) -> tuple[Api, Api]:
    first, user = await scene.member("wide", scene.group)
    return first, await scene.token_of(user, "table:directus_bookmarks read")


async def of_rights(scene: Scene) -> tuple[Api, Api]:
    """Twins of two groups with the same rights but for one that is taken after both were warm."""
    first, _ = await scene.member("before", scene.group)
    body = {"read_field_blacklist": "title", "allow_view": 2}
    narrow = await make_group(scene.api, f"Narrow {scene.table}", {scene.table: body})
    return first, (await scene.member("after", narrow))[0]


async def of_statuses(scene: Scene) -> tuple[Api, Api]:
    first, _ = await scene.member("active", scene.group)
    second, user = await scene.member("gone", scene.group)
    assert (await second.get("users/me")).status == 200
    assert (await scene.api.put(f"users/{user}", {"active": 2})).status == 200
    return first, second


async def of_addresses(scene: Scene) -> tuple[Api, Api]:
    first, _ = await scene.member("here", scene.group)
    closed = await make_group(scene.api, f"Closed {scene.table}", {scene.table: {"allow_view": 2}})
    second, _ = await scene.member("there", closed)
    sent = {"restrict_to_ip_whitelist": "203.0.113.77"}
    assert (await scene.api.patch(f"groups/{closed}", sent)).status == 200
    return first, second


async def of_revoked_tokens(scene: Scene) -> tuple[Api, Api]:
    first, user = await scene.member("kept", scene.group)
    body = {"name": "short", "scope": ""}
    made = (await scene.api.post(f"users/{user}/tokens", body)).data
    second = scene.api.as_(made["token"])
    assert (await second.get("users/me")).status == 200
    assert (await scene.api.delete(f"users/{user}/tokens/{made['id']}")).status == 200
    return first, second


PAIRS: Final[Mapping[str, Pair]] = {
    "the group": of_groups,
    "being an administrator": of_administrators,
    "the user": of_owners,
    "the scope of the token": of_scopes,
    "a right": of_rights,
    "the status": of_statuses,
    "the addresses": of_addresses,
    "the token": of_revoked_tokens,
}


def spellings(path: str, token: str) -> Sequence[tuple[str, Mapping[str, str], bool]]:
    """One question in many ways: path, headers, whether the token is sent as a header."""
    plain, _, query = path.partition("?")
    turned = "&".join(reversed(query.split("&"))) if query else "a=b"
    basic = b64encode(f"{token}:".encode()).decode()
    mark = "&" if query else "?"
    return (
        (path, {}, True),
        (f"{plain}?{turned}", {}, True),
        (f"{plain}/", {}, True),
        (path, {"Accept": "*/*"}, True),
        (path, {"Accept": "application/problem+json"}, True),
        (path, {"Accept-Encoding": "gzip"}, True),
        (path, {"Range": "bytes=0-9999"}, True),
        (path, {"Host": "another.example"}, True),
        (path, {"authorization": f"bearer {token}"}, False),
        (path, {"Authorization": f"Basic {basic}"}, False),
        (f"{path}{mark}access_token={token}", {}, False),
    )


def is_hit(reply: Reply) -> bool:
    return reply.headers.get("Cache-Status", "").endswith("; hit")


async def warm(caller: Api, path: str) -> Reply:
    """Ask until the answer comes from memory, or for long enough."""
    reply = await caller.get(path)
    for _ in range(6):
        if reply.status != 200 or is_hit(reply):
            break
        reply = await caller.get(path)
    return reply


@pytest.mark.parametrize("differ_in", PAIRS)
async def test_callers_who_differ_in_one_input_share_nothing(
    api: Api, cluster: Cluster, unique: str, differ_in: str
) -> None:
    scene = await make_scene(api, unique)
    first, second = await PAIRS[differ_in](scene)
    paths = [path.format_map(scene.names) for path in READS]
    told = remembered = 0
    for number, path in enumerate(paths):  # every other one by the other version
        reply = await warm(first.v1() if number % 2 else first, path)
        told += scene.marked.encode() in reply.content
        remembered += is_hit(reply)
    assert told > 1, "the first is shown what is marked"
    assert remembered > 8, "and from memory"
    may_share = differ_in == "the user"  # what is the same for all of a group

    async def leaks(caller: Api, path: str) -> list[str]:
        found: list[str] = []
        assert second.token is not None
        for number, (asked, headers, sends_token) in enumerate(spellings(path, second.token)):
            as_who = caller if sends_token else caller.as_(None)
            reply = await as_who.get(asked, headers=headers)
            if scene.marked.encode() in reply.content.replace(asked.encode(), b""):
                found.append(f"{asked} {headers} shows what is marked: {reply.content!r}")
            if number == 0 and is_hit(reply) and not may_share:
                found.append(f"{asked} was kept for somebody else")
        return found

    left = [*enumerate(paths)]
    found: list[str] = []

    async def work() -> None:
        """Ask as the second one, while the first one goes on asking the same."""
        while left:
            number, path = left.pop()
            of_version = [who.v1() if number % 2 else who for who in (first, second)]
            gateway = cluster.gateway_urls[number // 2 % 2]
            _, leaked = await asyncio.gather(
                warm(of_version[0].at(gateway), path), leaks(of_version[1].at(gateway), path)
            )
            found.extend(leaked)

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    assert found == []


async def test_no_answer_to_a_sign_in_is_kept_anywhere(
    api: Api, cluster: Cluster, unique: str
) -> None:
    email, password = f"kept-{unique}@example.com", f"lorries climb amber {unique}"
    user = {"email": email, "password": password, "group": 1}
    made = (await api.post("users", user)).data["id"]
    anybody, sent = api.as_(None), {"email": email, "password": password}
    secrets: list[str] = [password]
    for _ in range(3):
        for path, body in (
            ("auth/login", sent),
            ("auth/request-token", sent),
            (f"users/{made}/tokens", {"name": "kept"}),
        ):
            caller = api if path.startswith("users") else anybody
            reply = await caller.post(path, body)
            assert "no-store" in reply.headers["Cache-Control"], path
            secrets += [v for k, v in reply.data.items() if k.endswith("token")]
        renewed = await anybody.post("auth/refresh", {"refresh_token": secrets[2]})
        if renewed.status == 200:
            secrets += [renewed.data["access_token"], renewed.data["refresh_token"]]
        for token in secrets[-2:]:
            await api.as_(token).get("users/me")
            await anybody.get(f"users/me?access_token={token}")
    assert len(secrets) > 9
    redis = Redis.from_url(cluster.urls["REDIS_URL"])
    kept = [
        key + (await redis.dump(key) or b"") async for key in redis.scan_iter(match="*", count=1000)
    ]
    await redis.aclose()
    assert len(kept) > 10, "this is where answers are kept"
    assert not any(secret.encode() in value for value in kept for secret in secrets)
