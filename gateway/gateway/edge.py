"""The road of one request: credential, limits, principal, a remembered answer, else a service."""

import asyncio
import re
import time
from hashlib import sha256
from random import getrandbits
from typing import Final, cast
from urllib.parse import unquote

import structlog
from aiohttp import web
from multidict import istr

from gateway import headers
from gateway.credentials import split_query, token_of
from gateway.exchange import Exchange, IncomingBody, too_large
from gateway.flights import Computed, Doorkeeper, Flights
from gateway.origins import address_of, cors_lines
from gateway.principals import Principals, Remembered
from gateway.rates import LocalRates
from gateway.replies import HIT, SMALL, Replies, forwarded
from gateway.routes import (
    ANY,
    API_ROUTES,
    CUSTOM,
    ITEMS,
    InvalidPath,
    Match,
    Route,
    RoutingTable,
    custom_routes,
    methods_of,
    name_of,
)  # fmt: skip
from gateway.settings import Settings
from gateway.upstream import Broken, NotConnected, Overdue, Overloaded, Reply, Upstream
from shared import failpoints
from shared.announcements import HEADER as ANNOUNCED_HEADER
from shared.announcements import Announcement
from shared.answer_cache import LARGEST, AnswerCache, Asked, Limit
from shared.errors import (
    ApiError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TimedOut,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
)
from shared.health import Health
from shared.http import DEPENDS_HEADER, SCOPE_HEADER, wants_problem
from shared.identity import INSIDE, IdentitySigner, Principal
from shared.metrics import observe_request, show
from shared.places import place_of
from shared.stamps import (
    SCHEMA,
    Stamps,
    group_topic,
    parse_depends,
    table_topic,
    user_topic,
)  # fmt: skip

log = structlog.get_logger(__name__)

_BURST: Final = 1.0  # seconds of its rate that a caller may use up at once
_MOST_STORING: Final = 256  # answers on their way to Redis; more are not stored
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._\-]{4,100}").fullmatch
_TRACE: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_NOT_BEGUN: Final = frozenset({401, 403})  # replies of a service that has changed nothing
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PLAIN_READ_ONLY: Final = (  # with one of these a GET is answered by its service, always
    istr("Range"), istr("If-Range"), istr("If-Match"), istr("If-Modified-Since"),
    istr("If-Unmodified-Since"), istr("Prefer"),
)  # fmt: skip


class RequestOverdue(ApiError):
    """The client did not send what it announced."""

    status, code = 408, "REQUEST_TIMEOUT"


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
        self._replies = Replies(settings.deadline, health)
        self._routes = RoutingTable((*API_ROUTES, *custom_routes(settings.custom_routes)))
        self._rates = LocalRates()
        self._flights = Flights()
        self._doorkeeper = Doorkeeper()
        self._storing: set[asyncio.Task[None]] = set()
        self._principals = Principals(upstreams["auth"], signer, settings.deadline)
        self._own_pages = {"/livez": health.live, "/readyz": health.ready, "/metrics": show}
        self._deadline = f"X-Directoire-Deadline: {settings.deadline:.1f}\r\n".encode()

    def end_streams(self) -> None:
        """Streams would hold up a stop: their clients come back, to another gateway."""
        self._replies.end_streams()

    async def settled(self) -> None:
        """Wait for the answers that are being stored beside the requests."""
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
            response = self._replies.refusal(exchange, error)
        except (ConnectionError, web.RequestPayloadError):
            response = self._replies.refusal(exchange, InvalidRequest("the body ended too early"))
            response.force_close()
        except Exception:
            log.exception(
                "unhandled error", method=exchange.method, path=exchange.raw_path,
                request_id=exchange.request_id,
            )  # fmt: skip
            response = self._replies.refusal(
                exchange, ApiError("Something went wrong on our side.")
            )
        if exchange.announced is not None:
            await self._cache.withdraw(exchange.announced)
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
            request_id=given if _REQUEST_ID(given) else _trace_of(request) or _new_id(),
            address=address_of(request, self._settings.trusted_proxies),
            cors=cors_lines(request, self._settings.cors_origins),
        )

    # -- one step after the other ----------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        own_page = self._own_pages.get(exchange.raw_path)
        if own_page is not None and exchange.method in {"GET", "HEAD"}:
            response = await own_page(cast("web.Request", request))
            exchange.status = response.status
            return response
        if exchange.method == "OPTIONS" and self._settings.cors_origins and _is_preflight(request):
            return await self._replies.preflight(exchange)
        match, route = self._route(exchange)
        self._check_limits(exchange, route)
        shows_token = exchange.query_token is not None or "Authorization" in request.headers
        if route.public or (route.either and not shows_token):
            return await self._forward_for_anybody(exchange, route)
        authorization = request.headers.getall("Authorization", [])
        if len(authorization) > 1:
            raise InvalidRequest("more than one Authorization header")
        token = token_of(exchange.query_token, authorization[0] if authorization else None)
        caller = (sha256(token.encode("utf-8", "surrogateescape")).hexdigest(), exchange.address)
        question = None if route.stream else self._question(exchange, match)
        if question is not None:
            exchange.if_none_match = request.headers.get("If-None-Match")
        changes = exchange.method in _WRITES and route.service == ITEMS
        coming = _announcement(exchange) if changes else None
        known, asked = await self._identify(exchange, caller, question, coming)
        if asked.hit is not None:
            return await self._replies.send_remembered(exchange, asked.hit.body, HIT)
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
            exchange.allowed = methods_of(match.routes)
            raise MethodNotAllowed(
                f"{exchange.method} is not possible here; try {exchange.allowed}"
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
            raise too_large(most)

    def _question(self, exchange: Exchange, match: Match) -> str | None:
        """The key of a remembered answer, without its scope; None when it may not be remembered.

        Order and spelling of the query are kept: the order of filters has a meaning. The path is
        normalized and holds the version.
        """
        request = exchange.request
        given = request.headers
        if exchange.method != "GET" or match.version is None or request.body_exists:
            return None
        for name in _PLAIN_READ_ONLY:
            if name in given:
                return None
        variant = "problem" if wants_problem(given) else "plain"
        return f"{match.path}\n{exchange.query}\n{variant}"

    async def _identify(
        self,
        exchange: Exchange,
        caller: tuple[str, str],
        question: str | None,
        coming: Announcement | None,
    ) -> tuple[Remembered, Asked]:
        """The caller, and one round trip to Redis that tells whether that is still true.

        A second one only for a caller not seen before, or moved to another group. What is coming
        is announced on the way.
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
        exchange.announced = coming
        asked = await self._ask(known, question, limits, coming)
        self._obey_limits(asked, limits)
        if fresh or known.holds(asked):
            return known, asked
        now_known = await self._principals.resolve(caller, asked)
        if now_known.principal != known.principal:
            asked = await self._ask(now_known, question, (), coming)
        return now_known, asked

    async def _ask(
        self,
        known: Remembered,
        question: str | None,
        limits: tuple[Limit, ...],
        announced: Announcement | None = None,
    ) -> Asked:
        entries = () if question is None else _entries(question, known.principal)
        return await self._cache.ask(
            known.topics, limits=limits, entries=entries, announced=announced
        )

    async def _compute(
        self, exchange: Exchange, route: Route, known: Remembered, asked: Asked, question: str
    ) -> web.StreamResponse:
        """Forward a read whose answer may be remembered; share it with who asks the same now."""
        principal = known.principal
        wanted = self._doorkeeper.has_seen(question) or self._settings.cache_at_once
        flight = (question, asked.epoch, asked.stamp, principal.group, principal.scope)
        shared = None
        if asked.settled:  # else the one under way may have looked before a change
            shared = await self._flights.join(question, flight, principal.user)
        why = "stale" if asked.outdated else "uri-miss"
        if shared is not None:
            how = forwarded(why, shared=True)
            return await self._replies.send_remembered(exchange, shared, how)
        leading = self._flights.lead(flight) is not None
        computed: Computed | None = None
        try:
            reply = await self._send(exchange, route, known, asked)
            if failpoints.is_off("cache.order"):  # for the checker: it must notice
                asked = await self._ask(known, None, ())
            try:
                depends = reply.message.headers.get(DEPENDS_HEADER)
                size = reply.message.headers.get("Content-Length")
                small = size is not None and int(size) <= LARGEST
                if reply.message.code != 200 or depends is None or not small:
                    detail = "too-large" if depends is not None and not small else "not-cacheable"
                    return await self._replies.relay(exchange, reply, forwarded(why, detail=detail))
                body = await self._replies.whole(reply)
                scope = reply.message.headers.get(SCOPE_HEADER)
                head = self._replies.kept_head(reply)
            finally:
                reply.close()
            answer = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
            computed = Computed(answer, None if scope == "group" else principal.user)
            stored = wanted and self._remember(question, principal, asked, depends, computed)
        finally:
            if leading:
                self._flights.land(question, flight, computed)
        detail = "" if stored else "busy" if wanted else "asked-once"
        how = forwarded(why, stored=stored, detail=detail)
        return await self._replies.send_remembered(exchange, answer, how)

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

    async def _forward_for_anybody(self, exchange: Exchange, route: Route) -> web.StreamResponse:
        limits = (self._limit_of_address(exchange),)
        asked = await self._cache.ask((), limits=limits)
        self._obey_limits(asked, limits)
        return await self._forward(exchange, route, None, asked)

    async def _forward(
        self, exchange: Exchange, route: Route, known: Remembered | None, asked: Asked
    ) -> web.StreamResponse:
        reply = await self._send(exchange, route, known, asked)
        if reply.message.code not in _NOT_BEGUN:
            exchange.announced = None
        try:
            how = _passed(exchange, asked)
            if route.stream and reply.message.code == 200:
                reply.outlive()
                return await self._replies.stream(exchange, reply, how)
            return await self._replies.relay(exchange, reply, how)
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
                exchange.method,
                head,
                body,
                patience=self._settings.deadline,
                patience_after_body=self._settings.upload_deadline if route.upload else None,
            )
        except Overloaded as error:
            raise Unavailable(f"{name_of(service)} is busy", retry_after=1) from error
        except NotConnected as error:
            raise Unavailable(f"{name_of(service)} is away", retry_after=1) from error
        except Broken as error:
            exchange.announced = None
            raise UpstreamFailed(
                f"{name_of(service)} broke off; the request may have been carried out",
                retry_after=1,
            ) from error
        except Overdue as error:
            if isinstance(body, IncomingBody) and body.waiting:
                raise RequestOverdue("the rest of the body did not come") from error
            exchange.announced = None
            raise TimedOut(f"{name_of(service)} did not answer in time", retry_after=1) from error

    def _inside_head(
        self, exchange: Exchange, service: str, known: Remembered | None, asked: Asked
    ) -> bytes:
        request = exchange.request
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        host = service.removeprefix(CUSTOM)
        lines = (
            f"{exchange.method} {target} HTTP/1.1\r\nHost: {host}\r\n"
            f"X-Directoire-Request-Id: {exchange.request_id}\r\n"
            f"X-Directoire-Client-Address: {exchange.address}\r\n"
        )
        if known is not None:
            # an operator's own service gets an identity that no service of ours takes
            audience = service if service.startswith(CUSTOM) else INSIDE
            identity = self._signer.sign(known.principal, audience)
            lines += f"X-Directoire-Identity: {identity}\r\n"
            if asked.epoch is not None:
                schema, rights, settings, _user = asked.changed
                stamps = Stamps(asked.epoch, asked.stamp, schema, rights, settings)
                lines += f"X-Directoire-Stamps: {stamps.header()}\r\n"
                if exchange.announced is not None and exchange.announced.fresh:
                    lines += f"{ANNOUNCED_HEADER}: {exchange.announced.header()}\r\n"
        raw_headers = request.raw_headers
        if exchange.if_none_match is not None:
            raw_headers = tuple(h for h in raw_headers if h[0].lower() != b"if-none-match")
        given = headers.inside(raw_headers, request.headers.get("Connection"))
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
        return IncomingBody(request, most)

    # -- limits, records -------------------------------------------------------------------------

    def _limit_of_address(self, exchange: Exchange) -> Limit:
        rate = self._settings.rate_per_address
        return Limit(f"address:{place_of(exchange.address)}", rate, max(1, int(rate * _BURST)))

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

    def _observe(self, exchange: Exchange, seconds: float) -> None:
        if exchange.raw_path in self._own_pages:
            return
        method = exchange.method if exchange.method in ANY else "other"
        observe_request(method, exchange.status, seconds)
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


def _announcement(exchange: Exchange) -> Announcement | None:
    """What a write below ``tables/{table}/rows`` is about to change, as far as its path tells."""
    parts = exchange.path.split("/", 6)  # "", api, version, tables, table, rows, …
    if len(parts) < 6 or parts[5] != "rows" or failpoints.is_off("changes.announce"):
        return None
    return Announcement.of((table_topic(unquote(parts[4])),))


def _new_id() -> str:
    """It names a request and keeps no secret, so it need not cost a system call."""
    return f"{getrandbits(128):032x}"


def _trace_of(request: web.BaseRequest) -> str | None:
    """The trace a client is in names its request: it goes on from there, into the feed."""
    found = _TRACE(request.headers.get("traceparent", ""))
    return found[1] if found is not None and found[1].strip("0") else None


def _passed(exchange: Exchange, asked: Asked) -> bytes:
    """Why a request went past what is remembered."""
    if exchange.method not in {"GET", "HEAD"}:
        return forwarded("method")
    if asked.away:
        return forwarded("bypass", detail="redis-away")
    if asked.epoch is None:
        return forwarded("bypass", detail="no-lease")
    return forwarded("request")


def _is_preflight(request: web.BaseRequest) -> bool:
    return "Access-Control-Request-Method" in request.headers


def _entries(question: str, principal: Principal) -> tuple[str, str]:
    """Under which keys an answer may lie: the group's, then the user's."""
    group = f"{question}\ng:{principal.group}\n{principal.scope}"
    return group, f"{group}\nu:{principal.user}"
