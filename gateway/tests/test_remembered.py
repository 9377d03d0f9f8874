"""Remembered answers: when they are given, to whom, and when no more."""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.testing import Cluster, MakeCluster, until
from shared.identity import Principal
from shared.ports import claimed_port
from shared.testing import eventually

ROWS = "/api/1.1/tables/airports/rows"


def depends(topics: str, scope: str) -> Callable[[web.Request], web.Response]:
    """A service whose answers name their number, what they depend on, and who asked."""
    count = 0

    def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.json_response(
            {"number": count, "query": request.query_string},
            headers={"X-Directoire-Depends": topics, "X-Directoire-Scope": scope},
        )

    return answer


@pytest.fixture
async def eager(make_cluster: MakeCluster) -> AsyncGenerator[Cluster]:
    async with make_cluster(cache_at_once=True) as cluster:
        cluster.items.answer = depends("t:airports t:countries", "group")
        yield cluster


MISSED = "fwd=miss"
MISS = "fwd=miss; stored"
PLAIN = "fwd=miss; detail=not-cacheable"


async def number(
    cluster: Cluster, path: str = ROWS, token: str = "editor-token", **headers: str
) -> tuple[int, str]:
    """The number of the answer, and what Cache-Status says, in short."""
    async with cluster.get(path, token, **headers) as response:
        assert response.status == 200
        status = response.headers["Cache-Status"].removeprefix("Directoire; ")
        status = status.replace("fwd=stale", MISSED).replace("fwd=uri-miss", MISSED)
        await cluster.edge.settled()
        return (await response.json(content_type=None))["number"], status


async def test_an_answer_is_remembered_until_something_it_rests_on_changes(eager: Cluster) -> None:
    assert await number(eager) == (1, MISS)
    assert await number(eager) == (1, "hit")
    await eager.lease.changed("t:elsewhere")
    assert await number(eager) == (1, "hit")
    for answer, topic in enumerate(("t:airports", "t:countries", "schema", "g:2", "all"), 2):
        await eager.lease.changed(topic)
        assert await number(eager) == (answer, MISS)
        assert await number(eager) == (answer, "hit")


async def test_a_hit_is_the_same_answer(eager: Cluster) -> None:
    answers = []
    for _ in range(2):
        async with eager.get(ROWS, **{"X-Request-Id": "same"}) as response:
            headers = dict(response.headers)
            del headers["Cache-Status"], headers["Date"]
            answers.append((await response.read(), headers))
        await eager.edge.settled()
    assert answers[0] == answers[1]


async def test_a_group_shares_and_others_do_not(eager: Cluster) -> None:
    assert (await number(eager))[0] == 1
    assert await number(eager, token="second-editor-token") == (1, "hit")
    assert await number(eager, token="admin-token") == (2, MISS)


async def test_a_users_own_answer_is_not_shared(eager: Cluster) -> None:
    eager.items.answer = depends("t:airports", "user")
    assert (await number(eager))[0] == 1
    assert await number(eager, token="second-editor-token") == (2, MISS)
    assert await number(eager) == (1, "hit")
    await eager.lease.changed("u:2")
    assert await number(eager) == (3, MISS)


@pytest.mark.parametrize(
    "variant",
    [
        {"path": ROWS + "?b=2&a=1"},  # the order of filters has a meaning
        {"path": "/api/1/tables/airports/rows?a=1&b=2"},
        {"path": ROWS + "?a=1&b=2", "Accept": "application/problem+json"},
        {"path": ROWS + "?a=1&b=2&c"},
    ],
)
async def test_another_question_has_another_answer(eager: Cluster, variant: dict[str, str]) -> None:
    assert (await number(eager, ROWS + "?a=1&b=2"))[0] == 1
    assert (await number(eager, **variant)) == (2, MISS)


@pytest.mark.parametrize(
    "variant",
    [
        {"path": ROWS + "?access_token=editor-token&a=1"},
        {"path": ROWS + "?a=1&access_token=editor-token"},
        {"path": "/api//1.1/tables/airports/rows/?a=1"},
        {"path": ROWS + "?a=1", "Host": "other.example"},
        {"path": ROWS + "?a=1", "X-Forwarded-Host": "other.example"},
    ],
)
async def test_the_same_question_in_other_words(eager: Cluster, variant: dict[str, str]) -> None:
    assert (await number(eager, ROWS + "?a=1"))[0] == 1
    assert (await number(eager, **variant)) == (1, "hit")


@pytest.mark.parametrize("header", ["Range", "If-Modified-Since", "Prefer"])
async def test_what_asks_for_more_than_the_plain_answer_goes_to_the_service(
    eager: Cluster, header: str
) -> None:
    await number(eager)
    assert await number(eager, **{header: "x"}) == (2, "fwd=request")


async def test_only_good_answers_that_say_what_they_rest_on_are_kept(eager: Cluster) -> None:
    items = eager.items

    def answered(**options: Any) -> None:
        items.answer = lambda _request: web.json_response(
            {"number": len(items.requests)}, **options
        )

    headers = {"X-Directoire-Depends": "t:airports", "X-Directoire-Scope": "group"}
    answered()
    assert (await number(eager), await number(eager)) == ((1, PLAIN), (2, PLAIN))
    answered(status=404, headers=headers)
    for _ in range(2):
        async with eager.get(ROWS) as response:
            assert response.status == 404
    assert len(items.requests) == 4
    async with eager.call("POST", ROWS) as response:
        assert response.headers["Cache-Status"] == "Directoire; fwd=method"


async def test_an_answer_is_stored_when_it_is_asked_for_again(cluster: Cluster) -> None:
    cluster.items.answer = depends("t:airports", "group")
    seen = [await number(cluster) for _ in range(3)]
    assert seen == [(1, "fwd=miss; detail=asked-once"), (2, MISS), (2, "hit")]


async def test_the_same_question_at_the_same_time_is_computed_once(eager: Cluster) -> None:
    go, items = asyncio.Event(), eager.items
    plain = depends("t:airports", "group")

    async def slow(request: web.Request) -> web.Response:
        await go.wait()
        return plain(request)

    await number(eager, ROWS + "?warm")
    items.answer = slow
    asked = [asyncio.create_task(number(eager)) for _ in range(10)]
    await until(lambda: len(items.requests) == 2)
    await eager.lease.changed("t:airports")
    later = asyncio.create_task(number(eager))  # began after the change: a flight of its own
    await until(lambda: len(items.requests) == 3)
    go.set()
    answers = await asyncio.gather(*asked)
    assert len({answer for answer, _how in answers}) == 1
    assert sorted(how for _answer, how in answers)[1:] == [MISS] or len(items.requests) == 3
    assert (await later)[0] != answers[0][0]


async def test_what_a_write_is_about_to_change_is_neither_remembered_nor_shared(
    eager: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.announcements.LIFE", 60.0)
    plain, go, asked = depends("t:airports", "group"), asyncio.Event(), list[str]()

    async def writing(request: web.Request) -> web.Response:
        if request.method == "PUT":
            asked.append(request.headers["X-Directoire-Announced"])
            await go.wait()
        return plain(request)

    eager.items.answer = writing
    assert [(await number(eager))[1] for _ in range(2)] == [MISS, "hit"]

    async def put() -> None:
        forged = {"X-Directoire-Announced": "forged t:x"}
        async with eager.call("PUT", ROWS + "/1", json={"n": 1}, headers=forged):
            pass

    write = asyncio.create_task(put())
    await until(lambda: bool(asked))
    assert asked[0].split(" ")[1:] == ["t:airports", "t:directus_activity"]
    before = len(eager.items.requests)
    answers = await asyncio.gather(*(number(eager) for _ in range(5)))
    assert len({answer for answer, _how in answers}) == 5
    assert len(eager.items.requests) == before + 5
    go.set()
    await write
    assert (await number(eager))[1] == MISS  # its service has not said that it came to nothing
    await eager.lease.withdraw(asked[0])
    assert (await number(eager))[1] == "hit"


async def test_what_no_service_has_begun_is_announced_no_longer(
    eager: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.announcements.LIFE", 60.0)
    plain = depends("t:airports", "group")

    async def refusing(request: web.Request) -> web.Response:
        assert "X-Directoire-Announced" in request.headers or request.method == "GET"
        return plain(request) if request.method == "GET" else web.json_response({}, status=403)

    eager.items.answer = refusing
    assert [(await number(eager))[1] for _ in range(2)] == [MISS, "hit"]
    async with eager.call("PUT", ROWS + "/1", json={"n": 1}) as response:
        assert response.status == 403

    async def remembered() -> bool:
        return (await number(eager))[1] == "hit"

    await eventually(remembered, what="the announcement is taken back")


async def test_what_was_announced_long_ago_its_service_announces_anew(
    eager: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fresh in (60.0, 0.0):  # the body came at once; it came late
        monkeypatch.setattr("shared.announcements._FRESH", fresh)
        async with eager.call("PUT", ROWS + "/1", json={"n": 1}) as response:
            assert response.status == 200
        assert ("X-Directoire-Announced" in eager.items.requests[-1].headers) == bool(fresh)


async def test_a_token_taken_back_is_refused_at_once(eager: Cluster) -> None:
    users = {"a": Principal(user=9, group=2)}
    auth = eager.auth

    def resolve_a(_request: web.Request) -> web.Response:
        known = users.get("a")
        if known is None:
            return web.json_response({}, status=404)
        return web.json_response({"user": known.user, "group": known.group, "token": 5})

    auth.answer = resolve_a
    assert (await number(eager, token="a"))[0] == 1
    assert (await number(eager, token="a"))[1] == "hit"
    assert len(auth.requests) == 1
    users["a"] = Principal(user=9, group=1)  # moved to another group
    await eager.lease.changed("u:9")
    assert (await number(eager, token="a")) == (2, MISS)
    asked_by = eager.items.principals[-1]
    assert asked_by is not None
    assert asked_by.group == 1
    del users["a"]
    await eager.lease.changed("u:9")
    async with eager.get(ROWS, "a") as response:
        assert response.status == 401
    assert len(auth.requests) == 3


async def test_without_a_lease_nothing_remembered_is_trusted(make_cluster: MakeCluster) -> None:
    async with make_cluster(leased=False, cache_at_once=True) as cluster:
        cluster.items.answer = depends("t:airports", "group")
        assert (await number(cluster), await number(cluster)) == (
            (1, "fwd=bypass; detail=no-lease"),
            (2, "fwd=bypass; detail=no-lease"),
        )
        assert len(cluster.auth.requests) == 2
        assert "X-Directoire-Stamps" not in cluster.items.requests[0].headers
        await cluster.lease.grant()
        assert await number(cluster) == (3, MISS)
        stamps = cluster.items.requests[2].headers["X-Directoire-Stamps"]
        assert len(stamps.split(" ")) == 5


async def is_listening(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


@asynccontextmanager
async def own_redis(*options: str) -> AsyncGenerator[tuple[str, asyncio.subprocess.Process]]:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program is not None
    port = claimed_port()
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            program, "--port", str(port), "--save", "", "--dir", folder, *options,
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until(lambda: is_listening(port))
            yield f"redis://127.0.0.1:{port}", process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.parametrize("fault", ["paused", "killed"])
async def test_without_redis_everything_is_answered_in_time(
    make_cluster: MakeCluster, fault: str
) -> None:
    async with own_redis() as (url, redis), make_cluster(url, cache_at_once=True) as cluster:
        cluster.items.answer = depends("t:airports", "group")
        await number(cluster)
        assert (await number(cluster))[1] == "hit"
        redis.send_signal(signal.SIGSTOP if fault == "paused" else signal.SIGKILL)
        slowest = 0.0
        for expected in range(2, 12):
            begun = time.monotonic()
            assert await number(cluster) == (expected, "fwd=bypass; detail=redis-away")
            slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 0.5
        if fault == "paused":

            async def hits() -> bool:
                return (await number(cluster))[1] == "hit"

            redis.send_signal(signal.SIGCONT)
            await until(hits)


async def test_a_full_redis_forgets_and_is_never_stale(make_cluster: MakeCluster) -> None:
    """With half the room it would need, as our compositions configure it, and with none."""
    room, views, changes = 4_000_000, 80, 3
    current = 0

    def answer(_request: web.Request) -> web.Response:
        headers = {"X-Directoire-Depends": "t:airports", "X-Directoire-Scope": "group"}
        body = {"number": current, "filler": "x" * 100_000}
        return web.json_response(body, headers=headers)

    full = ("--maxmemory", str(room), "--maxmemory-policy", "volatile-lru")
    async with (
        own_redis(*full) as (url, _),
        make_cluster(url, cache_at_once=True, rate_per_token=100_000) as cluster,
        Redis.from_url(url, decode_responses=True) as redis,
    ):
        cluster.items.answer = answer
        for there in range(changes):
            current += 1
            await cluster.lease.changed("t:airports")
            # back again: what was asked last is still there, and old
            for view in range(views) if there % 2 else reversed(range(views)):
                assert (await number(cluster, f"{ROWS}?limit={view + 1}"))[0] == current
            assert (await redis.info("memory"))["used_memory"] < room * 1.25
        assert (await redis.info("stats"))["evicted_keys"] > views // 2
        assert (await number(cluster, f"{ROWS}?limit=1")) == (current, "hit")
        await redis.config_set("maxmemory", 1)
        for view in range(20):
            assert (await number(cluster, f"{ROWS}?limit={view + 1}"))[0] == current
        await redis.config_set("maxmemory", room)
        current += 1
        await cluster.lease.changed("t:airports")
        assert (await number(cluster)) == (current, MISS)
        assert (await number(cluster)) == (current, "hit")


async def test_rate_limits_hold_without_redis_too(make_cluster: MakeCluster) -> None:
    async with own_redis() as (url, redis), make_cluster(url, rate_per_token=3) as cluster:
        redis.kill()
        statuses: list[int] = []
        for _ in range(6):
            async with cluster.get(ROWS) as response:
                statuses.append(response.status)
        assert statuses[:3] == [200, 200, 200]
        assert statuses[-1] == 429


async def test_cache_status_tells_why(eager: Cluster) -> None:
    async with eager.get(ROWS) as response:
        assert response.headers["Cache-Status"] == "Directoire; fwd=uri-miss; stored"
    await eager.edge.settled()
    await eager.lease.changed("t:airports")
    async with eager.get(ROWS) as response:
        assert response.headers["Cache-Status"] == "Directoire; fwd=stale; stored"
    async with eager.get(ROWS, Range="bytes=0-1") as response:
        assert response.headers["Cache-Status"] == "Directoire; fwd=request"


@pytest.mark.parametrize("cacheable", [True, False])
async def test_a_client_that_has_the_answer_gets_no_body(eager: Cluster, cacheable: bool) -> None:
    def answer(request: web.Request) -> web.Response:
        assert "If-None-Match" not in request.headers
        headers = {"ETag": '"7.ab"'}
        if cacheable:
            headers |= {"X-Directoire-Depends": "t:airports", "X-Directoire-Scope": "group"}
        return web.json_response({"number": 1}, headers=headers)

    eager.items.answer = answer
    for _ in range(3):
        for given, status in (('"7.ab"', 304), ('W/"7.ab", "x"', 304), ("*", 304), ('"8"', 200)):
            async with eager.get(ROWS, **{"If-None-Match": given}) as response:
                assert response.status == status
                assert response.headers["ETag"] == '"7.ab"'
                assert bool(await response.read()) == (status == 200)
        await eager.edge.settled()
