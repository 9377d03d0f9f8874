"""Which token a request shows, and what becomes of it."""

import base64
from dataclasses import dataclass

import pytest

from gateway.credentials import split_query
from gateway.testing import Cluster
from shared.identity import Principal


def basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class Case:
    name: str
    query: str = ""
    authorization: str | None = None
    user: int | None = None  # None: 401


CASES = [
    Case("no token at all"),
    Case("bearer", authorization="Bearer editor-token", user=2),
    Case("the word bearer in any case", authorization="bEARER editor-token", user=2),
    Case("basic user name without password", authorization=basic("editor-token"), user=2),
    Case("basic with a password", authorization=basic("editor-token", "x")),
    Case("basic without a user name", authorization=basic("")),
    Case("basic that is not base64", authorization="Basic ###"),
    Case("query", query="?access_token=editor-token", user=2),
    Case("query, its name escaped", query="?access%5Ftoken=editor-token", user=2),
    Case("query, the last one wins", query="?access_token=x&access_token=editor-token", user=2),
    Case("query before header", "?access_token=admin-token", "Bearer editor-token", 1),
    Case("no fall-through from a wrong query", "?access_token=no", "Bearer editor-token"),
    Case("an empty parameter is none", "?access_token=", "Bearer editor-token", 2),
    Case("unknown token", authorization="Bearer nobody"),
    Case("empty bearer", authorization="Bearer "),
    Case("another scheme", authorization="Digest editor-token"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_credential(cluster: Cluster, case: Case) -> None:
    headers = {} if case.authorization is None else {"Authorization": case.authorization}
    path = "/api/1.1/tables/airports/rows" + case.query
    async with cluster.call("GET", path, None, headers=headers) as response:
        body = await response.json()
    items = cluster.items
    if case.user is None:
        assert response.status == 401
        assert body["error"]["message"] == "You must be logged in to access the API"
        assert items.requests == []
        return
    assert response.status == 200
    (principal,) = items.principals
    assert isinstance(principal, Principal)
    assert principal.user == case.user
    assert items.seen == ["GET /api/1.1/tables/airports/rows"]
    assert "Authorization" not in items.requests[0].headers


@pytest.mark.parametrize(
    ("query", "kept", "token"),
    [
        ("", "", None),
        ("a=1&b=2", "a=1&b=2", None),
        ("b=2&access_token=x&a=1", "b=2&a=1", "x"),
        ("access_token[]=x&a=1", "a=1", None),
        ("a=%41&access%5ftoken=x%2By", "a=%41", "x+y"),
        ("f%5Ba%5D%5Beq%5D=1&f[a][ne]=2", "f%5Ba%5D%5Beq%5D=1&f[a][ne]=2", None),
    ],
)  # fmt: skip
def test_the_token_is_cut_and_nothing_else(query: str, kept: str, token: str | None) -> None:
    assert split_query(query) == (kept, token)


async def test_a_public_route_needs_no_token_and_passes_no_identity(cluster: Cluster) -> None:
    async with cluster.get("/storage/uploads/1.jpg", None) as response:
        assert response.status == 200
    files = cluster.files
    assert files.seen == ["GET /storage/uploads/1.jpg"]
    assert files.principals == [None]


async def test_two_authorization_headers_are_refused(cluster: Cluster) -> None:
    head = b"GET /api/1.1/tables HTTP/1.1\r\nHost: x\r\n"
    twice = b"Authorization: Bearer admin-token\r\nAuthorization: Bearer editor-token\r\n"
    answer = await cluster.raw(head + twice + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert cluster.services["schema"].requests == []
