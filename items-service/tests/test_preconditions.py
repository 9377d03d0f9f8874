"""Tags of rows and lists, and writes that say what they have seen."""

import asyncio
from typing import Any

from shared.database import Database
from shared.identity import Principal
from shared.preconditions import Precondition, precondition, tag_matches
from shared.sql import raw
from shared.testing import SIGNER, Client

Shop = tuple[Client, Database]
ROWS = "/api/1.1/tables/groceries/rows"


async def tag(shop: Client, path: str, method: str = "GET", json: object = None) -> str:
    identity = {"X-Directoire-Identity": SIGNER.sign(shop.principal)}
    async with shop.http.request(method, path, json=json, headers=identity) as response:
        assert response.status == 200, await response.text()
        return response.headers["ETag"]


async def write(shop: Client, method: str, path: str, json: object, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _ = await shop.send(method, path, json=json, headers=named)
    return status


def test_what_headers_say() -> None:
    assert precondition(None, None) == Precondition()
    assert precondition("*", None) == Precondition(exists=True)
    assert precondition(None, "*") == Precondition(absent=True)
    several = precondition('"12.ab", W/"13.cd", "x", "14.ef"', None)
    assert several == Precondition(("12", "14"), exists=True)
    digest = "0a" * 16
    assert precondition(f'"{digest}.ab", "{digest}0.ab"', None) == Precondition(
        (digest,), exists=True
    )
    assert precondition('"12.ab" nonsense', None) == Precondition((), exists=True)
    assert tag_matches('W/"a", "b"', '"a"')
    assert tag_matches("*", '"a"')
    assert not tag_matches('"b"', '"a"')


async def test_tags(own_shop: Shop) -> None:
    shop, _ = own_shop
    row = await tag(shop, f"{ROWS}/1")
    assert row.startswith('"')
    assert await tag(shop, f"{ROWS}/1") == row
    assert await tag(shop, f"{ROWS}/1?columns=id") != row
    assert (await tag(shop, ROWS)).startswith('W/"')
    written = await tag(shop, f"{ROWS}/1", "PUT", {"title": "Rye"})
    assert written.split(".")[0] == (await tag(shop, f"{ROWS}/1")).split(".")[0]
    assert written.split(".")[0] != row.split(".")[0]
    made = await tag(shop, ROWS, "POST", {"title": "New"})
    assert await write(shop, "PUT", f"{ROWS}/1", {"title": "x"}, If_Match=made) == 412


async def test_a_write_meets_the_version_it_has_seen_or_none(own_shop: Shop) -> None:
    shop, _ = own_shop
    seen = await tag(shop, f"{ROWS}/1")
    for method in ("PUT", "PATCH", "POST"):
        assert await write(shop, method, f"{ROWS}/1", {"title": "a"}, If_Match='"1.00"') == 412
        assert await write(shop, method, f"{ROWS}/1", {}, If_Match='"1.00"') == 412
    assert await write(shop, "PUT", f"{ROWS}/1", {"title": "a"}, If_Match=seen) == 200
    assert await write(shop, "PUT", f"{ROWS}/1", {"title": "b"}, If_Match=seen) == 412
    assert await write(shop, "PUT", f"{ROWS}/1", {"title": "b"}, If_Match="*") == 200
    assert await write(shop, "PUT", f"{ROWS}/999", {"title": "b"}, If_Match="*") == 404
    assert await write(shop, "DELETE", f"{ROWS}/1", None, If_Match=seen) == 412
    assert await write(shop, "DELETE", f"{ROWS}/1?soft=1", None, If_Match=seen) == 412
    two = {"rows": [{"id": 2, "title": "x"}, {"id": 3, "title": "y"}]}
    second, third = await tag(shop, f"{ROWS}/2"), await tag(shop, f"{ROWS}/3")
    assert await write(shop, "PUT", f"{ROWS}/bulk", two, If_Match='"1.00"') == 412
    assert await write(shop, "PUT", f"{ROWS}/bulk", two, If_Match=f"{second}, {third}") == 200
    assert await write(shop, "DELETE", f"{ROWS}/bulk", two, If_Match=second) == 412
    now = await tag(shop, f"{ROWS}/1")
    assert await write(shop, "DELETE", f"{ROWS}/1", None, If_Match=now) == 200


async def test_creating(own_shop: Shop) -> None:
    shop, _ = own_shop
    new = {"id": 70, "title": "n"}
    assert await write(shop, "POST", ROWS, new, If_None_Match="*") == 200
    assert await write(shop, "POST", ROWS, new, If_None_Match="*") == 412
    assert await write(shop, "POST", ROWS, {"title": "n"}, If_None_Match="*") == 200
    assert await write(shop, "POST", ROWS, {"title": "n"}, If_Match='"1.00"') == 412
    assert await write(shop, "POST", ROWS, new, If_Match='"1.00"') == 412
    assert await write(shop, "POST", ROWS, new, If_Match=await tag(shop, f"{ROWS}/70")) == 200
    assert await write(shop, "POST", ROWS, {"id": 999, "title": "n"}, If_Match="*") == 412


async def test_one_of_many_wins(own_shop: Shop) -> None:
    shop, _ = own_shop
    for _ in range(5):
        seen = await tag(shop, f"{ROWS}/1")
        answers: list[Any] = await asyncio.gather(
            *(write(shop, "PUT", f"{ROWS}/1", {"stock": n}, If_Match=seen) for n in range(8))
        )
        assert sorted(answers) == [200] + [412] * 7


async def test_a_table_can_demand_it(own_shop: Shop) -> None:
    shop, database = own_shop
    await database.execute(
        raw(
            "INSERT INTO directus_tables (table_name, require_if_match) VALUES ('groceries', 1)"
            " ON CONFLICT (table_name) DO UPDATE SET require_if_match = 1"
        )
    )
    assert await write(shop, "PUT", f"{ROWS}/1", {"title": "a"}) == 428
    assert await write(shop, "DELETE", f"{ROWS}/1", None) == 428
    assert await write(shop, "PUT", f"{ROWS}/bulk", {"rows": [{"id": 1, "title": "a"}]}) == 428
    assert await write(shop, "POST", ROWS, {"id": 1, "title": "a"}) == 428
    assert await write(shop, "POST", ROWS, {"title": "a"}) == 200
    seen = await tag(shop, f"{ROWS}/1")
    assert await write(shop, "PUT", f"{ROWS}/1", {"title": "a"}, If_Match=seen) == 200


async def test_system_tables_too(own_shop: Shop) -> None:
    shop, _ = own_shop
    groups = "/api/1.1/tables/directus_groups/rows"
    seen = await tag(shop, f"{groups}/1")
    assert await write(shop, "PUT", f"{groups}/1", {"description": "a"}, If_Match=seen) == 200
    assert await write(shop, "PUT", f"{groups}/1", {"description": "b"}, If_Match=seen) == 412
    assert await write(shop, "DELETE", f"{groups}/9", None, If_Match=seen) == 412
    ninth = await tag(shop, f"{groups}/9")
    assert await write(shop, "DELETE", f"{groups}/9", None, If_Match=ninth) == 200


async def test_who_may_not_change_a_row_is_not_told_of_its_version(own_shop: Shop) -> None:
    """403 before 412, of old tags and of new ones; where the row is hidden 404."""
    shop, database = own_shop
    await database.execute(
        raw("UPDATE directus_privileges SET allow_view = 2 WHERE table_name = 'notes'")
    )
    clerk = shop.as_(Principal(user=7, group=5))
    notes = "/api/1.1/tables/notes/rows"
    for seen in ('"1.00"', await tag(shop, f"{notes}/3"), "*"):
        for method, path, body in (
            ("PUT", f"{notes}/3", {"text": "x"}),
            ("PUT", notes, {"rows": [{"id": 1, "text": "x"}, {"id": 3, "text": "x"}]}),
            ("DELETE", f"{notes}/3", None),
            ("DELETE", f"{notes}/bulk", {"rows": [{"id": 3}]}),
            ("DELETE", f"{notes}/3?soft=1", None),
        ):
            assert await write(clerk, method, path, body, If_Match=seen) == 403, (method, path)
        assert await write(clerk, "PUT", f"{notes}/99", {"text": "x"}, If_Match=seen) == 404
        stranger = shop.as_(Principal(user=9, group=9))
        assert await write(stranger, "PUT", f"{notes}/3", {"text": "x"}, If_Match=seen) == 403
    assert await write(clerk, "PUT", f"{notes}/1", {"text": "x"}, If_Match='"1.00"') == 412
    mine = await tag(clerk, f"{notes}/1")
    assert await write(clerk, "PUT", f"{notes}/1", {"text": "x"}, If_Match=mine) == 200
