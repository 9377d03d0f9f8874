"""Import and export through the gateway: in the foreground, as jobs, there and back."""

import csv
import io
import json
from typing import Any

import pytest
from bulk import ended, export, library_file, upload
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")


async def test_a_job_imports_and_tells_its_progress(api: Api, unique: str) -> None:
    table = await api.make_table(f"job_{unique}", title="VARCHAR", number="INT")
    lines = "".join(f"row {n},{n}\n" for n in range(3000))
    reply = await upload(api, table, "title,number\n" + lines, query="?background=true")
    assert reply.status == 202
    assert reply.headers["Location"] == reply.json["data"]["job"]
    job = await ended(api, reply.headers["Location"])
    assert (job["state"], job["rows"], job["faults"]) == ("done", 3000, 0)
    assert job["size"] == job["bytes"] > 30_000
    listed = await api.get(f"tables/{table}/rows?limit=1")
    assert listed.json["meta"]["total_entries"] == 3000
    reply = await upload(api, table, "title,number\nx,1\nx,y\n", query="?background")
    job = await ended(api, reply.headers["Location"])
    assert (job["state"], job["faults"]) == ("failed", 1)
    report = await api.get(f"/utils/jobs/{job['id']}/rejects")
    assert next(csv.DictReader(io.StringIO(report.content.decode())))["row"] == "2"
    assert (await api.get(f"/utils/jobs/{job['id']}x")).status == 404


@pytest.mark.parametrize("form", ["csv", "csv_utf8", "json", "ndjson", "xml", "yaml"])
async def test_what_is_exported_can_be_imported(api: Api, unique: str, form: str) -> None:
    columns = {"title": "VARCHAR", "price": "DECIMAL:8,2", "text": "TEXT", "day": "DATE"}
    table = await api.make_table(f"there_{form}_{unique}", **columns)
    rows = [
        {"title": "=1+1", "price": "-2.50", "text": 'a "b"\n,<c> & d', "day": "2024-02-29"},
        {"title": "'=x", "price": None, "text": "Grüße\u2028 ☃", "day": None},
    ]
    for row in rows:
        assert (await api.post(f"tables/{table}/rows", row)).status == 200
    query = {"fields": ["title", "price", "text", "day"], "sort": ["id"]}
    record, content = await library_file(api, await export(api, table, form, query))
    assert record["title"].startswith(f"export-{table}-")
    assert "position" in record["caption"]
    if form.startswith("csv"):
        assert content.startswith(b"\xef\xbb\xbf") is (form == "csv_utf8")
        assert b'"\'=1+1"' in content
    copy = await api.make_table(f"back_{form}_{unique}", **columns)
    kind = {"csv_utf8": "csv", "ndjson": "x-ndjson"}.get(form, form)
    kind = f"text/{kind}" if kind in {"csv", "xml", "yaml"} else f"application/{kind}"
    assert (await upload(api, copy, content.decode(), kind)).status == 200
    found = (await api.get(f"tables/{copy}/rows?orders[id]=asc&status=0,1,2")).data
    assert [{name: row[name] for name in columns} for row in found] == rows


async def test_an_export_holds_what_its_query_says(api: Api, unique: str) -> None:
    table = await api.make_table(f"query_{unique}", title="VARCHAR", number="INT")
    for number in range(10):
        await api.post(f"tables/{table}/rows", {"title": f"row {number}", "number": number})
    one = {"_or": [{"number": {"_lt": 2}}, {"_and": [{"title": {"_contains": "9"}}]}]}
    expectations: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [*range(10)]),
        ({"filter": one}, [0, 1, 9]),
        ({"filter": {"number": {"_in": [3, 4], "_neq": 4}}}, [3]),
        ({"filters": {"number": {">=": 8}}}, [8, 9]),
        ({"sort": ["-number"], "limit": 2}, [9, 8]),
        ({"sort": "number", "limit": 3, "page": 2}, [3, 4, 5]),
        ({"search": "row 7", "limit": -1}, [7]),
    ]
    for query, numbers in expectations:
        job = await export(api, table, "json", query, title="mine", filename_download="a b.json")
        record, content = await library_file(api, job)
        assert [row["number"] for row in json.loads(content)] == numbers, query
        assert record["title"] == "mine"
    messages = (await api.get("tables/directus_messages/rows?orders[id]=desc")).data
    assert messages[0]["subject"] == f"The export of {table} is ready"
    for query in ({"filter": {"nothing": {"_eq": 1}}}, {"filter": {"number": {"_odd": 1}}}):
        job = await export(api, table, "json", query)
        assert job["state"] == "failed"
        assert "unknown" in job["message"]
    assert (await export(api, table, "pdf", {}))["state"] == "failed"


async def test_what_an_export_needs_is_told(api: Api, unique: str) -> None:
    table = await api.make_table(f"needs_{unique}", title="VARCHAR")
    reply = await api.post(f"/utils/export/{table}", {})
    assert (reply.status, "query" in reply.json["errors"][0]["message"]) == (400, True)
    reply = await api.post(f"/utils/export/{table}", {"query": {}})
    assert (reply.status, "format" in reply.json["errors"][0]["message"]) == (400, True)
    reply = await api.post("/utils/export/nowhere", {"query": {}, "format": "csv"})
    assert reply.status == 403
    assert (await upload(api, "nowhere", "a\n1\n")).status == 403


async def test_a_column_that_is_hidden_is_not_exported(api: Api, unique: str) -> None:
    table = await api.make_table(f"hidden_{unique}", title="VARCHAR", secret="VARCHAR")
    await api.post(f"tables/{table}/rows", {"title": "seen", "secret": "unseen"})
    group = (await api.post("groups", {"name": f"readers-{unique}"})).data["id"]
    token = f"token-{unique}-0123456789"
    user = {"email": f"reader-{unique}@example.com", "password": "a passphrase of some length"}
    await api.post("users", user | {"token": token, "group": group})
    them = api.as_(token)
    body = {"format": "json", "query": {}}
    assert (await them.post(f"/utils/export/{table}", body)).status == 403
    right = {"table_name": table, "allow_view": 2, "read_field_blacklist": "secret"}
    assert (await api.post(f"privileges/{group}", right)).status == 200
    job = await export(them, table, "json", {})
    assert job["state"] == "done", job
    assert (await api.get(f"/utils/jobs/{job['id']}")).status == 200
    _, content = await library_file(api, job)
    assert b"unseen" not in content
    job = await export(them, table, "json", {"filter": {"secret": {"_eq": "unseen"}}})
    assert job["state"] == "failed"
