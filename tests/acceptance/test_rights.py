"""What a group may see and do, for rows, columns, counts and filters alike."""

from dataclasses import dataclass

import pytest
import pytest_asyncio
from wire import Api, Reply

pytestmark = pytest.mark.xdist_group("acceptance")


@dataclass(frozen=True)
class Office:
    """A table of notes with owners, and two users of one group who may see their own."""

    table: str
    group: int
    ann: Api
    bob: Api
    privilege: int


@pytest_asyncio.fixture(loop_scope="session")
async def office(api: Api, unique: str) -> Office:
    table = await api.make_table(f"notes_{unique}", text="VARCHAR:50", secret="INT", owner="INT")
    await api.put(f"tables/{table}", {"user_create_column": "owner"})
    group = (await api.post("groups", {"name": f"Office {unique}"})).data["id"]
    privilege = await api.post(
        f"privileges/{group}",
        {"table_name": table, "group_id": group, "allow_view": 1, "allow_add": 1,
         "allow_edit": 1, "allow_delete": 1, "read_field_blacklist": "secret",
         "write_field_blacklist": "secret"},
    )  # fmt: skip
    callers: list[Api] = []
    for name in ("ann", "bob"):
        token = f"token-{name}-{unique}-0123456789"
        body = {"email": f"{name}-{unique}@example.com", "token": token, "group": group}
        assert (await api.post("users", body | {"password": "long enough a secret"})).status == 200
        callers.append(api.as_(token))
    ann, bob = callers
    for caller, text in ((ann, "a1"), (ann, "a2"), (bob, "b1")):
        reply = await caller.post(f"tables/{table}/rows", {"text": text, "active": 1})
        assert reply.status == 200, reply.json
    return Office(table, group, ann, bob, privilege.data["id"])


async def test_own_rows_only_in_rows_and_counts(office: Office) -> None:
    reply = await office.ann.get(f"tables/{office.table}/rows")
    assert [row["text"] for row in reply.data] == ["a1", "a2"]
    assert reply.json["meta"]["total_entries"] == 2
    assert [row["text"] for row in (await office.bob.get(f"tables/{office.table}/rows")).data] == [
        "b1"
    ]


def told(reply: Reply) -> object:
    """What a reply says, apart from what differs in any two replies."""
    error = reply.json.get("error", {})
    return reply.json | {"error": {k: v for k, v in error.items() if k == "code"}}


async def test_a_hidden_row_is_as_good_as_none(office: Office) -> None:
    bobs = (await office.bob.get(f"tables/{office.table}/rows")).data[0]["id"]
    path = f"tables/{office.table}/rows/{bobs}"
    missing = f"tables/{office.table}/rows/999999"
    for method, body in (("GET", None), ("PUT", {"text": "x"}), ("DELETE", None)):
        hidden = await office.ann.send(method, path, json=body)
        absent = await office.ann.send(method, missing, json=body)
        assert hidden.status == absent.status
        assert told(hidden) == told(absent)
    assert (await office.bob.get(path)).data["text"] == "b1"


@pytest.mark.parametrize(
    "query",
    ["filters[secret]=1", "filters[secret][null]=1", "sort=secret", "orders[secret]=ASC",
     "in[secret]=1", "orderBy=secret"],
)  # fmt: skip
async def test_a_hidden_column_is_an_unknown_column(office: Office, query: str) -> None:
    hidden = await office.ann.get(f"tables/{office.table}/rows?{query}")
    unknown = await office.ann.get(f"tables/{office.table}/rows?{query.replace('secret', 'nocol')}")
    assert hidden.status == unknown.status == 400
    assert (
        hidden.json["error"]["message"].replace("secret", "nocol")
        == (unknown.json["error"]["message"])
    )


async def test_a_hidden_column_is_left_out_of_answers(office: Office) -> None:
    for query in ("", "?columns=text,secret"):
        for row in (await office.ann.get(f"tables/{office.table}/rows{query}")).data:
            assert "secret" not in row


async def test_a_protected_column_refuses_the_whole_write(office: Office) -> None:
    row = (await office.ann.get(f"tables/{office.table}/rows")).data[0]
    path = f"tables/{office.table}/rows/{row['id']}"
    reply = await office.ann.put(path, {"text": "changed", "secret": 5})
    assert reply.status == 403
    assert (await office.ann.get(path)).data["text"] == row["text"]


async def test_nobody_gives_a_row_to_somebody_else(api: Api, office: Office) -> None:
    row = (await office.ann.post(f"tables/{office.table}/rows", {"text": "x", "owner": 1})).data
    stored = (await api.get(f"tables/{office.table}/rows/{row['id']}")).data
    me = (await office.ann.get("users/me")).data["id"]
    assert stored["owner"] == me


async def test_a_right_taken_away_is_gone_with_the_reply(api: Api, office: Office) -> None:
    path = f"tables/{office.table}/rows"
    for level in (0, 2, 1, 0, 2):
        await office.ann.get(path)
        changed = await api.put(
            f"privileges/{office.group}/{office.privilege}", {"allow_view": level}
        )
        assert changed.status == 200, changed.json
        reply = await office.ann.get(path)
        if level == 0:
            assert reply.status == 403
        else:
            assert len(reply.data) == (2 if level == 1 else 3)


@pytest.mark.parametrize("edits", [1, 0])
async def test_what_is_deleted_may_be_deleted_again(api: Api, office: Office, edits: int) -> None:
    row = (await office.ann.get(f"tables/{office.table}/rows")).data[0]["id"]
    path = f"tables/{office.table}/rows/{row}"
    right = f"privileges/{office.group}/{office.privilege}"
    assert (await api.put(right, {"allow_edit": edits})).status == 200
    assert (await office.ann.delete(f"{path}?soft=1")).json["success"] is True
    stored = (await api.get(path)).data
    assert stored["active"] == 0
    again = await office.ann.delete(f"{path}?soft=1")
    assert (again.status, again.json["success"]) == (200, True)
    for method in ("PUT", "PATCH"):
        reply = await office.ann.send(method, path, json={"active": 0})
        assert (reply.status, reply.data["active"]) == (200, 0), reply.json
    assert (await api.get(path)).data == stored
    assert (await api.put(right, {"allow_edit": 0, "allow_delete": 0})).status == 200
    assert (await office.ann.put(path, {"active": 0})).status == 403
