"""A client that costs little: raw keep-alive connections, one request at a time on each.

aiohttp's client costs more than a remembered answer; a proof that runs on the machine it loads
would mostly measure that.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from benchmarks.load import whole_length

PATIENCE: Final = 20.0  # seconds for one answer
Kind = TypeVar("Kind")

_END_OF_HEAD: Final = b"\r\n\r\n"
_TOLD: Final = b"\r\nCache-Status: Directoire; "


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is 0 for a connection that broke; ``told`` is what Cache-Status said.

    ``begun`` and ``ended`` are of ``time.monotonic()``: before the first byte left, after the last
    one came.
    """

    status: int
    body: bytes
    told: str
    begun: float
    ended: float

    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def of(self, kind: type[Kind]) -> Kind:
        """The body as this, whatever else is in it."""
        return msgspec.json.decode(self.body, type=kind)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._wanted = -1
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def ask(self, request: bytes) -> "asyncio.Future[bytes]":
        assert self.transport is not None
        self._received.clear()
        self._wanted = -1
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._wanted < 0:
            self._wanted = whole_length(self._received)
        if 0 <= self._wanted <= len(self._received) and self._answer is not None:
            if not self._answer.done():
                self._answer.set_result(bytes(self._received))
            self._answer = None


class Client:
    """Requests one after the other; to each gateway a connection of its own."""

    def __init__(self, gateways: list[str]) -> None:
        self._gateways = [urlsplit(url) for url in gateways]
        self._connections: dict[int, _Connection] = {}

    async def send(
        self, turn: int, method: str, path: str, token: str, body: object = None
    ) -> Answer:
        """``turn`` chooses the gateway; ``path`` is below /api/1.1/."""
        number = turn % len(self._gateways)
        payload = b"" if body is None else msgspec.json.encode(body)
        head = (
            f"{method} /api/1.1/{path} HTTP/1.1\r\nHost: {self._gateways[number].netloc}\r\n"
            f"Authorization: Bearer {token}\r\n"
        )
        if payload:
            head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._connection(number)
                received = await connection.ask(f"{head}\r\n".encode() + payload)
        except (OSError, TimeoutError):
            self._drop(number)
            return Answer(0, b"", "", begun, time.monotonic())
        ended = time.monotonic()
        head_, _, rest = received.partition(_END_OF_HEAD)
        if b"\r\nConnection: close" in head_:
            self._drop(number)
        _, _, told = head_.partition(_TOLD)
        return Answer(
            int(head_[9:12]), rest, told.partition(b"\r\n")[0].decode(), begun, ended
        )  # fmt: skip

    async def _connection(self, number: int) -> _Connection:
        connection = self._connections.get(number)
        if connection is None or connection.transport is None or connection.transport.is_closing():
            target = self._gateways[number]
            loop = asyncio.get_running_loop()
            host, port = target.hostname, target.port
            assert host is not None
            assert port is not None
            _, connection = await loop.create_connection(_Connection, host, port)
            self._connections[number] = connection
        return connection

    def _drop(self, number: int) -> None:
        """What comes late must not become the next answer."""
        connection = self._connections.pop(number, None)
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    def close(self) -> None:
        for number in list(self._connections):
            self._drop(number)
