"""Whether somebody answers, asked in each server's own protocol with the least possible."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Final

Probe = Callable[[], Awaitable[None]]  # raises OSError or Unready while there is no good answer

_PATIENCE: Final = 3.0  # seconds for one question
_PAUSE: Final = 0.05  # seconds between two questions


class Unready(Exception):
    """Somebody answers, but not yet what is needed."""


async def until_ready(probe: Probe) -> None:
    """Ask until the answer is good."""
    while True:
        try:
            async with asyncio.timeout(_PATIENCE):
                await probe()
        except (OSError, TimeoutError, Unready, EOFError):
            await asyncio.sleep(_PAUSE)
        else:
            return


async def ask(port: int, question: bytes, size: int) -> bytes:
    """Send bytes to a loopback port; the first ``size`` bytes of the answer, or fewer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question)
        return await reader.read(size)
    finally:
        writer.close()


def postgres(port: int) -> Probe:
    """PostgreSQL takes connections once it asks a start-up message for a password."""
    body = struct.pack("!I", 196_608) + b"user\0probe\0database\0probe\0\0"

    async def probe() -> None:
        if await ask(port, struct.pack("!I", len(body) + 4) + body, 1) != b"R":
            raise Unready

    return probe


def redis(port: int) -> Probe:
    async def probe() -> None:
        if not (await ask(port, b"PING\r\n", 7)).startswith((b"+PONG", b"-NOAUTH")):
            raise Unready

    return probe


def amqp(port: int) -> Probe:
    """A broker answers the protocol header with a method frame (type 1)."""

    async def probe() -> None:
        if await ask(port, b"AMQP\x00\x00\x09\x01", 1) != b"\x01":
            raise Unready

    return probe


def listens(port: int) -> Probe:
    async def probe() -> None:
        await ask(port, b"\0\1n", 1)

    return probe


def http(
    place: str, path: str, *, token: str = "", good: Callable[[int], bool] | None = None
) -> Probe:
    """``place`` is a port on loopback or the path of a unix socket; good is 200 by default."""

    async def probe() -> None:
        status = await get_status(place, path, token)
        if not (status == 200 if good is None else good(status)):
            raise Unready

    return probe


async def get_status(place: str, path: str, token: str = "") -> int:
    """The status of a GET, with a client of ten lines: aiohttp takes a second to import."""
    if place.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(place))
    try:
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close\r\n\r\n".encode()
        )
        line = await reader.readline()
        words = line.split(maxsplit=2)
        if len(words) < 2:
            raise Unready
        return int(words[1])
    finally:
        writer.close()
