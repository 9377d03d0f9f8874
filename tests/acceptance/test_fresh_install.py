"""Safe as installed: nothing known opens it, nothing starts with secrets that are none, and what is
made is nobody's until somebody says so. Promise S17.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Final

import aiohttp
import pytest
from people import make_user
from wire import PROXY, Api

from shared.identity import generate_keys

pytestmark = pytest.mark.xdist_group("acceptance")

# Of the system's ancestors, of servers beside it, and of people in a hurry.
NAMES: Final = (
    "admin", "admin@example.com", "admin@directoire.example", "admin@getdirectus.com",
    "user@directus.example",
)  # fmt: skip
PASSWORDS: Final = ("", "admin", "password", "pass123", "directus")
TOKENS: Final = (
    "admin", "admin_token", "directus", "directoire", "token", "test", "null", "undefined", "1",
    "[your-token]", "administrator", "static", "access", "secret-token", "AUTHORIZATION-TOKEN",
)  # fmt: skip
NOTHING_THERE: Final = (
    "/", "/admin", "/console", "/debug", "/debug/pprof", "/__debug__/", "/docs", "/graphql",
    "/openapi.json", "/swagger.json", "/server-status", "/server/info", "/info", "/health", "/env",
    "/actuator", "/phpinfo.php", "/.env", "/.git/config", "/api", "/api/", "/api/1.1/debug",
    "/internal/principals", "/api/1.1/internal/principals", "/api/1.1/server/info",
)  # fmt: skip

# Programs and the settings they start with; one at a time is spoilt.
KEYS: Final = generate_keys()
SERVERS: Final = {
    "DATABASE_URL": "postgresql://u@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1",
}
SERVICE: Final = {**SERVERS, "IDENTITY_PUBLIC_KEYS": KEYS.public_keys}
PROGRAMS: Final[Mapping[str, Mapping[str, str]]] = {
    "gateway": {
        "REDIS_URL": SERVERS["REDIS_URL"],
        "IDENTITY_PRIVATE_KEY": KEYS.private_key,
        **{f"{name}_URLS": "http://127.0.0.1:1" for name in (
            "AUTH", "ITEMS", "FILES", "SCHEMA", "SETTINGS",
        )},
    },
    "auth_service": SERVICE,
    "items_service": SERVICE,
    "schema_service": SERVICE,
    "settings_service": {**SERVICE, "SMTP_URL": "smtp://127.0.0.1:1"},
    "files_service": {
        **SERVICE,
        "STORE_URL": "file:///tmp/none",
        "STORE_SECRET_KEY": "",
    },
    "items_service.relay": {**SERVERS, "AMQP_URL": "amqp://127.0.0.1:1"},
}  # fmt: skip
# Each program is started twice: with all of these, and with keys that are none.
SPOILT: Final = {
    "DATABASE_URL": "postgresql://directus:directus@database/x",
    "REDIS_URL": "",
    "AMQP_URL": "amqp://guest:guest@broker",
    "SMTP_URL": "smtp://mailer:password1@mails",
    "STORE_SECRET_KEY": "minioadmin",
}
NO_KEYS: Final = {"IDENTITY_PUBLIC_KEYS": "", "IDENTITY_PRIVATE_KEY": "secret"}


async def test_no_known_credential_works(api: Api) -> None:
    connector = aiohttp.TCPConnector(local_addr=(PROXY, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        forwarded = replace(api.as_(None), session=session)
        for number, (name, password) in enumerate(product(NAMES, PASSWORDS)):
            # from another address each time, so that the guess is not slowed
            guess = {"email": name, "password": password}
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            reply = await forwarded.post("auth/login", guess, headers=headers)
            assert reply.status == 401, (name, password)
    anybody = api.as_(None)
    for token in TOKENS:
        assert (await api.as_(token).get("users/me")).status == 401, token
        assert (await anybody.get(f"users/me?access_token={token}")).status == 401, token


async def starts(module: str, settings: Mapping[str, str]) -> str | None:
    """What the program said as it gave up; None for one that had to be ended."""
    known = {"PATH", "HOME", "LANG", "PYTHONPATH"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module,
        env={**{k: v for k, v in os.environ.items() if k in known}, **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    assert process.returncode != 0
    return said.decode()


@pytest.mark.parametrize("module", PROGRAMS)
async def test_nothing_starts_with_a_secret_that_is_none(module: str) -> None:
    good = PROGRAMS[module]
    asked = 0
    for spoilt in (SPOILT, NO_KEYS):
        bad = {name: value for name, value in spoilt.items() if name in good}
        if not bad:
            continue
        said = await starts(module, {**good, **bad})
        assert said is not None, f"{module} starts with {bad}"
        assert all(name in said for name in bad), said
        assert not any(value in said for value in bad.values() if value), said
        asked += 1
    assert asked == (1 if module == "items_service.relay" else 2)


async def test_there_is_nothing_but_the_api(api: Api) -> None:
    for caller in (api, api.as_(None)):
        for path in NOTHING_THERE:
            reply = await caller.get(path)
            assert reply.status in (401, 404), (path, reply.status)
            assert set(reply.headers) & {"Server", "X-Powered-By", "Via"} == set(), path


@pytest.mark.parametrize(
    "path",
    ["/api/1.1/tables", "/api/1/tables", "/api/1.1/nowhere", "/livez", "/readyz", "/storage/x"],
)
async def test_no_answer_tells_a_version(api: Api, path: str) -> None:
    for caller in (api, api.as_(None)):
        reply = await caller.get(path)
        shown = " ".join(f"{name}: {value}" for name, value in reply.headers.items()).casefold()
        for word in ("python", "aiohttp", "uvloop", "postgres", "server: ", "0.1"):
            assert word not in shown, shown
        if reply.status >= 400:
            said = reply.content.decode().casefold()
            assert not any(w in said for w in ("python", "aiohttp", "traceback", "postgres")), said


async def test_other_sites_are_not_let_in(api: Api) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    for method in ("OPTIONS", "GET", "POST"):
        reply = await api.send(method, "tables", headers=asked)
        allowed = [name for name in reply.headers if name.casefold().startswith("access-control-")]
        assert allowed == [], method


async def test_what_is_new_is_nobodys(api: Api, unique: str) -> None:
    """A new group may do nothing, a new table is for administrators, a new column for whoever may
    see the table and for nobody else.
    """
    group = (await api.post("groups", {"name": f"New {unique}"})).data["id"]
    member, user = await make_user(api, f"new{unique}", group)
    table = await api.make_table(f"new_{unique}", title="VARCHAR:50")
    row = (await api.post(f"tables/{table}/rows", {"title": "t", "active": 1})).data["id"]
    await api.post(
        f"tables/{table}/columns",
        {"column_name": "later", "data_type": "VARCHAR", "char_length": 9},
    )
    for path in (
        f"tables/{table}", f"tables/{table}/columns", f"tables/{table}/columns/later",
        f"tables/{table}/rows", f"tables/{table}/rows/{row}", f"tables/{table}/preferences",
    ):  # fmt: skip
        reply = await member.get(path)  # what is missing is told with 200 and an error in places
        assert reply.json["success"] is False, path
        assert reply.json["error"]["code"] in ("NOT_FOUND", "FORBIDDEN"), reply.json
    assert (await member.post(f"tables/{table}/rows", {"title": "mine"})).status in (403, 404)
    assert (await member.get("tables")).data == []
    for path in ("groups", "files", "settings", f"privileges/{group}"):
        reply = await member.get(path)
        assert reply.status in (403, 404) or reply.data in ([], {}), (path, reply.json)
    assert [shown["id"] for shown in (await member.get("users")).data] == [user]
    assert (await api.get(f"tables/{table}/rows")).json["meta"]["total"] == 1, "nothing was added"
