"""Where the bytes of files are, whatever keeps them: a small protocol and its local-disk form.

Every store keeps the same promises; ``tests/test_contents.py`` asks them of each.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from shared.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

CHUNK: Final = 256 * 1024  # bytes read from the disk at once
_KEY: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class NoSuchContent(Exception):
    """Nothing is stored under this key."""


class KeyTaken(Exception):
    """Something is stored under this key already, and stays."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was stored: its size in bytes and its SHA-256 as hex digits."""

    size: int
    sha256: str


class Contents(Protocol):
    """Bytes under keys. A key is a UUID as text: no slash, no dot, nothing from a client."""

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


class LocalContents:
    """Files in a folder: ``<folder>/<two digits>/<key>``, written aside and linked when whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        target = self._path(key)
        aside = _Aside(self._incoming / f"{key}.{uuid4().hex}")
        try:
            with _room_faults():
                await _in_thread(aside.open)
                async for chunk in chunks:
                    await _in_thread(aside.append, chunk)
                await _in_thread(aside.publish, target)
        except FileExistsError as error:
            raise KeyTaken(key) from error
        finally:
            aside.discard()
        return Written(aside.size, aside.digest.hexdigest())

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        path = self._path(key)
        try:
            file = await _in_thread(_open_at, path, start)
        except FileNotFoundError as error:
            raise NoSuchContent(key) from error
        with file:
            left = end - start if end is not None else None
            while left is None or left > 0:
                size = CHUNK if left is None else min(CHUNK, left)
                chunk = await _in_thread(file.read, size)
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk

    async def delete(self, key: str) -> None:
        path = self._path(key)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("a key is a UUID the server made")
        return self._folder / key[:2] / key


@contextmanager
def _room_faults() -> Generator[None]:
    """Turn a full or failing disk into the answer for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}:
            raise
        raise Unavailable("The store cannot take the file at the moment.") from error


class _Aside:
    """A file being written where nobody looks; its methods block."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self.digest = sha256()
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        _make_folder(self._path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o640)

    def append(self, chunk: bytes) -> None:
        assert self._file is not None
        self.digest.update(chunk)
        self.size += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]

    def publish(self, target: Path) -> None:
        """Give whole bytes their name. A link, unlike a rename, never replaces what is there."""
        assert self._file is not None
        os.fsync(self._file)
        _make_folder(target.parent)
        os.link(self._path, target)
        _sync_folder(target.parent)

    def discard(self) -> None:
        """Close, and drop the name aside; published bytes stay."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._path.unlink(missing_ok=True)


def _open_at(path: Path, start: int) -> FileIO:
    file = path.open("rb", buffering=0)
    file.seek(start)
    return file


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


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As asyncio.to_thread, but never leaves while the thread still works.

    Whoever is cancelled closes his file next; its number may then be another file's, or a socket's.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise


def open_contents(url: str) -> Contents:
    """The store of ``STORE_URL``. Raises ValueError for a kind that is not served."""
    parts = urlsplit(url)
    if parts.scheme != "file" or not parts.path:
        raise ValueError("STORE_URL must be file:///folder")
    return LocalContents(Path(unquote(parts.path)))
