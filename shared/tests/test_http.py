"""A failure becomes a response in one place, in the shape each client reads."""

import asyncio

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.answers import Answer
from shared.errors import ApiError, Forbidden, InvalidRequest, Refused, Unavailable
from shared.http import failure, respond, version_of
from shared.versions import ApiVersion

FAULT = InvalidRequest('unknown operator "resembles"', field="name")


def body_of(
    error: ApiError, path: str, headers: dict[str, str] | None = None
) -> tuple[int, str, dict[str, object]]:
    response = failure(error, path, headers or {}, "r1")
    assert isinstance(response.body, bytes)
    return response.status, response.content_type, msgspec.json.decode(response.body)


def test_version_1_1_has_the_message_inside_error() -> None:
    assert body_of(FAULT, "/api/1.1/tables/x/rows") == (
        400, "application/json",
        {"success": False, "error": {"message": 'unknown operator "resembles"',
         "code": "INVALID_REQUEST", "field": "name", "request_id": "r1"}},
    )  # fmt: skip


def test_version_1_0_has_it_outside_too() -> None:
    _, _, body = body_of(FAULT, "/api/1/tables/x/rows")
    assert body["message"] == 'unknown operator "resembles"'
    assert body["success"] is False
    assert isinstance(body["error"], dict)


def test_utilities_answer_as_modern_clients_read_it() -> None:
    status, _, body = body_of(Forbidden(), "/utils/cache/clear")
    assert status == 403
    assert body == {
        "errors": [
            {
                "message": "Permission denied",
                "extensions": {"code": "FORBIDDEN", "request_id": "r1"},
            }
        ]
    }
    _, _, old = body_of(Forbidden(), "/api/1.1/utils/cache/clear")
    assert old["success"] is False
    assert "errors" in old


def test_a_business_failure_is_200_except_for_who_asks_for_the_truth() -> None:
    refused = Refused('Table "x" already exists')
    status, _, body = body_of(refused, "/api/1.1/tables")
    assert (status, body["success"]) == (200, False)
    problem = {"Accept": "application/problem+json"}
    status, content_type, body = body_of(refused, "/api/1.1/tables", problem)
    assert (status, content_type, body["status"]) == (409, "application/problem+json", 409)
    assert body["detail"] == 'Table "x" already exists'


def test_who_should_come_back_is_told_when() -> None:
    response = failure(Unavailable("busy", retry_after=0.2), "/api/1/tables", {}, "r1")
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/api/1/tables", ApiVersion.V1_0),
        ("/api/1.1/tables", ApiVersion.V1_1),
        ("//api//1/tables", ApiVersion.V1_0),
        ("/api/1", ApiVersion.V1_0),
        ("/api/10/tables", ApiVersion.V1_1),
        ("/storage/uploads/x.png", ApiVersion.V1_1),
    ],
)
def test_the_path_tells_the_version(path: str, version: ApiVersion) -> None:
    assert version_of(path) is version


async def _show(request: web.Request) -> web.Response:
    return respond(request, Answer(b'{"a":1}', version="7"))


async def _exchanged(port: int, sent: bytes) -> bytes:
    """All that comes back until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(30):
        answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered


async def test_answers_are_whole_whatever_becomes_of_the_connection() -> None:
    app = web.Application()
    app.router.add_get("/", _show)
    async with TestServer(app) as server:
        assert server.port is not None
        goes_on = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        ends = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answers = await _exchanged(server.port, goes_on + goes_on + ends)
        old = await _exchanged(server.port, b"GET / HTTP/1.0\r\n\r\n")
        head = await _exchanged(server.port, b"HEAD" + ends.removeprefix(b"GET"))
    each = answers.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert len(each) == 3
    for answer in (*each, old):
        lines, _, body = answer.partition(b"\r\n\r\n")
        assert body == b'{"a":1}'
        assert b"Content-Length: 7" in lines.split(b"\r\n")
        assert b"Content-Type: application/json; charset=utf-8" in lines.split(b"\r\n")
        assert b'ETag: "7.' in lines
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 7" in head
    assert [b"Connection: close" in answer for answer in each] == [False, False, True]
