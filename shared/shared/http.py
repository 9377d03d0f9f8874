"""Between aiohttp and the operations: bodies in, answers and errors out, on both versions."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
import structlog
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler

from shared.answers import Answer, Link
from shared.bodies import body_of, let_go
from shared.brackets import Query, parse_brackets
from shared.context import Context
from shared.errors import (
    ApiError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Refused,
    TooLarge,
    UnsupportedMediaType,
)
from shared.failpoints import is_off
from shared.logs import REQUEST_ID
from shared.preconditions import entity_tag
from shared.stamps import depends_header
from shared.versions import ApiVersion

log = structlog.get_logger(__name__)

CONTEXT: Final = web.RequestKey("context", Context)
JSON: Final = "application/json"
_JSON_TEXT: Final = "application/json; charset=utf-8"
PROBLEM: Final = "application/problem+json"
DEPENDS_HEADER: Final = "X-Directoire-Depends"
SCOPE_HEADER: Final = "X-Directoire-Scope"
_VERSION = re.compile(r"/+api/+(1|1\.1)(?=/|$)")
_UTILITIES = re.compile(r"^(/api/1(\.1)?)?/utils/")
_MODERN_CODES: Final[Mapping[str, str]] = {  # contract, section 9
    "INVALID_REQUEST": "INVALID_PAYLOAD",
    "UNAUTHORIZED": "INVALID_CREDENTIALS",
    "NOT_FOUND": "ROUTE_NOT_FOUND",
    "TOO_LARGE": "CONTENT_TOO_LARGE",
    "INVALID_VALUE": "UNPROCESSABLE_CONTENT",
    "NOT_UNIQUE": "RECORD_NOT_UNIQUE",
    "TOO_MANY_REQUESTS": "REQUESTS_EXCEEDED",
    "INTERNAL": "INTERNAL_SERVER_ERROR",
}
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)  # decimals stay exact


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object or form of a request; ``{}`` when there is no body (reading 49).

    Raises InvalidRequest for broken JSON or another JSON type than an object or array of rows,
    UnsupportedMediaType for other kinds of body, TooLarge past the limit.
    """
    body = await read_json(request)
    if isinstance(body, list):
        return {"rows": body}
    if not isinstance(body, dict):
        raise InvalidRequest(f"the body must be a JSON object, not {_json_name(body)}")
    return body


async def read_json(request: web.Request) -> Any:
    """As read_body, with any JSON type. Numbers with a fraction come as Decimal, to stay exact."""
    try:
        data = await body_of(request).read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge("the body is larger than this service takes") from error
    if not data.strip():
        return {}
    content_type = request.content_type
    if content_type == "application/x-www-form-urlencoded":
        return parse_brackets(_text(data))
    if content_type == JSON or content_type.endswith("+json") or _is_untyped(request):
        return _decode(data)
    raise UnsupportedMediaType(
        f'a body of type "{content_type}" is not understood here; '
        "send application/json or application/x-www-form-urlencoded"
    )


def _is_untyped(request: web.Request) -> bool:
    return "Content-Type" not in request.headers


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not valid UTF-8") from error


def _decode(data: bytes) -> Any:
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from error


def _json_name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return "a string" if isinstance(value, str) else "a number"


def no_content(status: int = 200) -> web.Response:
    """An empty answer: of no type, since clients parse whatever calls itself JSON."""
    return NoContent(status=status)


class NoContent(web.Response):
    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Content-Type", None)  # aiohttp's default one


def read_query(request: web.Request) -> Query:
    return parse_brackets(request.rel_url.raw_query_string)


def respond(request: web.Request, answer: object, status: int = 200) -> web.Response:
    """Send an Answer, or any value as JSON."""
    headers = {"Content-Type": _JSON_TEXT}
    if not isinstance(answer, Answer):
        return _Whole(body=msgspec.json.encode(answer), status=status, headers=headers)
    if answer.cacheable and status == 200 and not is_off("answers.depends"):
        headers[DEPENDS_HEADER] = depends_header(answer.depends)
        headers[SCOPE_HEADER] = answer.scope
    if answer.version is not None or request.method in {"GET", "HEAD"}:
        headers["ETag"] = entity_tag(answer.body, answer.version)
    if answer.links:
        headers["Link"] = ", ".join(_link(request, link) for link in answer.links)
    return _Whole(body=answer.body, status=status, headers=headers)


class _Whole(web.Response):
    """An answer that is all here, for the gateway: written past aiohttp's preparation of headers.

    Date and server are the gateway's to say. The last answer of a connection is left to aiohttp.
    """

    _goes_on = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        ends = not request.keep_alive or self.keep_alive is False
        if ends or request.version != HttpVersion11 or request.method == "HEAD":
            return await super().prepare(request)
        body, writer = self.body, request.writer
        assert isinstance(body, bytes)
        self.headers["Content-Length"] = str(len(body))
        await writer.write_headers(f"HTTP/1.1 {self.status} {self.reason}", self.headers)
        await writer.write_eof(body)
        self._goes_on = True
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        if not self._goes_on:
            await super().write_eof(data)

    @property
    def keep_alive(self) -> bool | None:
        return self._goes_on or super().keep_alive


def _link(request: web.Request, link: Link) -> str:
    gone = [name for name, value in link.query.items() if value is None]
    set_ = {name: value for name, value in link.query.items() if value is not None}
    url = request.rel_url.without_query_params(*gone).update_query(set_)
    return f'<{url}>; rel="{link.rel}"'


def version_of(path: str) -> ApiVersion:
    """The API version a path names; 1.1 for the paths that name none."""
    if path.startswith("/api/1.1/"):
        return ApiVersion.V1_1
    match = _VERSION.match(path)
    return ApiVersion.V1_0 if match and match[1] == "1" else ApiVersion.V1_1


def wants_problem(headers: Mapping[str, str]) -> bool:
    return PROBLEM in headers.get("Accept", "")


def failure(
    error: ApiError, path: str, headers: Mapping[str, str], request_id: str
) -> web.Response:
    """The one place where a failure becomes a response.

    1.0: ``{message, success, error}``; 1.1: ``{success, error: {message, code, request_id}}``;
    utilities: ``{errors: […]}`` as the modern clients read it; RFC 9457 for who accepts that.
    Source: contract 3, 9 and readings 2, 4, 46.
    """
    status = error.status
    content_type = JSON
    detail: dict[str, Any] = {"message": error.message, "code": error.code}
    if error.field is not None:
        detail["field"] = error.field
    detail["request_id"] = request_id
    body: dict[str, Any]
    if wants_problem(headers):
        content_type = PROBLEM
        body = {"type": "about:blank", "title": error.code, "status": status}
        body |= {"detail": error.message, "code": error.code, "request_id": request_id}
        if error.field is not None:
            body["field"] = error.field
    elif _UTILITIES.match(path):
        extensions = {key: value for key, value in detail.items() if key != "message"}
        extensions["code"] = _MODERN_CODES.get(error.code, error.code)
        errors = [{"message": error.message, "extensions": extensions}]
        body = {"errors": error.errors or errors}
        if path.startswith("/api/"):
            body |= {"success": False, "error": detail}
    else:
        if isinstance(error, Refused):
            status = 200
        body = {"success": False, "error": detail}
        if version_of(path) is ApiVersion.V1_0:
            body["message"] = error.message
    response = web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type=content_type,
        charset="utf-8" if content_type == JSON else None,
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="directoire"'
    return response


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as JSON; an unknown one is ours and tells nothing of the inside."""
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is answered
        # told at once: a name for it in this frame, which it holds, would be a cycle
        response = failure(_fault(request, error), request.path, request.headers, REQUEST_ID.get())
    finally:
        let_go(request)
    if "Content-Encoding" in request.headers:
        # if it cannot be decoded, aiohttp drops the connection, and with it what comes next
        response.force_close()
    return response


def _fault(request: web.Request, error: Exception) -> ApiError:
    """What to say of an exception. Raises it again where it is an answer of its own."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, web.RequestPayloadError):
        return InvalidRequest("the body is cut short, or not in the encoding it names")
    if isinstance(error, web.HTTPException):
        return _fault_of_http(request, error)
    log.error("unhandled error", method=request.method, path=request.path, exc_info=error)
    return ApiError("Something went wrong on our side.")


def _fault_of_http(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPNotFound):
        return NotFound(f"there is nothing at {request.path}")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return MethodNotAllowed(f"{request.method} is not possible here; try {allowed}")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return TooLarge("the body is larger than this service takes")
    if error.status < 400:
        raise error
    return InvalidRequest(error.reason)
