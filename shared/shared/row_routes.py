"""The row routes, the same in every service that serves tables: each mounts them for its own.

Which service a table's rows are asked of, the gateway knows.
"""

from aiohttp import web

from shared import rows
from shared.answers import Answer
from shared.http import CONTEXT, read_body, read_query, respond
from shared.rows import entries, lookups
from shared.service import CHANGES, DATABASE, Route, any_update, delete, get, patch, post, put


async def list_rows(request: web.Request) -> web.Response:
    answer = await rows.list_rows(
        request.app[DATABASE], request[CONTEXT], _table(request), read_query(request)
    )
    return respond(request, answer)


async def get_row(request: web.Request) -> web.Response:
    answer = await rows.get_row(
        request.app[DATABASE], request[CONTEXT], _table(request), _key(request), read_query(request)
    )
    return respond(request, answer)


async def list_revisions(request: web.Request) -> web.Response:
    answer = await entries.list_revisions(
        request.app[DATABASE], request[CONTEXT], _table(request), _key(request), read_query(request)
    )
    return respond(request, answer)


async def typeahead(request: web.Request) -> web.Response:
    answer = await lookups.typeahead(
        request.app[DATABASE], request[CONTEXT], _table(request), read_query(request)
    )
    return respond(request, answer)


async def audit(request: web.Request) -> web.Response:
    answer = await lookups.audit(
        request.app[DATABASE], request[CONTEXT], _table(request), _key(request), read_query(request)
    )
    return respond(request, answer)


async def create_row(request: web.Request) -> web.Response:
    return await _write(request, rows.create_row)


async def create_rows(request: web.Request) -> web.Response:
    return await _write(request, rows.create_rows)


async def update_rows(request: web.Request) -> web.Response:
    return await _write(request, rows.update_rows)


async def delete_rows(request: web.Request) -> web.Response:
    return await _write(request, rows.delete_rows)


async def _write(request: web.Request, operation: rows.Operation) -> web.Response:
    body = await read_body(request)
    answer = await operation(
        request.app[CHANGES], request[CONTEXT], _table(request), body, query=read_query(request)
    )
    return respond(request, answer)


async def update_row(request: web.Request) -> web.Response:
    body = await read_body(request)
    answer: Answer = await rows.update_row(
        request.app[CHANGES],
        request[CONTEXT],
        _table(request),
        _key(request),
        body,
        query=read_query(request),
    )
    return respond(request, answer)


async def delete_row(request: web.Request) -> web.Response:
    answer = await rows.delete_row(
        request.app[CHANGES],
        request[CONTEXT],
        _table(request),
        _key(request),
        query=read_query(request),
    )
    return respond(request, answer)


def _table(request: web.Request) -> str:
    return request.match_info["table"]


def _key(request: web.Request) -> str:
    return request.match_info["id"]


def row_routes(*tables: str) -> list[Route]:
    """The routes for the rows of these tables, or of any table."""
    # names of system tables are letters and underscores: nothing to escape in a pattern
    table = "{table:" + "|".join(tables) + "}" if tables else "{table}"
    rows_of = f"tables/{table}/rows"
    return [
        get(f"{rows_of}/{{id}}", get_row),  # first, as they are tried in this order
        get(rows_of, list_rows),
        post(rows_of, create_row),
        put(rows_of, update_rows),
        patch(rows_of, update_rows),
        # before {id}, or "bulk" would be a key
        post(f"{rows_of}/bulk", create_rows),
        put(f"{rows_of}/bulk", update_rows),
        patch(f"{rows_of}/bulk", update_rows),
        delete(f"{rows_of}/bulk", delete_rows),
        *any_update(f"{rows_of}/{{id}}", update_row),
        delete(f"{rows_of}/{{id}}", delete_row),
        get(f"{rows_of}/{{id}}/revisions", list_revisions),
        get(f"tables/{table}/typeahead", typeahead),
        get(f"tables/{table}/meta/{{id}}", audit),
    ]
