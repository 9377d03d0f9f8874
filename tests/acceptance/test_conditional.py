"""Tags, preconditions and idempotency keys, over the wire and through two gateways."""

import asyncio
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
    settings = await api.put("settings/global", {"cms_user_auto_sign_out": "60"}, headers=seen)
    assert settings.status == 412
    assert (await api.put(f"tables/{table}", {"hidden": 1}, headers=seen)).status == 412


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
