"""Everything that goes to the client: answers passed on, remembered ones, refusals.

Written as bytes, past aiohttp's response objects: they cost as much as the rest of a cached answer.
"""

import asyncio
import re
import time
from email.utils import formatdate
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import StreamReader

from gateway import headers
from gateway.exchange import Exchange, next_piece
from gateway.upstream import Reply
from shared.errors import ApiError, TimedOut, Unavailable, UpstreamFailed
from shared.health import Health
from shared.http import failure
from shared.preconditions import tag_matches

log = structlog.get_logger(__name__)

_MOST_STREAMS: Final = 10_000  # of one process
_STREAM_PATIENCE: Final = 60.0  # seconds; a stream that lives says so every 15
SMALL: Final = 64 * 1024  # bytes of a body that is taken whole; larger ones stream
HIT: Final = b"Cache-Status: Directoire; hit\r\n"
_ETAG: Final = re.compile(rb"^etag: ([^\r]*)\r$", re.IGNORECASE | re.MULTILINE).search
_END_OF_HEAD: Final = re.compile(rb"\r\n\r\n").search
_NOT_OF_304: Final = (b"content-type:", b"content-length:")
_ALWAYS: Final = b"Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n"
_NO_STORE: Final = b"Cache-Control: private, no-store\r\n"
_PREFLIGHT: Final = (
    b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
    b"Access-Control-Allow-Headers: Authorization, Content-Type, Access-Control-Allow-Origin, "
    b"If-Match, If-None-Match, Idempotency-Key, "
    b"Tus-Resumable, Upload-Length, Upload-Defer-Length, Upload-Offset, Upload-Metadata, "
    b"Upload-Checksum\r\n"
    b"Access-Control-Max-Age: 600\r\nContent-Length: 0\r\n\r\n"
)


class Written:
    """What aiohttp gets back when an answer has been written already."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, _request: web.BaseRequest) -> None:
        pass

    async def write_eof(self) -> None:
        pass


def _written(*, keep_alive: bool) -> web.StreamResponse:
    return cast("web.StreamResponse", Written(keep_alive=keep_alive))


def forwarded(why: str, *, stored: bool = False, shared: bool = False, detail: str = "") -> bytes:
    """The Cache-Status (RFC 9211) of what a service answered.

    ``why``: ``uri-miss`` (nothing remembered), ``stale`` (it was, before a change), ``method``,
    ``request`` (its headers ask for the service), ``bypass`` (nothing may be trusted now).
    """
    said = f"Cache-Status: Directoire; fwd={why}"
    if stored:
        said += "; stored"
    if shared:
        said += "; collapsed"
    if detail:
        said += f"; detail={detail}"
    return said.encode() + b"\r\n"


def _has_it(exchange: Exchange, head: bytes) -> bool:
    """Whether the client has the answer that begins with these lines already."""
    tag = _ETAG(head)
    assert exchange.if_none_match is not None
    return tag is not None and tag_matches(exchange.if_none_match, tag[1].decode("latin-1"))


def _without_body(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(_NOT_OF_304))


class Replies:
    def __init__(self, patience: float, health: Health) -> None:
        """``patience`` in seconds, for a reply that stops coming."""
        self._patience = patience
        self._health = health
        self._date = (0, b"")
        self._streams: set[StreamReader] = set()

    async def send_remembered(
        self, exchange: Exchange, answer: bytes | memoryview, how: bytes
    ) -> web.StreamResponse:
        exchange.status = 200
        first = b"HTTP/1.1 200 OK\r\n"
        if exchange.if_none_match is not None:
            end = _END_OF_HEAD(answer)
            assert end is not None
            head = bytes(answer[: end.end()])
            if _has_it(exchange, head):
                exchange.status = 304
                first = b"HTTP/1.1 304 Not Modified\r\n"
                answer = _without_body(head.removesuffix(b"\r\n\r\n")) + b"\r\n\r\n"
        keep, connection = self._connection_line(exchange)
        exchange.head_sent = True
        exchange.write_both(b"".join((first, self._own_lines(exchange), how, connection)), answer)
        await exchange.drain()
        return _written(keep_alive=keep)

    async def relay(
        self, exchange: Exchange, reply: Reply, how: bytes, *, patience: float | None = None
    ) -> web.StreamResponse:
        """Pass a reply on: a small one in one piece, a large one as it comes."""
        patience = patience or self._patience
        message = reply.message
        keep, connection = self._connection_line(exchange)
        if (
            exchange.if_none_match is not None
            and message.code == 200
            and tag_matches(exchange.if_none_match, message.headers.get("ETag", ""))
        ):
            return self._not_modified(exchange, reply, how)
        bare = exchange.method == "HEAD" or message.code in {204, 304}
        size = message.headers.get("Content-Length")
        exchange.status = message.code
        body = b""
        chunked = False
        if bare:
            length = b"" if size is None else b"Content-Length: %b\r\n" % size.encode()
            streams = False
        elif size is not None and int(size) <= SMALL:
            body = await self.whole(reply)
            length = b"Content-Length: %d\r\n" % len(body)
            streams = False
        elif size is not None:
            length = b"Content-Length: %b\r\n" % size.encode()
            streams = True
        elif exchange.request.version >= HttpVersion11:
            length = b"Transfer-Encoding: chunked\r\n"
            streams = chunked = True
        else:
            keep, connection = False, b"Connection: close\r\n"
            length, streams = b"", True
        reason = (message.reason or "").encode("latin-1", "replace")
        head = b"".join(
            (
                b"HTTP/1.1 %d %b\r\n" % (message.code, reason), self._own_lines(exchange), how,
                connection, self.kept_head(reply), length, b"\r\n",
            )
        )  # fmt: skip
        exchange.head_sent = True
        exchange.write(head + body)
        await exchange.drain()
        if streams and not await self._stream(exchange, reply, patience, chunked=chunked):
            keep = False
        return _written(keep_alive=keep)

    async def _stream(
        self, exchange: Exchange, reply: Reply, patience: float, *, chunked: bool
    ) -> bool:
        """Pass a body on, as fast as the client takes it. False: it broke off.

        Its head is out: an end of the connection is the only way left to say so.
        """
        try:
            while True:
                async with asyncio.timeout(patience):
                    piece = await next_piece(reply.body)
                if not piece:
                    break
                exchange.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await exchange.drain()
        except ConnectionResetError:
            return False
        except Exception as error:  # noqa: BLE001 - of any kind: the rest will not come
            log.warning(
                "a reply broke off", why=type(error).__name__, request_id=exchange.request_id
            )
            if exchange.request.transport is not None:
                exchange.request.transport.abort()
            return False
        if chunked:
            exchange.write(b"0\r\n\r\n")
        return True

    async def stream(self, exchange: Exchange, reply: Reply, how: bytes) -> web.StreamResponse:
        """Pass on a reply that has no end. Raises Unavailable when there are too many of them."""
        if len(self._streams) >= _MOST_STREAMS:
            raise Unavailable("too many streams", retry_after=5)
        self._streams.add(reply.body)
        try:
            return await self.relay(exchange, reply, how, patience=_STREAM_PATIENCE)
        finally:
            self._streams.discard(reply.body)

    def end_streams(self) -> None:
        for body in list(self._streams):
            body.feed_eof()

    def _not_modified(self, exchange: Exchange, reply: Reply, how: bytes) -> web.StreamResponse:
        """The body is left where it is; the reply's connection ends with it."""
        exchange.status = 304
        keep, connection = self._connection_line(exchange)
        exchange.head_sent = True
        head = _without_body(self.kept_head(reply).removesuffix(b"\r\n"))
        first = b"HTTP/1.1 304 Not Modified\r\n"
        exchange.write(
            b"".join((first, self._own_lines(exchange), how, connection, head, b"\r\n\r\n"))
        )
        return _written(keep_alive=keep)

    async def preflight(self, exchange: Exchange) -> web.StreamResponse:
        """OPTIONS is answered here; no route runs."""
        exchange.status = 200
        keep, connection = self._connection_line(exchange)
        exchange.head_sent = True
        exchange.write(
            b"".join(
                (
                    b"HTTP/1.1 200 OK\r\n", self._own_lines(exchange), connection,
                    _PREFLIGHT,
                )
            )
        )  # fmt: skip
        return _written(keep_alive=keep)

    def refusal(self, exchange: Exchange, error: ApiError) -> web.StreamResponse:
        if exchange.head_sent:
            if exchange.request.transport is not None:
                exchange.request.transport.abort()
            return _written(keep_alive=False)
        path = exchange.path or exchange.raw_path
        response = failure(error, path, exchange.request.headers, exchange.request_id)
        exchange.status = response.status
        for line in (_ALWAYS + _NO_STORE + exchange.cors).decode().split("\r\n"):
            if line:
                name, _, value = line.partition(": ")
                response.headers[name] = value
        response.headers["X-Request-Id"] = exchange.request_id
        if exchange.allowed:
            response.headers["Allow"] = exchange.allowed
        if not exchange.request.content.is_eof() or self._health.draining:
            response.force_close()
        return response

    async def whole(self, reply: Reply) -> bytes:
        """Raises UpstreamFailed, TimedOut."""
        try:
            if reply.body.is_eof():
                return await reply.body.read()
            async with asyncio.timeout(self._patience):
                return await reply.body.read()
        except TimeoutError as error:
            raise TimedOut("the reply did not come to its end", retry_after=1) from error
        except Exception as error:
            raise UpstreamFailed("the reply broke off", retry_after=1) from error

    def kept_head(self, reply: Reply) -> bytes:
        """A reply's header lines, without date and length."""
        message = reply.message
        kept = [header for header in message.raw_headers if header[0].lower() != b"date"]
        lines = headers.outside(kept, message.headers.get("Connection"))
        return lines if "Cache-Control" in message.headers else lines + _NO_STORE

    def _own_lines(self, exchange: Exchange) -> bytes:
        return b"%bX-Request-Id: %b\r\n%b%b" % (
            self._now(), exchange.request_id.encode(), _ALWAYS, exchange.cors,
        )  # fmt: skip

    def _now(self) -> bytes:
        second = int(time.time())
        if self._date[0] != second:
            self._date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode())
        return self._date[1]

    def _connection_line(self, exchange: Exchange) -> tuple[bool, bytes]:
        request = exchange.request
        keep = request.keep_alive and not self._health.draining
        if not keep:
            return False, b"Connection: close\r\n"
        return True, b"" if request.version >= HttpVersion11 else b"Connection: keep-alive\r\n"
