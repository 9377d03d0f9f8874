"""How requests arrive: credentials, paths, bodies, errors."""

import base64

import pytest
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")


def basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("carrier", ["query", "Basic user name", "Bearer", "bearer"])
async def test_a_token_is_taken_from(api: Api, carrier: str) -> None:
    token = api.token or ""
    headers = {
        "query": {},
        "Basic user name": {"Authorization": basic(token)},
        "Bearer": {"Authorization": f"Bearer {token}"},
        "bearer": {"Authorization": f"bearer {token}"},
    }[carrier]
    query = f"?access_token={token}" if carrier == "query" else ""
    reply = await api.as_(None).get(f"tables{query}", headers=headers)
    assert reply.status == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": basic("wrong")},
     {"Authorization": basic("wrong", "password")}, {"X-Directoire-Identity": "a.b.c"}],
    ids=["none", "wrong bearer", "wrong basic", "a password", "an internal header"],
)  # fmt: skip
async def test_nothing_without_a_valid_token(api: Api, headers: dict[str, str]) -> None:
    stranger = api.as_(None)
    for caller in (stranger, stranger.v1()):
        for path in ("tables", "tables/customers/rows", "users", "settings", "files", "groups"):
            reply = await caller.get(path, headers=headers)
            assert reply.status == 401, path
            assert reply.json["error"]["message"] == "You must be logged in to access the API"


async def test_the_first_credential_present_decides(api: Api) -> None:
    reply = await api.get("tables?access_token=wrong")
    assert reply.status == 401


@pytest.mark.parametrize(
    "path",
    ["/api//1.1/tables", "/api/1.1/tables/", "//api/1.1//tables//", "/api/1.1/tables.json"],
)
async def test_old_spellings_of_a_path(api: Api, path: str) -> None:
    assert (await api.get(path)).status == 200


async def test_an_empty_body_under_a_json_type_is_no_body(api: Api) -> None:
    reply = await api.get("tables", headers={"Content-Type": "application/json"})
    assert reply.status == 200


async def test_a_path_that_is_not_routed_is_404_as_json(api: Api) -> None:
    new = await api.get("nowhere")
    assert new.status == 404
    assert new.json["success"] is False
    assert new.json["error"]["request_id"] == new.headers["X-Request-Id"]
    old = await api.v1().get("nowhere")
    assert old.status == 404
    assert old.json["message"]
    assert old.json["success"] is False


async def test_who_asks_for_problem_json_gets_it(api: Api) -> None:
    reply = await api.get(
        "tables/customers_that_are_not/rows", headers={"Accept": "application/problem+json"}
    )
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json["status"] == reply.status == 404


async def test_broken_json_is_the_clients_fault(api: Api) -> None:
    async with api.session.post(
        f"{api.base_url}/api/1.1/groups",
        data=b"{",
        headers={"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"},
    ) as response:
        assert response.status == 400
        assert "JSON" in (await response.json())["error"]["message"]


async def test_internal_headers_neither_come_in_nor_out(api: Api) -> None:
    forged = {
        "X-Directoire-Identity": "eyJhbGciOiJub25lIn0.e30.",
        "X-Directoire-Stamps": "x 999 0 0 0",
        "X-Directoire-Request-Id": "forged",
    }
    reply = await api.get("tables", headers=forged)
    assert reply.status == 200
    assert not [name for name in reply.headers if name.lower().startswith("x-directoire")]
    assert reply.headers["X-Request-Id"] != "forged"


async def test_a_repeated_read_is_a_hit_and_the_same(api: Api, unique: str) -> None:
    table = await api.make_table(f"cached_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"n": 1, "active": 1})
    seen: list[str] = []
    bodies: set[bytes] = set()
    for _ in range(20):
        reply = await api.get(f"tables/{table}/rows")
        seen.append(reply.headers.get("Cache-Status", ""))
        bodies.add(reply.content)
    assert "hit" in seen[-1]
    assert len(bodies) == 1
