"""The road of one request: credential, limits, principal, a remembered answer, else a service."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import sha256
from ipaddress import ip_address
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from gateway import headers
from gateway.credentials import split_query, token_of
from gateway.flights import Computed, Doorkeeper, Flights
from gateway.principals import Principals, Remembered
from gateway.rates import LocalRates
from gateway.routes import SERVICE_NAMES, InvalidPath, Match, Route, RoutingTable, methods_of
from gateway.settings import Settings
from gateway.upstream import Broken, NotConnected, Overdue, Overloaded, Reply, Upstream
from shared.answer_cache import LARGEST, AnswerCache, Asked, Limit
from shared.errors import (
    ApiError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TimedOut,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
)
from shared.health import Health
from shared.http import DEPENDS_HEADER, SCOPE_HEADER, failure, wants_problem
from shared.identity import IdentitySigner, Principal
from shared.metrics import DURATION, REQUESTS, show
from shared.stamps import SCHEMA, Stamps, group_topic, parse_depends, user_topic

log = structlog.get_logger(__name__)

SMALL: Final = 64 * 1024  # bytes of a body that is taken whole; larger ones stream
_BURST: Final = 1.0  # seconds of its rate that a caller may use up at once
_MOST_STORING: Final = 256  # answers on their way to Redis; more are not stored
_STALL: Final = 60.0  # seconds a client may leave what it asked for unread
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._\-]{4,100}").fullmatch
_PREFLIGHT: Final = (
    b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
    b"Access-Control-Allow-Headers: Authorization, Content-Type, Access-Control-Allow-Origin\r\n"
    b"Access-Control-Max-Age: 600\r\nContent-Length: 0\r\n\r\n"
)
_ALWAYS: Final = b"Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n"
_NO_STORE: Final = b"Cache-Control: private, no-store\r\n"
_HIT: Final = b"Cache-Status: Directoire; hit\r\n"
_MISS: Final = b"Cache-Status: Directoire; fwd=miss\r\n"
_STORED: Final = b"Cache-Status: Directoire; fwd=miss; stored\r\n"
_SHARED: Final = b"Cache-Status: Directoire; fwd=miss; collapsed\r\n"
_BYPASS: Final = b"Cache-Status: Directoire; fwd=bypass\r\n"
_PLAIN_READ_ONLY: Final = (  # with one of these a GET is answered by its service, always
    "Range", "If-Range", "If-Match", "If-Modified-Since", "If-None-Match", "If-Unmodified-Since",
    "Prefer",
)  # fmt: skip


class RequestOverdue(ApiError):
    """The client did not send what it announced."""

    status, code = 408, "REQUEST_TIMEOUT"


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


@dataclass(slots=True)
class Exchange:
    """One request as the gateway sees it."""

    request: web.BaseRequest
    method: str
    raw_path: str
    query: str  # without access_token
    query_token: str | None
    request_id: str
    address: str  # of the client
    cors: bytes  # header lines, or none
    path: str = ""  # normalized, once a route is found
    status: int = 0
    head_sent: bool = False

    def write(self, data: bytes) -> None:
        transport = self.request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        transport.write(data)

    async def drain(self) -> None:
        """Wait for a client that reads slower than we write."""
        protocol = self.request.protocol
        if protocol.writing_paused:
            async with asyncio.timeout(_STALL):
                await protocol._drain_helper()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


class IncomingBody:
    """A request body that streams to a service; counts what passes."""

    def __init__(self, content: StreamReader, size: int | None, most: int) -> None:
        self.size = size
        self.waiting = False  # for the client
        self._content = content
        self._most = most

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises TooLarge."""
        passed = 0
        while True:
            self.waiting = True
            piece = await self._content.readany()
            self.waiting = False
            if not piece:
                return
            passed += len(piece)
            if passed > self._most:
                raise _too_large(self._most)
            yield piece


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {most} bytes allowed here")


class Edge:
    def __init__(
        self,
        settings: Settings,
        upstreams: dict[str, Upstream],
        cache: AnswerCache,
        signer: IdentitySigner,
        health: Health,
    ) -> None:
        self._settings = settings
        self._upstreams = upstreams
        self._cache = cache
        self._signer = signer
        self._health = health
        self._routes = RoutingTable()
        self._rates = LocalRates()
        self._flights = Flights()
        self._doorkeeper = Doorkeeper()
        self._storing: set[asyncio.Task[None]] = set()
        self._principals = Principals(upstreams["auth"], signer, settings.deadline)
        self._own_pages = {"/livez": health.live, "/readyz": health.ready, "/metrics": show}
        self._deadline = f"X-Directoire-Deadline: {settings.deadline:.1f}\r\n".encode()
        self._date = (0, b"")

    async def close(self) -> None:
        if self._storing:
            await asyncio.wait(self._storing, timeout=1)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every failure is answered here too."""
        begun = time.perf_counter()
        exchange = self._exchange(request)
        response: web.StreamResponse
        try:
            response = await self._answer(exchange)
        except ApiError as error:
            response = self._refusal(exchange, error)
        except (ConnectionError, web.RequestPayloadError):
            response = self._refusal(exchange, InvalidRequest("the body ended too early"))
            response.force_close()
        except Exception:
            log.exception(
                "unhandled error", method=exchange.method, path=exchange.raw_path,
                request_id=exchange.request_id,
            )  # fmt: skip
            response = self._refusal(exchange, ApiError("Something went wrong on our side."))
        self._observe(exchange, time.perf_counter() - begun)
        return response

    def _exchange(self, request: web.BaseRequest) -> Exchange:
        target = request.raw_path
        if not target.startswith("/"):  # absolute form
            target = request.rel_url.raw_path_qs
        raw_path, _, raw_query = target.partition("?")
        raw_query = raw_query.partition("#")[0]
        query, token = split_query(raw_query)
        given = request.headers.get("X-Request-Id", "")
        return Exchange(
            request=request,
            method=request.method,
            raw_path=raw_path,
            query=query,
            query_token=token,
            request_id=given if _REQUEST_ID(given) else os.urandom(16).hex(),
            address=self._address(request),
            cors=self._cors(request) if self._settings.cors_origins else b"",
        )

    # -- one step after the other ----------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        own_page = self._own_pages.get(exchange.raw_path)
        if own_page is not None and exchange.method in {"GET", "HEAD"}:
            response = await own_page(cast("web.Request", request))
            exchange.status = response.status
            return response
        if exchange.method == "OPTIONS" and self._settings.cors_origins:
            return await self._preflight(exchange)
        match, route = self._route(exchange)
        self._check_limits(exchange, route)
        if route.public:
            asked = await self._cache.ask((), limits=(self._limit_of_address(exchange),))
            self._obey_limits(asked, (self._limit_of_address(exchange),))
            return await self._forward(exchange, route, None, asked)
        authorization = request.headers.getall("Authorization", [])
        if len(authorization) > 1:
            raise InvalidRequest("more than one Authorization header")
        token = token_of(exchange.query_token, authorization[0] if authorization else None)
        caller = (sha256(token.encode("utf-8", "surrogateescape")).hexdigest(), exchange.address)
        question = self._question(exchange, match)
        known, asked = await self._identify(exchange, caller, question)
        if asked.hit is not None:
            return await self._send_remembered(exchange, asked.hit.body, _HIT)
        if question is None or asked.epoch is None:
            return await self._forward(exchange, route, known, asked)
        return await self._compute(exchange, route, known, asked, question)

    def _route(self, exchange: Exchange) -> tuple[Match, Route]:
        try:
            match = self._routes.match(exchange.raw_path)
        except InvalidPath as error:
            raise InvalidRequest(str(error)) from error
        route = match.route(exchange.method)
        if route is None:
            if not match.routes:
                raise NotFound(f"there is nothing at {match.path}")
            raise MethodNotAllowed(
                f"{exchange.method} is not possible here; try {methods_of(match.routes)}"
            )
        exchange.path = match.path
        return match, route

    def _check_limits(self, exchange: Exchange, route: Route) -> None:
        """What can be refused by looking at the head alone."""
        message = exchange.request._message  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        if message.upgrade:
            raise InvalidRequest("another protocol is not spoken here")
        most = self._settings.upload_limit if route.upload else self._settings.body_limit
        size = exchange.request.content_length
        if size is not None and size > most:
            raise _too_large(most)

    def _question(self, exchange: Exchange, match: Match) -> str | None:
        """The key of a remembered answer, without its scope; None when it may not be remembered.

        Order and spelling of the query are kept: the order of filters has a meaning. The path is
        normalized and holds the version.
        """
        request = exchange.request
        given = request.headers
        if (
            exchange.method != "GET"
            or match.version is None
            or request.body_exists
            or any(name in given for name in _PLAIN_READ_ONLY)
        ):
            return None
        variant = "problem" if wants_problem(given) else "plain"
        return f"{match.path}\n{exchange.query}\n{variant}"

    async def _identify(
        self, exchange: Exchange, caller: tuple[str, str], question: str | None
    ) -> tuple[Remembered, Asked]:
        """The caller, and one round trip to Redis that tells whether that is still true.

        A second one only for a caller not seen before, or moved to another group.
        """
        limits = (self._limit_of_address(exchange),)
        known = self._principals.known(caller)
        fresh = known is None
        if known is None:
            asked = await self._cache.ask((), limits=limits)
            self._obey_limits(asked, limits)
            known = await self._principals.resolve(caller, asked)
            limits = (self._limit_of_token(caller),)
        else:
            limits = (*limits, self._limit_of_token(caller))
        asked = await self._ask(known, question, limits)
        self._obey_limits(asked, limits)
        if fresh or known.holds(asked):
            return known, asked
        now_known = await self._principals.resolve(caller, asked)
        if now_known.principal != known.principal:
            asked = await self._ask(now_known, question, ())
        return now_known, asked

    async def _ask(
        self, known: Remembered, question: str | None, limits: tuple[Limit, ...]
    ) -> Asked:
        entries = () if question is None else _entries(question, known.principal)
        return await self._cache.ask(known.topics, limits=limits, entries=entries)

    async def _compute(
        self, exchange: Exchange, route: Route, known: Remembered, asked: Asked, question: str
    ) -> web.StreamResponse:
        """Forward a read whose answer may be remembered; share it with who asks the same now."""
        principal = known.principal
        wanted = self._doorkeeper.has_seen(question) or self._settings.cache_at_once
        flight = (question, asked.epoch, asked.stamp, principal.group)
        shared = await self._flights.join(question, flight, principal.user)
        if shared is not None:
            return await self._send_remembered(exchange, shared, _SHARED)
        leading = self._flights.lead(flight) is not None
        computed: Computed | None = None
        try:
            reply = await self._send(exchange, route, known, asked)
            try:
                depends = reply.message.headers.get(DEPENDS_HEADER)
                size = reply.message.headers.get("Content-Length")
                if reply.message.code != 200 or depends is None or size is None or (
                    int(size) > LARGEST
                ):  # fmt: skip
                    return await self._relay(exchange, reply, _MISS)
                body = await self._whole(reply)
                scope = reply.message.headers.get(SCOPE_HEADER)
                head = self._kept_head(reply)
            finally:
                reply.close()
            answer = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
            computed = Computed(answer, None if scope == "group" else principal.user)
            stored = wanted and self._remember(question, principal, asked, depends, computed)
        finally:
            if leading:
                self._flights.land(question, flight, computed)
        return await self._send_remembered(exchange, answer, _STORED if stored else _MISS)

    def _remember(
        self, question: str, principal: Principal, asked: Asked, depends: str, computed: Computed
    ) -> bool:
        """Store an answer, beside the request: nobody waits for it."""
        if len(self._storing) >= _MOST_STORING:
            return False
        group_entry, user_entry = _entries(question, principal)
        topics = parse_depends(depends) | {SCHEMA, group_topic(principal.group)}
        entry = group_entry
        if computed.user is not None:
            entry = user_entry
            topics |= {user_topic(principal.user)}
        life = self._settings.cache_life

        async def store() -> None:
            await self._cache.store(entry, asked, topics, computed.answer, life)

        task = asyncio.create_task(store())
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        return True

    async def _forward(
        self, exchange: Exchange, route: Route, known: Remembered | None, asked: Asked
    ) -> web.StreamResponse:
        reply = await self._send(exchange, route, known, asked)
        try:
            return await self._relay(exchange, reply, _BYPASS if exchange.method == "GET" else b"")
        finally:
            reply.close()

    # -- to the service --------------------------------------------------------------------------

    async def _send(
        self, exchange: Exchange, route: Route, known: Remembered | None, asked: Asked
    ) -> Reply:
        """Raises ApiError for everything that keeps the head of a reply from coming."""
        service = route.service
        body = await self._body(exchange, route)
        head = self._inside_head(exchange, service, known, asked)
        try:
            return await self._upstreams[service].send(
                exchange.method, head, body, patience=self._settings.deadline
            )
        except Overloaded as error:
            raise Unavailable(f"{SERVICE_NAMES[service]} is busy", retry_after=1) from error
        except NotConnected as error:
            raise Unavailable(f"{SERVICE_NAMES[service]} is away", retry_after=1) from error
        except Broken as error:
            raise UpstreamFailed(
                f"{SERVICE_NAMES[service]} broke off; the request may have been carried out",
                retry_after=1,
            ) from error
        except Overdue as error:
            if isinstance(body, IncomingBody) and body.waiting:
                raise RequestOverdue("the rest of the body did not come") from error
            raise TimedOut(
                f"{SERVICE_NAMES[service]} did not answer in time", retry_after=1
            ) from error

    def _inside_head(
        self, exchange: Exchange, service: str, known: Remembered | None, asked: Asked
    ) -> bytes:
        request = exchange.request
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        lines = (
            f"{exchange.method} {target} HTTP/1.1\r\nHost: {service}\r\n"
            f"X-Directoire-Request-Id: {exchange.request_id}\r\n"
            f"X-Directoire-Client-Address: {exchange.address}\r\n"
        )
        if known is not None:
            lines += f"X-Directoire-Identity: {self._signer.sign(known.principal)}\r\n"
            if asked.epoch is not None:
                schema, rights, settings, _user = asked.changed
                stamps = Stamps(asked.epoch, asked.stamp, schema, rights, settings)
                lines += f"X-Directoire-Stamps: {stamps.header()}\r\n"
        given = headers.inside(request.raw_headers, request.headers.get("Connection"))
        return b"".join((lines.encode("utf-8", "surrogateescape"), self._deadline, given))

    async def _body(self, exchange: Exchange, route: Route) -> bytes | IncomingBody:
        """A small body whole, so that it can be sent once more; a large one as a stream."""
        request = exchange.request
        if not request.body_exists:
            return b""
        if request.headers.get("Expect", "").lower() == "100-continue":
            exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = request.content_length
        if size is not None and size <= SMALL:
            if request.content.is_eof():
                return await request.content.read()
            try:
                async with asyncio.timeout(self._settings.deadline):
                    return await request.content.read()
            except TimeoutError as error:
                raise RequestOverdue("the rest of the body did not come") from error
        most = self._settings.upload_limit if route.upload else self._settings.body_limit
        return IncomingBody(request.content, size, most)

    # -- to the client ---------------------------------------------------------------------------

    def _own_lines(self, exchange: Exchange) -> bytes:
        return b"%bX-Request-Id: %b\r\n%b%b" % (
            self._now(), exchange.request_id.encode(), _ALWAYS, exchange.cors,
        )  # fmt: skip

    def _now(self) -> bytes:
        second = int(time.time())
        if self._date[0] != second:
            self._date = (second, f"Date: {formatdate(second, usegmt=True)}\r\n".encode())
        return self._date[1]

    def _kept_head(self, reply: Reply) -> bytes:
        """A reply's header lines, without date and length."""
        message = reply.message
        kept = [header for header in message.raw_headers if header[0].lower() != b"date"]
        lines = headers.outside(kept, message.headers.get("Connection"))
        return lines if "Cache-Control" in message.headers else lines + _NO_STORE

    def _connection_line(self, exchange: Exchange) -> tuple[bool, bytes]:
        request = exchange.request
        keep = request.keep_alive and not self._health.draining
        if not keep:
            return False, b"Connection: close\r\n"
        return True, b"" if request.version >= HttpVersion11 else b"Connection: keep-alive\r\n"

    async def _send_remembered(
        self, exchange: Exchange, answer: bytes, how: bytes
    ) -> web.StreamResponse:
        exchange.status = 200
        keep, connection = self._connection_line(exchange)
        exchange.head_sent = True
        exchange.write(
            b"".join((b"HTTP/1.1 200 OK\r\n", self._own_lines(exchange), how, connection, answer))
        )
        await exchange.drain()
        return _written(keep_alive=keep)

    async def _whole(self, reply: Reply) -> bytes:
        """Raises UpstreamFailed, TimedOut."""
        try:
            if reply.body.is_eof():
                return await reply.body.read()
            async with asyncio.timeout(self._settings.deadline):
                return await reply.body.read()
        except TimeoutError as error:
            raise TimedOut("the reply did not come to its end", retry_after=1) from error
        except Exception as error:
            raise UpstreamFailed("the reply broke off", retry_after=1) from error

    async def _relay(self, exchange: Exchange, reply: Reply, how: bytes) -> web.StreamResponse:
        """Pass a reply on: a small one in one piece, a large one as it comes."""
        message = reply.message
        keep, connection = self._connection_line(exchange)
        bare = exchange.method == "HEAD" or message.code in {204, 304}
        size = message.headers.get("Content-Length")
        exchange.status = message.code
        body = b""
        chunked = False
        if bare:
            length = b"" if size is None else b"Content-Length: %b\r\n" % size.encode()
            streams = False
        elif size is not None and int(size) <= SMALL:
            body = await self._whole(reply)
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
                connection, self._kept_head(reply), length, b"\r\n",
            )
        )  # fmt: skip
        exchange.head_sent = True
        exchange.write(head + body)
        await exchange.drain()
        if streams and not await self._stream(exchange, reply, chunked=chunked):
            keep = False
        return _written(keep_alive=keep)

    async def _stream(self, exchange: Exchange, reply: Reply, *, chunked: bool) -> bool:
        """Pass a body on, as fast as the client takes it. False: it broke off.

        Its head is out: an end of the connection is the only way left to say so.
        """
        try:
            while True:
                async with asyncio.timeout(self._settings.deadline):
                    piece = await reply.body.readany()
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

    def _refusal(self, exchange: Exchange, error: ApiError) -> web.StreamResponse:
        exchange.status = error.status
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
        if isinstance(error, MethodNotAllowed):
            response.headers["Allow"] = methods_of(self._routes.match(exchange.raw_path).routes)
        if not exchange.request.content.is_eof() or self._health.draining:
            response.force_close()
        return response

    # -- limits, addresses, CORS -----------------------------------------------------------------

    def _limit_of_address(self, exchange: Exchange) -> Limit:
        rate = self._settings.rate_per_address
        return Limit(f"address:{exchange.address}", rate, max(1, int(rate * _BURST)))

    def _limit_of_token(self, caller: tuple[str, str]) -> Limit:
        rate = self._settings.rate_per_token
        return Limit(f"token:{caller[0][:32]}", rate, max(1, int(rate * _BURST)))

    def _obey_limits(self, asked: Asked, limits: tuple[Limit, ...]) -> None:
        """Without Redis the limits hold for this process alone. Raises TooManyRequests."""
        wait = asked.retry_after
        if asked.away:
            wait = self._rates.refused_for(limits)
        if wait is not None:
            raise TooManyRequests("too many requests; slow down", retry_after=wait)

    def _address(self, request: web.BaseRequest) -> str:
        """The client's address: the last one before the proxies we trust."""
        protocol = cast("RequestHandler", request.protocol)
        peer = protocol.peername
        address = str(peer[0]) if isinstance(peer, tuple) else "local"
        proxies = self._settings.trusted_proxies
        if not proxies:
            return address
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        for hop in (*reversed(forwarded.split(",")), None):
            try:
                parsed = ip_address(address)
            except ValueError:
                return address
            if hop is None or not any(parsed in proxy for proxy in proxies):
                return address
            try:
                address = str(ip_address(hop.strip()))
            except ValueError:
                return address
        return address

    def _cors(self, request: web.BaseRequest) -> bytes:
        """Source: contract, section 1. One origin, no credentials."""
        origin = request.headers.get("Origin")
        allowed = self._settings.cors_origins
        if origin is None:
            return b"" if "*" in allowed else b"Vary: Origin\r\n"
        if "*" in allowed:
            return b"Access-Control-Allow-Origin: *\r\n"
        if origin not in allowed:
            return b"Vary: Origin\r\n"
        return b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n" % origin.encode()

    async def _preflight(self, exchange: Exchange) -> web.StreamResponse:
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

    def _observe(self, exchange: Exchange, seconds: float) -> None:
        if exchange.raw_path in self._own_pages:
            return
        REQUESTS.labels(exchange.method, str(exchange.status)).inc()
        DURATION.observe(seconds)
        slow = seconds >= self._settings.slow_request
        if slow or exchange.status >= 500 or self._settings.log_level == "DEBUG":
            log.info(
                "request",
                method=exchange.method,
                path="/api/…/auth/…" if "/auth/" in exchange.path else exchange.raw_path,
                status=exchange.status,
                milliseconds=round(seconds * 1000, 1),
                request_id=exchange.request_id,
            )


def _entries(question: str, principal: Principal) -> tuple[str, str]:
    """Under which keys an answer may lie: the group's, then the user's."""
    group = f"{question}\ng:{principal.group}"
    return group, f"{group}\nu:{principal.user}"


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


class HeadTooLarge(ApiError):
    status, code = 431, "HEADERS_TOO_LARGE"


class EdgeServer(web.Server):
    """aiohttp's low-level server: no application, no router, no access log."""

    def __init__(self, edge: Edge, settings: Settings) -> None:
        super().__init__(edge.handle, handler_cancellation=True)
        self._settings = settings

    def __call__(self) -> RequestHandler:
        settings = self._settings
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # pyright: ignore[reportArgumentType]
            keepalive_timeout=75.0,
            max_line_size=settings.url_limit,
            max_field_size=settings.header_limit,
            max_headers=settings.headers_limit,
            lingering_time=2.0,
            auto_decompress=False,
        )
