"""A connection to Redis for the road of every request.

Requests of one turn of the event loop are written a few at a time, answers are matched in order.
Nothing waits for a Redis that is away: a request without an answer in time drops the connection,
everything on it fails, and until a new one has answered all requests fail at once.
"""

import asyncio
import hashlib
import random
import re
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Self, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

GRACE = 0.005  # seconds between suspicion and time-out: the answer may lie unread after a stall
TOGETHER = 4  # requests of one turn that are written without waiting for more
BACK_OFF = (0.02, 0.5)  # seconds before a new attempt: first, most

_RUN = re.compile(rb"^run_id:(\w+)", re.MULTILINE).search
Part = str | bytes | int | float


class Away(ConnectionError):
    """Redis cannot be reached or did not answer in time; what was sent may still be executed."""


class Failed(Exception):
    """Redis answered with an error."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script of ``shared/lua``; sent once per connection, then called by its SHA-1."""

    text: str
    sha: str

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def load(cls, name: str) -> Self:
        return cls.of((files("shared") / "lua" / f"{name}.lua").read_text(encoding="utf-8"))


def pack(*parts: Part) -> bytes:
    """One command as it goes over the wire."""
    return hiredis.pack_command(parts)  # pyright: ignore[reportArgumentType] - stub says one part


@dataclass(frozen=True, slots=True)
class Call:
    """A script with its keys and arguments, ready for the wire; may be sent any number of times."""

    script: "Script"
    keys: Sequence[Part]
    arguments: Sequence[Part]
    packed: bytes

    @classmethod
    def of(cls, script: "Script", keys: Sequence[Part], arguments: Sequence[Part]) -> Self:
        packed = pack("EVALSHA", script.sha, len(keys), *keys, *arguments)
        return cls(script, keys, arguments, packed)


class _Waiting:
    """A caller and the answers it waits for."""

    __slots__ = ("expected", "future", "replies", "sent")

    def __init__(self, future: "asyncio.Future[list[Any]]", expected: int, sent: float) -> None:
        self.future = future
        self.expected = expected
        self.replies: list[Any] = []
        self.sent = sent


class _Connection(asyncio.Protocol):
    def __init__(self, timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._reader = hiredis.Reader(notEnoughData=...)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Waiting] = deque()
        self._unsent: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._suspect: _Waiting | None = None
        self.server = ""  # its run
        self._heard = 0.0  # when something last came, in the loop's time
        self.lost: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(str(exc or "connection closed"))

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        self._heard = self._loop.time()
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not ...:
                head = waiting[0]
                head.replies.append(reply)
                if len(head.replies) == head.expected:
                    waiting.popleft()
                    if not head.future.done():
                        head.future.set_result(head.replies)
        except (hiredis.HiredisError, IndexError) as error:
            self.drop(f"not the protocol of Redis: {error}")

    def send(
        self, commands: bytes, expected: int, timeout: float | None = None
    ) -> "asyncio.Future[list[Any]]":
        """Queue commands; the future gets as many replies as are expected."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost.done():
            future.set_exception(Away("the connection is lost"))
            return future
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(commands)
        if len(self._unsent) == TOGETHER:
            # Were all of a turn sent at its end, Redis would wait for us, and then we for it
            self._flush()
        extra = 0.0 if timeout is None else timeout - self._timeout
        self._waiting.append(_Waiting(future, expected, self._loop.time() + extra))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout + extra, self._look)
        return future

    def forget_time_out(self) -> None:
        """Nobody waits: the next request has the usual time, not that of the introduction."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drop(self, reason: str) -> None:
        """Forget the connection; whoever waits is told."""
        self.forget_time_out()
        if self._transport is not None:
            self._transport.abort()
        if not self.lost.done():
            self.lost.set_result(None)
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(Away(reason))

    def _flush(self) -> None:
        if self._unsent and self._transport is not None and not self.lost.done():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _look(self) -> None:
        """Is the oldest request overdue? One timer for all: they leave in the order they came.

        A Redis that is busy with the requests before it is not away.
        """
        self._timer = None
        if not self._waiting:
            return
        head = self._waiting[0]
        left = max(head.sent, self._heard) + self._timeout - self._loop.time()
        if left <= 0:
            if head is self._suspect:
                self.drop(f"no answer in {self._timeout} s")
                return
            self._suspect = head
            left = GRACE
        self._timer = self._loop.call_later(left, self._look)


class Pipeline:
    """One connection, kept open. ``timeout`` and ``connect_timeout`` in seconds.

    Opens itself at the first request, on that request's event loop. ``?direct=1`` in the URL says
    that a connection ends with the server it was opened to: no proxy keeps it for the next one.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.05,
        connect_timeout: float = 0.5,
        scripts: Iterable[Script] = (),
    ) -> None:
        self._target: dict[str, Any] = dict(parse_url(url))
        self._direct = self._target.get("direct") == "1"
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._scripts = tuple(scripts)
        self._connection: _Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tried: asyncio.Event | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def server(self) -> str:
        """The run of the server that a call sent now will reach; '' when only it can tell."""
        return self._connection.server if self._direct and self._connection is not None else ""

    async def run(self, commands: bytes, expected: int) -> list[Any]:
        """Send packed commands together; the replies, errors among them as values.

        Raises Away.
        """
        connection = self._connection or await self._first()
        return await connection.send(commands, expected)

    async def command(self, *parts: Part) -> Any:
        """Raises Away, Failed."""
        (reply,) = await self.run(pack(*parts), 1)
        return checked(reply)

    async def script(self, script: Script, keys: Sequence[Part], arguments: Sequence[Part]) -> Any:
        """Raises Away, Failed."""
        return (await self.call_and(Call.of(script, keys, arguments)))[0]

    async def call_and(self, call: Call, more: Sequence[bytes] = ()) -> list[Any]:
        """A script's reply and, from the same round trip, those of ``more``.

        Raises Away, Failed (of the script; errors of the others are values).
        """
        commands = b"".join((call.packed, *more)) if more else call.packed
        connection = self._connection or await self._first()
        replies = await connection.send(commands, 1 + len(more))
        if isinstance(replies[0], hiredis.ReplyError) and str(replies[0]).startswith("NOSCRIPT"):
            whole = pack("EVAL", call.script.text, len(call.keys), *call.keys, *call.arguments)
            replies[:1] = await connection.send(whole, 1)
        checked(replies[0])
        return replies

    def drop(self) -> None:
        """Give the connection up, and with it everything under way; a new one is opened."""
        if self._connection is not None:
            self._connection.drop("dropped")

    async def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    async def _first(self) -> _Connection:
        """Only the first attempt is waited for: afterwards no connection means away."""
        if self._keeper is None:
            self._tried = asyncio.Event()
            self._keeper = asyncio.create_task(self._keep_open(self._tried))
        assert self._tried is not None
        await self._tried.wait()
        if self._connection is None:
            raise Away("Redis is away")
        return self._connection

    async def _keep_open(self, tried: asyncio.Event) -> None:
        wait = BACK_OFF[0]
        try:
            while True:
                with suppress(OSError, TimeoutError, Failed):
                    async with asyncio.timeout(self._connect_timeout):
                        self._connection = await self._open()
                    tried.set()
                    wait = BACK_OFF[0]
                    await self._connection.lost
                    self._connection = None
                tried.set()
                await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads attempts
                wait = min(wait * 2, BACK_OFF[1])
        finally:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.drop("closed")

    async def _open(self) -> _Connection:
        """Raises OSError, Failed, TimeoutError."""
        loop, target = asyncio.get_running_loop(), self._target
        kind = target.get("connection_class")

        def protocol() -> _Connection:
            return _Connection(self._timeout)

        if kind is UnixDomainSocketConnection:
            _, connection = await loop.create_unix_connection(protocol, target["path"])
        else:
            host, port = target.get("host", "localhost"), target.get("port", 6379)
            secure = True if kind is SSLConnection else None
            _, connection = await loop.create_connection(protocol, host, port, ssl=secure)
        try:
            await self._introduce(connection)
        except BaseException:
            connection.drop("it did not answer")
            raise
        return connection

    async def _introduce(self, connection: _Connection) -> None:
        target = self._target
        commands = [pack("SCRIPT", "LOAD", script.text) for script in self._scripts]
        if target.get("db"):
            commands.insert(0, pack("SELECT", target["db"]))
        if target.get("password") is not None:
            user = (target["username"],) if target.get("username") else ()
            commands.insert(0, pack("AUTH", *user, target["password"]))
        commands.append(pack("INFO", "server"))
        replies = await connection.send(b"".join(commands), len(commands), self._connect_timeout)
        for reply in replies:
            checked(reply)
        found = _RUN(bytes(replies[-1]))
        connection.server = found[1].decode() if found is not None else ""
        connection.forget_time_out()


def checked(reply: Any) -> Any:
    """The reply. Raises Failed when it is an error."""
    if isinstance(reply, hiredis.ReplyError):
        raise Failed(str(reply))
    return reply
