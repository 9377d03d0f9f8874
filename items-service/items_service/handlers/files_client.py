"""Files-service, asked to store the files that rows bring (``shared.new_file``)."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec
import structlog
from aiohttp import web

from shared.errors import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidValue,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from shared.file_records import OverQuota
from shared.new_file import NewFile
from shared.service import IDENTITY_HEADER, REQUEST_ID_HEADER, STAMPS_HEADER

log = structlog.get_logger(__name__)

_PASSED_ON: Final = (IDENTITY_HEADER, REQUEST_ID_HEADER, STAMPS_HEADER)
_PATIENCE: Final = aiohttp.ClientTimeout(total=30.0, sock_connect=1.0)  # seconds
_AWAY: Final = "files-service is away; nothing was changed"
_REFUSALS: Final[Mapping[str, type[ApiError]]] = {
    kind.code: kind
    for kind in (Conflict, Forbidden, InvalidRequest, OverQuota, TooLarge, UnsupportedMediaType)
}


class FilesClient:
    """``urls``: ``http://host:port`` or ``unix:/path``, each a replica or a name for some."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def on_behalf(self, request: web.Request) -> "CallersFiles":
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        return CallersFiles(self, headers)

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Status and body, of the first replica that can be reached. Raises Unavailable."""
        for url in random.sample(self._urls, len(self._urls)):
            session, base = self._session(url)
            try:
                async with session.request(
                    method, base + path, data=body, headers=headers, timeout=_PATIENCE
                ) as reply:
                    return reply.status, await reply.read()
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable(_AWAY, retry_after=1) from error
        raise Unavailable(_AWAY, retry_after=1)

    def _session(self, url: str) -> tuple[aiohttp.ClientSession, str]:
        path = url.removeprefix("unix:") if url.startswith("unix:") else None
        if url not in self._sessions:
            connector = aiohttp.UnixConnector(path) if path else aiohttp.TCPConnector()
            self._sessions[url] = aiohttp.ClientSession(connector=connector)
        return self._sessions[url], "http://files-service" if path else url.rstrip("/")

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()


class CallersFiles:
    """What one caller may store: files-service knows him by the identity that is passed on."""

    def __init__(self, client: FilesClient, headers: Mapping[str, str]) -> None:
        self._client = client
        self._headers = headers

    async def store(self, body: Mapping[str, Any]) -> NewFile:
        status, answer = await self._client.send(
            "POST",
            "/internal/files",
            {**self._headers, "Content-Type": "application/json"},
            msgspec.json.encode(body),
        )
        if status != 200 or not answer.startswith(b'{"storage_key"'):
            raise _refusal(status, answer)
        return msgspec.json.decode(answer, type=NewFile)

    async def forget(self, key: str) -> None:
        try:
            status, _ = await self._client.send("DELETE", f"/internal/files/{key}", self._headers)
        except Unavailable:
            status = 0
        if status not in {204, 404}:
            log.warning("bytes were left for later", key=key, status=status)


def _refusal(status: int, answer: bytes) -> ApiError:
    """What files-service says of a file, said of the row; what it cannot carry out is no 500."""
    try:
        told = msgspec.json.decode(answer)["error"]
        message, code, field = str(told["message"]), told["code"], told.get("field")
    except (msgspec.DecodeError, KeyError, TypeError):
        return Unavailable(_AWAY, retry_after=1)
    if code in _REFUSALS:
        return _REFUSALS[code](message, field=field)
    if status < 500:
        return InvalidValue(message, field=field)
    return Unavailable(message, retry_after=1)
