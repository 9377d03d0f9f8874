"""``utils/import``: every format, all or nothing, faults by row and field."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from items_service.app import make_app
from items_service.operations.tabular import BrokenFile, read_rows
from items_service.settings import Settings
from shared.database import Database
from shared.identity import Principal
from shared.sql import raw
from shared.testing import Client, environment, fresh_database, serving

Shop = tuple[Client, Database]
CLERK = Principal(user=7, group=5)

CSV = 'id,title,price,facts\n1,"Bread, ""fresh""",3.5,"{""a"": 2}"\n70,"two\nlines",,\n,No key,1,\n'
JSON = json.dumps(
    [
        {"id": 1, "title": 'Bread, "fresh"', "price": 3.5, "facts": {"a": 2}},
        {"id": 70, "title": "two\nlines"},
        {"title": "No key", "price": "1"},
    ]
)
NDJSON = "\n".join(json.dumps(row) for row in json.loads(JSON)) + "\n"
XML = """<?xml version="1.0"?><data>
<data><id>1</id><title>Bread, "fresh"</title><price>3.5</price><facts>{"a": 2}</facts></data>
<data><id>70</id><title>two
lines</title><price null="true"/></data><data><title>No key</title><price>1</price></data></data>"""
YAML = """# rows
- id: 1
  title: 'Bread, "fresh"'
  price: 3.5
  facts: {a: 2}
- id: 70
  title: |-
    two
    lines
-
  title: No key
  price: 1
"""


async def send(
    client: Client, data: bytes | str, kind: str = "text/csv", query: str = "", name: str = "f"
) -> tuple[int, Any]:
    form = aiohttp.FormData()
    form.add_field("file", data, filename=name, content_type=kind)
    return await client.send("POST", f"utils/import/groceries{query}", data=form)


async def state(database: Database) -> list[tuple[Any, ...]]:
    rows = await database.fetch(
        raw("SELECT id, active, title, price::text, facts::text FROM groceries ORDER BY id")
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        ("text/csv", CSV, "f.csv"),
        ("text/csv", CSV.replace("\n", "\r\n").replace("two\r\n", "two\n"), "f.csv"),
        ("application/vnd.ms-excel", "\ufeff" + CSV, "f"),
        ("application/json", JSON, "f.json"),
        ("application/x-ndjson", NDJSON, "f"),
        ("application/octet-stream", NDJSON, "f.ndjson"),
        ("application/xml", XML, "f.xml"),
        ("application/yaml", YAML, "f.yaml"),
    ],
)
async def test_stores_the_rows_of_every_format(
    own_shop: Shop, kind: str, text: str, name: str
) -> None:
    client, database = own_shop
    status, body = await send(client, text, kind, name=name)
    assert (status, body) == (200, None)
    rows = {row[0]: row for row in await state(database)}
    assert rows[1] == (1, 1, 'Bread, "fresh"', "3.50", '{"a": 2}')
    assert rows[70] == (70, 2, "two\nlines", None, None)
    assert [row[2:4] for key, row in rows.items() if key > 6 and key != 70] == [("No key", "1.00")]
    actions = await database.fetch(
        raw("SELECT action, actor FROM directus_activity WHERE table_name = 'groceries'"
            " AND actor = '1' ORDER BY id")
    )  # fmt: skip
    assert sorted(row["action"] for row in actions) == ["ADD", "ADD", "UPDATE"]
    _, made = await client.post("tables/groceries/rows", {"title": "next"})
    assert made["data"]["id"] > 70


async def test_many_rows_go_by_copy(own_shop: Shop) -> None:
    client, database = own_shop
    lines = [f"{n},Row {n},{n % 50}.25,{n}" for n in range(100, 12_100)]
    status, _ = await send(client, "id,title,price,stock\n" + "\n".join(lines))
    assert status == 200
    assert await database.fetchval(raw("SELECT count(*) FROM groceries WHERE id >= 100")) == 12_000
    lines = [f"{n},Again {n}" for n in range(100, 12_100)] + ["100,twice"]
    assert (await send(client, "id,title\n" + "\n".join(lines)))[0] == 200
    assert await database.fetchval(
        raw("SELECT count(*) FROM groceries WHERE title LIKE 'Again%' AND stock = id")
    ) == 11_999  # fmt: skip
    assert await database.fetchval(raw("SELECT title FROM groceries WHERE id = 100")) == "twice"
    entries = raw("SELECT count(*) FROM directus_activity WHERE actor = '1' AND action = 'UPDATE'")
    assert await database.fetchval(entries) == 12_001


async def test_one_bad_row_and_nothing_is_stored(own_shop: Shop) -> None:
    client, database = own_shop
    before = await state(database)
    lines = ["title,stock,barcode,baked"]
    lines += [f"Row {n},{n},{n},2024-01-01" for n in range(300)]
    lines[50] = "Row 49,x,49,2024-01-01"
    lines[51] = f"{'long' * 20},50,50,soon"
    lines[200] = "Row 199,199,198,2024-01-01"  # the barcode of the row before
    lines[201] = "Row 200,200"
    status, body = await send(client, "\n".join(lines))
    assert status == 400
    found = {
        (e["extensions"].get("field"), e["extensions"]["code"]): e["extensions"]["rows"]
        for e in body["errors"]
    }
    assert found == {
        ("stock", "FAILED_VALIDATION"): [{"type": "lines", "rows": [50]}],
        ("title", "VALUE_TOO_LONG"): [{"type": "lines", "rows": [51]}],
        ("baked", "FAILED_VALIDATION"): [{"type": "lines", "rows": [51]}],
        (None, "RECORD_NOT_UNIQUE"): [{"type": "lines", "rows": [200]}],
        (None, "FAILED_VALIDATION"): [{"type": "lines", "rows": [201]}],
    }
    assert await state(database) == before


async def test_a_thousand_faults_are_enough(own_shop: Shop) -> None:
    client, _ = own_shop
    status, body = await send(client, "stock\n" + "x\n" * 5000)
    assert status == 400
    assert body["errors"][0]["extensions"]["rows"] == [{"type": "range", "start": 1, "end": 1000}]


async def test_a_dry_run_stores_nothing(own_shop: Shop) -> None:
    client, database = own_shop
    before = await state(database)
    assert await send(client, CSV, query="?dry_run=true") == (200, {"data": {"rows": 3}})
    assert (await send(client, "stock\nx\n", query="?dry_run"))[0] == 400
    assert await state(database) == before


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        ("text/csv", b"title\n\xff\xfe\n", "not UTF-8"),
        ("text/csv", "title\nx\n".encode("utf-16"), "UTF-16"),
        ("text/csv", b"", "empty"),
        ("text/csv", b"title,title\nx,y\n", "twice"),
        ("text/csv", b'title\n"never closed\n', "row 1"),
        ("text/csv", b"title\na,b\n", "2 cells"),
        ("text/csv", b"title\nx\0y\n", "NUL"),
        ("application/json", b'{"title": "x"}', "array"),
        ("application/json", b'[{"title": "x"}', "middle"),
        ("application/json", b'[{"title": NaN}]', "NaN"),
        ("application/json", b'[{"title": "x"} {"title": "y"}]', "behind row 1"),
        ("application/json", b"[5]", "no JSON object"),
        ("application/json", b"[" + b'{"a":' * 100_000, "deep"),
        ("application/json", b"PK\x03\x04\xff", "UTF-8"),
        ("application/x-ndjson", b'{"title": "x"}\n{', "row 2"),
        ("application/xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ("application/xml", b"<data><data><title>x</data></data>", "XML"),
        ("application/xml", b"<a><b><c><d>x</d></c></b></a>", "deeper"),
        ("application/yaml", b"- &a {title: x}\n- *a\n", "aliases"),
        ("application/yaml", b"- !!python/object:os.system {}\n", "tag"),
        ("application/yaml", b"title: x\n", "list of rows"),
        ("application/yaml", b"- title: [" + b"[" * 200, "row 1"),
    ],
)
async def test_a_bad_file_gets_a_clear_error(
    own_shop: Shop, kind: str, data: bytes, says: str
) -> None:
    client, database = own_shop
    before = await state(database)
    status, body = await send(client, data, kind)
    assert status == 400, body
    assert says in body["errors"][0]["message"]
    assert await state(database) == before


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "xml", "yaml"])
async def test_a_row_without_an_end_is_given_up(form: str) -> None:
    beginnings = {
        "csv": b'title\n"',
        "json": b'[{"title": "',
        "ndjson": b'{"title": "',
        "xml": b"<data><data><title>",
        "yaml": b"- title: ",
    }
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield beginnings[form]
        for _ in range(1024):  # a gigabyte
            sent += 1024 * 1024
            yield b"x" * 1024 * 1024

    with pytest.raises(BrokenFile, match=r"longer than|never closed|no JSON"):
        async for _ in read_rows(form, endless()):
            pass
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "xml", "yaml"])
async def test_where_chunks_end_does_not_matter(form: str) -> None:
    texts = {"csv": CSV, "json": JSON, "ndjson": NDJSON, "xml": XML, "yaml": YAML}
    whole = ("\ufeff" + texts[form].replace("Bread", "Brød")).encode()

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(whole), size):
            yield whole[at : at + size]

    async def read(size: int) -> list[Any]:
        return [row async for found in read_rows(form, pieces(size)) for row in found]

    expected = await read(10_000)
    assert len(expected) == 3
    for size in (1, 2, 3, 7, 50):
        assert await read(size) == expected


async def test_formulas_made_harmless_come_back(own_shop: Shop) -> None:
    client, database = own_shop
    await send(client, "id,title\n80,'=1+1\n81,''-x\n82,'quoted'\n83,null\n")
    found = await database.fetch(raw("SELECT title FROM groceries WHERE id >= 80 ORDER BY id"))
    assert [row["title"] for row in found] == ["=1+1", "'-x", "'quoted'", None]


async def test_importing_needs_the_rights_to_add_and_to_edit(own_shop: Shop) -> None:
    client, database = own_shop
    clerk = client.as_(CLERK)
    assert (await send(clerk, "title,stock\nSalt,1\n"))[0] == 200
    status, body = await send(clerk, "title,barcode\nSalt,1\n")
    assert (status, body["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN")
    for table in ("makers", "nowhere", "directus_users", "foreign_rows"):
        form = aiohttp.FormData()
        form.add_field("file", "name\nx\n", filename="f", content_type="text/csv")
        status, _ = await clerk.send("POST", f"utils/import/{table}", data=form)
        assert status == 403, table
    await database.execute(
        raw("UPDATE directus_privileges SET allow_edit = 1 WHERE table_name = 'notes'")
    )
    lines = "\n".join(f"{n},x" for n in range(1, 40))
    form = aiohttp.FormData()
    form.add_field("file", "id,text\n" + lines, filename="f", content_type="text/csv")
    status, body = await clerk.send("POST", "utils/import/notes", data=form)
    assert status == 400
    assert [e["extensions"]["rows"] for e in body["errors"]] == [[{"type": "lines", "rows": [3]}]]


@pytest.mark.parametrize(
    ("kind", "status"), [("image/png", 415), ("application/octet-stream", 415)]
)
async def test_other_types_are_not_understood(own_shop: Shop, kind: str, status: int) -> None:
    assert (await send(own_shop[0], "x", kind))[0] == status


async def test_what_is_no_upload_is_refused(own_shop: Shop) -> None:
    client, _ = own_shop
    assert (await client.post("utils/import/groceries", [{"title": "x"}]))[0] == 415
    form = aiohttp.FormData()
    form.add_field("other", "x", filename="f")
    status, _ = await client.send("POST", "utils/import/groceries", data=form)
    assert status == 400


async def test_administrators_import_users_too(own_shop: Shop) -> None:
    client, database = own_shop
    form = aiohttp.FormData()
    text = "email,password,group\nnew@example.com,a passphrase of some length,1\n"
    form.add_field("file", text, filename="f", content_type="text/csv")
    assert await client.send("POST", "utils/import/directus_users", data=form) == (200, None)
    kept = raw("SELECT password_hash FROM directoire.credentials")
    assert (await database.fetchval(kept)).startswith("$argon2id$")


async def test_a_file_beyond_the_limit_is_refused_with_the_limit(
    shop_template: str, redis_prefix: str
) -> None:
    async with fresh_database(shop_template) as url:
        settings = Settings.model_validate(environment(url, redis_prefix, import_limit="2000"))
        database = Database(url, size=1)
        await database.execute(
            raw(
                'INSERT INTO directus_users (id, active, email, "group")'
                " VALUES (1, 1, 'admin@example.com', 1)"
            )
        )
        await database.close()
        async with serving(make_app(settings)) as client:
            rows = "title\n" + "x\n" * 997
            assert (await send(client, rows))[0] == 200
            assert (await send(client, rows, query="?background=true"))[0] == 202
            for query in ("", "?background=true"):
                status, body = await send(client, rows + "y", query=query)
                assert (status, body["errors"][0]["extensions"]["code"]) == (
                    413,
                    "CONTENT_TOO_LARGE",
                )
                assert "2000 bytes" in body["errors"][0]["message"]
