"""What every store promises, asked of each."""

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from mmap import mmap
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any
from uuid import uuid4

import obstore
import pytest

from files_service.store.contents import (
    CHUNK,
    Contents,
    KeyTaken,
    LocalContents,
    NoSuchContent,
    open_contents,
)
from files_service.store.spool import Spool
from local_cluster.object_store import ACCESS_KEY, SECRET_KEY, ObjectStore
from shared.errors import Unavailable
from shared.fault_proxy import FaultProxy, fault_proxy
from shared.testing import eventually


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def local(folder: Path) -> Contents:
    return LocalContents(folder)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.xdist_group("s3"))])
def contents(request: pytest.FixtureRequest) -> Contents:
    return request.getfixturevalue({"local": "local", "s3": "s3_contents"}[request.param])


async def stored_keys(contents: Contents) -> list[str]:
    return [kept.key async for kept in contents.everything()]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def stored_paths(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def broken() -> AsyncIterator[bytes]:
    yield b"half"
    raise ConnectionResetError


async def everything(reading: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in reading])


async def test_what_was_written_is_read_back_whole(contents: Contents) -> None:
    data = bytes(range(256)) * 3000
    key = str(uuid4())
    written = await contents.write(key, chunks(data[:10], b"", data[10:]))
    assert (written.size, written.sha256) == (len(data), sha256(data).hexdigest())
    assert await everything(contents.read(key)) == data


async def test_an_empty_file_is_a_file(contents: Contents) -> None:
    key = str(uuid4())
    assert (await contents.write(key, chunks())).size == 0
    assert await everything(contents.read(key)) == b""


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (5, 5), (CHUNK - 1, CHUNK + 1), (3, None), (0, 10**9)]
)
async def test_a_part_is_read_from_start_up_to_end(
    contents: Contents, start: int, end: int | None
) -> None:
    data = b"0123456789" * (CHUNK // 5)
    key = str(uuid4())
    await contents.write(key, chunks(data))
    assert await everything(contents.read(key, start, end)) == data[start:end]


async def test_a_large_content_is_read_back_whole(contents: Contents) -> None:
    """Large enough for a multipart upload of several parts."""
    piece = bytes(range(256)) * 4096  # 1 MB
    key = str(uuid4())
    written = await contents.write(key, chunks(*([piece] * 12), b"end"))
    assert written.size == 12 * len(piece) + 3
    assert written.sha256 == sha256(piece * 12 + b"end").hexdigest()
    digest = sha256()
    async for chunk in contents.read(key):
        digest.update(chunk)
    assert digest.hexdigest() == written.sha256
    assert await everything(contents.read(key, 12 * len(piece) - 1, 10**9)) == piece[-1:] + b"end"
    with pytest.raises(KeyTaken):
        await contents.write(key, chunks(piece, piece))


@pytest.mark.xdist_group("s3")
async def test_large_pieces_for_a_server_are_digested_beside_the_loop(
    s3_contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()

    class Noting:
        def __init__(self) -> None:
            self._made = sha256()

        def update(self, data: bytes) -> None:
            threads.add(threading.get_ident())
            self._made.update(data)

        def hexdigest(self) -> str:
            return self._made.hexdigest()

    monkeypatch.setattr("files_service.store.s3_contents.sha256", Noting)
    pieces = [bytes([number]) * 300_000 for number in range(30)]
    written = await s3_contents.write(str(uuid4()), chunks(*pieces))
    assert written.sha256 == sha256(b"".join(pieces)).hexdigest()
    assert threads
    assert threading.get_ident() not in threads


async def test_what_is_stored_can_be_listed_and_knows_its_age(contents: Contents) -> None:
    part, whole = f"{uuid4()}.7", str(uuid4())
    for key in (part, whole):
        await contents.write(key, chunks(b"x"))
    assert await stored_keys(contents) == sorted([part, whole], key=lambda key: key[:2])
    written = [kept.written async for kept in contents.everything()]
    assert all(abs(moment - time.time()) < 60 for moment in written)
    await contents.delete(part)
    assert await stored_keys(contents) == [whole]


async def test_a_large_broken_upload_leaves_nothing(contents: Contents) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 1024 * 1024
        raise ConnectionResetError

    key = str(uuid4())
    with pytest.raises(ConnectionResetError):
        await contents.write(key, breaking())
    with pytest.raises(NoSuchContent):
        await everything(contents.read(key))


async def test_what_a_dead_writer_left_half_written_is_tidied(
    local: Contents, folder: Path
) -> None:
    left = folder / "incoming" / f"{uuid4()}.x"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert await local.tidy(3600) == 0, "its writer may be at work"
    assert await local.tidy(-1) == 1
    assert not left.exists()


async def test_a_broken_upload_leaves_nothing(contents: Contents, folder: Path) -> None:
    key = str(uuid4())
    with pytest.raises(ConnectionResetError):
        await contents.write(key, broken())
    with pytest.raises(NoSuchContent):
        await everything(contents.read(key))
    assert stored_paths(folder) == []


async def test_a_cancelled_upload_leaves_nothing(contents: Contents, folder: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"first"
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(contents.write(str(uuid4()), endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stored_paths(folder) == []


async def test_a_cancelled_writer_waits_for_its_thread(
    local: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the thread would write to a number that is another file's by now."""
    begun, may_end = threading.Event(), threading.Event()
    open_when_written: list[bool] = []
    write = os.write

    def slow_write(file: int, data: bytes) -> int:
        begun.set()
        may_end.wait()
        open_when_written.append(Path(f"/proc/self/fd/{file}").exists())
        return write(file, data)

    monkeypatch.setattr(os, "write", slow_write)
    task = asyncio.create_task(local.write(str(uuid4()), chunks(b"x")))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_when_written == [True]


async def test_a_key_is_written_once(contents: Contents) -> None:
    key = str(uuid4())
    await contents.write(key, chunks(b"first"))
    with pytest.raises(KeyTaken):
        await contents.write(key, chunks(b"second"))
    assert await everything(contents.read(key)) == b"first"


async def test_of_two_writers_of_one_key_one_wins_whole(contents: Contents) -> None:
    key = str(uuid4())
    results = await asyncio.gather(
        *(contents.write(key, chunks(letter * 1000, letter)) for letter in (b"a", b"b", b"c")),
        return_exceptions=True,
    )
    assert sum(isinstance(result, KeyTaken) for result in results) == 2
    assert len(set(await everything(contents.read(key)))) == 1


async def test_deleted_bytes_are_gone_and_may_be_deleted_again(contents: Contents) -> None:
    key = str(uuid4())
    await contents.write(key, chunks(b"x"))
    await contents.delete(key)
    await contents.delete(key)
    with pytest.raises(NoSuchContent):
        await everything(contents.read(key))


@pytest.mark.parametrize("key", ["", "..", "../../etc/passwd", "a/b", "A" * 36, "x" * 36 + "\n"])
async def test_a_key_that_is_no_uuid_reaches_no_file(
    contents: Contents, folder: Path, key: str
) -> None:
    with pytest.raises(ValueError, match="UUID"):
        await contents.write(key, chunks(b"x"))
    with pytest.raises(ValueError, match="UUID"):
        await everything(contents.read(key))
    with pytest.raises(ValueError, match="UUID"):
        await contents.delete(key)
    assert stored_paths(folder.parent) == []


def test_a_store_url_of_another_kind_is_refused() -> None:
    for url in ("", "ftp://x/y", "file://", "/data"):
        with pytest.raises(ValueError, match="STORE_URL"):
            open_contents(url)


MEGABYTE = 1024 * 1024


def by_proxy(object_store: ObjectStore, s3_url: str, proxy: FaultProxy) -> Contents:
    url = s3_url.replace(f":{object_store.port}", f":{proxy.port}") + "&patience=60"
    return open_contents(url, ACCESS_KEY, SECRET_KEY)


@pytest.mark.xdist_group("s3")
async def test_two_uploads_have_a_part_in_memory_and_all_are_read(
    object_store: ObjectStore, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stalls, so nobody who has begun to send ends before all others have come."""
    read, sending = 0, [0]
    put = obstore.put_async

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(3):
            yield b"x" * MEGABYTE
        read += 1

    async def noting(*args: Any, **more: Any) -> object:
        sending.append(sending[-1] + 1)
        try:
            return await put(*args, **more)
        finally:
            sending.append(sending[-1] - 1)

    async def all_are_read() -> bool:
        return read == 12 and max(sending) >= 2

    monkeypatch.setattr("files_service.store.s3_contents.obstore.put_async", noting)
    async with fault_proxy("127.0.0.1", object_store.port) as proxy:
        contents = by_proxy(object_store, s3_url, proxy)
        proxy.stall()
        writing = [asyncio.create_task(contents.write(str(uuid4()), pieces())) for _ in range(12)]
        await eventually(all_are_read)
        proxy.mend()
        written = await asyncio.gather(*writing)
    assert [one.size for one in written] == [3 * MEGABYTE] * 12
    assert max(sending) == 2


@pytest.mark.xdist_group("s3")
async def test_a_part_keeps_its_place_until_the_server_has_it(
    object_store: ObjectStore, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_its_way, read_on = asyncio.Event(), asyncio.Event()
    emptied = Spool.emptied

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * MEGABYTE
        read_on.set()
        yield b"end"

    async with fault_proxy("127.0.0.1", object_store.port) as proxy:

        async def stalling(spool: Spool) -> bytes | mmap:
            if not on_its_way.is_set():
                proxy.stall()
            on_its_way.set()
            return await emptied(spool)

        monkeypatch.setattr(Spool, "emptied", stalling)
        contents = by_proxy(object_store, s3_url, proxy)
        key = str(uuid4())
        writing = asyncio.create_task(contents.write(key, pieces()))
        async with asyncio.timeout(60):
            await on_its_way.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await read_on.wait()
        proxy.mend()
        assert (await writing).size == 5 * MEGABYTE + 3
    assert read_on.is_set()


@pytest.mark.xdist_group("s3")
async def test_clients_that_stop_half_way_keep_nobody_out(s3_contents: Contents) -> None:
    stopped = 0

    async def stopping(size: int) -> AsyncIterator[bytes]:
        nonlocal stopped
        for _ in range(size):
            yield b"x" * MEGABYTE
        stopped += 1
        await asyncio.Event().wait()

    async def all_stopped() -> bool:
        return stopped == 12

    stalled = [
        asyncio.create_task(s3_contents.write(str(uuid4()), stopping(size)))
        for size in (2, 6)
        for _ in range(6)
    ]
    try:
        await eventually(all_stopped)
        async with asyncio.timeout(60):
            written = await s3_contents.write(str(uuid4()), chunks(*[b"x" * MEGABYTE] * 7))
        assert written.size == 7 * MEGABYTE
    finally:
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)
    async with asyncio.timeout(60):
        assert (await s3_contents.write(str(uuid4()), chunks(b"x" * MEGABYTE))).size == MEGABYTE


@pytest.mark.xdist_group("s3")
async def test_where_parts_have_no_room_uploads_are_refused(
    s3_contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("files_service.store.spool._MOST", 0)
        with pytest.raises(Unavailable):
            await s3_contents.write(str(uuid4()), chunks(b"x" * MEGABYTE))
        assert (await s3_contents.write(str(uuid4()), chunks(b"x" * 65_536))).size == 65_536
    for after in (0, 6):

        def full(*_: object, **__: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        async def filling(count: int, patched: pytest.MonkeyPatch) -> AsyncIterator[bytes]:
            for _ in range(count):
                yield b"x" * MEGABYTE
            patched.setattr(SpooledTemporaryFile, "write", full)
            yield b"x"

        key = str(uuid4())
        with monkeypatch.context() as patched, pytest.raises(Unavailable):
            await s3_contents.write(key, filling(after, patched))
        assert not await s3_contents.holds(key)


@pytest.mark.xdist_group("s3")
async def test_a_server_that_stalls_is_given_up(object_store: ObjectStore, s3_url: str) -> None:
    async with fault_proxy("127.0.0.1", object_store.port) as proxy:
        url = s3_url.replace(f":{object_store.port}", f":{proxy.port}") + "&patience=0.6"
        contents = open_contents(url, ACCESS_KEY, SECRET_KEY)
        kept, lost = str(uuid4()), str(uuid4())
        await contents.write(kept, chunks(b"kept"))
        proxy.stall()
        with pytest.raises(Unavailable):
            await contents.write(lost, chunks(b"lost"))
        with pytest.raises(Unavailable):
            await everything(contents.read(kept))
        proxy.mend()
        assert await everything(contents.read(kept)) == b"kept"
        assert await contents.write(str(uuid4()), chunks(b"new"))


async def test_a_folder_that_stalls_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server that hangs: the thread in the kernel cannot be called back, only left."""
    contents = LocalContents(folder, patience=0.3)
    kept, lost = str(uuid4()), str(uuid4())
    await contents.write(kept, chunks(b"kept"))
    answers, threads = threading.Event(), threading.active_count()
    write = os.write

    def stalling(file: int, data: bytes) -> int:
        answers.wait()
        return write(file, data)

    monkeypatch.setattr(os, "write", stalling)
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await contents.write(lost, chunks(b"lost"))
    for _ in range(50):  # refused at once, without a thread
        with pytest.raises(Unavailable):
            await contents.write(str(uuid4()), chunks(b"lost"))
    with pytest.raises(Unavailable):
        await contents.check_room()
    assert time.monotonic() - begun < 5
    assert threading.active_count() - threads < 10
    assert await everything(contents.read(kept)) == b"kept"
    answers.set()

    async def is_tidy() -> bool:
        return len(stored_paths(folder)) == 1

    await eventually(is_tidy, what="what was lost is cleared")
    assert await contents.write(lost, chunks(b"new"))
    await contents.check_room()


async def test_a_large_file_is_brought_to_the_disk_as_it_comes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("files_service.store.contents._SYNCED", 2000)

    def sync(file: int) -> None:
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fdatasync", sync)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1000

    await LocalContents(folder).write(str(uuid4()), chunks())
    assert synced == [2000, 4000]
