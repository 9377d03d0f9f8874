"""hash and random of API 1.1 in every spelling that clients send; groups; users/me; invitations."""

import hashlib
import re

import pytest
from mail_sink import Mailbox
from people import make_group, make_user
from wire import Api

from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")

RANDOM = [
    ("POST", "random", {"json": {"length": 12}}, 12),
    ("POST", "random", {"form": "length=12"}, 12),
    ("POST", "random?length=12", {"json": {}}, 12),
    ("GET", "random?length=12", {}, 12),
    ("POST", "random", {}, 32),
    ("POST", "random", {"form": ""}, 32),
]


@pytest.mark.parametrize(("method", "path", "sent", "length"), RANDOM)
async def test_random_letters_and_digits(
    api: Api, method: str, path: str, sent: dict[str, object], length: int
) -> None:
    reply = await api.send(method, path, **sent)  # type: ignore[arg-type]
    assert reply.json["success"] is True
    assert re.fullmatch(f"[A-Za-z0-9]{{{length}}}", reply.data["random"])
    bare = (await api.v1().send(method, path, **sent)).json  # type: ignore[arg-type]
    assert set(bare) == {"random"}
    assert len(bare["random"]) == length


@pytest.mark.parametrize("length", ["0", "501", "-1", "x", "1e2"])
async def test_a_random_length_out_of_range_is_refused(api: Api, length: str) -> None:
    reply = await api.post("random", {"length": length})
    assert reply.status == 400
    assert "1 to 500" in reply.json["error"]["message"]


@pytest.mark.parametrize("hasher", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
async def test_digests_are_those_of_the_string(api: Api, hasher: str) -> None:
    expected = hashlib.new(hasher, "Grüße".encode()).hexdigest()
    body = {"string": "Grüße", "hasher": hasher}
    assert (await api.post("hash", body)).data == {"hash": expected}
    reply = await api.post("hash", form=f"string=Gr%C3%BC%C3%9Fe&hasher={hasher}")
    assert reply.data == {"hash": expected}
    reply = await api.get(f"hash?string=Gr%C3%BC%C3%9Fe&hasher={hasher}")
    assert reply.data == {"hash": expected}
    bare = (await api.v1().post("hash", body)).json
    assert bare == {"success": True, "password": expected}


async def test_the_core_hash_and_bcrypt_are_salted(api: Api) -> None:
    hashes = [(await api.post("hash", {"string": "x"})).data["hash"] for _ in range(2)]
    assert hashes[0] != hashes[1]
    verified = await api.post("utils/hash/verify", {"string": "x", "hash": hashes[0]})
    assert verified.json["data"] is True
    body = {"string": "x", "hasher": "bcrypt", "options": {"cost": 4}}
    assert (await api.post("hash", body)).data["hash"].startswith("$2b$04$")
    old = (await api.post("hash", {"password": "x", "hasher": "md5"})).data
    assert old["password"] == old["hash"]


async def test_a_hash_without_a_string_is_told_in_the_old_way(api: Api) -> None:
    reply = await api.post("hash", {})
    assert (reply.status, reply.json["success"]) == (200, False)
    assert reply.json["error"]["message"] == "Hash expect a string"
    reply = await api.v1().post("hash", form="hasher=md5")
    assert (reply.status, reply.json["message"]) == (200, "Hash expect a string")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"string": "x", "hasher": "rot13"}, '"rot13" is no hasher here; try core'),
        ({"string": "x", "hasher": "bcrypt", "options": {"cost": 31}}, "4 to 13"),
        ({"string": "x" * 73, "hasher": "bcrypt"}, "72 bytes"),
        ({"string": "x" * 5000}, "4096 bytes"),
    ],
)
async def test_a_hash_that_cannot_be_says_what_would(
    api: Api, body: dict[str, object], says: str
) -> None:
    reply = await api.post("hash", body)
    assert reply.status == 400
    assert says in reply.json["error"]["message"]


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_a_group_is_changed_and_deleted_but_not_the_administrators(
    api: Api, unique: str, version: str
) -> None:
    api = api if version == "1.1" else api.v1()
    created = (await api.post("groups", form=f"name=Team {unique}")).json
    number = created["data"]["id"] if version == "1.1" else created["id"]
    reply = await api.patch(f"groups/{number}", {"description": "All of us"})
    changed = reply.json["data"] if version == "1.1" else reply.json
    assert changed["description"] == "All of us"
    assert (await api.delete(f"groups/{number}")).json["success"] is True
    assert (await api.patch(f"groups/{number}", {"name": "x"})).status == 404
    assert (await api.delete("groups/1")).status == 403
    assert (await api.get("groups/1")).status == 200


async def test_a_group_with_users_keeps_its_users_out_of_nowhere(api: Api, unique: str) -> None:
    group = await make_group(api, f"Full {unique}", {})
    caller, _ = await make_user(api, f"member-{unique}", group)
    reply = await api.delete(f"groups/{group}")
    assert reply.status == 422
    assert (await caller.get("users/me")).status == 200


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_me_is_the_caller(api: Api, unique: str, version: str) -> None:
    group = await make_group(api, f"Me {unique}{version}", {})
    caller, number = await make_user(api, f"me-{unique}", group)
    caller = caller if version == "1.1" else caller.v1()
    for method, body in (("GET", None), ("PATCH", {"first_name": "Eva"}), ("PUT", {"city": "Ulm"})):
        reply = await caller.send(method, "users/me", json=body)
        shown = reply.json["data"] if version == "1.1" else reply.json
        assert shown["id"] == number
    assert (shown["first_name"], shown["city"]) == ("Eva", "Ulm")


async def test_the_invited_get_a_mail_and_an_account_without_a_way_in(
    api: Api, mailbox: Mailbox, unique: str
) -> None:
    group = await make_group(api, f"Guests {unique}", {})
    first, second = f"one-{unique}@example.com", f"two-{unique}@example.com"
    reply = await api.post("users/invite", form=f"email={first},{second}&group={group}")
    assert {(user["email"], user["group"]["data"]["id"]) for user in reply.data} == {
        (first, group), (second, group),
    }  # fmt: skip

    async def arrived() -> bool:
        return bool(mailbox.to(first) and mailbox.to(second))

    await eventually(arrived, what="both mails")
    assert "invited you" in mailbox.to(first)[0].get_content()
    again = await api.post("users/invite", {"email": [first]})
    assert len(again.data) == 1
    assert (await api.post("users/invite", {"email": ""})).status == 400
    assert (await api.post("users/invite", {"email": "nobody"})).status == 422


async def test_who_has_a_password_is_not_told_of_and_strangers_invite_nobody(
    api: Api, unique: str
) -> None:
    group = await make_group(api, f"Hosts {unique}", {})
    caller, host = await make_user(api, f"host-{unique}", group, password="long enough a secret")
    before = (await api.get(f"users/{host}?columns=email,invite_date,invite_accepted")).data
    reply = await api.post("users/invite", {"email": f"host-{unique}@example.com"})
    assert [user["id"] for user in reply.data] == [host], "the same answer as for a new address"
    after = (await api.get(f"users/{host}?columns=email,invite_date,invite_accepted")).data
    assert after == before
    fresh = f"fresh-{unique}@example.com"
    assert (await caller.post("users/invite", {"email": fresh})).status == 403
    listed = await api.get(f"users?filters[email]={fresh}&preview=1")
    assert listed.data == []
