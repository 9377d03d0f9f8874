"""Request bodies that are read as they come: once, whole or by parts, and known again by a digest.

What is kept under an Idempotency-Key must be told from another body with that key. A body that no
memory holds is digested while its handler reads it; ``Body.digest`` reads on to its end. Multipart
bodies count by their parts: each attempt of a client draws a boundary of its own.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from hashlib import sha256
from typing import Final

from aiohttp import BodyPartReader, web

from shared.errors import InvalidRequest

_PIECE: Final = 256 * 1024  # bytes


class Part:
    """One part of a multipart body; to be read before the next one."""

    def __init__(self, reader: BodyPartReader, body: "Body") -> None:
        self._reader = reader
        self._body = body
        self.name = reader.name
        self.filename = reader.filename
        self.content_type = reader.headers.get("Content-Type")

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises InvalidRequest."""
        try:
            while piece := await self._reader.read_chunk(_PIECE):
                self._body.note(piece)
                yield piece
        except (ValueError, AssertionError) as error:
            raise _broken(error) from error


class Body:
    def __init__(self, request: web.Request, *, digested: bool) -> None:
        """``digested``: whether ``digest`` will be asked for."""
        self._request = request
        self._digest = sha256() if digested else None
        self._parts: AsyncGenerator[Part] | None = None
        self._whole: bytes | None = None

    async def read(self) -> bytes:
        """The body, if it is small. Raises HTTPRequestEntityTooLarge."""
        if self._whole is None:
            self._whole = await self._request.read()
            self.note(self._whole)
        return self._whole

    async def pieces(self) -> AsyncIterator[bytes]:
        """The raw body, in pieces large enough to be worth a step. Raises ConnectionResetError."""
        gathered = bytearray()
        while True:
            piece = await self._request.content.readany()
            if not piece:
                break
            self.note(piece)
            gathered += piece
            if len(gathered) >= _PIECE:
                yield bytes(gathered)
                gathered.clear()
        if gathered:
            yield bytes(gathered)

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
        return self._digest.digest()

    def note(self, piece: bytes) -> None:
        if self._digest is not None:
            self._digest.update(piece)

    async def _read_parts(self) -> AsyncGenerator[Part]:
        try:
            reader = await self._request.multipart()
            async for found in reader:
                if not isinstance(found, BodyPartReader):
                    raise InvalidRequest("a part of the body is itself multipart")
                part = Part(found, self)
                self.note(repr((part.name, part.filename, part.content_type)).encode())
                yield part
                async for _ in part.pieces():
                    pass
        except (ValueError, AssertionError) as error:
            raise _broken(error) from error


_BODY: Final = web.RequestKey("body", Body)


def body_of(request: web.Request, *, digested: bool = False) -> Body:
    """The one reader of a request's body; ``digested`` counts where it is asked for first."""
    body = request.get(_BODY)
    if body is None:
        body = request[_BODY] = Body(request, digested=digested)
    return body


def _broken(error: Exception) -> InvalidRequest:
    return InvalidRequest(f"the body is not valid multipart: {error}")
