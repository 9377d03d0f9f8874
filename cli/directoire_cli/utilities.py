"""``directoire import``, ``export``, ``sort``, ``hash``, ``random``, ``cache``, ``tables``."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from directoire_cli.api import DEFAULT_URL, Address, Api, AsJson, Failed, Token, pieces, run

_TYPES: Final = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_LOOKS_EVERY: Final = 0.25  # seconds

Collection = Annotated[str, typer.Argument(help="the table")]
app = typer.Typer()
cache = typer.Typer(no_args_is_help=True, help="What is remembered.")
hashes = typer.Typer(no_args_is_help=True, help="Argon2id hashes.")


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )


def _show(value: Any, text: str, *, as_json: bool) -> None:
    print(json.dumps(value) if as_json else text)


@app.command("import")
def import_file(
    table: Collection,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="csv, json, …")],
    token: Token,
    url: Address = DEFAULT_URL,
    background: Annotated[bool, typer.Option(help="as a job that outlives this command")] = False,
    dry_run: Annotated[bool, typer.Option(help="look for faults, store nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Store the rows of a file: all, or none. A row whose key exists is updated."""
    kind = _TYPES.get(file.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"the name must end in one of {', '.join(_TYPES)}")
    flags = [name for name, on in (("background", background), ("dry_run", dry_run)) if on]
    query = "?" + "&".join(f"{name}=true" for name in flags) if flags else ""

    async def work(api: Api) -> dict[str, Any]:
        with _progress(quiet=as_json) as progress, file.open("rb") as source:
            size = file.stat().st_size
            task = progress.add_task(f"{file.name} → {table}", total=size)
            sent = pieces(source.read, lambda count: progress.advance(task, count))
            with aiohttp.MultipartWriter("form-data") as form:
                part = form.append(sent, {"Content-Type": kind})  # pyright: ignore[reportArgumentType]
                part.set_content_disposition("form-data", name="file", filename=file.name)
            answer = await api.ask("POST", f"/utils/import/{table}{query}", data=form)
            if not background:
                return (answer.json or {}).get("data") or {"state": "done"}
            progress.reset(task, total=size, description=f"storing in {table}")
            return await _wait(api, answer.headers["Location"], progress, task)

    job = run(url, token, work)
    stored = f"{job['rows']} rows" if "rows" in job else file.name
    _show(job, f"{'Looked through' if dry_run else 'Imported'} {stored}.", as_json=as_json)


async def _wait(api: Api, address: str, progress: Progress, task: Any) -> dict[str, Any]:
    """Until a job has ended. Raises Failed when it failed."""
    while True:
        job: dict[str, Any] = (await api.ask("GET", address)).json["data"]
        told = f"{job['state']}, {job['rows']} rows"
        progress.update(task, completed=job["bytes"], total=job["size"], description=told)
        if job["state"] == "done":
            return job
        if job["state"] in {"failed", "cancelled"}:
            rejects = f"\nThe rows at fault: {address}/rejects" if job["faults"] else ""
            raise Failed(f"{job['message'] or job['state']}{rejects}")
        await asyncio.sleep(_LOOKS_EVERY)


@app.command("export")
def export_file(
    table: Collection,
    token: Token,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="else standard output")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="csv, csv_utf8, json, ndjson, xml, yaml")
    ] = "csv",
    fields: Annotated[str, typer.Option(help="columns, with commas")] = "",
    where: Annotated[str, typer.Option("--filter", help='JSON, such as {"id": {"_gt": 5}}')] = "",
    sort: Annotated[str, typer.Option(help="columns, with commas; -column descends")] = "",
    limit: Annotated[int, typer.Option(help="-1 for all")] = -1,
    url: Address = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Write a table to the file library and fetch it from there: one snapshot of it."""
    query: dict[str, Any] = {"limit": limit}
    for name, value in (("fields", fields), ("sort", sort)):
        if value:
            query[name] = value.split(",")
    if where:
        try:
            query["filter"] = json.loads(where)
        except ValueError as error:
            raise typer.BadParameter(f"--filter is no JSON: {error}") from error

    async def work(api: Api) -> dict[str, Any]:
        with _progress(quiet=as_json) as progress:
            task = progress.add_task(f"exporting {table}", total=None)
            body = {"format": form, "query": query}
            answer = await api.ask("POST", f"/utils/export/{table}", body=body)
            job = await _wait(api, answer.headers["Location"], progress, task)
            record = (await api.ask("GET", f"/api/1.1/files/{job['result']['file']}")).json["data"]
            size = job["result"]["size"]
            progress.reset(task, total=size, description=f"fetching {record['name']}")
            sink = sys.stdout.buffer if output is None else output.open("wb")
            try:
                async with api.send("GET", record["url"]) as response:
                    async for piece in response.content.iter_chunked(256 * 1024):
                        sink.write(piece)
                        progress.advance(task, len(piece))
            finally:
                if output is not None:
                    sink.close()
            return job

    job = run(url, token, work)
    if output is not None:
        told = f"{job['rows']} rows, up to position {job['result']['position']} of the feed."
        _show(job, told, as_json=as_json)


@app.command("sort")
def sort_row(
    table: Collection,
    item: Annotated[str, typer.Argument(help="key of the row to move")],
    to: Annotated[str, typer.Argument(help="key of the row whose place it takes")],
    token: Token,
    url: Address = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Move a row to the place of another."""
    body = {"item": item, "to": to}
    run(url, token, lambda api: api.ask("POST", f"/utils/sort/{table}", body=body))
    _show(body, f"{item} is where {to} was.", as_json=as_json)


@hashes.command("generate")
def generate(text: str, token: Token, url: Address = DEFAULT_URL, as_json: AsJson = False) -> None:
    """The hash of a text."""
    answer = run(
        url, token, lambda api: api.ask("POST", "/utils/hash/generate", body={"string": text})
    )
    _show(answer.json, answer.json["data"], as_json=as_json)


@hashes.command("verify")
def verify(
    text: str, hashed: str, token: Token, url: Address = DEFAULT_URL, as_json: AsJson = False
) -> None:
    """Whether a hash is of a text; else exit status 1."""
    body = {"string": text, "hash": hashed}
    answer = run(url, token, lambda api: api.ask("POST", "/utils/hash/verify", body=body))
    matches = answer.json["data"]
    _show(answer.json, "matches" if matches else "does not match", as_json=as_json)
    if not matches:
        raise typer.Exit(1)


@app.command("random")
def random_string(
    token: Token,
    length: Annotated[int, typer.Argument(min=1, max=500)] = 32,
    url: Address = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """A random text."""
    answer = run(url, token, lambda api: api.ask("GET", f"/utils/random/string?length={length}"))
    _show(answer.json, answer.json["data"], as_json=as_json)


@cache.command("clear")
def clear(
    token: Token,
    system: Annotated[bool, typer.Option(help="also schema, rights and settings")] = False,
    url: Address = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Void all that is remembered, on every replica."""
    path = "/utils/cache/clear" + ("?system" if system else "")
    run(url, token, lambda api: api.ask("POST", path))
    _show({"cleared": True, "system": system}, "Cleared.", as_json=as_json)


@app.command("tables")
def tables(token: Token, url: Address = DEFAULT_URL, as_json: AsJson = False) -> None:
    """The tables that the token's user may see."""
    found = run(url, token, lambda api: api.ask("GET", "/api/1.1/tables")).json["data"]
    names = [entry["name"] for entry in found]
    if as_json:
        print(json.dumps(names))
        return
    listed = Table("table")
    for name in names:
        listed.add_row(name)
    Console().print(listed)


@app.command("token")
def token_of(
    email: Annotated[str, typer.Option(prompt=True)],
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="DIRECTOIRE_PASSWORD")
    ],
    url: Address = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Sign in: a new API token of that user."""
    body = {"email": email, "password": password}
    answer = run(url, "", lambda api: api.ask("POST", "/api/1.1/auth/request-token", body=body))
    made = answer.json["data"]["token"]
    _show({"token": made}, made, as_json=as_json)
