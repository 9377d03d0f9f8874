"""``directoire`` against the running cluster, as a shell has it: every command."""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner
from wire import Api

from directoire_cli.__main__ import app
from local_cluster.cluster import Cluster
from shared.database import Database
from shared.sql import ident, literal, param, raw
from shared.testing import eventually

pytestmark = pytest.mark.xdist_group("acceptance")


def invoked(words: Sequence[str], **environment: str) -> tuple[int, str, str]:
    """Status, output and errors of one command; here, since an interpreter starts slowly."""
    result = CliRunner().invoke(app, [*words], env={"COLUMNS": "100", **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


async def directoire(api: Api, *words: str, token: str | None = None) -> tuple[int, str, str]:
    told = ("--url", api.base_url, "--token", token or api.token or "")
    return await asyncio.to_thread(invoked, [*words, *told])


async def test_a_file_goes_in_and_comes_out(api: Api, unique: str, tmp_path: Path) -> None:
    table = await api.make_table(f"shell_{unique}", title="VARCHAR", number="INT")
    rows = tmp_path / "rows.csv"
    rows.write_text("title,number\n" + "".join(f"row {n},{n}\n" for n in range(500)))
    status, out, err = await directoire(api, "import", table, str(rows))
    assert (status, out) == (0, "Imported rows.csv.\n"), err
    assert "rows.csv" in err
    back = tmp_path / "back.json"
    words = ("export", table, "--format", "json", "-o", str(back), "--json")
    status, out, err = await directoire(api, *words, "--filter", '{"number": {"_lt": 3}}')
    assert status == 0, err
    assert json.loads(out)["rows"] == 3
    assert [row["title"] for row in json.loads(back.read_text())] == ["row 0", "row 1", "row 2"]
    rows.write_text("title,number\nx,1\ny,z\n")
    status, out, err = await directoire(api, "import", table, str(rows), "--background")
    assert (status, out) == (1, "")
    assert 'Row 2: The column "number"' in err
    assert "/rejects" in err


async def test_what_retention_dropped_is_in_no_list(
    api: Api, cluster: Cluster, unique: str
) -> None:
    """A month of 1999, drawn by the unique name: its partition goes with the test."""
    name, month = f"ancient_{unique}", 1 + int(unique, 16) % 12
    database = Database(cluster.urls["DATABASE_URL"], size=1)
    partition = f"activity_1999_{month:02}"
    first, end = f"1999-{month:02}-01 00:00+00", f"1999-{month:02}-28 00:00+00"
    old = raw("public.directus_activity ATTACH PARTITION directoire.") + ident(partition)
    bounds = raw(" FOR VALUES FROM (") + literal(first) + raw(") TO (") + literal(end) + raw(")")
    await database.execute(
        raw("CREATE TABLE directoire.")
        + ident(partition)
        + raw(" (LIKE public.directus_activity INCLUDING ALL)")
    )
    await database.execute(raw("ALTER TABLE ") + old + bounds)
    await database.execute(
        raw('WITH old AS (INSERT INTO directus_activity ("datetime", table_name, action, actor)')
        + raw(" VALUES (")
        + param(datetime.fromisoformat(first))
        + raw(", ")
        + param(name)
        + raw(""", 'ADD', '1') RETURNING id, "datetime")""")
        + raw(" INSERT INTO directoire.outbox SELECT * FROM old")
    )
    path = f"activity?filters[table_name][eq]={name}"

    async def remembered() -> bool:
        reply = await api.get(path)
        return len(reply.data) == 1 and reply.headers["Cache-Status"].endswith("; hit")

    async def dropped() -> bool:
        words = ("activity", "retain", "20y")
        told = {"DATABASE_URL": cluster.urls["DATABASE_URL"]}
        status, out, err = await asyncio.to_thread(invoked, words, **told)
        assert status == 0, err
        return out == "1 entries dropped\n"

    await eventually(remembered, what="the list is answered from memory")
    await eventually(dropped, what="the bus has confirmed it")
    assert (await api.get(path)).data == []
    await database.close()


async def test_an_import_in_the_background_shows_its_progress(
    api: Api, unique: str, tmp_path: Path
) -> None:
    table = await api.make_table(f"progress_{unique}", title="VARCHAR")
    rows = tmp_path / "rows.ndjson"
    rows.write_text("".join(json.dumps({"title": f"row {n}"}) + "\n" for n in range(2000)))
    status, out, err = await directoire(api, "import", table, str(rows), "--background")
    assert (status, out) == (0, "Imported 2000 rows.\n"), err
    assert "done, 2000 rows" in err
    assert "━" in err
    status, out, err = await directoire(api, "import", table, str(rows), "--dry-run", "--json")
    assert (status, json.loads(out), err) == (0, {"rows": 2000}, "")
    status, out, err = await directoire(api, "export", table, "--sort=-id", "--limit=1")
    assert status == 0
    assert out.splitlines()[1].endswith('"row 1999"')
    assert (await api.get(f"tables/{table}/rows?limit=1")).json["meta"]["total_entries"] == 2000


async def test_a_row_is_moved(api: Api, unique: str) -> None:
    table = await api.make_table(f"moved_{unique}", title="VARCHAR", sort="INT")
    keys = [
        (await api.post(f"tables/{table}/rows", {"sort": n, "active": 1})).data["id"]
        for n in (1, 2, 3)
    ]
    status, out, err = await directoire(api, "sort", table, str(keys[2]), str(keys[0]))
    assert (status, out) == (0, f"{keys[2]} is where {keys[0]} was.\n"), err
    found = (await api.get(f"tables/{table}/rows?orders[sort]=asc")).data
    assert [row["id"] for row in found] == [keys[2], keys[0], keys[1]]
    status, out, err = await directoire(api, "sort", table, "1", "2", "--json")
    assert (status, json.loads(out)) == (0, {"item": "1", "to": "2"})
    plain = await api.make_table(f"unmoved_{unique}", title="VARCHAR")
    status, _, err = await directoire(api, "sort", plain, "1", "2")
    assert (status, "no sort column" in err) == (1, True)


async def test_hashes_random_texts_and_the_cache(api: Api) -> None:
    status, out, _ = await directoire(api, "hash", "generate", "secret")
    hashed = out.strip()
    assert (status, hashed[:10]) == (0, "$argon2id$")
    status, out, _ = await directoire(api, "hash", "verify", "secret", hashed)
    assert (status, out) == (0, "matches\n")
    status, out, _ = await directoire(api, "hash", "verify", "other", hashed, "--json")
    assert (status, json.loads(out)) == (1, {"data": False})
    status, out, _ = await directoire(api, "random", "77")
    assert (status, len(out.strip())) == (0, 77)
    status, _, err = await directoire(api, "random", "501")
    assert (status, "500" in err) == (2, True)
    assert await directoire(api, "cache", "clear", "--system") == (0, "Cleared.\n", "")
    status, out, _ = await directoire(api, "cache", "clear", "--json")
    assert json.loads(out) == {"cleared": True, "system": False}


async def test_tables_and_tokens(api: Api, unique: str) -> None:
    table = await api.make_table(f"listed_{unique}", title="VARCHAR")
    status, out, _ = await directoire(api, "tables", "--json")
    assert (status, table in json.loads(out)) == (0, True)
    assert table in (await directoire(api, "tables"))[1]
    email, password = f"shell-{unique}@example.com", f"a passphrase {uuid4().hex}"
    await api.post("users", {"email": email, "password": password, "group": 1})
    words = ("token", "--email", email, "--url", api.base_url)
    status, out, _ = await asyncio.to_thread(invoked, words, DIRECTOIRE_PASSWORD=password)
    assert status == 0
    assert (await api.as_(out.strip()).get("users/me")).data["email"] == email


async def test_the_activity_is_told_as_it_comes(api: Api, unique: str) -> None:
    table = await api.make_table(f"tailed_{unique}", title="VARCHAR")
    key = (await api.post(f"tables/{table}/rows", {"title": "a"})).data["id"]

    async def told() -> bool:
        words = ("activity", "tail", "--no-follow", "--after", "0", "--table", table)
        status, out, err = await directoire(api, *words)
        assert (status, err) == (0, "")
        return f"ADD  {table}/{key}  by 1" in out

    await eventually(told, what="the entry among those of the past")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "directoire_cli", "activity", "tail", "--table", table, "--json",
        "--url", api.base_url, stdout=asyncio.subprocess.PIPE,
        env={"PATH": "", "DIRECTOIRE_TOKEN": api.token or ""},
    )  # fmt: skip
    assert process.stdout is not None
    line = asyncio.create_task(process.stdout.readline())
    try:

        async def heard() -> bool:
            """What was there before it listened is not told: write until something is."""
            await api.put(f"tables/{table}/rows/{key}", {"title": uuid4().hex})
            return line.done()

        await eventually(heard, what="an entry that came")
        entry = json.loads(await line)
        assert (entry["table_name"], entry["row_id"], entry["action"]) == (table, key, "UPDATE")
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize(
    "words",
    ["", "import", "export", "sort", "hash", "hash generate", "hash verify", "random",
     "cache", "cache clear", "activity", "activity tail", "tables", "token"],
)  # fmt: skip
async def test_every_command_has_help(words: str) -> None:
    status, out, _ = invoked([*words.split(), "--help"])
    assert status == 0
    assert "Usage:" in out
    leaf = words and words not in {"hash", "cache", "activity"}
    assert not leaf or "--json" in out


async def test_failures_say_what_to_do(api: Api, tmp_path: Path, unique: str) -> None:
    status, _, err = await directoire(api, "tables", token="no-such-token")
    assert (status, "DIRECTOIRE_TOKEN" in err) == (1, True)
    status, _, err = await directoire(api, "activity", "tail", token="no-such-token")
    assert (status, "DIRECTOIRE_TOKEN" in err) == (1, True)
    status, _, err = await directoire(api.at("http://127.0.0.1:1"), "random")
    assert (status, "make up" in err) == (1, True)
    rows = tmp_path / "rows.pdf"
    rows.write_text("x")
    status, _, err = await directoire(api, "import", "any", str(rows))
    assert (status, ".csv" in err) == (2, True)
    status, _, err = await directoire(api, "import", "any", str(tmp_path / "no.csv"))
    assert (status, "does not exist" in err) == (2, True)
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    status, _, err = await directoire(api, "import", f"nowhere_{unique}", str(rows))
    assert (status, "directoire tables" in err) == (1, True)
    status, _, err = await directoire(api, "export", "any", "--filter", "{")
    assert (status, "no JSON" in err) == (2, True)
