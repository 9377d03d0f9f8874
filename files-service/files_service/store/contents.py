"""Where the bytes of files are, whatever keeps them: a small protocol and its local-disk form.

Every store keeps the same promises; ``tests/test_contents.py`` asks them of each.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from shared.errors import Unavailable

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
        aside = self._incoming / f"{key}.{uuid4().hex}"
        digest = sha256()
        size = 0
        try:
            with _room_faults():
                file = await asyncio.to_thread(_create, aside, target.parent)
                try:
                    async for chunk in chunks:
                        await asyncio.to_thread(_append, file, digest, chunk)
                        size += len(chunk)
                    await asyncio.to_thread(os.fsync, file)
                finally:
                    os.close(file)
                await asyncio.to_thread(_publish, aside, target)
        except FileExistsError as error:
            raise KeyTaken(key) from error
        finally:
            aside.unlink(missing_ok=True)
        return Written(size, digest.hexdigest())

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._path(key).open, "rb", buffering=0)
        except FileNotFoundError as error:
            raise NoSuchContent(key) from error
        with file:
            file.seek(start)
            left = end - start if end is not None else None
            while left is None or left > 0:
                chunk = await asyncio.to_thread(
                    file.read, CHUNK if left is None else min(CHUNK, left)
                )
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


def _create(aside: Path, folder: Path) -> int:
    aside.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    return os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)


def _append(file: int, digest: "_Digest", chunk: bytes) -> None:
    digest.update(chunk)
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def _publish(aside: Path, target: Path) -> None:
    """Give whole bytes their name. A link, unlike a rename, never replaces what is there."""
    os.link(aside, target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_contents(url: str) -> Contents:
    """The store of ``STORE_URL``. Raises ValueError for a kind that is not served."""
    parts = urlsplit(url)
    if parts.scheme != "file" or not parts.path:
        raise ValueError("STORE_URL must be file:///folder")
    return LocalContents(Path(unquote(parts.path)))
