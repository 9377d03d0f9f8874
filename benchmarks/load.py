"""One burst of load on one address, from a process of its own: ``python -m benchmarks.load``.

Reads a Burst as JSON from standard input, writes a Measured as JSON to standard output. Raw
keep-alive connections, one request at a time on each (closed loop); the cost of the generator is
about 15 µs a request, so that it does not measure itself.
"""

import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
MAX_CONNECTIONS: Final = 256
MAX_SECONDS: Final = 60.0
_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    ``path`` and ``body`` may hold ``{n}`` (a number no other request of the burst has) and
    ``{id}`` (a random number of ``ids``). ``base`` is an http address on loopback.
    """

    base: str
    method: str = "GET"
    path: str
    headers: dict[str, str] = {}
    body: str = ""
    ids: tuple[int, int] = (1, 1)
    connections: int = 32
    seconds: float = 3.0


class Measured(msgspec.Struct, frozen=True):
    """What came of it: latencies in milliseconds, answers by status."""

    requests: int
    seconds: float
    p50: float
    p99: float
    statuses: dict[str, int]
    first_failure: str

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class Requests:
    """The bytes of one request after another."""

    def __init__(self, burst: Burst) -> None:
        self._burst = burst
        self._number = time.time_ns() // 1000  # no burst repeats another's
        host = urlsplit(burst.base).netloc
        lines = [f"Host: {host}", *(f"{name}: {value}" for name, value in burst.headers.items())]
        self._headers = "\r\n".join(lines)
        self._templates = "{n}" in burst.body or "{id}" in burst.body

    def next(self) -> bytes:
        self._number += 1
        path = self._fill(self._burst.path)
        head = f"{self._burst.method} {path} HTTP/1.1\r\n{self._headers}\r\n"
        if not self._burst.body:
            return f"{head}\r\n".encode()
        body = self._fill(self._burst.body) if self._templates else self._burst.body
        encoded = body.encode()
        return f"{head}Content-Length: {len(encoded)}\r\n\r\n".encode() + encoded

    def _fill(self, template: str) -> str:
        key = str(random.randint(*self._burst.ids))
        return template.replace("{n}", str(self._number)).replace("{id}", key)


@dataclass(slots=True)
class Tally:
    """What all connections met together."""

    until: float
    latencies: list[float] = field(default_factory=list[float])
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    first_failure: str = ""


class Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, sends again until the time is over."""

    def __init__(self, requests: Requests, tally: Tally, done: "asyncio.Future[None]") -> None:
        self._requests = requests
        self._tally = tally
        self._done = done
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._wanted = -1  # bytes of the whole answer; -1: not known yet
        self._started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._started = time.perf_counter()
        self._transport.write(self._requests.next())

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._wanted < 0:
            self._wanted = whole_length(self._received)
        if 0 <= self._wanted <= len(self._received):
            self._finish()

    def _finish(self) -> None:
        now = time.perf_counter()
        tally = self._tally
        tally.latencies.append(now - self._started)
        status = self._received[9:12].decode()
        tally.statuses[status] = tally.statuses.get(status, 0) + 1
        if status[0] != "2" and not tally.first_failure:
            tally.first_failure = self._received[:600].decode(errors="replace")
        self._received.clear()
        self._wanted = -1
        if now < tally.until:
            self._send()
        else:
            assert self._transport is not None
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._tally.until:
            self._tally.statuses["lost"] = self._tally.statuses.get("lost", 0) + 1
            self._tally.first_failure = self._tally.first_failure or f"connection lost: {exc}"
        if not self._done.done():
            self._done.set_result(None)


def whole_length(received: bytes | bytearray) -> int:
    """Bytes of head and body together; -1 while the answer's end is not known yet."""
    end = received.find(_END_OF_HEAD)
    if end < 0:
        return -1
    head = bytes(received[:end]).lower()
    at = head.find(_LENGTH)
    if at >= 0:
        line, _, _ = head[at + len(_LENGTH) :].partition(b"\r\n")
        return end + len(_END_OF_HEAD) + int(line)
    if b"transfer-encoding: chunked" in head:
        return len(received) if received.endswith(b"\r\n0\r\n\r\n") else -1
    return end + len(_END_OF_HEAD)


async def run(burst: Burst) -> Measured:
    address = urlsplit(burst.base)
    if address.hostname not in LOOPBACK or address.port is None:
        raise SystemExit("Load goes to this machine only.")
    seconds = min(burst.seconds, MAX_SECONDS)
    connections = min(burst.connections, MAX_CONNECTIONS)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    tally = Tally(started + seconds)
    requests = Requests(burst)
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(
            lambda done=done: Connection(requests, tally, done), address.hostname, address.port
        )
        ends.append(done)
    await asyncio.wait(ends, timeout=seconds + 30)
    elapsed = time.perf_counter() - started
    latencies = sorted(tally.latencies)
    return Measured(
        requests=len(latencies),
        seconds=elapsed,
        p50=1000 * percentile(latencies, 50),
        p99=1000 * percentile(latencies, 99),
        statuses=tally.statuses,
        first_failure=tally.first_failure,
    )


def percentile(ordered: list[float], percent: int) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def main() -> None:
    burst = msgspec.json.decode(sys.stdin.buffer.read(), type=Burst)
    measured = uvloop.run(run(burst))
    sys.stdout.buffer.write(msgspec.json.encode(measured))


if __name__ == "__main__":
    main()
