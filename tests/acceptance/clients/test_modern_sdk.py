"""npm ``@directus/sdk``, unmodified: each of its utility commands does what the manual says.

22.0.0 is the last with the hash commands; what it shares with the latest is asked of both, below
``/utils`` and below ``/api/1.1/utils``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from published import PROGRAMS, Outcome, Run, run
from wire import Api

from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("clients")

CLIENTS = [name for name in PROGRAMS if name.startswith("@directus/sdk ")]
WITH_HASHES = "@directus/sdk 22.0.0"
BEYOND_THE_MANUAL = {"utilsImportBatch"}  # many tables at once, since 26.0.0; not in the manual
Cases = Mapping[str, tuple[str, Callable[[Outcome], object]]]


def value(outcome: Outcome) -> Any:
    assert outcome.how == "resolved", outcome
    return outcome.value


def empty(outcome: Outcome) -> bool:
    """The client makes no value of an empty answer, and none of a JSON type is refused by it."""
    return value(outcome) in (None, "", {})


def refused(outcome: Outcome, status: int, code: str, says: str) -> bool:
    """A rejection with the first error's message, as the client shows it to people."""
    assert outcome.how == "rejected", outcome
    error = outcome.value["errors"][0]
    found = (outcome.value["status"], error["extensions"]["code"], says in error["message"])
    assert found == (status, code, True), outcome.value
    return True


EVERY: Cases = {
    "randomString": ("gives 32 characters", lambda o: len(value(o)) == 32),
    "randomString: of a length": ("gives as many as asked for", lambda o: len(value(o)) == 500),
    "randomString: too long": (
        "is refused what is too long",
        lambda o: refused(o, 400, "INVALID_QUERY", "1 to 500"),
    ),
    "clearCache": ("clears the cache", empty),
    "clearCache: the system too": ("clears the system's cache", empty),
    "clearCache: by a stranger": (
        "is refused an unknown token",
        lambda o: refused(o, 401, "INVALID_CREDENTIALS", "logged in"),
    ),
    "utilsImport": ("imports CSV", empty),
    "utilsImport: JSON": ("imports JSON", empty),
    "utilsImport: a bad row": (
        "is told of a bad row",
        lambda o: refused(o, 400, "FAILED_VALIDATION", "Row 2:"),
    ),
    "utilsImport: into no table": (
        "is refused a table that is not there",
        lambda o: refused(o, 403, "FORBIDDEN", ""),
    ),
    "utilitySort": ("moves a row", empty),
    "utilitySort: nothing to sort by": (
        "is refused a table without a sort column",
        lambda o: refused(o, 400, "INVALID_PAYLOAD", "no sort column"),
    ),
    "utilsExport": ("exports", empty),
    "utilsExport: without a query": (
        "is told that a query is needed",
        lambda o: refused(o, 400, "INVALID_PAYLOAD", "query"),
    ),
    "utilsExport: of no table": (
        "is refused a table that is not there",
        lambda o: refused(o, 403, "FORBIDDEN", ""),
    ),
}  # fmt: skip
HASHES: Cases = {
    "generateHash": ("makes a hash", lambda o: value(o).startswith("$argon2id$")),
    "generateHash: of nothing": (
        "is refused an empty text",
        lambda o: refused(o, 400, "INVALID_PAYLOAD", "string"),
    ),
    "verifyHash": ("verifies its hash", lambda o: value(o) is True),
    "verifyHash: of another text": ("verifies no other text", lambda o: value(o) is False),
    "verifyHash: no hash": (
        "is told what is no hash",
        lambda o: refused(o, 400, "INVALID_PAYLOAD", "Argon2"),
    ),
}
RUNS = [(client, root) for client in CLIENTS for root in ("", "/api/1.1")]
Let = Callable[[str, str], Any]


def cases(client: str) -> Cases:
    return {**EVERY, **HASHES} if client == WITH_HASHES else EVERY


def table_of(client: str, root: str) -> str:
    return f"sdk{client.split()[1]}_{'below' if root else 'root'}".replace(".", "")


@pytest.fixture(scope="session")
def sdk_runs() -> dict[tuple[str, str], Run]:
    """What each did, filled when first asked for."""
    return {}


@pytest.fixture
def let(api: Api, sdk_runs: dict[tuple[str, str], Run]) -> Let:
    """Let a client call its commands, once."""

    async def let(client: str, root: str) -> Run:
        if (client, root) not in sdk_runs:
            sdk_runs[client, root] = await run(client, await prepared(api, client, root))
        return sdk_runs[client, root]

    return let


async def prepared(api: Api, client: str, root: str) -> dict[str, str]:
    table = await api.make_table(table_of(client, root), title="VARCHAR:100", sort="INT")
    plain = await api.make_table(f"{table}_plain", title="VARCHAR:100")
    rows = [{"title": "a", "sort": 1, "active": 1}, {"title": "b", "sort": 2, "active": 1}]
    keys = [str((await api.post(f"tables/{table}/rows", row)).data["id"]) for row in rows]
    return {
        "CLIENT": client.split()[1],
        "ROOT": api.base_url.rstrip("/") + root,
        "TOKEN": api.token or "",
        "TABLE": table,
        "PLAIN": plain,
        "FIRST": keys[0],
        "LAST": keys[1],
    }


@pytest.mark.parametrize(
    ("client", "root", "call", "holds"),
    [
        pytest.param(client, root, call, holds, id=f"{client} at {root}/utils {does}")
        for client, root in RUNS
        for call, (does, holds) in cases(client).items()
    ],
)
async def test_the_command(
    let: Let, client: str, root: str, call: str, holds: Callable[[Outcome], object]
) -> None:
    assert holds((await let(client, root))[call])


@pytest.mark.parametrize(("client", "root"), RUNS)
async def test_every_utility_is_called_and_every_call_looked_at(
    let: Let, client: str, root: str
) -> None:
    found = await let(client, root)
    assert found.methods - BEYOND_THE_MANUAL == found.called
    assert set(found.outcomes) == set(cases(client))
    assert found.said == ""


@pytest.mark.parametrize(("client", "root"), RUNS)
async def test_what_the_commands_did_is_there(api: Api, let: Let, client: str, root: str) -> None:
    await let(client, root)
    table = table_of(client, root)
    rows = (await api.get(f"tables/{table}/rows?status=0,1,2&orders[sort]=asc")).data
    assert [row["title"] for row in rows] == ["b", "a", "c", "d", "e"]
    address = f"files?filters[title]={table}"

    async def arrived() -> bool:
        return bool((await api.get(address)).data)

    await eventually(arrived, what="the exported file in the library")
    file = (await api.get(address)).data[0]
    headers = {"Authorization": f"Bearer {api.token}"}
    async with api.session.get(api.base_url.rstrip("/") + file["url"], headers=headers) as answer:
        assert await answer.text() == '"title"\n"a"\n"c"\n"d"\n"e"\n'
