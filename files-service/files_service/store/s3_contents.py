"""The same promises on an S3-compatible store.

Small contents are one conditional PUT. Larger ones stream as a multipart upload, which nobody sees
before it is complete; it knows no condition, so an empty claim is created first, and only one
writer can.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from hashlib import sha256
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
from shared.digests import StreamDigest
from shared.errors import Unavailable

_SMALL: Final = 1024 * 1024  # bytes; up to here one PUT
_PART: Final = 5 * 1024 * 1024  # the least that S3 takes; an upload holds two of them at most


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

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        name = _name(key)
        source = _Hashed(chunks)
        head = await source.up_to(_SMALL)
        with _store_faults(source, key):
            if source.ended:
                await obstore.put_async(self._store, name, head, mode="create")
                return await source.written()
            await obstore.put_async(self._store, _claim(key), b"", mode="create")
            if await self._is_there(name):
                raise KeyTaken(key)
            await obstore.put_async(
                self._store,
                name,
                source.all(head),
                use_multipart=True,
                chunk_size=_PART,
                max_concurrency=1,
            )
        return await source.written()

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


class _Hashed:
    """Chunks as they pass, counted and hashed; remembers what its source raised."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._digest = StreamDigest(sha256())
        self._size = 0
        self.ended = False
        self.fault: BaseException | None = None

    async def up_to(self, size: int) -> bytes:
        """The first bytes: more than ``size`` of them, or all there are."""
        head = bytearray()
        while len(head) <= size and not self.ended:
            head += await self._next()
        return bytes(head)

    async def all(self, head: bytes) -> AsyncGenerator[bytes]:
        yield head
        while not self.ended:
            chunk = await self._next()
            if chunk:
                yield chunk

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
