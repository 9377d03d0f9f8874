"""Tags, preconditions and idempotency keys, over the wire and through two gateways."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from wire import Api, Reply

pytestmark = pytest.mark.xdist_group("acceptance")


def with_key(key: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": key}}


async def test_a_read_with_the_tag_of_what_is_there(api: Api, unique: str) -> None:
    table = await api.make_table(f"tags_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"n": 1, "active": 1})
    for n, path in enumerate((f"tables/{table}/rows/1", f"tables/{table}/rows"), 2):
        tag = ""
        for _ in range(4):  # computed, stored, remembered
            tag = (await api.get(path)).headers["ETag"]
            assert tag.startswith("W/") == path.endswith("rows")
            same = await api.get(path, headers={"If-None-Match": tag})
            assert (same.status, same.content, same.headers["ETag"]) == (304, b"", tag)
        await api.put(f"tables/{table}/rows/1", {"n": n})
        assert (await api.get(path, headers={"If-None-Match": tag})).status == 200


async def test_a_write_that_has_seen_something_older(api: Api, unique: str) -> None:
    table = await api.make_table(f"match_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"n": 1, "active": 1})
    path = f"tables/{table}/rows/1"
    seen = {"If-Match": (await api.get(path)).headers["ETag"]}
    replies = await asyncio.gather(*(api.put(path, {"n": n}, headers=seen) for n in range(6)))
    assert sorted(reply.status for reply in replies) == [200] + [412] * 5
    newest = next(reply.headers["ETag"] for reply in replies if reply.status == 200)
    assert (await api.delete(path, headers={"If-Match": newest})).status == 200


async def test_a_version_tells_nothing_of_a_hidden_column(api: Api, unique: str) -> None:
    table = await api.make_table(f"masked_{unique}", n="INT", secret="INT")
    row = f"tables/{table}/rows/1"
    await api.post(f"tables/{table}/rows", {"n": 1, "secret": 1, "active": 1})
    group = (await api.post("groups", {"name": f"Masked {unique}"})).data["id"]
    right = {"table_name": table, "group_id": group, "allow_view": 2, "allow_edit": 2,
             "allow_delete": 2, "read_field_blacklist": "secret"}  # fmt: skip
    assert (await api.post(f"privileges/{group}", right)).status == 200
    user = {"email": f"{unique}@example.org", "group": group, "token": f"secret-{unique}"}
    assert (await api.post("users", user)).status == 200
    clerk = api.as_(user["token"])
    tags = [(await caller.get(row)).headers["ETag"] for caller in (clerk, api)]
    seen = {"If-Match": tags[0]}
    assert (await api.put(row, {"secret": 2}, headers={"If-Match": tags[1]})).status == 200
    assert (await clerk.get(row)).headers["ETag"] == tags[0]
    assert (await clerk.get(row, headers={"If-None-Match": tags[0]})).status == 304
    assert (await api.put(row, {"secret": 3}, headers={"If-Match": tags[1]})).status == 412
    written = await clerk.put(row, {"n": 2}, headers=seen)
    assert written.status == 200, written.json
    newer = (await clerk.get(row + "?columns=n")).headers["ETag"]
    assert written.headers["ETag"].split(".")[0] == newer.split(".")[0] != tags[0].split(".")[0]
    assert (await api.put(row, {"n": 3}, headers={"If-Match": "*"})).status == 200
    for stale in (tags[0], newer):
        assert (await clerk.put(row, {"n": 4}, headers={"If-Match": stale})).status == 412
        assert (await clerk.put(row, {}, headers={"If-Match": stale})).status == 412
        assert (await clerk.delete(row, headers={"If-Match": stale})).status == 412
    now = {"If-Match": (await clerk.get(row)).headers["ETag"]}
    replies = await asyncio.gather(*(clerk.put(row, {"n": n}, headers=now) for n in range(10, 16)))
    assert sorted(reply.status for reply in replies) == [200] + [412] * 5
    newest = next(reply.headers["ETag"] for reply in replies if reply.status == 200)
    assert (await api.put(row, {"secret": 4})).status == 200
    assert (await clerk.delete(row, headers={"If-Match": newest})).status == 200
    columns = [f"tables/{table}/columns/{name}" for name in ("secret", "n")]
    before = (await clerk.get(f"tables/{table}")).headers["ETag"].split(".")[0]
    for path, changes in zip(columns, (False, True), strict=True):
        assert (await api.put(path, {"comment": "another"})).status == 200
        after = (await clerk.get(f"tables/{table}")).headers["ETag"].split(".")[0]
        assert (after != before) is changes, path


async def test_the_version_of_a_user_tells_nothing_of_what_is_his_alone(
    api: Api, unique: str
) -> None:
    group = (await api.post("groups", {"name": f"Peers {unique}"})).data["id"]
    right = {"table_name": "directus_users", "group_id": group, "allow_view": 2}
    assert (await api.post(f"privileges/{group}", right)).status == 200
    body = {"group": group, "email": f"a-{unique}@example.org", "token": f"secret-{unique}"}
    peer = api.as_(body["token"])
    assert (await api.post("users", body)).status == 200
    other = (await api.post("users", {"group": group, "email": f"b-{unique}@example.org"})).data
    path = f"users/{other['id']}"
    tag = (await peer.get(path)).headers["ETag"]
    for change, same in (({"email_messages": 0}, True), ({"first_name": "Ann"}, False)):
        assert (await api.put(path, change)).status == 200
        assert ((await peer.get(path)).headers["ETag"] == tag) is same, change


@dataclass(frozen=True)
class Thing:
    """What is read at ``read`` and written at ``path``; ``{name}`` is what ``things`` made."""

    read: str
    path: str
    bodies: tuple[Mapping[str, object], Mapping[str, object]]
    gone: str = ""  # the path of its DELETE
    gone_body: Mapping[str, object] | None = None
    method: str = "PUT"

    def __str__(self) -> str:
        return self.path


THINGS = (
    Thing("tables/{table}/rows/1", "tables/{table}/rows/1", ({"n": 1}, {"n": 2}),
          "tables/{table}/rows/1"),
    Thing("files/{file}", "files/{file}", ({"title": "one"}, {"title": "two"}), "files/{file}"),
    Thing("users/{user}", "users/{user}", ({"first_name": "Ann"}, {"first_name": "Bea"}),
          "users/{user}"),
    Thing("groups/{group}", "groups/{group}", ({"description": "a"}, {"description": "b"})),
    Thing("bookmarks/{bookmark}", "bookmarks/{bookmark}", ({"title": "a"}, {"title": "b"}),
          "bookmarks/{bookmark}"),
    Thing("settings/files", "settings/files",
          ({"youtube_api_key": "1{unique}"}, {"youtube_api_key": "2{unique}"})),
    Thing("privileges/{group}/{table}", "privileges/{group}/{table}",
          ({"allow_view": 1}, {"allow_view": 2})),
    Thing("tables/{table}/preferences", "tables/{table}/preferences",
          ({"sort": "n"}, {"sort": "id"})),
    Thing("tables/{table}/preferences?title=mine", "tables/{table}/preferences?title=mine",
          ({"sort": "n"}, {"sort": "id"}), "tables/{table}/preferences", {"title": "mine"}),
    Thing("messages/rows/{message}", "messages/rows/{message}", ({"read": 0}, {"read": 1}),
          "messages/rows/{message}", method="PATCH"),
    Thing("tables/{table}/columns/n/textarea", "tables/{table}/columns/n/textarea",
          ({"rows": 1}, {"rows": 2})),
    Thing("tables/{table}/columns/n", "tables/{table}/columns/n",
          ({"comment": "one"}, {"comment": "two"}), "tables/{table}/columns/n"),
    Thing("tables/{table}", "tables/{table}", ({"comment": "a"}, {"comment": "b"}),
          "tables/{table}"),
)  # fmt: skip


async def things(api: Api, unique: str) -> dict[str, object]:
    table = await api.make_table(f"things_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"n": 0, "active": 1})
    await api.put(f"tables/{table}/columns/n/textarea", {"rows": 0})
    group = (await api.post("groups", {"name": f"things {unique}"})).data["id"]
    privilege = {"group_id": group, "table_name": table, "allow_view": 0}
    assert (await api.post(f"privileges/{group}", privilege)).status == 200
    made = {
        "user": ("users", {"email": f"{unique}@example.org", "group": 1}),
        "file": ("files", {"name": f"{unique}.txt", "data": "YWJj"}),
        "bookmark": ("bookmarks", {"title": "Home", "url": f"/{unique}"}),
        "message": ("messages/rows", {"subject": "Hi", "message": "Hi", "recipients": "0_1"}),
    }
    keys = {name: (await api.post(*given)).data["id"] for name, given in made.items()}
    return {"unique": unique, "table": table, "group": group, **keys}


async def test_every_write_compares(api: Api, unique: str) -> None:
    """Of all that can be read and written; rows, and what is none."""
    names = await things(api, unique)
    for thing in THINGS:
        read, path = thing.read.format_map(names), thing.path.format_map(names)
        first, second = (
            {key: str(value).format_map(names) for key, value in body.items()}
            for body in thing.bodies
        )
        tag = (await api.get(read)).headers["ETag"]
        assert not tag.startswith("W/"), thing
        done = await api.send(thing.method, path, json=first, headers={"If-Match": tag})
        assert done.status == 200, (thing, done.json)
        newer = (await api.get(read)).headers["ETag"]
        assert done.headers["ETag"].split(".")[0] == newer.split(".")[0] != tag.split(".")[0], thing
        kept = (await api.get(read)).content
        for given in ({"If-Match": tag}, {"If-Match": '"0.00"'}, {"If-None-Match": "*"}):
            refused = await api.send(thing.method, path, json=second, headers=given)
            assert refused.status == 412, (thing, given, refused.json)
            if thing.gone and "If-Match" in given:
                gone = thing.gone.format_map(names)
                refused = await api.delete(gone, json=thing.gone_body, headers=given)
                assert refused.status == 412, (thing, refused.json)
        assert (await api.get(read)).content == kept, thing
        for body, given in ((second, newer), (first, "*")):
            done = await api.send(thing.method, path, json=body, headers={"If-Match": given})
            assert done.status == 200, (thing, given, done.json)
    for thing in THINGS:
        if thing.gone:
            tag = (await api.get(thing.read.format_map(names))).headers["ETag"]
            given = {"If-Match": tag}
            path = thing.gone.format_map(names)
            gone = await api.delete(path, json=thing.gone_body, headers=given)
            assert gone.status == 200, (thing, gone.json)


@pytest.mark.parametrize("number", [5, 7, 11, 12])
async def test_one_of_many_who_saw_the_same_writes(api: Api, unique: str, number: int) -> None:
    names = await things(api, unique)
    thing = THINGS[number]
    seen = {"If-Match": (await api.get(thing.read.format_map(names))).headers["ETag"]}
    bodies = [dict.fromkeys(thing.bodies[0], f"{n + 1}") for n in range(6)]
    if number == 7:
        bodies = [{"sort": ("n", "id")[n % 2]} for n in range(6)]
    path = thing.path.format_map(names)
    replies = await asyncio.gather(*(api.put(path, body, headers=seen) for body in bodies))
    assert sorted(reply.status for reply in replies) == [200] + [412] * 5


async def test_what_is_made_can_be_demanded_to_be_new(api: Api, unique: str) -> None:
    names = await things(api, unique)
    group, table = names["group"], names["table"]
    new = {"headers": {"If-None-Match": "*"}}
    for path, body in (
        ("tables", {"name": table}),
        (f"tables/{table}/columns", {"column_name": "n", "data_type": "INT"}),
        (f"tables/{table}/rows", {"id": 1, "n": 1}),
        ("groups", {"name": f"things {unique}"}),
        ("users", {"email": f"{unique}@example.org", "group": 1}),
        (f"privileges/{group}", {"group_id": group, "table_name": table, "allow_view": 1}),
    ):
        there = await api.post(path, body, **new)
        assert there.status == 412, (path, there.json)
    for path, body in (
        ("tables", {"name": f"newer_{unique}"}),
        (f"tables/{table}/columns", {"column_name": "m", "data_type": "INT"}),
        (f"tables/{table}/rows", {"id": 2, "n": 1}),
        ("groups", {"name": f"newer {unique}"}),
        ("users", {"email": f"newer-{unique}@example.org", "group": 1}),
        (f"privileges/{group}", {"group_id": group, "table_name": f"newer_{unique}"}),
        (f"tables/{table}/preferences?title=new", {"sort": "n"}),
        ("files", {"name": f"newer {unique}.txt", "data": "YWJj"}),
        ("messages/rows", {"subject": "Hi", "message": "Hi", "recipients": "0_1"}),
    ):
        send = api.put if "preferences" in path else api.post
        made = await send(path, body, **new)
        assert made.status == 200, (path, made.json)
        assert made.json.get("success") is not False, (path, made.json)


async def test_a_table_that_demands_it(api: Api, unique: str) -> None:
    table = await api.make_table(f"demand_{unique}", n="INT")
    await api.post(f"tables/{table}/rows", {"n": 1, "active": 1})
    assert (await api.put(f"tables/{table}", {"require_if_match": 1})).status == 200
    path = f"tables/{table}/rows/1"
    assert (await api.put(path, {"n": 2})).status == 428
    tag = (await api.get(path)).headers["ETag"]
    assert (await api.put(path, {"n": 2}, headers={"If-Match": tag})).status == 200


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_sent_twice_done_once(api: Api, unique: str, version: str) -> None:
    api = api if version == "1.1" else api.v1()
    table = await api.make_table(f"once_{unique}", n="INT")
    rows = f"tables/{table}/rows"

    async def thrice(send: Any, *arguments: Any) -> list[Reply]:
        more = with_key(f"{send.__name__} {arguments} {unique}")
        return [await send(*arguments, **more) for _ in range(3)]

    for request in (
        (api.post, rows, {"n": 1}),
        (api.post, f"{rows}/bulk", {"rows": [{"n": 2}, {"n": 3}]}),
        (api.put, f"{rows}/1", {"n": 4}),
        (api.delete, f"{rows}/3"),
        (api.post, f"tables/{table}/columns", {"column_name": "m", "data_type": "INT"}),
        (api.post, "tables", {"name": f"again_{unique}"}),
        (api.put, "settings/global", {"cms_user_auto_sign_out": "61"}),
    ):
        first, *others = await thrice(*request)
        assert first.status == 200, first.json
        assert first.json.get("success") is not False, (request, first.json)
        for other in others:
            assert (other.status, other.content) == (200, first.content), request
            assert other.headers["Idempotency-Replayed"] == "true"
    listed = await api.get(rows + "?status=0,1,2")
    entries = listed.json["rows"] if version == "1" else listed.json["data"]
    assert sorted(row["n"] for row in entries) == [2, 4]


async def test_a_token_is_not_kept(api: Api, unique: str) -> None:
    user = {"email": f"{unique}@example.org", "group": 1, "token": f"secret-{unique}"}
    first = await api.post("users", user, **with_key(unique))
    assert first.status == 200, first.json
    second = await api.post("users", user, **with_key(unique))
    assert second.headers["Idempotency-Replayed"] == "true"
    assert f"secret-{unique}".encode() not in second.content
    assert second.json["data"]["id"] == first.json["data"]["id"]
    other = await api.post("users", {**user, "token": None}, **with_key(unique))
    assert other.status == 422
