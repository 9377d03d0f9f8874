"""What every service behind the gateway is made of, and what is connected to what."""

import asyncio
import os
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Final

import asyncpg
import structlog
import uvloop
from aiohttp import web
from aiohttp.typedefs import Handler

from shared import announcements, failpoints
from shared.bodies import body_of
from shared.changes import Changes
from shared.collector import collect_seldom
from shared.context import Actor, Context
from shared.database import Database
from shared.errors import Forbidden, NotUnique, PreconditionFailed, Taken, Unauthorized
from shared.health import Check, Health
from shared.http import CONTEXT, NoContent, errors_as_json, version_of
from shared.idempotency import Attempt, Idempotency, Success, checked_key
from shared.identity import IdentityVerifier, Principal
from shared.knowledge import Knowledge
from shared.logs import REQUEST_ID, set_up_logs
from shared.metrics import observe_request
from shared.new_file import FileStore
from shared.passwords import set_cost
from shared.preconditions import NONE, precondition
from shared.rights import scope_of
from shared.settings import CommonSettings, ServiceSettings
from shared.stamps import Invalidation, Stamps, note_reader

log = structlog.get_logger(__name__)

DATABASE: Final = web.AppKey("database", Database)
CHANGES: Final = web.AppKey("changes", Changes)
KNOWLEDGE: Final = web.AppKey("knowledge", Knowledge)
HEALTH: Final = web.AppKey("health", Health)
IDEMPOTENCY: Final = web.AppKey("idempotency", Idempotency)
LEASES: Final = web.AppKey("leases", Idempotency)  # of the connections that leased handlers use
VERIFIER: Final = web.AppKey("verifier", IdentityVerifier)
FILES: Final["web.AppKey[Callable[[web.Request], FileStore]]"] = web.AppKey("files")  # optional
PRINCIPAL: Final = web.RequestKey("principal", Principal)

IDENTITY_HEADER: Final = "X-Directoire-Identity"
REQUEST_ID_HEADER: Final = "X-Directoire-Request-Id"
STAMPS_HEADER: Final = "X-Directoire-Stamps"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"
UPDATES: Final = ("PUT", "PATCH", "POST")
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEPT_HEADERS: Final = frozenset(
    {"Cache-Control", "Content-Type", "Directus-File-Id", "ETag", "Link", "Location"}
    | {"Tus-Resumable", "Upload-Expires", "Upload-Offset"}
)
_OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
_LINE_LIMIT: Final = 64 * 1024  # bytes; the gateway's own is smaller, it answers for all
_READ_BUFFER: Final = 128 * 1024  # bytes of a body waiting for their reader; twice that at most
_STOP_AFTER: Final = 10.0  # seconds that running requests have at a stop

RequestHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CleanupContext = Callable[[web.Application], AsyncIterator[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of a service's route table; the path is relative to the API's root.

    ``versioned`` false: the path is absolute, as ``/storage/uploads/…`` or ``/internal/…``;
    such a route has no Context, only a PRINCIPAL, and none of both when ``public``.
    ``leased``: it takes long before it writes (``shared.idempotency``). ``pure``: whatever its
    method says, it changes nothing, and its answer is kept nowhere.
    """

    method: str
    path: str
    handler: RequestHandler
    versioned: bool = True
    public: bool = False
    leased: bool = False
    pure: bool = False


def get(path: str, handler: RequestHandler) -> Route:
    return Route("GET", path, handler)


def post(path: str, handler: RequestHandler) -> Route:
    return Route("POST", path, handler)


def put(path: str, handler: RequestHandler) -> Route:
    return Route("PUT", path, handler)


def patch(path: str, handler: RequestHandler) -> Route:
    return Route("PATCH", path, handler)


def delete(path: str, handler: RequestHandler) -> Route:
    return Route("DELETE", path, handler)


def any_update(path: str, handler: RequestHandler) -> list[Route]:
    """PUT, PATCH and POST to a thing that exists update it (reading 23)."""
    return [Route(method, path, handler) for method in UPDATES]


def create_app(
    settings: ServiceSettings,
    routes: Iterable[Route],
    *,
    contexts: Sequence[CleanupContext] = (),
    checks: dict[str, Check] | None = None,
    parts: dict[str, Check] | None = None,
) -> web.Application:
    """The application of one service.

    ``contexts`` open what only this service needs; ``checks`` are what its readiness asks besides
    PostgreSQL, ``parts`` what only the readiness for a part of its work asks (``shared.health``).
    """
    set_cost(settings)  # rows of users, and passwords with them, are written in several services
    database = Database(
        settings.database_url.get_secret_value(),
        size=settings.pool_size,
        statement_timeout=settings.statement_timeout,
    )
    invalidation = Invalidation(
        settings.redis_url.get_secret_value(),
        settings.redis_prefix,
        note=note_reader(database),
    )
    health = Health({"postgresql": database.ping, **(checks or {})}, parts)
    app = web.Application(
        middlewares=[_observe],
        client_max_size=settings.body_limit,
    )
    app[DATABASE] = database
    app[CHANGES] = Changes(database, invalidation)
    app[KNOWLEDGE] = Knowledge(database)
    app[HEALTH] = health
    keys_file = os.environ.get("IDENTITY_PUBLIC_KEYS_FILE")
    app[VERIFIER] = IdentityVerifier(
        settings.identity_public_keys, file=Path(keys_file) if keys_file else None
    )
    app[IDEMPOTENCY] = app[LEASES] = Idempotency(app[CHANGES])

    async def connections(_app: web.Application) -> AsyncIterator[None]:
        yield
        await invalidation.close()
        await database.close()

    app.cleanup_ctx.append(connections)
    app.cleanup_ctx.extend(contexts)
    app.add_routes(health.routes())
    for route in routes:
        handler = _knowing_the_caller(route)
        if route.versioned:
            for version in ("1", "1.1"):
                app.router.add_route(route.method, f"/api/{version}/{route.path}", handler)
        else:
            app.router.add_route(route.method, route.path, handler)
    return app


@web.middleware
async def _observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """All that is done for every path, a missing one too. One layer: each costs a coroutine."""
    REQUEST_ID.set(request.headers.get(REQUEST_ID_HEADER) or uuid.uuid4().hex)
    begun = time.perf_counter()
    response = await errors_as_json(request, handler)
    if not _is_open(request.path):
        observe_request(request.method, response.status, time.perf_counter() - begun)
    return response


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith("/readyz/")


def _knowing_the_caller(route: Route) -> RequestHandler:
    """The handler of a route that is asked for by somebody, and may be.

    Identity first; for the API's routes also schema, rights and settings as of now.
    """
    act = partial(_act, route) if route.method in _WRITES else route.handler

    async def identified(request: web.Request) -> web.StreamResponse:
        token = request.headers.get(IDENTITY_HEADER)
        if token is None:
            if route.public:
                return await route.handler(request)
            raise Unauthorized("This service accepts requests of its gateway only")
        principal = request.app[VERIFIER].verify(token)
        request[PRINCIPAL] = principal
        if principal.scope and not scope_of(principal.scope).admits(request.method, request.path):
            raise Forbidden("This token's scope does not reach so far.")
        if route.public or not route.versioned:
            return await route.handler(request)
        request[CONTEXT] = await context_of(request, principal)
        try:
            return await act(request)
        except (
            asyncpg.UndefinedColumnError,
            asyncpg.UndefinedTableError,
            asyncpg.InvalidCachedStatementError,
        ):
            # the schema moved between the catalogue and the statement: look again, once
            request.app[KNOWLEDGE].forget_schema()
            request[CONTEXT] = await context_of(request, principal)
            return await act(request)

    return identified


async def _act(route: Route, request: web.Request) -> web.StreamResponse:
    """Run the handler of a write; what was announced and has not come is taken back."""
    announcements.begin(request.headers.get(announcements.HEADER))
    try:
        return await _act_once(route, request)
    except (Taken, NotUnique) as error:
        if request[CONTEXT].precondition.absent:
            raise PreconditionFailed(error.message) from error
        raise
    finally:
        await request.app[CHANGES].withdraw()


async def _act_once(route: Route, request: web.Request) -> web.StreamResponse:
    """A write that carries an Idempotency-Key is done once."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None or route.pure:
        return await route.handler(request)
    leased = route.leased
    what = f"{request.method} {request.rel_url.raw_path_qs}\n".encode()
    whole = b"" if leased else await request.read()
    principal = request[PRINCIPAL]
    attempt = Attempt(
        user=principal.user,
        group=principal.group,
        key=checked_key(key),
        fingerprint=sha256(what + whole).digest(),
        scope=principal.scope,
        body=body_of(request, digested=True).digest if leased else None,
    )
    refused: list[web.StreamResponse] = []

    async def act() -> Success | None:
        response = await route.handler(request)
        if isinstance(response, web.Response) and response.status < 300:
            body = response.body
            if isinstance(body, bytes) or body is None:
                kept = {n: v for n, v in response.headers.items() if n in _KEPT_HEADERS}
                if isinstance(response, NoContent):
                    kept.pop("Content-Type", None)
                return Success(body or b"", kept | {":status": str(response.status)})
        refused.append(response)
        return None

    idempotency = request.app[LEASES if leased else IDEMPOTENCY]
    success = await idempotency.act(attempt, act, leased=leased)
    if success is None:
        return refused[0]
    headers = dict(success.headers)
    status = int(headers.pop(":status"))
    if success.replayed:
        headers[REPLAYED_HEADER] = "true"
    form = web.Response if "Content-Type" in headers else NoContent
    return form(body=success.body, status=status, headers=headers)


_stamps: Final = lru_cache(maxsize=256)(Stamps.from_header)  # many reads come between two writes


async def context_of(request: web.Request, principal: Principal) -> Context:
    """What the operations need to know of a request."""
    headers = request.headers
    knowledge = request.app[KNOWLEDGE]
    told = headers.get(STAMPS_HEADER)
    stamps = _stamps(told) if told is not None else None
    request_id = REQUEST_ID.get()
    demanded, files, quiet = NONE, None, False
    if request.method in _WRITES:
        demanded = precondition(headers.get("If-Match"), headers.get("If-None-Match"))
        files = request.app[FILES](request) if FILES in request.app else None
        quiet = request.rel_url.query.get("skip_activity_log", "0") not in {"", "0"}
    rights = await knowledge.rights(principal.group, stamps)
    return Context(
        principal=principal,
        version=version_of(request.path),
        request_id=request_id,
        stamps=stamps,
        catalogue=await knowledge.catalogue(stamps),
        rights=rights.within(principal.scope),
        settings=await knowledge.settings(stamps),
        actor=Actor(
            user=principal.user,
            request_id=request_id,
            quiet=quiet,
            seen=demanded.versions,
        ),
        precondition=demanded,
        files=files,
        strict="handling=strict" in headers.get("Prefer", ""),
    )


def run(name: str, app: web.Application, settings: CommonSettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs and stop."""
    set_up_logs(name, settings.log_level)
    failpoints.arm(settings.failpoints, allowed=settings.failpoints_allowed)
    collect_seldom()
    uvloop.run(serve(app, settings))


async def serve(
    app: web.Application, settings: CommonSettings, *, more_ports: Sequence[int] = ()
) -> None:
    """Listen on port and unix socket until a signal asks to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_STOP_AFTER,
        keepalive_timeout=75.0,
        read_bufsize=_READ_BUFFER,
        max_line_size=_LINE_LIMIT,
        max_field_size=_LINE_LIMIT,
    )
    await runner.setup()
    for port in (settings.port, *more_ports):
        listening = socket.create_server(
            (settings.host, port), backlog=1024, reuse_port=bool(more_ports) and port != 0
        )
        await web.SockSite(runner, listening).start()
    if settings.socket:
        # before the first request: nobody waits yet
        Path(settings.socket).unlink(missing_ok=True)  # noqa: ASYNC240 - at the start
        await web.UnixSite(runner, settings.socket, backlog=1024).start()
    log.info("serving", port=settings.port, socket=settings.socket)
    await stop.wait()
    app[HEALTH].draining = True
    await runner.cleanup()
