"""The same promises on an S3-compatible store.

Contents of one part are one conditional PUT. Larger ones stream as a multipart upload, which nobody
sees before it is complete; it knows no condition, so an empty claim is created first, and only one
writer can. A part is gathered on the disk (``spool``) and in memory only while it is being sent.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from typing import Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store

from files_service.store.contents import (
    CHUNK,
    Kept,
    KeyTaken,
    NoSuchContent,
    Written,
    checked_key,
)
from files_service.store.spool import PART, Spool, Spools
from shared.digests import StreamDigest
from shared.errors import Unavailable

_SENDING: Final = 2  # parts that are in memory at once, of all uploads of this process


class S3Contents:
    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str = "us-east-1",
        access_key: str = "",
        secret_key: str = "",
        patience: float = 30.0,
    ) -> None:
        """``patience`` in seconds, with a server that does not answer one request.

        Without keys they are looked for where the SDKs look: environment, role of the pod.
        """
        address = endpoint or f"https://s3.{region}.amazonaws.com"
        common = partial(
            S3Store,
            bucket,
            prefix=prefix or None,
            client_options={
                "timeout": timedelta(seconds=patience),
                "connect_timeout": timedelta(seconds=3),
                "allow_http": address.startswith("http://"),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=patience * 2 / 3)},
            endpoint=address,
            region=region,
            virtual_hosted_style_request=False,
        )
        self._store: S3Store = (
            common(access_key_id=access_key, secret_access_key=secret_key)
            if access_key
            else common()
        )
        self._patience = patience
        self._spools = Spools(patience)
        self._places = asyncio.Semaphore(_SENDING)

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        name = _name(key)
        source, place = _Hashed(chunks), _Place(self._places, self._patience)
        try:
            with _store_faults(source, key):
                async with self._spools.one() as spool:
                    await source.fill(spool)
                    if source.ended:
                        await place.take()
                        whole = await spool.emptied()
                        await obstore.put_async(self._store, name, whole, mode="create")
                    else:
                        await self._write_parts(key, source.parts(spool, place))
        finally:
            place.close()
        return await source.written()

    async def _write_parts(self, key: str, parts: AsyncIterator[bytes | mmap]) -> None:
        name = _name(key)
        await obstore.put_async(self._store, _claim(key), b"", mode="create")
        if await self._is_there(name):
            raise KeyTaken(key)
        await obstore.put_async(
            self._store, name, parts, use_multipart=True, chunk_size=PART, max_concurrency=1
        )

    async def check_room(self) -> None:
        """An object store tells of no end; a bucket's quota shows when it refuses."""

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        name = _name(key)
        if end is not None and end <= start:
            return
        try:
            if end is not None:
                found = await obstore.get_async(self._store, name, options={"range": (start, end)})
            elif start:
                found = await obstore.get_async(
                    self._store, name, options={"range": {"offset": start}}
                )
            else:
                found = await obstore.get_async(self._store, name)
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise NoSuchContent(key) from error
        except BaseError as error:
            if "416" in str(error) or "range" in str(error).lower():
                return  # nothing is stored that far out
            raise Unavailable("The store does not answer at the moment.", retry_after=1) from error

    async def delete(self, key: str) -> None:
        name = _name(key)
        with _store_faults(None, key):
            for path in (name, _claim(key)):
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, path)

    async def holds(self, key: str) -> bool:
        with _store_faults(None, key):
            return await self._is_there(_name(key))

    async def everything(self) -> AsyncIterator[Kept]:
        with _store_faults(None, ""):
            async for page in obstore.list(self._store, "bytes/", chunk_size=500):
                for entry in page:
                    key = entry["path"].rpartition("/")[2]
                    yield Kept(key, entry["last_modified"].timestamp())

    async def tidy(self, older_than: float) -> int:  # noqa: ARG002
        """Multipart uploads of dead writers are for a lifecycle rule of the bucket to abort."""
        return 0

    def path(self, key: str) -> Path | None:
        checked_key(key)
        return None

    async def outgoing(self, key: str, start: int, end: int) -> None:  # noqa: ARG002
        checked_key(key)

    async def _is_there(self, name: str) -> bool:
        try:
            await obstore.head_async(self._store, name)
        except FileNotFoundError:
            return False
        return True


def _name(key: str) -> str:
    return f"bytes/{checked_key(key)[:2]}/{key}"


def _claim(key: str) -> str:
    return f"claims/{checked_key(key)[:2]}/{key}"


class _Place:
    """An upload's right to have a part in memory; there are few, taken in turn."""

    def __init__(self, places: asyncio.Semaphore, patience: float) -> None:
        self._places = places
        self._patience = patience
        self._held = self._closed = False

    async def take(self) -> None:
        """Raises Unavailable when the parts of others do not go away in time."""
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError as error:
            message = "The store takes bytes too slowly at the moment."
            raise Unavailable(message, retry_after=5) from error
        self._held = True
        if self._closed:  # the upload was given up while it waited
            self.give_back()
            raise Unavailable("The upload is over.")

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._places.release()

    def close(self) -> None:
        self._closed = True
        self.give_back()


class _Hashed:
    """Chunks as they pass, counted and hashed; remembers what its source raised."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")
        self._digest = StreamDigest(sha256())
        self._size = 0
        self.ended = False
        self.fault: BaseException | None = None

    async def fill(self, spool: Spool) -> None:
        """Gather one part, or all there is."""
        while spool.size < PART and not self.ended:
            chunk = self._left or memoryview(await self._next())
            if chunk:
                room = PART - spool.size
                await spool.append(chunk[:room])
                self._left = chunk[room:]

    async def parts(self, spool: Spool, place: _Place) -> AsyncGenerator[bytes | mmap]:
        """The part that was gathered and those to come, each only while it has a place."""
        try:
            while spool.size:
                await place.take()
                yield await spool.emptied()
                if self.ended:
                    return  # it has its place until the upload is complete
                yield b""  # obstore asks for more when the part has been sent
                place.give_back()
                await self.fill(spool)
        except Exception as error:
            self.fault = error
            raise

    async def written(self) -> Written:
        return Written(self._size, (await self._digest.finished()).hexdigest())

    async def _next(self) -> bytes:
        try:
            chunk = await anext(self._chunks, None)
        except BaseException as error:
            self.fault = error
            raise
        if chunk is None:
            self.ended = True
            return b""
        await self._digest.update(chunk)
        self._size += len(chunk)
        return chunk


@contextmanager
def _store_faults(source: _Hashed | None, key: str) -> Generator[None]:
    """Turn the store's failures into ours; what the client's side raised stays what it was."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError) as error:
        raise KeyTaken(key) from error
    except (FileNotFoundError, KeyTaken):
        raise
    except Exception as error:
        if source is not None and source.fault is not None:
            raise source.fault from error
        if isinstance(error, BaseError | OSError):
            message = "The store does not take bytes at the moment."
            raise Unavailable(message, retry_after=1) from error
        raise
