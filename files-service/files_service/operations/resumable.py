"""Resumable uploads, as tus 1.0 has them: a record when the last byte is there, never before.

Each request that writes takes a fence, and each part it stores is an object of its own named with
it. A part counts when the offset moves, in one statement that checks the fence: a process that was
paused and wakes up later has written an object nobody looks at. The last part counts in the
transaction that makes the record, so a client that is told of all bytes has its file; until then it
sends the last part again. Source: architecture 6, https://tus.io/protocols/resumable-upload
"""

import hashlib
from base64 import b64decode
from binascii import Error
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import structlog

from files_service.operations import files, limits, uploads
from files_service.operations.limits import Limits
from files_service.operations.uploads import Upload
from files_service.store import resumable
from files_service.store.contents import Contents
from files_service.store.resumable import State
from shared import failpoints
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database
from shared.digests import StreamDigest
from shared.errors import ApiError, Conflict, Forbidden, InvalidRequest, NotFound
from shared.file_records import check_quota

log = structlog.get_logger(__name__)

ALGORITHMS: Final = {"sha256": hashlib.sha256, "sha-256": hashlib.sha256, "sha1": hashlib.sha1}
_LONGEST_METADATA: Final = 8 * 1024  # characters
# Words of the metadata → fields of a record
_FIELDS: Final = {
    "filename": "name", "name": "name", "filetype": "type", "type": "type", "title": "title",
    "caption": "caption", "tags": "tags", "location": "location", "id": "id",
}  # fmt: skip
_TAKEN_OVER: Final = "another request has continued this upload"


class ChecksumMismatch(ApiError):
    """tus has a status of its own for it."""

    status, code = 460, "CHECKSUM_MISMATCH"


@dataclass(frozen=True, slots=True)
class Rules:
    limits: Limits
    part_size: int  # bytes kept at once
    life: timedelta  # of an upload nobody continues


@dataclass(frozen=True, slots=True)
class Piece:
    """What one request brings. ``checksum`` is (algorithm, digest); ``announced`` in bytes."""

    chunks: AsyncIterator[bytes]
    offset: int
    announced: int | None = None
    length: int | None = None  # of the upload, told now
    checksum: tuple[str, bytes] | None = None


def checksum_of(header: str) -> tuple[str, bytes]:
    """``sha256 <base64>``. Raises InvalidRequest."""
    algorithm, _, digest = header.strip().partition(" ")
    if algorithm.lower() not in ALGORITHMS:
        raise InvalidRequest(f"the checksum {algorithm} is not known; use sha256")
    try:
        return algorithm.lower(), b64decode(digest, validate=True)
    except Error as error:
        raise InvalidRequest("the checksum is not valid base64") from error


def fields_of(metadata: str) -> dict[str, str]:
    """What ``Upload-Metadata`` tells of the record to be. Raises InvalidRequest."""
    fields: dict[str, str] = {}
    for pair in metadata.split(","):
        word, _, value = pair.strip().partition(" ")
        if word in _FIELDS:
            try:
                fields[_FIELDS[word]] = b64decode(value, validate=True).decode()
            except (Error, UnicodeDecodeError) as error:
                raise InvalidRequest(f"the metadata {word} is not valid base64") from error
    return fields


async def create(
    changes: Changes,
    contents: Contents,
    context: Context,
    rules: Rules,
    *,
    length: int | None,
    metadata: str,
) -> str:
    """Begin an upload; returns its id. One of no bytes is a file at once.

    Raises Forbidden, TooLarge, InvalidRequest.
    """
    rights = context.rights.of(context.catalogue.tables[files.TABLE])
    fields = fields_of(metadata)
    if not (rights.edit if "id" in fields else rights.add):
        raise Forbidden
    if len(metadata) > _LONGEST_METADATA:
        raise InvalidRequest("the metadata is too long")
    if length is not None and length > rules.limits.size:
        raise limits.too_large(rules.limits.size)
    await check_quota(changes.database, context, length or 0)
    key = str(uuid4())
    await resumable.create(
        changes.database,
        key,
        context.principal.user,
        length=length,
        metadata=metadata,
        life=rules.life,
    )
    if length == 0:
        await append(changes, contents, context, rules, key, Piece(_nothing(), 0))
    return key


async def state_of(database: Database, context: Context, key: str) -> State:
    """Raises NotFound for what is not the caller's, or has run out."""
    try:
        known = str(UUID(key)) == key
    except ValueError:
        known = False
    state = await resumable.look(database, key, context.principal.user) if known else None
    if state is None:
        raise NotFound("There is no such upload, or it has run out.")
    return state


async def give_up(changes: Changes, contents: Contents, context: Context, key: str) -> None:
    """Raises NotFound."""
    await state_of(changes.database, context, key)
    await changes.join()
    await resumable.give_up(changes.database, key, context.principal.user)
    await changes.afterwards(lambda: clear_expired(changes.database, contents))


async def clear_expired(database: Database, contents: Contents) -> int:
    """Clear uploads that nobody will continue; returns how many."""
    over = await resumable.expired(database)
    for key, fence in over:
        await _delete_parts(contents, key, range(1, fence + 1))
        await resumable.forget(database, key, fence)
    return len(over)


async def append(
    changes: Changes, contents: Contents, context: Context, rules: Rules, key: str, piece: Piece
) -> State:
    """Take in what a request brings, as much of it as comes.

    Raises NotFound, Conflict (another offset, another writer), InvalidRequest, TooLarge, OverQuota,
    ChecksumMismatch, and what making the record raises.
    """
    database = changes.database
    state = await state_of(database, context, key)
    if state.file is not None and piece.offset == state.length:
        return state  # the last reply was lost; there is nothing left to send
    length = state.length if state.length is not None else piece.length
    if piece.length not in {None, length}:
        raise InvalidRequest(f"the upload has {length} bytes, as was told before")
    _check(rules, piece, length)
    end = piece.offset + (piece.announced or 0)
    await check_quota(database, context, end if length is None else length)
    taken = await resumable.take(
        database,
        key,
        context.principal.user,
        offset=piece.offset,
        length=piece.length,
        life=rules.life,
    )
    if taken is None:
        now = (await state_of(database, context, key)).received
        raise Conflict(f"the upload goes on at {now}")
    await _Writer(changes, contents, context, rules, key, *taken).write(piece)
    return await state_of(database, context, key)


def _check(rules: Rules, piece: Piece, length: int | None) -> None:
    end = piece.offset + (piece.announced or 0)
    if length is not None and end > length:
        raise InvalidRequest(f"the upload has {length} bytes, and this goes on to {end}")
    if max(end, length or 0) > rules.limits.size:
        raise limits.too_large(rules.limits.size)


class _Source:
    """A request's body, cut into parts; what breaks it off is kept for later."""

    def __init__(self, piece: Piece) -> None:
        self._chunks = piece.chunks
        self._left = b""
        checksum = piece.checksum
        self._digest = StreamDigest(ALGORITHMS[checksum[0]]()) if checksum else None
        self._wanted = piece.checksum[1] if piece.checksum else None
        self.ended = False
        self.fault: Exception | None = None

    async def part(self, most: int | None) -> AsyncIterator[bytes]:
        """Up to ``most`` bytes. A checksum is of the whole body: a broken one raises at once."""
        taken = 0
        while most is None or taken < most:
            chunk = self._left or await self._next()
            if not chunk:
                return
            room = len(chunk) if most is None else most - taken
            chunk, self._left = chunk[:room], chunk[room:]
            taken += len(chunk)
            yield chunk

    async def _next(self) -> bytes:
        if self.ended:
            return b""
        try:
            chunk = await anext(self._chunks, None)
        except Exception as error:
            self.ended = True
            if self._digest is not None:
                raise
            self.fault = error
            return b""
        if chunk is None:
            self.ended = True
            await self._check_digest()
            return b""
        if self._digest is not None:
            await self._digest.update(chunk)
        return chunk

    async def _check_digest(self) -> None:
        if self._digest is None:
            return
        made = await self._digest.finished()
        if made.digest() != self._wanted:
            raise ChecksumMismatch("the checksum is another one")

    @property
    def exhausted(self) -> bool:
        return self.ended and not self._left


class _Writer:
    """One request that holds a fence."""

    def __init__(
        self,
        changes: Changes,
        contents: Contents,
        context: Context,
        rules: Rules,
        key: str,
        fence: int,
        length: int | None,
    ) -> None:
        self._changes = changes
        self._contents = contents
        self._context = context
        self._rules = rules
        self._key = key
        self._fence = fence
        self._length = length

    async def write(self, piece: Piece) -> None:
        source = _Source(piece)
        most = None if piece.checksum else self._rules.part_size
        offset = piece.offset
        if self._length is not None and offset == self._length:
            await self._finish([])
            return
        fits = most is None or (self._length or 0) <= most
        if offset == 0 and fits and piece.announced == self._length is not None:
            await self._at_once(source)
            return
        while not source.exhausted:
            if self._length is None:  # then nobody knows how far it goes
                await check_quota(self._changes.database, self._context, offset)
            offset += await self._part(source, offset, most)
            if offset == self._length:
                break  # it is a file, though the body's end was not seen behind a whole part
        if source.fault is not None:
            raise source.fault

    async def _at_once(self, source: _Source) -> None:
        """All bytes in one part: they are stored where they stay."""
        async with uploads.upload(
            self._changes.database,
            self._contents,
            self._context.principal.user,
            limits.within(self._rules.limits, source.part(None)),
        ) as upload:
            if source.fault is not None:
                raise source.fault
            if upload.size != self._length:
                raise InvalidRequest(f"{upload.size} bytes came, not {self._length}")
            await self._record(upload)

    async def _part(self, source: _Source, offset: int, most: int | None) -> int:
        """Store one part and move the offset; returns its size."""
        name = f"{self._key}.{self._fence}"
        written = await self._contents.write(name, uploads.counted(source.part(most)))
        await failpoints.reach("files.part_stored")
        end = offset + written.size
        try:
            self._check_end(end)
            if end == self._length:
                await self._finish([self._fence])
            elif written.size:
                await self._move(offset, written.size)
                return written.size
        except (InvalidRequest, Conflict):
            await _delete_quietly(self._contents, name)
            raise  # of any other failure nobody knows here whether the part counts: reconcile does
        if not written.size:
            await _delete_quietly(self._contents, name)
        return written.size

    def _check_end(self, end: int) -> None:
        most = self._rules.limits.size if self._length is None else self._length
        if end > most:
            raise InvalidRequest(f"the upload has {most} bytes at most, and more came")

    async def _move(self, offset: int, size: int) -> None:
        fence = await resumable.add_part(
            self._changes.database,
            self._key,
            self._fence,
            offset=offset,
            size=size,
            life=self._rules.life,
        )
        if fence is None:
            raise Conflict(_TAKEN_OVER)
        self._fence = fence

    async def _finish(self, last: Sequence[int]) -> None:
        """Compose the parts into the file's content, and make its record."""
        database = self._changes.database
        fences = [*await resumable.parts(database, self._key), *last]
        async with uploads.upload(
            database, self._contents, self._context.principal.user, self._composed(fences)
        ) as upload:
            if upload.size != self._length:
                raise RuntimeError(f"the parts of {self._key} are {upload.size} bytes")
            await failpoints.reach("files.composed")
            await self._record(upload)

        async def clear() -> None:
            await _delete_parts(self._contents, self._key, fences)
            await resumable.forget_parts(database, self._key)

        await self._changes.afterwards(clear)

    async def _composed(self, fences: Sequence[int]) -> AsyncIterator[bytes]:
        for fence in fences:
            async for chunk in self._contents.read(f"{self._key}.{fence}"):
                yield chunk

    async def _record(self, upload: Upload) -> None:
        state = await state_of(self._changes.database, self._context, self._key)
        fields = dict[str, object](fields_of(state.metadata))
        replaced = fields.pop("id", None)
        name = str(fields.get("name") or "upload")
        fields["name"] = name
        kind = fields.get("type")
        stored = await files.described(
            self._contents, self._context, upload, name, kind if isinstance(kind, str) else None
        )

        async def finish(change: Change, file: int) -> None:
            if not await resumable.finish(change, self._key, self._fence, file):
                raise Conflict(_TAKEN_OVER)

        if replaced is not None:
            await files.replace_bytes(
                self._changes, self._context, str(replaced), stored, name, also=finish
            )
        else:
            await files.record_all(self._changes, self._context, fields, [stored], also=finish)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _delete_parts(contents: Contents, key: str, fences: Sequence[int] | range) -> None:
    for fence in fences:
        await _delete_quietly(contents, f"{key}.{fence}")


async def _delete_quietly(contents: Contents, name: str) -> None:
    """What cannot be deleted now, `reconcile` finds."""
    try:
        await contents.delete(name)
    except (ApiError, OSError) as error:
        log.warning("a part was left for later", part=name, reason=str(error))
