"""A write that is sent twice acts once, whatever happened to the first one."""

import asyncio
from typing import Any

import pytest

from shared import failpoints
from shared.changes import Changes
from shared.context import Actor
from shared.database import Database
from shared.errors import Conflict, InvalidValue
from shared.idempotency import Attempt, Idempotency, Success, hide
from shared.identity import Principal
from shared.sql import raw
from shared.stamps import Invalidation
from shared.testing import Client, server

Shop = tuple[Client, Database]
ROWS = "tables/groceries/rows"


async def count(database: Database) -> int:
    return await database.fetchval(raw("SELECT count(*) FROM groceries"))


async def send(shop: Client, key: str, title: str) -> tuple[int, Any]:
    headers = {"Idempotency-Key": key}
    return await shop.send("POST", ROWS, json={"title": title}, headers=headers)


async def test_the_answer_is_repeated(own_shop: Shop) -> None:
    shop, database = own_shop
    before = await count(database)
    first = await send(shop, "a", "Salt")
    assert first[0] == 200
    assert await send(shop, "a", "Salt") == first
    assert await count(database) == before + 1
    assert (await send(shop, "a", "Pepper"))[0] == 422
    assert (await send(shop, "b", "Salt"))[1] != first[1]
    assert await count(database) == before + 2
    assert (await send(shop, "x" * 256, "Salt"))[0] == 400


async def test_a_failure_is_not_kept(own_shop: Shop) -> None:
    shop, database = own_shop
    before = await count(database)
    headers = {"Idempotency-Key": "f"}
    status, _ = await shop.send("POST", ROWS, json={"stock": "many"}, headers=headers)
    assert status == 422
    assert (await send(shop, "f", "Salt"))[0] == 200
    assert await count(database) == before + 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_changes_and_deletions(own_shop: Shop, method: str) -> None:
    shop, _ = own_shop
    headers = {"Idempotency-Key": "c"}
    first = await shop.send(method, f"{ROWS}/1", json={"title": "Rye"}, headers=headers)
    assert first[0] == 200
    await shop.send("PUT", f"{ROWS}/1", json={"title": "Other"})
    assert await shop.send(method, f"{ROWS}/1", json={"title": "Rye"}, headers=headers) == first


async def test_many_at_once_act_once(own_shop: Shop) -> None:
    shop, database = own_shop
    before = await count(database)
    answers = await asyncio.gather(*(send(shop, "m", "Salt") for _ in range(12)))
    assert {status for status, _ in answers} <= {200, 409}
    assert len({str(answer) for status, answer in answers if status == 200}) == 1
    assert await count(database) == before + 1


async def test_a_process_that_dies_after_its_commit(own_shop: Shop) -> None:
    shop, database = own_shop
    before = await count(database)
    failpoints.arm("changes.committed=raise", allowed=True)
    try:
        assert (await send(shop, "d", "Salt"))[0] == 500
    finally:
        failpoints.arm("", allowed=True)
    status, answer = await send(shop, "d", "Salt")
    assert status == 200
    assert answer["data"]["title"] == "Salt"
    assert await count(database) == before + 1


async def test_a_process_that_dies_before_its_commit(own_shop: Shop) -> None:
    shop, database = own_shop
    before = await count(database)
    failpoints.arm("idempotency.kept=raise", allowed=True)
    try:
        assert (await send(shop, "e", "Salt"))[0] == 500
    finally:
        failpoints.arm("", allowed=True)
    assert await count(database) == before
    assert (await send(shop, "e", "Salt"))[0] == 200
    assert await count(database) == before + 1


async def test_other_rights_other_answer(own_shop: Shop) -> None:
    shop, database = own_shop
    assert (await send(shop, "r", "Salt"))[0] == 200
    await database.execute(
        raw("INSERT INTO directus_privileges (table_name, group_id) VALUES ('labels', 1)")
    )
    assert (await send(shop, "r", "Salt"))[0] == 409


async def test_after_a_day_it_is_another_request(own_shop: Shop) -> None:
    shop, database = own_shop
    before = await count(database)
    first = await send(shop, "o", "Salt")
    await database.execute(
        raw("UPDATE directoire.idempotency SET created_at = created_at - interval '25 hours'")
    )
    assert await send(shop, "o", "Salt") != first
    assert await count(database) == before + 2
    await database.execute(
        raw("UPDATE directoire.idempotency SET created_at = created_at - interval '25 hours'")
    )
    assert (await send(shop, "p", "Salt"))[0] == 200
    kept = await database.fetchval(raw("SELECT array_agg(key) FROM directoire.idempotency"))
    assert kept == ["p"], "what nobody will ask for is cleared"


async def test_another_scope_is_other_rights(own_shop: Shop) -> None:
    shop, _ = own_shop
    assert (await send(shop, "s", "Salt"))[0] == 200
    scoped = shop.as_(Principal(user=1, group=1, scope="table:groceries"))
    assert (await send(scoped, "s", "Salt"))[0] == 409


async def test_a_leased_claim(database: Database, redis_prefix: str) -> None:
    invalidation = Invalidation(server("REDIS_URL"), redis_prefix, life=0.05)
    idempotency = Idempotency(Changes(database, invalidation))
    changes = Changes(database, invalidation)
    attempt = Attempt(1, 1, "lease", b"same")
    running, finish = asyncio.Event(), asyncio.Event()

    async def act() -> Success | None:
        running.set()
        await finish.wait()
        async with changes.transaction(Actor(1, "r")) as change:
            await change.execute(raw("INSERT INTO directus_groups (name) VALUES ('Made once')"))
        hide("token")
        return Success(b'{"token":"secret","price":1.10}', {})

    first = asyncio.create_task(idempotency.act(attempt, act, leased=True))
    await running.wait()
    with pytest.raises(Conflict):
        await idempotency.act(attempt, act, leased=True)
    with pytest.raises(InvalidValue):
        await idempotency.act(Attempt(1, 1, "lease", b"other"), act, leased=True)
    finish.set()
    assert (await first) == Success(b'{"token":"secret","price":1.10}', {})
    assert (await idempotency.act(attempt, act, leased=True)) == Success(
        b'{"token":null,"price":1.10}', {}, replayed=True
    )
    made = await database.fetchval(
        raw("SELECT count(*) FROM directus_groups WHERE name = 'Made once'")
    )
    assert made == 1
    await invalidation.close()
