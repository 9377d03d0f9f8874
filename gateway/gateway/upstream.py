"""The way to the services: kept connections, least outstanding requests, ejection, one retry.

aiohttp's ClientSession costs 0.25 ms of CPU a request, more than a service needs for a read with
its query (benchmarks/). Here a request is prepared bytes on a kept connection, and aiohttp's own C
parser reads the reply. Bodies of any size stream in both directions; a reader that does not read
stops the writer.
"""

import asyncio
import ipaddress
import itertools
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

from gateway.kernel import SinkGone
from shared.in_time import in_time

log = structlog.get_logger(__name__)

_READ_BUFFER: Final = 128 * 1024  # bytes of a reply held before its reader takes them
_UNIX_BUFFER: Final = 1024 * 1024  # bytes of a body that the kernel holds on their way
_MOST_HEADER_BYTES: Final = 32 * 1024  # one line of a reply's head
_IDLE_LIFE: Final = 30.0  # seconds; services keep idle connections longer, so ours end first
_MOST_IDLE: Final = 128  # kept connections a replica
_CONNECT_PATIENCE: Final = 1.0  # seconds
_FIRST_BACK_OFF: Final = 0.1  # seconds until an ejected replica is probed, doubled up to:
_LONGEST_BACK_OFF: Final = 2.0
_STRIKES: Final = 3  # broken or overdue replies in a row until a replica is ejected
_RESOLVE_EVERY: Final = 5.0  # seconds between two looks at the addresses behind a name


class UpstreamError(Exception):
    """No reply. ``sent`` tells whether the service may have begun to work on the request."""

    sent = True


class NotConnected(UpstreamError):
    """No connection could be opened, or no replica is left: nothing was sent."""

    sent = False


class Overloaded(NotConnected):
    """Every replica has as many requests as it may have."""


class Broken(UpstreamError):
    """The connection ended, or what came was not HTTP, before the head of a reply."""


class Overdue(UpstreamError):
    """The reply did not begin within its time."""


class Connection(BaseProtocol):
    """One kept connection to a replica: one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head: asyncio.Future[tuple[RawResponseMessage, StreamReader]] | None = None
        self._parses_bodies: bool | None = None  # what the parser was made for
        self._busy = False
        self.idle_since = 0.0
        self.reusable = True

    @property
    def usable(self) -> bool:
        # a reply abandoned when it had all come may have left reading paused
        if not self.reusable or self._reading_paused or self.transport is None:
            return False
        return not self.transport.is_closing()

    def begin(self, *, has_body: bool) -> "asyncio.Future[tuple[RawResponseMessage, StreamReader]]":
        """Expect a reply; ``has_body`` is false for the reply to a HEAD."""
        if self._parses_bodies is not has_body:
            self._parses_bodies = has_body
            self._parser = HttpResponseParser(
                self,
                self._loop,
                _READ_BUFFER,
                max_line_size=_MOST_HEADER_BYTES,
                max_field_size=_MOST_HEADER_BYTES,
                response_with_body=has_body,
                read_until_eof=True,
                auto_decompress=False,
            )
        self._busy = True
        self._head = self._loop.create_future()
        return self._head

    def done(self) -> None:
        """The reply was read to its end."""
        self._busy = False

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            if data:  # nobody asked: whatever this is, it must not become the next reply
                self.abort()
            return
        try:
            messages, upgraded, _tail = self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - of any kind: what came is not HTTP
            self._fail(Broken(f"not HTTP: {type(error).__name__}"))
            return
        for message, payload in messages:
            if message.code < 200:
                continue
            if self._head is None or self._head.done() or upgraded:
                self.abort()
                return
            self.reusable = not message.should_close
            self._head.set_result((message, payload))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.reusable = False
        if self._busy:
            try:
                self._parser.feed_eof()
            except Exception as error:  # noqa: BLE001 - the body is shorter than announced
                self._payload_failed(error)
        if self._head is not None and not self._head.done():
            self._head.set_exception(Broken("the connection ended before the reply"))

    def _fail(self, error: UpstreamError) -> None:
        self.reusable = False
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)
        else:
            self._payload_failed(error)
        self.abort()

    def _payload_failed(self, error: BaseException) -> None:
        head = self._head
        if head is not None and head.done() and not head.cancelled() and head.exception() is None:
            head.result()[1].set_exception(error)

    def abort(self) -> None:
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        if self.transport is None:
            raise Broken("the connection ended before the request was sent")
        self.transport.write(data)

    async def drain(self) -> None:
        if self._paused:
            try:
                await self._drain_helper()
            except ConnectionError as error:
                raise Broken("the connection ended while the request was sent") from error

    @asynccontextmanager
    async def bare(self) -> AsyncGenerator[int]:
        """The socket itself, with nothing left to be sent before what is written to it."""
        transport = self.transport
        if transport is None:
            raise Broken("the connection ended before the request was sent")
        transport.set_write_buffer_limits(high=0)
        await self.drain()
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as wire:
            if wire.family == socket.AF_UNIX:  # it holds little, and unlike TCP's it never grows
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNIX_BUFFER)
            yield wire.fileno()
        if not transport.is_closing():
            transport.set_write_buffer_limits()


class Body(Protocol):
    """A request body that streams: ``size`` in bytes, or None when it is sent in chunks.

    First its ``pieces``; ``has_rest`` tells whether the kernel then moves the ``rest``. While its
    sender is waited for, it is ``waiting``.
    """

    size: int | None
    waiting: bool

    @property
    def has_rest(self) -> bool: ...

    def pieces(self) -> AsyncIterator[bytes]: ...

    def rest(self, sink: int) -> AsyncIterator[int]: ...

    def close(self) -> None: ...


class Reply:
    """The head of a reply, and its body to be read. Must be closed."""

    __slots__ = ("_connection", "_counts", "_replica", "body", "message", "pump")

    def __init__(
        self,
        message: RawResponseMessage,
        body: StreamReader,
        connection: Connection,
        replica: "Replica",
        pump: "asyncio.Task[None] | None",
    ) -> None:
        self.message = message
        self.body = body
        self.pump = pump
        self._connection = connection
        self._replica = replica
        self._counts = True

    def outlive(self) -> None:
        """A reply without an end is no outstanding request: it says nothing of how busy one is."""
        if self._counts:
            self._counts = False
            self._replica.outstanding -= 1

    def close(self) -> None:
        """Give the connection back if the reply was read to its end, else end it."""
        pumping = self.pump is not None and not self.pump.done()
        if pumping:
            assert self.pump is not None
            self.pump.cancel()
        if self.body.is_eof() and self.body.exception() is None and not pumping:
            self._connection.done()
            self._replica.give_back(self._connection)
        else:
            self._connection.abort()
        self.outlive()


@dataclass(slots=True, eq=False)
class Replica:
    """One address of a service."""

    address: str  # "unix:/path" or "host:port"
    connect: Callable[[], Awaitable[Connection]]
    idle: list[Connection]
    outstanding: int = 0
    strikes: int = 0
    ejected: bool = False
    removed: bool = False
    probe: "asyncio.Task[None] | None" = None

    async def take(self, *, fresh: bool) -> Connection:
        """A kept connection, or a new one. Raises NotConnected."""
        if not fresh:
            oldest = asyncio.get_running_loop().time() - _IDLE_LIFE
            while self.idle:
                connection = self.idle.pop()
                if connection.usable and connection.idle_since > oldest:
                    return connection
                connection.abort()
        try:
            async with asyncio.timeout(_CONNECT_PATIENCE):
                return await self.connect()
        except (OSError, TimeoutError) as error:
            raise NotConnected(f"{self.address}: {type(error).__name__}") from error

    def give_back(self, connection: Connection) -> None:
        if not connection.usable or self.removed or len(self.idle) >= _MOST_IDLE:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self.idle.append(connection)

    def close(self) -> None:
        self.removed = True
        if self.probe is not None:
            self.probe.cancel()
        for connection in self.idle:
            connection.abort()
        self.idle.clear()


class Upstream:
    """One service: its replicas, and how a request gets to one of them."""

    def __init__(self, name: str, urls: Iterable[str], *, most_outstanding: int = 1000) -> None:
        """``urls``: ``http://host:port`` or ``unix:/path``. Raises ValueError for others."""
        self.name = name
        self._most = most_outstanding  # per replica
        self._replicas: list[Replica] = []
        self._names: dict[tuple[str, int], list[Replica]] = {}
        self._turn = itertools.count()
        self._resolver: asyncio.Task[None] | None = None
        for url in urls:
            self._add(url)
        if not self._replicas and not self._names:
            raise ValueError(f"{name} has no address")

    def _add(self, url: str) -> None:
        if url.startswith("unix:"):
            path = url.removeprefix("unix:")
            self._replicas.append(Replica(url, lambda: _open_unix(path), []))
            return
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(f'{self.name}: "{url}" is not http://host:port or unix:/path')
        host, port = parts.hostname, parts.port or 80
        if _is_address(host) or host == "localhost":
            self._replicas.append(_tcp_replica(host, port))
        else:
            self._names[host, port] = []

    @property
    def replicas(self) -> list[Replica]:
        return [*self._replicas, *itertools.chain.from_iterable(self._names.values())]

    async def start(self) -> None:
        """Look up names; keep looking. An unknown name is not a fault yet: it may appear."""
        if self._names:
            await self._resolve()
            self._resolver = asyncio.create_task(self._keep_resolving())

    async def close(self) -> None:
        if self._resolver is not None:
            self._resolver.cancel()
        for replica in self.replicas:
            replica.close()

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(_RESOLVE_EVERY)
            await self._resolve()

    async def _resolve(self) -> None:
        """A headless name stands for every address behind it: each is a replica."""
        loop = asyncio.get_running_loop()
        for (host, port), known in list(self._names.items()):
            try:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError:
                continue  # keep those known: the name server may be away
            wanted = {f"{entry[4][0]}:{port}": str(entry[4][0]) for entry in found}
            kept = [replica for replica in known if replica.address in wanted]
            for replica in known:
                if replica not in kept:
                    replica.close()
            here = {replica.address for replica in kept}
            new = [ip for address, ip in wanted.items() if address not in here]
            self._names[host, port] = kept + [_tcp_replica(ip, port) for ip in new]

    @property
    def is_up(self) -> bool:
        return any(not replica.ejected for replica in self.replicas)

    def _pick(self, other_than: Replica | None) -> Replica:
        """The replica with the fewest outstanding requests; ties are taken in turn."""
        replicas = self.replicas if self._names else self._replicas
        usable = [replica for replica in replicas if not replica.ejected]
        if not usable:
            raise NotConnected(f"no replica of {self.name} answers")
        if len(usable) == 1:
            chosen = usable[0]
        else:
            others = [replica for replica in usable if replica is not other_than]
            turn = next(self._turn) % len(others)
            chosen = min(others[turn:] + others[:turn], key=lambda replica: replica.outstanding)
        if chosen.outstanding >= self._most:
            raise Overloaded(f"{self.name} has too many requests")
        return chosen

    async def send(
        self,
        method: str,
        head: bytes,
        body: "bytes | Body" = b"",
        *,
        patience: float,
        patience_after_body: float | None = None,
    ) -> Reply:
        """Send a request and wait for the head of its reply.

        ``head``      request line and headers, without length and the empty line
        ``patience``  seconds without progress until the reply must have begun; after the last
                      byte of a streamed body ``patience_after_body``
        Tried a second time, on another replica where there is one, when nothing was sent, or when
        a GET or HEAD broke: those may be repeated.

        Raises NotConnected, Overloaded, Broken or Overdue.
        """
        try:
            return await self._send(method, head, body, (patience, patience_after_body or patience))
        except BaseException:
            if not isinstance(body, bytes):
                body.close()
            raise

    async def _send(
        self, method: str, head: bytes, body: "bytes | Body", patience: tuple[float, float]
    ) -> Reply:
        failed: Replica | None = None
        while True:
            replica = self._pick(failed)
            replica.outstanding += 1
            try:
                reply = await self._try(
                    replica,
                    method,
                    head,
                    body,
                    patience=patience,
                    fresh=failed is not None,
                )
            except UpstreamError as error:
                replica.outstanding -= 1
                if isinstance(body, bytes) or not body.waiting:
                    self._blame(replica, error)
                repeatable = not error.sent or (
                    method in {"GET", "HEAD"} and isinstance(error, Broken)
                )
                if failed is not None or not repeatable:
                    raise
                failed = replica
            except BaseException:
                replica.outstanding -= 1
                raise
            else:
                replica.strikes = 0
                return reply

    async def _try(
        self,
        replica: Replica,
        method: str,
        head: bytes,
        body: "bytes | Body",
        *,
        patience: tuple[float, float],
        fresh: bool,
    ) -> Reply:
        connection = await replica.take(fresh=fresh)
        pump: asyncio.Task[None] | None = None
        try:
            awaited = connection.begin(has_body=method != "HEAD")
            if isinstance(body, bytes):
                connection.write(_framed(method, head, body))
                message, payload = await in_time(awaited, patience[0])
            else:
                async with asyncio.timeout(patience[0]) as limit:
                    pump = asyncio.create_task(_pump(connection, head, body, limit, patience))
                    pump.add_done_callback(lambda task: _stop_on_fault(task, awaited))
                    message, payload = await awaited
        except TimeoutError as error:
            _abandon(connection, pump)
            raise Overdue(f"{replica.address} did not answer in time") from error
        except BaseException:
            _abandon(connection, pump)
            raise
        return Reply(message, payload, connection, replica, pump)

    def _blame(self, replica: Replica, error: UpstreamError) -> None:
        if isinstance(error, Overloaded):
            return
        replica.strikes += 1
        if not error.sent or replica.strikes >= _STRIKES:
            self._eject(replica, error)

    def _eject(self, replica: Replica, error: UpstreamError) -> None:
        if replica.ejected or replica.removed:
            return
        replica.ejected = True
        for connection in replica.idle:
            connection.abort()
        replica.idle.clear()
        log.warning("replica ejected", service=self.name, replica=replica.address, why=str(error))
        replica.probe = asyncio.create_task(self._until_well(replica))

    async def _until_well(self, replica: Replica) -> None:
        """Ask an ejected replica for its health, ever more rarely, until it answers."""
        back_off = _FIRST_BACK_OFF
        while True:
            await asyncio.sleep(back_off)
            back_off = min(back_off * 2, _LONGEST_BACK_OFF)
            if await _is_well(replica):
                break
        replica.ejected = False
        replica.strikes = 0
        replica.probe = None
        log.info("replica is back", service=self.name, replica=replica.address)


_PROBE: Final = b"GET /livez HTTP/1.1\r\nHost: probe\r\n\r\n"


async def _is_well(replica: Replica) -> bool:
    try:
        connection = await replica.take(fresh=True)
    except NotConnected:
        return False
    try:
        async with asyncio.timeout(_CONNECT_PATIENCE):
            awaited = connection.begin(has_body=True)
            connection.write(_PROBE)
            message, _body = await awaited
    except (TimeoutError, UpstreamError):
        return False
    else:
        return message.code < 500  # an operator's own service need not have the page
    finally:
        connection.abort()


def _framed(method: str, head: bytes, body: bytes) -> bytes:
    if not body and method in {"GET", "HEAD", "DELETE"}:
        return head + b"\r\n"
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


async def _pump(
    connection: Connection,
    head: bytes,
    body: Body,
    limit: asyncio.Timeout,
    patience: tuple[float, float],
) -> None:
    """Send a streamed body, as fast as the service takes it; each step renews the time limit."""
    loop = asyncio.get_running_loop()
    if body.size is not None:
        connection.write(b"%bContent-Length: %d\r\n\r\n" % (head, body.size))
    else:
        connection.write(head + b"Transfer-Encoding: chunked\r\n\r\n")
    try:
        async for piece in body.pieces():
            if body.size is None:
                connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                connection.write(piece)
            del piece
            await connection.drain()
            _renew(limit, loop.time() + patience[0])
        if body.size is None:
            connection.write(b"0\r\n\r\n")
        if body.has_rest:
            async with connection.bare() as wire:
                async for _ in body.rest(wire):
                    _renew(limit, loop.time() + patience[0])
    except SinkGone:
        connection.reusable = False  # its reply, or its end, is read as any
    finally:
        body.close()
    _renew(limit, loop.time() + patience[1])


def _renew(limit: asyncio.Timeout, when: float) -> None:
    if limit.expired() or limit.when() is None:
        return
    try:
        limit.reschedule(when)
    except RuntimeError:
        return  # the head of the reply came first: nothing waits on this limit any more


def _stop_on_fault(
    pump: "asyncio.Task[None]",
    awaited: "asyncio.Future[tuple[RawResponseMessage, StreamReader]]",
) -> None:
    """A body that cannot be read ends the wait for the reply, with the reader's own error."""
    if pump.cancelled():
        return
    error = pump.exception()
    if error is not None and not awaited.done():
        awaited.set_exception(error)


def _abandon(connection: Connection, pump: "asyncio.Task[None] | None") -> None:
    if pump is not None:
        pump.cancel()
    connection.abort()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tcp_replica(host: str, port: int) -> Replica:
    return Replica(f"{host}:{port}", lambda: _open_tcp(host, port), [])


async def _open_unix(path: str) -> Connection:
    loop = asyncio.get_running_loop()
    _transport, connection = await loop.create_unix_connection(lambda: Connection(loop), path)
    return connection


async def _open_tcp(host: str, port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _transport, connection = await loop.create_connection(lambda: Connection(loop), host, port)
    return connection
