"""Request bodies that are read as they come: once, whole or by parts, and known again by a digest.

What is kept under an Idempotency-Key must be told from another body with that key. A body that no
memory holds is digested while its handler reads it; ``Body.digest`` reads on to its end. Multipart
bodies count by their parts: each attempt of a client draws a boundary of its own.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from hashlib import sha256
from typing import Final
from weakref import ref

from aiohttp import web
from aiohttp.helpers import parse_mimetype

from shared import multipart
from shared.body_socket import BodySocket, is_worth_it
from shared.digests import StreamDigest

_WORTH_A_STEP: Final = 128 * 1024  # bytes
_AT_ONCE: Final = 256 * 1024  # bytes read from the socket: fifty uploads hold fifty of them


class Part:
    """One part of a multipart body; to be read before the next one."""

    def __init__(self, part: multipart.Part, body: "Body") -> None:
        self._chunks = part.chunks
        self._body = body
        self.name = part.name
        self.filename = part.filename
        self.content_type = part.type

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises InvalidRequest."""
        async for piece in self._chunks:
            await self._body.note(piece)
            yield piece
            del piece  # not kept until the next has come: fifty uploads hold fifty of them


class Body:
    def __init__(self, request: web.Request, *, digested: bool) -> None:
        """``digested``: whether ``digest`` will be asked for."""
        # The request holds its body: were it held in turn, what was sent would stay in memory until
        # Python's collector runs.
        self._held = ref(request)
        self._digest = StreamDigest(sha256()) if digested else None
        self._parts: AsyncGenerator[Part] | None = None
        self._whole: bytes | None = None
        self._socket: BodySocket | None = None

    @property
    def _request(self) -> web.Request:
        request = self._held()
        assert request is not None, "a body is read while its request is answered"
        return request

    async def read(self) -> bytes:
        """The body, if it is small. Raises HTTPRequestEntityTooLarge."""
        if self._whole is None:
            self._whole = await self._request.read()
            await self.note(self._whole)
        return self._whole

    async def pieces(self) -> AsyncIterator[bytes]:
        """The raw body, in pieces large enough to be worth a step. Raises ConnectionResetError."""
        async for piece in self._as_it_comes():
            await self.note(piece)
            yield piece
            del piece

    async def _as_it_comes(self) -> AsyncIterator[bytes]:
        """A large piece goes on as it came; small ones are gathered."""
        small: list[bytes] = []
        gathered = 0
        async for piece in self._raw():
            if not small and len(piece) >= _WORTH_A_STEP:
                yield piece
                del piece
                continue
            small.append(piece)
            gathered += len(piece)
            if gathered >= _WORTH_A_STEP:
                yield b"".join(small)
                small.clear()
                gathered = 0
        if small:
            yield b"".join(small)

    async def _raw(self) -> AsyncIterator[bytes]:
        """A large body past aiohttp; whoever asks again gets what is left."""
        content = self._request.content
        if content.is_eof() or (self._socket is None and not is_worth_it(self._request)):
            while piece := await content.readany():
                yield piece
                del piece
            return
        if self._socket is None:
            self._socket = BodySocket(self._request, auto_decompress=True)
        while piece := self._socket.read_ahead():
            yield piece
            del piece
        while self._socket.left:
            yield await self._socket.read(_AT_ONCE)
        self._socket.close()

    def let_go(self) -> None:
        """Nobody will read on; what is left of the body is aiohttp's to pass by."""
        if self._socket is not None:
            self._socket.close()

    def parts(self) -> AsyncGenerator[Part]:
        """The parts of a multipart body; whoever asks again gets those that are left.

        Raises InvalidRequest.
        """
        if self._parts is None:
            self._parts = self._read_parts()
        return self._parts

    async def digest(self) -> bytes:
        """Of the whole body, as it was sent; reads what nobody has read yet."""
        assert self._digest is not None
        if self._request.content_type.startswith("multipart/"):
            async for _ in self.parts():
                pass
        else:
            async for _ in self.pieces():
                pass
        return (await self._digest.finished()).digest()

    async def note(self, piece: bytes) -> None:
        if self._digest is not None:
            await self._digest.update(piece)

    async def _read_parts(self) -> AsyncGenerator[Part]:
        kind = parse_mimetype(self._request.headers["Content-Type"])
        boundary = kind.parameters.get("boundary", "")
        async for found in multipart.parts(self._as_it_comes(), boundary):
            part = Part(found, self)
            await self.note(repr((part.name, part.filename, part.content_type)).encode())
            yield part
            async for _ in part.pieces():
                pass


_BODY: Final = web.RequestKey("body", Body)


def let_go(request: web.Request) -> None:
    """To be called when a request is answered."""
    if not request.body_exists:
        return
    body = request.get(_BODY)
    if body is not None:
        body.let_go()


def body_of(request: web.Request, *, digested: bool = False) -> Body:
    """The one reader of a request's body; ``digested`` counts where it is asked for first."""
    body = request.get(_BODY)
    if body is None:
        body = request[_BODY] = Body(request, digested=digested)
    return body
