"""What passes the edge, what does not, and how failures look."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from gateway.testing import Cluster, MakeCluster, own_process

ROW = "/api/1.1/tables/airports/rows/1"


# -- headers ---------------------------------------------------------------------------------------

FORGED = [
    "X-Directoire-Identity", "x-directoire-identity", "X_Directoire_Identity",
    "X-Directoire_Identity", "X-Directoire-Stamps", "X-Directoire-Client-Address",
    "X-Directoire-Depends", "X-Directoire-Scope", "X-Directoire-Announced",
    "X-Directoire-Request-Id", "X-Directoire-Deadline", "X-Directoire-Anything",
    "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP",
    "Cookie", "X-HTTP-Method-Override", "Keep-Alive", "TE", "Proxy-Authorization",
]  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_header_never_gets_inside(cluster: Cluster, name: str) -> None:
    async with cluster.get("/api/1.1/activity", **{name: "forged"}) as response:
        assert response.status == 200
    (request,) = cluster.items.requests
    assert b"forged" not in b"".join(value for _name, value in request.raw_headers)
    assert request.headers["X-Directoire-Client-Address"] == "127.0.0.1"


async def test_connection_cannot_name_our_own_headers_away(cluster: Cluster) -> None:
    named = "X-Directoire-Identity, X-Mine"
    async with cluster.get("/api/1.1/activity", Connection=named, **{"X-Mine": "1"}) as response:
        assert response.status == 200
    (request,) = cluster.items.requests
    (principal,) = cluster.items.principals
    assert principal is not None
    assert principal.user == 2
    assert "X-Mine" not in request.headers


async def test_what_services_say_to_the_gateway_stays_inside(cluster: Cluster) -> None:
    cluster.items.answer = lambda _request: web.json_response(
        {},
        headers={
            "X-Directoire-Depends": "t:airports",
            "X-Directoire-Scope": "group",
            "X-Directoire-Other": "1",
            "Connection": "x-hop",
            "X-Hop": "1",
            "X-Free": "1",
        },
    )
    for path in (ROW, ROW, "/api/1.1/activity?x"):
        async with cluster.get(path) as response:
            assert not [name for name in response.headers if name.startswith("X-Directoire")]
            assert "X-Hop" not in response.headers
            assert "Server" not in response.headers
            assert response.headers["X-Free"] == "1"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_request_id_is_kept_or_made(cluster: Cluster) -> None:
    async with cluster.get(ROW, **{"X-Request-Id": "my-id-1"}) as response:
        assert response.headers["X-Request-Id"] == "my-id-1"
    async with cluster.get(ROW, **{"X-Request-Id": "not good!"}) as response:
        assert len(response.headers["X-Request-Id"]) == 32
    inside = [request.headers["X-Directoire-Request-Id"] for request in
              cluster.items.requests]  # fmt: skip
    assert inside == ["my-id-1", response.headers["X-Request-Id"]]


async def test_only_a_trusted_proxy_tells_the_clients_address(make_cluster: MakeCluster) -> None:
    async with make_cluster(trusted_proxies="127.0.0.0/8,10.0.0.0/8") as cluster:
        async with cluster.get(ROW, **{"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.1.1.1"}):
            pass
        (request,) = cluster.items.requests
        assert request.headers["X-Directoire-Client-Address"] == "203.0.113.9"


# -- failures --------------------------------------------------------------------------------------


async def test_errors_in_every_shape(cluster: Cluster) -> None:
    async with cluster.get("/api/1.1/nothing") as response:
        body = await response.json()
        assert (response.status, body["success"]) == (404, False)
        assert body["error"]["code"] == "NOT_FOUND"
        assert body["error"]["request_id"] == response.headers["X-Request-Id"]
        assert "message" not in body
    async with cluster.get("/api//1/nothing") as response:
        body = await response.json()
        assert body["message"] == body["error"]["message"]
    async with cluster.get("/api/1/nothing", Accept="application/problem+json") as response:
        assert response.content_type == "application/problem+json"
        assert (await response.json(content_type=None))["status"] == 404
    async with cluster.get("/nothing", None) as response:
        assert (await response.json())["error"]["code"] == "NOT_FOUND"


async def test_a_method_nobody_serves(cluster: Cluster) -> None:
    async with cluster.call("POST", "/storage/uploads/x") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"


async def test_401_says_how(cluster: Cluster) -> None:
    async with cluster.get(ROW, None) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_service_that_is_away_is_503(cluster: Cluster) -> None:
    await cluster.items.stop()
    for method in ("GET", "POST"):
        async with cluster.call(method, "/api/1.1/tables/airports/rows") as response:
            body = await response.json()
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert body["error"]["code"] == "UNAVAILABLE"
    async with cluster.get("/api/1.1/tables") as response:
        assert response.status == 200


async def test_a_service_that_breaks_off_is_502_and_is_not_asked_again(cluster: Cluster) -> None:
    def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    items = cluster.items
    items.answer = hang_up
    async with cluster.call("POST", "/api/1.1/tables/airports/rows", json={}) as response:
        assert response.status == 502
        assert "Retry-After" in response.headers
    assert len(items.requests) == 1
    async with cluster.get(ROW) as response:
        assert response.status == 502
    assert len(items.requests) == 3  # a read is tried once more


async def test_a_service_that_does_not_answer_is_504(make_cluster: MakeCluster) -> None:
    async with make_cluster(deadline=0.3) as cluster:
        never = asyncio.Event()

        async def wait(_request: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response()

        cluster.items.answer = wait
        async with cluster.get(ROW) as response:
            assert response.status == 504
            assert (await response.json())["error"]["code"] == "TIMED_OUT"
        never.set()


async def test_too_many_requests(make_cluster: MakeCluster) -> None:
    async with make_cluster(rate_per_token=3) as cluster:
        statuses: list[int] = []
        for _ in range(5):
            async with cluster.get(ROW) as response:
                statuses.append(response.status)
        assert statuses[:3] == [200, 200, 200]
        async with cluster.get(ROW) as response:
            assert response.status == 429
            assert int(response.headers["Retry-After"]) >= 1
            assert (await response.json())["error"]["code"] == "TOO_MANY_REQUESTS"
        async with cluster.get(ROW, "admin-token") as response:
            assert response.status == 200


async def test_the_rate_of_an_address_counts_wrong_tokens_too(make_cluster: MakeCluster) -> None:
    async with make_cluster(rate_per_address=3) as cluster:
        statuses: list[int] = []
        for number in range(6):
            async with cluster.get(ROW, f"guess-{number}") as response:
                statuses.append(response.status)
        assert statuses[:3] == [401, 401, 401]
        assert statuses[-1] == 429


async def test_the_rate_of_an_address_is_that_of_its_network_in_ipv6(
    make_cluster: MakeCluster,
) -> None:
    slowly = 0.01  # the next in a hundred seconds
    async with make_cluster(rate_per_address=slowly, trusted_proxies="127.0.0.0/8") as cluster:

        async def ask(address: str) -> int:
            forwarded = {"X-Forwarded-For": address}
            async with cluster.get(ROW, "admin-token", **forwarded) as response:
                return response.status

        assert await ask("2001:db8::1") == 200
        assert await ask("2001:db8::2") == 429
        assert await ask("2001:db8:0:1::1") == 200
        assert await ask("192.0.2.1") == 200
        assert await ask("192.0.2.2") == 200


async def test_limits_of_sizes(make_cluster: MakeCluster) -> None:
    async with make_cluster(body_limit=2048, url_limit=2048, header_limit=2048) as cluster:
        rows = "/api/1.1/tables/airports/rows"
        async with cluster.call("POST", rows, data=b"x" * 2048) as response:
            assert response.status == 200
        async with cluster.call("POST", rows, data=b"x" * 2049) as response:
            assert response.status == 413
            assert (await response.json())["error"]["code"] == "TOO_LARGE"

        async def chunks() -> AsyncGenerator[bytes]:
            for _ in range(300):
                yield b"x" * 1024

        before = len(cluster.items.requests)
        async with cluster.call("POST", rows, data=chunks()) as response:
            assert response.status == 413
        assert len(cluster.items.requests) <= before + 1
        async with cluster.get(rows + "?q=" + "x" * 3000) as response:
            assert response.status == 431
        async with cluster.get(rows, **{"X-Long": "x" * 3000}) as response:
            assert response.status == 431


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("length and chunks", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two lengths", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("a list of lengths", b"Content-Length: 5, 5\r\n\r\nhello"),
        ("a signed length", b"Content-Length: +5\r\n\r\nhello"),
        ("chunked twice", b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("chunked not last", b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        ("an unknown coding", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a blank before the colon", b"Content-Length : 5\r\n\r\nhello"),
        ("a folded header", b"X-A: b\r\n c\r\n\r\n"),
        ("a bare line feed", b"X-A: b\nX-B: c\r\n\r\n"),
        ("a bad chunk size", b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
        ("two hosts", b"Host: other\r\n\r\n"),
    ],
)
async def test_an_ambiguous_message_is_400_and_ends_the_connection(
    cluster: Cluster, name: str, message: bytes
) -> None:
    head = (
        b"POST /api/1.1/tables/a/rows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\n"
    )
    following = (
        b"GET /api/1.1/settings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\n\r\n"
    )
    answer = await cluster.raw(head + message + following, wait=4)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"<silence>" not in answer
    assert answer.count(b"HTTP/1.") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["success"] is False
    assert cluster.services["settings"].requests == []


async def test_cors_is_off_until_origins_are_named(
    cluster: Cluster, make_cluster: MakeCluster
) -> None:
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}
    async with cluster.call("OPTIONS", ROW, None, headers=preflight) as response:
        assert response.status == 405
    async with cluster.get(ROW, Origin="https://a.example") as response:
        assert "Access-Control-Allow-Origin" not in response.headers
    async with make_cluster(cors_origins="https://a.example") as open_to_a:
        async with open_to_a.call("OPTIONS", ROW, None, headers=preflight) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert "PUT" in response.headers["Access-Control-Allow-Methods"]
        assert open_to_a.services["items"].requests == []
        for path, token in ((ROW, "editor-token"), (ROW, None), ("/nothing", None)):
            async with open_to_a.get(path, token, Origin="https://a.example") as response:
                assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
            async with open_to_a.get(path, token, Origin="https://b.example") as response:
                assert "Access-Control-Allow-Origin" not in response.headers


# -- own pages, stopping ---------------------------------------------------------------------------


async def test_own_pages(cluster: Cluster) -> None:
    for path, text in (("/livez", "live"), ("/readyz", "ready"), ("/metrics", "directoire_")):
        async with cluster.get(path, None) as response:
            assert response.status == 200
            assert text in await response.text()


async def test_auth_service_away_is_503_while_nothing_is_known(cluster: Cluster) -> None:
    async with cluster.get(ROW) as response:
        assert response.status == 200
    await cluster.auth.stop()
    async with cluster.get(ROW) as response:  # known, and known to be fresh
        assert response.status == 200
    async with cluster.get(ROW, "admin-token") as response:
        assert response.status == 503
        assert "Retry-After" in response.headers
    await cluster.lease.changed("u:2")
    async with cluster.get(ROW) as response:
        assert response.status == 503


async def test_logs_never_hold_a_token(cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    await cluster.items.stop()
    async with cluster.get("/api/1.1/activity?access_token=admin-token&a=b", None) as response:
        assert response.status == 503
    out = "".join(capfd.readouterr())
    assert "admin-token" not in out


async def test_a_stop_finishes_what_runs(cluster: Cluster) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return web.json_response({"done": True})

    cluster.items.answer = slow
    async with own_process(cluster) as (process, ports):
        for port in ports:
            async with cluster.client.get(f"http://127.0.0.1:{port}/readyz") as response:
                assert response.status == 200
        url = f"http://127.0.0.1:{ports[0]}{ROW}?access_token=editor-token"
        request = asyncio.create_task(cluster.client.request("GET", url))
        await begun.wait()
        process.send_signal(signal.SIGTERM)
        go.set()
        response = await request
        assert await response.json() == {"done": True}
        assert await process.wait() == 0
