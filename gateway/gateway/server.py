"""aiohttp's low-level server: no application, no router, no access log."""

import asyncio
import os
from typing import Final

from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.edge import Edge
from gateway.settings import Settings
from shared.errors import ApiError, InvalidRequest
from shared.http import failure

_READ_BUFFER: Final = 128 * 1024  # bytes of a body waiting for its service; twice that at most


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    return _Request(message, payload, protocol, writer, task, asyncio.get_running_loop())


class HeadTooLarge(ApiError):
    status, code = 431, "HEADERS_TOO_LARGE"


class _Connection(RequestHandler):
    """aiohttp's connection, with what is no HTTP answered in our shape, and never logged."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may quote what the client sent
    ) -> web.StreamResponse:
        if request.writer.output_size > 0 or self.transport is None:
            raise ConnectionError("an answer was begun already")
        error: ApiError
        if isinstance(exc, LineTooLong):
            error = HeadTooLarge("the request line or a header is too long")
        elif status == 400:
            error = InvalidRequest("this is not a valid HTTP request")
        else:
            error = ApiError("Something went wrong on our side.")
        response = failure(error, "", {}, os.urandom(16).hex())
        response.force_close()
        return response


class _Request(web.BaseRequest):
    """aiohttp's request, whose answers do not tell what server this is, and of which version."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop(hdrs.SERVER, None)


class EdgeServer(web.Server):
    def __init__(self, edge: Edge, settings: Settings) -> None:
        super().__init__(edge.handle, handler_cancellation=True, request_factory=_request)
        self._settings = settings

    def __call__(self) -> RequestHandler:
        settings = self._settings
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # pyright: ignore[reportArgumentType]
            keepalive_timeout=75.0,
            read_bufsize=_READ_BUFFER,
            max_line_size=settings.url_limit,
            max_field_size=settings.header_limit,
            max_headers=settings.headers_limit,
            lingering_time=2.0,
            auto_decompress=False,
        )
