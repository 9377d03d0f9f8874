"""Raw keep-alive connections, for tests that ask very often.

A request costs a tenth of what it costs with a client that understands HTTP. It can do no more than
ask by GET for answers that a gateway sends with their length.
"""

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from wire import Api

_HIT: Final = b"\r\ncache-status: directoire; hit\r\n"
_LENGTH: Final = b"\r\ncontent-length: "


@dataclass(frozen=True)
class Heard:
    """An answer, and whether a gateway gave it from memory."""

    status: int
    content: bytes
    remembered: bool


class _Line:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.fresh = True

    async def ask(self, request: bytes) -> Heard:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, found, rest = head.partition(_LENGTH)
        assert found, head
        content = await self._reader.readexactly(int(rest.partition(b"\r\n")[0]))
        return Heard(int(head[9:12]), content, _HIT in head)

    def close(self) -> None:
        self._writer.close()


class Lines:
    """The connections to all gateways; one that is free is used again."""

    def __init__(self) -> None:
        self._free: dict[str, list[_Line]] = {}
        self._all: list[_Line] = []

    async def get(self, caller: Api, path: str) -> Heard:
        address = urlsplit(caller.base_url)
        request = (
            f"GET /api/1.1/{path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {caller.token}\r\n\r\n"
        )
        free = self._free.setdefault(caller.base_url, [])
        line = free.pop() if free else None
        if line is None:
            line = _Line(*await asyncio.open_connection(address.hostname, address.port))
            self._all.append(line)
        async with asyncio.timeout(60):
            try:
                heard = await line.ask(request.encode())
            except (asyncio.IncompleteReadError, ConnectionResetError):
                if line.fresh:
                    raise
                free.clear()  # idle for so long that the gateway has closed it, and maybe others
                return await self.get(caller, path)
        line.fresh = False
        free.append(line)
        return heard

    def close(self) -> None:
        for line in self._all:
            line.close()
