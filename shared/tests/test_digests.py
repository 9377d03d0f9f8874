"""A digest beside the loop: in order, one piece at a time, and the loop goes on."""

import asyncio
from hashlib import sha256
from threading import Event, get_ident

from shared.digests import StreamDigest

PIECES = [bytes([number]) * size for number, size in enumerate((300_000, 5, 200_000, 0, 70_000))]


async def test_the_digest_is_that_of_all_pieces_in_their_order() -> None:
    digest = StreamDigest(sha256())
    for piece in PIECES:
        await digest.update(piece)
    assert (await digest.finished()).digest() == sha256(b"".join(PIECES)).digest()


class Held:
    """A digest that takes as long as the test wants."""

    def __init__(self) -> None:
        self.may_go_on = Event()
        self.threads: list[int] = []
        self._made = sha256()

    def update(self, data: bytes) -> None:
        self.may_go_on.wait()
        self.threads.append(get_ident())
        self._made.update(data)

    def digest(self) -> bytes:
        return self._made.digest()

    def hexdigest(self) -> str:
        return self._made.hexdigest()


async def test_the_loop_goes_on_and_only_one_piece_is_held() -> None:
    held = Held()
    digest = StreamDigest(held)
    await digest.update(PIECES[0])  # returns, though it is not digested yet
    following = asyncio.create_task(digest.update(PIECES[2]))
    done, _ = await asyncio.wait([following], timeout=0.05)
    assert not done, "it waits until the first is digested"
    held.may_go_on.set()
    await following
    assert (await digest.finished()).digest() == sha256(PIECES[0] + PIECES[2]).digest()
    assert len(held.threads) == 2
    assert get_ident() not in held.threads


async def test_a_cancelled_reader_loses_no_piece() -> None:
    held = Held()
    digest = StreamDigest(held)
    await digest.update(PIECES[0])
    waiting = asyncio.create_task(digest.finished())
    await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    held.may_go_on.set()
    assert (await digest.finished()).digest() == sha256(PIECES[0]).digest()
