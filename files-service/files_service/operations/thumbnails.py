"""Thumbnails: made once for each picture and variant, kept in the store like any other bytes.

Source: contract 7.7.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from files_service.operations import thumbnailer, uploads
from files_service.store import files
from files_service.store.contents import Contents, NoSuchContent
from files_service.store.files import KeptThumbnail, StoredFile
from shared.database import Database
from shared.errors import ApiError
from shared.system_settings import SystemSettings

log = structlog.get_logger(__name__)

# Type of the picture → ending and type of its thumbnail
_MADE_AS: Final = {
    "image/jpeg": (".jpeg", "image/jpeg"),
    "image/png": (".png", "image/png"),
    "image/gif": (".gif", "image/gif"),
    "image/webp": (".webp", "image/webp"),
    "image/avif": (".jpeg", "image/jpeg"),
    "image/tiff": (".jpeg", "image/jpeg"),
}
QUALITIES: Final = {"poor": 25, "good": 50, "better": 75, "best": 100}
_LARGEST_SOURCE: Final = 64 * 1024 * 1024  # bytes of a picture
_MOST_WAITING: Final = 64
_PATIENCE: Final = 30.0  # seconds, for one


@dataclass(frozen=True, slots=True)
class Variant:
    width: int
    height: int
    crop: bool
    quality: int

    @property
    def name(self) -> str:
        mode = "crop" if self.crop else "contain"
        return f"{self.width}x{self.height} {mode} {self.quality}"


def default_variant(settings: SystemSettings) -> Variant:
    """What is made on upload."""
    size = settings.thumbnail_size
    return Variant(size, size, settings.thumbnail_crop, settings.thumbnail_quality)


def asked_variant(
    settings: SystemSettings, width: str, height: str, options: Iterable[str]
) -> Variant | None:
    """What ``/thumbnail/<width>/<height>[/crop|contain][/<quality>]`` asks; None: not allowed."""
    if not (width.isascii() and height.isascii() and width.isdigit() and height.isdigit()):
        return None
    size = (int(width[:6]), int(height[:6]))
    if size not in settings.allowed_thumbnails:
        return None
    crop, quality = True, QUALITIES["good"]
    for option in options:
        if option in {"crop", "contain"}:
            crop = option == "crop"
        elif option in QUALITIES:
            quality = QUALITIES[option]
        else:
            return None
    return Variant(*size, crop, quality)


class Thumbnails:
    def __init__(
        self, database: Database, contents: Contents, *, workers: int, pixel_limit: int
    ) -> None:
        self._database = database
        self._contents = contents
        self._places = asyncio.Semaphore(workers)
        self._pixel_limit = pixel_limit
        self._running: dict[tuple[str, str], asyncio.Task[KeptThumbnail | None]] = {}
        self._soon: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        tasks: list[asyncio.Task[Any]] = [*self._soon, *self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def are_made_of(kind: str) -> bool:
        """Whether files of this type have thumbnails."""
        return kind in _MADE_AS

    def make_soon(self, keys: Iterable[int], settings: SystemSettings) -> None:
        """Beside the request: what is not made now is made when it is asked for."""
        variant = default_variant(settings)
        for key in keys:
            if len(self._soon) < _MOST_WAITING:
                task = asyncio.create_task(self._make_of(key, variant))
                self._soon.add(task)
                task.add_done_callback(self._soon.discard)

    async def _make_of(self, key: int, variant: Variant) -> None:
        with suppress(ApiError, OSError):
            file = await files.stored_as(self._database, key)
            if file is not None:
                await self.of(file, variant)

    async def of(self, file: StoredFile, variant: Variant) -> KeptThumbnail | None:
        """The thumbnail, made if it is not there yet; None where none can be made."""
        if file.type not in _MADE_AS or file.size > _LARGEST_SOURCE:
            return None
        kept = await files.kept_thumbnail(self._database, file.storage_key, variant.name)
        if kept is not None:
            return kept
        about = (file.storage_key, variant.name)
        task = self._running.get(about)
        if task is None:
            if len(self._running) >= _MOST_WAITING:
                return None
            task = self._running[about] = asyncio.create_task(self._make(file, variant))
            task.add_done_callback(lambda _: self._running.pop(about, None))
        return await asyncio.shield(task)

    async def _make(self, file: StoredFile, variant: Variant) -> KeptThumbnail | None:
        ending, kind = _MADE_AS[file.type]
        async with self._places:
            try:
                data = await self._run(file, variant, ending)
            except NoSuchContent:
                return None
        if data is None:
            return None

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        async with uploads.upload(self._database, self._contents, None, chunks()) as upload:
            made = KeptThumbnail(upload.key, kind, upload.size, upload.sha256)
            kept = await files.keep_thumbnail(self._database, file.storage_key, variant.name, made)
        if not kept:  # somebody was faster, or the picture is gone
            await uploads.clear(self._database, self._contents, upload.key)
            return await files.kept_thumbnail(self._database, file.storage_key, variant.name)
        return made

    async def _run(self, file: StoredFile, variant: Variant, ending: str) -> bytes | None:
        """Run the process that makes it; None when it could not."""
        source = await self._opened(file)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                thumbnailer.__name__,
                str(variant.width),
                str(variant.height),
                "crop" if variant.crop else "contain",
                str(variant.quality),
                ending,
                str(self._pixel_limit),
                stdin=source,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"VIPS_CONCURRENCY": "1", "PATH": os.environ.get("PATH", "")},
            )
        finally:
            os.close(source)
        try:
            async with asyncio.timeout(_PATIENCE):
                data, _ = await process.communicate()
        except TimeoutError:
            data = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode or not data:
            log.info("no thumbnail", file=file.name, status=process.returncode)
            return None
        return data

    async def _opened(self, file: StoredFile) -> int:
        """A descriptor that can seek in the picture. Raises NoSuchContent."""
        path = self._contents.path(file.storage_key)
        if path is not None:
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise NoSuchContent(file.storage_key) from error
        copy = os.memfd_create("picture")
        try:
            async for chunk in self._contents.read(file.storage_key):
                os.write(copy, chunk)
            os.lseek(copy, 0, os.SEEK_SET)
        except BaseException:
            os.close(copy)
            raise
        return copy
