"""Where the bytes of files are, whatever keeps them: a small protocol and its local-disk form.

Every store keeps the same promises; ``tests/test_contents.py`` asks them of each.
"""

import errno
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import uuid4

from files_service.store.outgoing import Outgoing
from files_service.store.threads import MOST, StoreThreads
from shared import failpoints
from shared.errors import Unavailable

CHUNK: Final = 256 * 1024  # bytes read from the disk at once
_READING: Final = 8.0  # seconds; the gateway gives up a reply that has not begun after ten
_SYNCED: Final = 64 * 1024 * 1024  # bytes; to sync gigabytes at once takes longer than any patience
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEY: Final = re.compile(rf"{_UUID}(\.[1-9][0-9]{{0,18}})?")


class NoSuchContent(Exception):
    """Nothing is stored under this key."""


class KeyTaken(Exception):
    """Something is stored under this key already, and stays."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was stored: its size in bytes and its SHA-256 as hex digits."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry of a store: its key and when it was written, in seconds since 1970."""

    key: str
    written: float


def checked_key(key: str) -> str:
    """Raises ValueError for what the server did not make."""
    if not _KEY.fullmatch(key):
        raise ValueError("a key is a UUID the server made")
    return key


class Contents(Protocol):
    """Bytes under keys. A key is a UUID as text, or one with the number of a part behind a dot:
    no slash, nothing from a client.
    """

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        """Store all chunks, or nothing if they fail; when this returns they survive a crash.

        Raises KeyTaken when the key holds something, Unavailable when there is no room.
        """
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes ``start`` up to, not including, ``end``. Raises NoSuchContent."""
        ...

    async def delete(self, key: str) -> None:
        """Forget the bytes; nothing happens when there are none."""
        ...

    async def holds(self, key: str) -> bool:
        """Whether something is stored under the key."""
        ...

    def everything(self) -> AsyncIterator[Kept]:
        """All that is stored, in no order; what comes or goes meanwhile may be missed."""
        ...

    async def tidy(self, older_than: float) -> int:
        """Drop what writers that died this many seconds ago left half-written; returns how many."""
        ...

    async def check_room(self) -> None:
        """Raises Unavailable when nothing can be taken in, as far as the store can tell."""
        ...

    def path(self, key: str) -> Path | None:
        """The file the bytes are in, where the store has one."""
        ...

    async def outgoing(self, key: str, start: int, end: int) -> Outgoing | None:
        """The same bytes as ``read``, opened, where the kernel can send them by itself.

        To be closed. Raises NoSuchContent, Unavailable.
        """
        ...


class LocalContents:
    """Files in a folder: ``<folder>/<two digits>/<key>``, written aside and linked when whole."""

    def __init__(self, folder: Path, *, reserve: int = 0, patience: float = 30.0) -> None:
        """``reserve``: bytes of the disk that stay free; ``patience`` in seconds, with the folder
        when it does not answer. One upload's thread that hangs refuses all others, for the folder
        takes nothing any more; one file that cannot be read leaves the others to be read.
        """
        self._folder = folder
        self._reserve = reserve
        self._incoming = folder / "incoming"
        self._writing = StoreThreads(patience)
        self._reading = StoreThreads(min(patience, _READING), bearable=MOST - 1)

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        target = self.path(key)
        await self.check_room()
        aside = _Aside(self._incoming / f"{key}.{uuid4().hex}")
        try:
            with _room_faults():
                async for chunk in chunks:
                    await self._writing.do(aside.append, chunk)
                    del chunk
                await self._writing.do(aside.publish, target)
        except FileExistsError as error:
            raise KeyTaken(key) from error
        except FileNotFoundError as error:
            raise Unavailable("The upload stood still for too long and was cleared.") from error
        finally:
            if not aside.published:
                await self._writing.at_last(aside.discard)
        return Written(aside.size, aside.digest.hexdigest())

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        file = await self._open(key, start, end)
        try:
            if file.first:
                yield file.first
            while not file.ended:
                chunk = await file.read(CHUNK)
                if chunk:
                    yield chunk
        finally:
            await file.close()

    async def outgoing(self, key: str, start: int, end: int) -> Outgoing:
        return await self._open(key, start, end)

    async def _open(self, key: str, start: int, end: int | None) -> Outgoing:
        file = Outgoing(self._reading, self.path(key), start, end)
        try:
            await file.open()
        except FileNotFoundError as error:
            raise NoSuchContent(key) from error
        return file

    async def delete(self, key: str) -> None:
        path = self.path(key)
        await self._writing.do(path.unlink, missing_ok=True)

    async def holds(self, key: str) -> bool:
        return await self._reading.do(self.path(key).is_file)

    async def everything(self) -> AsyncIterator[Kept]:
        for number in range(256):
            for kept in await self._reading.do(_kept_in, self._folder / f"{number:02x}"):
                yield kept

    async def tidy(self, older_than: float) -> int:
        limit = time.time() - older_than
        return await self._writing.do(_drop_older, self._incoming, limit)

    async def check_room(self) -> None:
        if await self._writing.do(_free_bytes, self._folder) < self._reserve:
            raise Unavailable("The store is full; files can be read, and sent when there is room.")

    def path(self, key: str) -> Path:
        return self._folder / key[:2] / checked_key(key)


@contextmanager
def _room_faults() -> Generator[None]:
    """Turn a full or failing disk into the answer for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}:
            raise
        raise Unavailable("The store cannot take the file at the moment.") from error


class _Aside:
    """A file being written where nobody looks; its methods block, one at a time."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.digest = sha256()
        self.published = False
        self._unsynced = 0  # bytes
        self._path = path
        self._file: int | None = None
        self._lock = Lock()
        self._given_up = False

    def append(self, chunk: bytes) -> None:
        with self._lock:
            file = self._opened()
            self.digest.update(chunk)
            self.size += len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(file, view) :]
            self._unsynced += len(chunk)
            if self._unsynced >= _SYNCED:
                os.fdatasync(file)
                self._unsynced = 0
            failpoints.block("store.write")

    def _opened(self) -> int:
        if self._given_up:
            raise FileNotFoundError(self._path)
        if self._file is None:
            _make_folder(self._path.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o640)
        return self._file

    def publish(self, target: Path) -> None:
        """Give whole bytes their name. A link, unlike a rename, never replaces what is there."""
        with self._lock:
            os.fsync(self._opened())
            _make_folder(target.parent)
            os.link(self._path, target)
            _sync_folder(target.parent)
            self.published = True
            self._drop()

    def discard(self) -> None:
        """Close, and drop the name aside, once nobody writes any more."""
        with self._lock:
            self._given_up = True
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path.unlink(missing_ok=True)


def _kept_in(folder: Path) -> list[Kept]:
    kept: list[Kept] = []
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if _KEY.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        kept.append(Kept(entry.name, entry.stat().st_mtime))
    return kept


def _drop_older(folder: Path, limit: float) -> int:
    dropped = 0
    if folder.is_dir():
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    path.unlink()
                    dropped += 1
    return dropped


def _free_bytes(folder: Path) -> int:
    """Of the disk that the folder is on, or will be."""
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    return shutil.disk_usage(there).free


def _make_folder(folder: Path) -> None:
    """The folder, and its name in the one above, on the disk."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def open_contents(
    url: str, access_key: str = "", secret_key: str = "", *, reserve: int = 0
) -> Contents:
    """The store of ``STORE_URL``: ``file:///folder`` or ``s3://bucket/prefix?endpoint=…&region=…``.

    ``patience=…`` is for both: seconds with a store that does not answer.
    Raises ValueError for a kind that is not served.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    patience = float(options.get("patience", "30"))
    if parts.scheme == "file" and parts.path and not parts.netloc:
        folder = Path(unquote(parts.path))
        return LocalContents(folder, reserve=reserve, patience=patience)
    if parts.scheme == "s3" and parts.netloc:
        # thirty megabytes of memory that a local store does without
        from files_service.store.s3_contents import S3Contents  # noqa: PLC0415

        return S3Contents(
            parts.netloc,
            unquote(parts.path).strip("/"),
            endpoint=options.get("endpoint"),
            region=options.get("region", "us-east-1"),
            access_key=access_key,
            secret_key=secret_key,
            patience=patience,
        )
    raise ValueError("STORE_URL must be file:///folder or s3://bucket/prefix?endpoint=…")
