"""``utils/sort`` beside a plain list, alone and by twenty callers at once."""

import asyncio
import random

import pytest

from shared.database import Database
from shared.identity import Principal
from shared.sql import param, raw
from shared.testing import Client

Shop = tuple[Client, Database]
CLERK = Principal(user=7, group=5)


async def pages(shop: Shop, values: list[int | None]) -> None:
    """A table whose rows 1, 2 … have these places."""
    _, database = shop
    await database.execute(raw("DROP TABLE IF EXISTS pages"))
    await database.execute(
        raw("CREATE TABLE pages (id int PRIMARY KEY, author int, sort int, title text)")
    )
    await database.execute(raw("SELECT directoire.manage('pages'::regclass)"))
    await database.execute(
        raw("INSERT INTO pages (id, sort) SELECT n, v FROM unnest(")
        + param(values)
        + raw("::int[]) WITH ORDINALITY AS u (v, n)")
    )
    await database.execute(raw("DELETE FROM directus_activity WHERE table_name = 'pages'"))
    await database.execute(raw("SELECT directoire.bump('schema')"))


async def places(shop: Shop) -> dict[int, int | None]:
    rows = await shop[1].fetch(raw("SELECT id, sort FROM pages ORDER BY id"))
    return {row["id"]: row["sort"] for row in rows}


def moved(before: dict[int, int | None], item: int, to: int) -> dict[int, int]:
    """The same by a plain list."""
    largest = max((place for place in before.values() if place is not None), default=0)
    filled: dict[int, int] = {}
    for key in sorted(before):
        place = before[key]
        if place is None:
            largest += 1
            place = largest
        filled[key] = place
    order = sorted(filled, key=lambda key: (filled[key], key))
    numbers = sorted(filled.values())
    if len(set(numbers)) < len(numbers):
        numbers = list(range(1, len(numbers) + 1))
    # the others keep their values but for those between, who are shifted by exactly one
    value = dict(zip(order, numbers, strict=True))
    here, there = value[item], value[to]
    between = order[min(order.index(item), order.index(to)) : max(map(order.index, (item, to))) + 1]
    for key in between:
        value[key] += 1 if there < here else -1
    value[item] = there
    return value


@pytest.mark.parametrize("seed", range(6))
async def test_moves_as_a_plain_list_would(own_shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice([2, 3, 7, 12])
    await pages(own_shop, [chance.choice([None, *range(1, size * 2)]) for _ in range(size)])
    client, database = own_shop
    for _ in range(8):
        item, to = chance.sample(range(1, size + 1), 2)
        before = await places(own_shop)
        expected = moved(before, item, to)
        written = raw("SELECT count(*) FROM directus_activity WHERE table_name = 'pages'")
        entries = await database.fetchval(written)
        status, body = await client.post("utils/sort/pages", {"item": item, "to": str(to)})
        assert (status, body) == (200, None)
        assert await places(own_shop) == expected
        changed = sum(before[key] != expected[key] for key in expected)
        assert await database.fetchval(written) - entries == changed


async def test_twenty_callers_leave_an_order(own_shop: Shop) -> None:
    await pages(own_shop, [*range(1, 31)])
    client, _ = own_shop
    chance = random.Random(1)
    moves = [chance.sample(range(1, 31), 2) for _ in range(60)]

    async def caller(number: int) -> list[int]:
        answers = [
            await client.post("utils/sort/pages", {"item": item, "to": to})
            for item, to in moves[number * 3 : number * 3 + 3]
        ]
        return [status for status, _ in answers]

    statuses = await asyncio.gather(*(caller(number) for number in range(20)))
    assert {status for each in statuses for status in each} == {200}
    assert sorted(place or 0 for place in (await places(own_shop)).values()) == [*range(1, 31)]


@pytest.mark.parametrize(
    ("table", "body", "status"),
    [
        ("groceries", {"item": 1, "to": 2}, 400),  # nothing to sort by
        ("nowhere", {"item": 1, "to": 2}, 403),
        ("pages", {"item": 1}, 400),
        ("pages", {"item": 1, "to": 2, "more": 3}, 400),
        ("pages", {"item": [1], "to": 2}, 400),
        ("pages", {"item": 1, "to": 99}, 403),
        ("pages", {"item": "x", "to": 2}, 403),
        ("pages", {"item": 1, "to": 1}, 200),
    ],
)
async def test_what_cannot_be_sorted_is_refused(
    own_shop: Shop, table: str, body: dict[str, object], status: int
) -> None:
    await pages(own_shop, [1, 2])
    answered, told = await own_shop[0].post(f"utils/sort/{table}", body)
    assert answered == status, told
    assert status == 200 or told["errors"][0]["message"]


async def test_sorting_needs_the_edit_right_on_every_row_it_moves(own_shop: Shop) -> None:
    await pages(own_shop, [1, 2, 3])
    client, database = own_shop
    body = {"item": 1, "to": 3}
    assert (await client.as_(CLERK).post("utils/sort/pages", body))[0] == 403
    await database.execute(
        raw(
            "INSERT INTO directus_privileges (group_id, table_name, allow_view, allow_edit)"
            " VALUES (5, 'pages', 2, 1)"
        )
    )
    await database.execute(
        raw(
            "INSERT INTO directus_tables (table_name, user_create_column) VALUES ('pages','author')"
        )
    )
    await database.execute(raw("UPDATE pages SET author = 7 WHERE id <> 2"))
    assert (await client.as_(CLERK).post("utils/sort/pages", body))[0] == 403
    await database.execute(raw("UPDATE pages SET author = 7"))
    assert (await client.as_(CLERK).post("utils/sort/pages", body))[0] == 200
    assert await places(own_shop) == {1: 3, 2: 1, 3: 2}
