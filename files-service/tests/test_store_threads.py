"""A folder that hangs: whoever waits for it, who is refused, and what is closed when."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest

from files_service.store.contents import Contents, LocalContents
from files_service.store.outgoing import Outgoing
from files_service.store.threads import MOST, StoreThreads
from shared.errors import Unavailable
from shared.testing import eventually

PATIENCE = 1.0  # seconds


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def content(contents: Contents, key: str) -> bytes:
    return b"".join([chunk async for chunk in contents.read(key)])


async def test_what_waits_for_a_thread_has_its_patience_still_before_it() -> None:
    """All threads but one hang; thirty calls of a slow, healthy folder follow each other there."""
    threads = StoreThreads(PATIENCE, bearable=MOST - 1)
    answers = Event()
    hanging = [asyncio.create_task(threads.do(answers.wait)) for _ in range(MOST - 1)]
    waited = await asyncio.gather(*(threads.do(Event().wait, 0.05) for _ in range(30)))
    assert waited == [False] * 30
    for task in hanging:
        with pytest.raises(Unavailable):
            await task
    answers.set()


async def test_when_the_folder_stalls_those_who_wait_are_refused_unbegun() -> None:
    threads = StoreThreads(0.3)
    answers, begun = Event(), list[int]()

    def hang(number: int) -> None:
        begun.append(number)
        answers.wait()

    calls = [asyncio.create_task(threads.do(hang, number)) for number in range(30)]
    for call in calls:
        with pytest.raises(Unavailable):
            await call
    assert len(begun) == MOST
    assert threads.stalled
    answers.set()

    async def well() -> bool:
        return not threads.stalled

    await eventually(well, what="the folder answers again")
    assert await threads.do(len, "four") == 4


async def test_a_file_that_hangs_leaves_the_others_to_be_read(tmp_path: Path) -> None:
    """A pipe in a file's place: whoever opens it stands still in the kernel."""
    contents = LocalContents(tmp_path, patience=PATIENCE)
    whole, *hanging = (str(uuid4()) for _ in range(MOST + 1))
    await contents.write(whole, chunks(b"whole"))
    for key in hanging:
        contents.path(key).parent.mkdir(exist_ok=True)
        os.mkfifo(contents.path(key))
    asked = [asyncio.create_task(contents.outgoing(key, 0, 10)) for key in hanging[1:]]
    assert await content(contents, whole) == b"whole"  # by the last thread that is free
    for each in asked:
        with pytest.raises(Unavailable):
            await each
    assert await content(contents, whole) == b"whole"
    with pytest.raises(Unavailable):
        await contents.outgoing(hanging[0], 0, 10)
    with pytest.raises(Unavailable):  # every thread hangs by now
        await content(contents, whole)
    for key in hanging:
        os.close(os.open(contents.path(key), os.O_RDWR | os.O_NONBLOCK))

    async def is_read_again() -> bool:
        try:
            return await content(contents, whole) == b"whole"
        except Unavailable:
            return False

    await eventually(is_read_again, what="the folder answers again")

    async def all_closed() -> bool:
        return not open_in(tmp_path)

    await eventually(all_closed, what="what was given up is closed")


def open_in(folder: Path) -> list[str]:
    """What this process has open there."""
    found = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    return [path for path in found if path.startswith(str(folder))]


async def test_the_socket_of_a_hanging_download_is_closed_by_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, its number could be another connection's when the thread goes on to send."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 300_000)
    answers, still_open = Event(), list[bool]()
    here, there = socket.socketpair()
    number = here.fileno()
    sendfile = os.sendfile

    def hanging(wire: int, file: int, start: int, most: int) -> int:
        answers.wait()
        still_open.append(wire == number and here.fileno() == number)
        return sendfile(wire, file, start, most)

    monkeypatch.setattr(os, "sendfile", hanging)
    here.setblocking(False)
    outgoing = Outgoing(StoreThreads(0.3), path, 0, 300_000)
    await outgoing.open()
    outgoing.connect(here)
    with pytest.raises(Unavailable):
        await outgoing.send()
    await outgoing.close()
    assert here.fileno() == number
    answers.set()

    async def is_closed() -> bool:
        return here.fileno() == -1

    await eventually(is_closed, what="the thread came back and closed it")
    assert still_open
    assert all(still_open)
    there.close()


async def test_who_is_cancelled_twice_leaves_no_sooner() -> None:
    threads = StoreThreads(60.0)
    begun, answers = Event(), Event()

    def work() -> None:
        begun.set()
        answers.wait()

    call = asyncio.create_task(threads.do(work))

    async def is_begun() -> bool:
        return begun.is_set()

    await eventually(is_begun)
    try:
        for _ in range(3):
            call.cancel()
            await asyncio.wait((call,), timeout=0.01)
            assert not call.done()
        assert not threads.stalled
    finally:
        answers.set()
    await asyncio.wait((call,), timeout=60)
    assert call.cancelled()
