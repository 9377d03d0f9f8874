"""What a process remembers is never older than the request that asks."""

from shared.database import Database, Session
from shared.remembered import Remembered
from shared.sql import fixed, raw
from shared.stamps import Stamps


class Counted:
    """Loads a number from a table, and counts how often it had to."""

    def __init__(self, database: Database) -> None:
        self.loads = 0
        self.remembered = Remembered[int]("schema", database, self.load)

    async def load(self, session: Session) -> int:
        self.loads += 1
        return await session.fetchval(raw("SELECT n FROM thing"))


def stamps(stamp: int, changed: int, epoch: str = "e") -> Stamps:
    return Stamps(epoch=epoch, stamp=stamp, schema=changed, rights=0, settings=0)


async def prepared(database: Database) -> Counted:
    await database.execute(raw("CREATE TABLE thing (n int)"))
    await database.execute(raw("INSERT INTO thing VALUES (1)"))
    return Counted(database)


async def change(database: Database, value: int) -> None:
    async with database.transaction() as session:
        await session.execute(fixed("UPDATE thing SET n = $1", value))
        await session.execute(raw("SELECT directoire.bump('schema')"))


async def test_with_a_lease_it_is_loaded_once_until_the_stamp_moves(database: Database) -> None:
    counted = await prepared(database)
    for stamp in (5, 6, 7):
        assert await counted.remembered.current(stamps(stamp, changed=3)) == 1
    assert counted.loads == 1
    await change(database, 2)
    assert await counted.remembered.current(stamps(9, changed=8)) == 2
    assert counted.loads == 2


async def test_a_new_epoch_is_checked_but_not_loaded_again(database: Database) -> None:
    counted = await prepared(database)
    await counted.remembered.current(stamps(5, changed=3))
    assert await counted.remembered.current(stamps(1, changed=1, epoch="f")) == 1
    assert counted.loads == 1


async def test_without_a_lease_the_database_is_asked_each_time(database: Database) -> None:
    counted = await prepared(database)
    assert await counted.remembered.current(None) == 1
    assert await counted.remembered.current(None) == 1
    assert counted.loads == 1
    await change(database, 2)
    assert await counted.remembered.current(None) == 2


async def test_what_was_found_without_a_lease_is_not_trusted_with_one(database: Database) -> None:
    counted = await prepared(database)
    await counted.remembered.current(None)
    await change(database, 2)
    assert await counted.remembered.current(stamps(5, changed=0)) == 2
