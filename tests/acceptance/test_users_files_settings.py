"""Sign-in, users, groups, files and settings."""

import base64
import hashlib
import struct
import zlib

import pytest
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")

PASSWORD = "a passphrase of some length"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PIXEL = (  # a picture two pixels wide and three high
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 3, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\x10\x20" * 3))
    + chunk(b"IEND", b"")
)


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_email_and_password_give_a_token_that_works(
    api: Api, unique: str, version: str
) -> None:
    email = f"user-{version}-{unique}@example.com"
    await api.post("users", {"email": email, "password": PASSWORD, "group": 1})
    stranger = api.as_(None) if version == "1.1" else api.as_(None).v1()
    form = f"email={email}&password={PASSWORD.replace(' ', '+')}"
    reply = await stranger.send("POST", "auth/request-token", form=form)
    assert reply.status == 200
    assert reply.json["success"] is True
    token = reply.json["data"]["token"]
    assert (await api.as_(token).get("tables")).status == 200


@pytest.mark.parametrize(
    "body", [{}, {"email": "nobody@example.com", "password": "x"}, {"email": 5, "password": []}]
)
async def test_a_failed_sign_in_says_one_thing_only(api: Api, body: dict[str, object]) -> None:
    reply = await api.as_(None).post("auth/request-token", body)
    assert reply.status == 401
    assert reply.json["success"] is False
    assert reply.json["error"]["message"] == "Incorrect email or password"


async def test_a_user_is_created_once_and_never_shows_secrets(api: Api, unique: str) -> None:
    email = f"secret-{unique}@example.com"
    token = f"token-{unique}-0123456789"
    body = {"email": email, "password": PASSWORD, "token": token, "group": 1, "first_name": "A"}
    created = await api.post("users", body)
    user = created.data
    assert user["email"] == email
    assert "password" not in user
    assert "salt" not in user
    assert user["token"] == token
    assert (await api.get(f"users/{user['id']}")).data["token"] is None
    again = await api.post("users", body | {"token": None})
    assert again.status == 409
    listed = await api.get("users?perPage=1000")
    assert email in {row["email"] for row in listed.data}
    assert PASSWORD not in listed.content.decode()
    assert b"argon2" not in listed.content
    rows = await api.v1().get("tables/directus_users/rows?perPage=1000")
    assert email in {row["email"] for row in rows.json["rows"]}
    assert (await api.as_(token).get("users/me")).data["id"] == user["id"]


async def test_a_disabled_user_is_out_at_once(api: Api, unique: str) -> None:
    token = f"token-{unique}-disabled-0123"
    body = {"email": f"off-{unique}@example.com", "password": PASSWORD, "token": token, "group": 1}
    user = (await api.post("users", body)).data["id"]
    assert (await api.as_(token).get("tables")).status == 200
    assert (await api.put(f"users/{user}", {"active": 2})).status == 200
    assert (await api.as_(token).get("tables")).status == 401


@pytest.mark.parametrize("version", ["1", "1.1"])
async def test_a_group_is_created_listed_and_read(api: Api, unique: str, version: str) -> None:
    caller = api if version == "1.1" else api.v1()
    name = f"Manager {version} {unique}"
    created = (await caller.send("POST", "groups", json={"name": name})).json
    group = created["data"] if version == "1.1" else created
    assert group["name"] == name
    listed = (await caller.get("groups")).json
    rows = listed["data"] if version == "1.1" else listed["rows"]
    assert name in {row["name"] for row in rows}
    one = (await caller.get(f"groups/{group['id']}")).json
    assert (one["data"] if version == "1.1" else one)["name"] == name


async def test_an_unprivileged_user_sees_nothing_and_raises_nobody(api: Api, unique: str) -> None:
    group = (await api.post("groups", {"name": f"Nobodies {unique}"})).data["id"]
    token = f"token-{unique}-nobody-0123"
    body = {"email": f"no-{unique}@example.com", "password": PASSWORD, "token": token}
    user = (await api.post("users", body | {"group": group})).data["id"]
    table = await api.make_table(f"closed_{unique}", n="INT")
    nobody = api.as_(token)
    assert (await nobody.get(f"tables/{table}/rows")).status == 403
    missing = await nobody.get(f"tables/none_{unique}/rows")
    hidden = await nobody.get(f"tables/{table}/rows")
    assert (missing.status, missing.json["error"]["message"]) == (
        hidden.status, hidden.json["error"]["message"],
    )  # fmt: skip
    assert (await nobody.get("tables")).data == []
    for path, change in (
        (f"users/{user}", {"group": 1}),
        (f"users/{user}", {"token": "stolen"}),
        (f"tables/directus_users/rows/{user}", {"group": 1}),
        ("users/1", {"first_name": "x"}),
        (f"groups/{group}", {"name": "x"}),
        ("settings/global", {"project_name": "x"}),
        (f"tables/{table}", {"hidden": 1}),
    ):
        reply = await nobody.put(path, change)
        assert reply.status in {403, 404, 405}, (path, reply.status, reply.json)
    assert (await nobody.post("tables", {"name": f"mine_{unique}"})).status == 403
    assert (await nobody.post(f"privileges/{group}", {"table_name": table})).status == 403
    assert (await api.get(f"users/{user}")).data["group"]["data"]["id"] == group


@pytest.mark.parametrize("way", ["json", "form"])
async def test_a_file_comes_back_as_it_was_sent(api: Api, unique: str, way: str) -> None:
    data = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"
    if way == "json":
        created = await api.post("files", {"name": f"site_shot-{unique}.png", "data": data})
    else:
        encoded = data.replace("+", "%2B").replace("=", "%3D")
        created = await api.send(
            "POST", "files", form=f"name=site_shot-{unique}.png&data={encoded}"
        )
    file = created.data
    assert file["type"] == "image/png"
    assert (file["width"], file["height"], file["size"]) == (2, 3, len(PIXEL))
    assert file["url"] == f"/storage/uploads/{file['name']}"
    assert file["name"] == f"{file['id']:011d}.png"
    download = await api.as_(None).get(file["url"])
    assert download.status == 200
    assert download.content == PIXEL
    assert download.headers["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(PIXEL).hexdigest() in download.headers["ETag"]
    listed = await api.v1().get("files")
    assert file["id"] in {row["id"] for row in listed.json["rows"]}
    changed = await api.put(f"files/{file['id']}", {"title": "New title"})
    assert changed.data["title"] == "New title"
    assert (await api.delete(f"files/{file['id']}")).json["success"] is True
    assert (await api.as_(None).get(file["url"])).status == 404


@pytest.mark.parametrize(
    "body", [{}, {"name": "x.png", "data": "data:image/png;base64,***"}, {"data": "aGk="}]
)
async def test_a_bad_file_is_refused_and_leaves_nothing(api: Api, body: dict[str, str]) -> None:
    before = (await api.get("files")).json["meta"]["total_entries"]
    reply = await api.post("files", body)
    assert reply.json["success"] is False
    assert (await api.get("files")).json["meta"]["total_entries"] == before


async def test_settings_are_strings_over_defaults_and_can_be_changed(api: Api) -> None:
    everything = (await api.v1().get("settings")).json
    assert everything["global"]["rows_per_page"] == "200"
    assert everything["files"]["file_naming"] == "file_id"
    changed = await api.send("POST", "settings/global", form="project_name=Harbour")
    assert changed.data["project_name"] == "Harbour"
    assert (await api.get("settings/global")).data["project_name"] == "Harbour"
    assert (await api.v1().get("settings/global")).json["project_name"] == "Harbour"
    bad = await api.put("settings/global", {"rows_per_page": "many"})
    assert bad.status == 400
    assert bad.json["error"]["field"] == "rows_per_page"
    missing = await api.get("settings/nothing")
    assert missing.status == 200
    assert missing.json["success"] is False
