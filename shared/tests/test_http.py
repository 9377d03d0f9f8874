"""A failure becomes a response in one place, in the shape each client reads."""

import msgspec
import pytest

from shared.errors import ApiError, Forbidden, InvalidRequest, Refused, Unavailable
from shared.http import failure, version_of
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
