"""The modern utilities: cache, hash, random. Import, export and sort have files of their own."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from people import make_group, make_user
from wire import Api

from local_cluster.cluster import Cluster

pytestmark = pytest.mark.xdist_group("acceptance")

OF_THE_MANUAL = (
    "$argon2i$v=19$m=4096,t=3,p=1$pOyIa/zmRAjCVLb2f7kOyg"
    "$DasoO6LzMM+6iKfzCDq6JbsYsZWLSm33p7i9NxL9mDc"
)


def message(reply: object) -> str:
    return reply.json["errors"][0]["message"]  # type: ignore[attr-defined] # pyright: ignore


@pytest.mark.parametrize("root", ["/utils", "/api/1.1/utils"])
async def test_a_hash_verifies(api: Api, root: str) -> None:
    reply = await api.post(f"{root}/hash/generate", {"string": "Grüße"})
    assert reply.status == 200
    hashed = reply.json["data"]
    assert hashed.startswith("$argon2id$")
    for text, matches in (("Grüße", True), ("grüße", False)):
        reply = await api.post(f"{root}/hash/verify", {"string": text, "hash": hashed})
        assert (reply.status, reply.json) == (200, {"data": matches})
    reply = await api.post(f"{root}/hash/verify", {"string": "x", "hash": OF_THE_MANUAL})
    assert (reply.status, reply.json) == (200, {"data": False})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("generate", {}),
        ("generate", {"string": ""}),
        ("generate", {"string": 5}),
        ("generate", {"string": "x" * 4097}),
        ("verify", {"string": "x"}),
        ("verify", {"string": "x", "hash": "no hash"}),
        ("verify", {"string": "x", "hash": OF_THE_MANUAL.replace("m=4096", "m=4000000")}),
        ("verify", {"string": "x", "hash": OF_THE_MANUAL.replace("t=3", "t=999")}),
        ("verify", {"string": "x", "hash": "$argon2i$" + "x" * 2000}),
    ],
)
async def test_what_cannot_be_hashed_is_told(api: Api, path: str, body: object) -> None:
    reply = await api.post(f"/utils/hash/{path}", body)
    assert reply.status == 400
    assert reply.json["errors"][0]["extensions"]["code"] == "INVALID_PAYLOAD"
    assert message(reply)


async def test_hashing_has_a_rate_of_its_own(api: Api, unique: str) -> None:
    token = f"token-{unique}-0123456789"
    body = {"email": f"hash-{unique}@example.com", "password": "a passphrase of some length"}
    await api.post("users", body | {"token": token, "group": 1})
    them = api.as_(token)
    text = {"string": "x", "hash": OF_THE_MANUAL}
    answers = await asyncio.gather(*(them.post("/utils/hash/verify", text) for _ in range(60)))
    statuses = {answer.status for answer in answers}
    assert {200, 429} <= statuses <= {200, 429, 503}
    assert (await them.get("tables")).status == 200


async def test_random_strings(api: Api) -> None:
    assert len((await api.get("/utils/random/string")).json["data"]) == 32
    found = {(await api.get("/utils/random/string?length=500")).json["data"] for _ in range(3)}
    assert {len(text) for text in found} == {500}
    assert len(found) == 3
    for wrong in ("0", "501", "-1", "x", "1.5"):
        reply = await api.get(f"/utils/random/string?length={wrong}")
        assert reply.status == 400, wrong
        assert reply.json["errors"][0]["extensions"]["code"] == "INVALID_QUERY"


async def test_utilities_need_a_token(api: Api) -> None:
    for path in ("/utils/random/string", "/api/1.1/utils/random/string"):
        reply = await api.as_(None).get(path)
        assert reply.status == 401
        assert reply.json["errors"][0]["extensions"]["code"] == "INVALID_CREDENTIALS"


async def test_the_cache_is_cleared_before_the_reply(api: Api, unique: str) -> None:
    table = await api.make_table(f"cleared_{unique}", title="VARCHAR")
    path = f"tables/{table}/rows"
    for clear in ("/utils/cache/clear", "/utils/cache/clear?system", "/utils/cache/clear?system=0"):
        warm = [(await api.get(path)).headers["Cache-Status"] for _ in range(12)]
        assert any("hit" in status for status in warm)
        reply = await api.post(clear)
        assert (reply.status, reply.content) == (200, b"")
        assert "Content-Type" not in reply.headers
        assert "hit" not in (await api.get(path)).headers["Cache-Status"]


async def test_only_administrators_clear_the_cache(api: Api, unique: str) -> None:
    group = (await api.post("groups", {"name": f"cache-{unique}"})).data["id"]
    token = f"token-{unique}-0123456789"
    body = {"email": f"cache-{unique}@example.com", "password": "a passphrase of some length"}
    await api.post("users", body | {"token": token, "group": group})
    reply = await api.as_(token).post("/utils/cache/clear")
    assert reply.status == 403
    assert reply.json["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_clearing_with_system_reaches_every_replica_before_the_reply(
    api: Api, cluster: Cluster, unique: str
) -> None:
    """Rights taken away behind everybody's back: none remembers them once the cache is cleared."""
    table = await api.make_table(f"remembered_{unique}", title="VARCHAR")
    group = await make_group(api, f"remembered {unique}", {table: {"allow_view": 2}})
    reader, _ = await make_user(api, f"remembered-{unique}", group)
    path = f"tables/{table}/rows"

    async def statuses() -> set[int]:
        """At every service behind every gateway: no such answer was given before."""
        asked = [
            reader.at(url).get(f"{path}?_={uuid4().hex}")
            for url in cluster.gateway_urls
            for _ in range(10)
        ]
        return {(await one).status for one in asked}

    assert await statuses() == {200}
    database = await asyncpg.connect(cluster.urls["DATABASE_URL"])
    try:
        await database.execute("SET session_replication_role = replica")  # no trigger tells it
        await database.execute(
            "UPDATE directus_privileges SET allow_view = 0 WHERE table_name = $1", table
        )
    finally:
        await database.close()
    assert (await api.at(cluster.gateway_urls[0]).post("/utils/cache/clear?system")).status == 200
    assert await statuses() == {403}
