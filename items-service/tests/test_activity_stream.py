"""Streams of the activity: what they deliver, to whom, and when they end."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from items_service.operations import feed
from shared.database import Database
from shared.identity import Principal
from shared.service import IDENTITY_HEADER
from shared.sql import param, raw
from shared.testing import SIGNER, Client

CLERK = Principal(user=7, group=5)


class Stream:
    """One reader of ``activity/stream``."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last = 0
        self._lines: dict[str, str] = {}

    async def next(self, within: float = 60.0) -> tuple[str, Any]:
        """Kind and data of the next event that has data."""
        async with asyncio.timeout(within):
            while True:
                line = (await self.response.content.readline()).decode()
                if not line:
                    return "closed", None
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "id":
                    self.last = int(value)
                if name:
                    self._lines[name] = value
                    continue
                lines, self._lines = self._lines, {}
                if "data" in lines:
                    data = lines["data"]
                    kind = lines.get("event", "message")
                    return kind, json.loads(data) if data.startswith("{") else data

    async def rows(self, number: int) -> list[dict[str, Any]]:
        found = [await self.next() for _ in range(number)]
        assert {kind for kind, _ in found} == {"message"}, found
        return [data for _, data in found]


class Shop:
    def __init__(self, client: Client, database: Database) -> None:
        self.client = client
        self.database = database

    async def word(self, meaning: str, word: str = "bread") -> None:
        await self.database.execute(
            raw("UPDATE words SET meaning = ") + param(meaning) + raw(" WHERE word = ")
            + param(word)
        )  # fmt: skip

    async def positions(self) -> int:
        """What the relay does."""
        await self.database.fetchval(raw("SELECT directoire.lead('test', 60)"))
        await self.database.fetchval(raw("SELECT directoire.take_positions(1, 1000)"))
        return await self.database.fetchval(raw("SELECT position FROM directoire.relay"))

    @asynccontextmanager
    async def stream(
        self, principal: Principal, query: str = "", **headers: str
    ) -> AsyncGenerator[Stream]:
        sent = {IDENTITY_HEADER: SIGNER.sign(principal), **headers}
        async with self.client.http.get(
            f"/api/1.1/activity/stream?{query}", headers=sent
        ) as response:
            assert response.status == 200, await response.text()
            yield Stream(response)


@pytest_asyncio.fixture(loop_scope="session")
async def shop(own_shop: tuple[Client, Database]) -> Shop:
    client, database = own_shop
    await database.execute(raw("TRUNCATE directoire.outbox"))
    return Shop(client, database)


async def test_what_comes_is_delivered_in_order_cut_to_the_reader(shop: Shop) -> None:
    async with shop.stream(client_admin()) as admin, shop.stream(CLERK) as clerk:
        await admin.response.content.readline()
        await clerk.response.content.readline()
        await shop.word("one")
        await shop.database.execute(raw("INSERT INTO labels VALUES (7, 'x')"))
        await shop.database.execute(
            raw("UPDATE groceries SET price = 1, title = 'Rye' WHERE id = 1")
        )
        await shop.positions()
        rows = await admin.rows(3)
        assert [row["table_name"] for row in rows] == ["words", "labels", "groceries"]
        assert [row["position"] for row in rows] == [1, 2, 3]
        rows = await clerk.rows(2)
        assert [row["position"] for row in rows] == [1, 3]
        assert json.loads(rows[1]["delta"]) == {"title": "Rye"}


def client_admin() -> Principal:
    return Principal(user=1, group=1)


async def test_a_reader_resumes_where_it_was(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STRETCH", 3)  # several pages
    for number in range(10):
        await shop.word(f"m{number}")
    await shop.positions()
    async with shop.stream(CLERK, **{"Last-Event-ID": "2"}) as stream:
        rows = await stream.rows(8)
        assert [row["position"] for row in rows] == list(range(3, 11))
        await shop.word("live")
        await shop.positions()
        ((row,), last) = (await stream.rows(1), stream.last)
        assert (row["position"], last) == (11, 11)
    async with shop.stream(CLERK, "after=10&tables=words,labels") as stream:
        assert (await stream.rows(1))[0]["position"] == 11


async def test_rights_are_those_of_the_moment_of_delivery(shop: Shop) -> None:
    async with shop.stream(CLERK) as stream:
        await stream.response.content.readline()
        await shop.word("seen")
        await shop.positions()
        assert (await stream.rows(1))[0]["table_name"] == "words"
        await shop.database.execute(
            raw("UPDATE directus_privileges SET allow_view = 0 WHERE table_name = 'words'")
        )
        await shop.word("unseen")
        await shop.database.execute(raw("UPDATE groceries SET title = 'Rye' WHERE id = 1"))
        await shop.positions()
        assert (await stream.rows(1))[0]["table_name"] == "groceries"


async def user_with_token(shop: Shop) -> Principal:
    await shop.database.execute(
        raw("INSERT INTO directus_users (id, active, email, \"group\") VALUES (7, 1, 'c@x.org', 5)")
    )
    token = await shop.database.fetchval(
        raw(
            "INSERT INTO directoire.tokens (user_id, sha256)"
            " VALUES (7, sha256('secret'::bytea)) RETURNING id"
        )
    )
    await shop.positions()
    return Principal(user=7, group=5, token=token)


@pytest.mark.parametrize(
    "change",
    [
        raw("DELETE FROM directoire.tokens WHERE user_id = 7"),
        raw("UPDATE directus_users SET active = 0 WHERE id = 7"),
        raw('UPDATE directus_users SET "group" = 9 WHERE id = 7'),
        raw("UPDATE directus_groups SET restrict_to_ip_whitelist = '10.0.0.1' WHERE id = 5"),
        raw("UPDATE directoire.tokens SET scope = 'read' WHERE user_id = 7"),
    ],
)
async def test_a_stream_ends_when_its_token_does(shop: Shop, change: Any) -> None:
    clerk = await user_with_token(shop)
    async with shop.stream(clerk) as stream:
        await stream.response.content.readline()
        await shop.database.execute(change)
        await shop.word("after")
        await shop.positions()
        assert await stream.next() == ("end", "token")
        assert await stream.next() == ("closed", None)


async def test_a_token_that_expired_or_is_void_ends_it_without_the_feed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "TOKENS", 0.05)
    clerk = await user_with_token(shop)
    async with shop.stream(clerk) as stream:
        await shop.database.execute(raw("UPDATE directoire.tokens SET expires_at = now()"))
        assert await stream.next(within=12) == ("end", "token")
    async with shop.stream(clerk) as stream:
        assert await stream.next() == ("end", "token")


RECORD = "SELECT directoire.record_entry('directus_users', '7', {}, '{{}}', '{{\"id\": 7}}')"


@pytest.mark.parametrize(
    "change",
    [
        raw("UPDATE directus_users SET last_name = 'X' WHERE id = 7"),
        raw("UPDATE directus_users SET last_name = last_name WHERE id = 7"),
        raw("UPDATE directus_groups SET description = 'X' WHERE id = 5"),
        raw("UPDATE directoire.tokens SET last_used = now() WHERE user_id = 7"),
        raw("DELETE FROM directoire.tokens WHERE user_id = 7 AND name = 'other'"),
        raw(
            'UPDATE directus_users SET "group" = 9 WHERE id = 7; UPDATE directus_users'
            ' SET "group" = 5 WHERE id = 7'
        ),  # what the relay tells of late
        raw(RECORD.format("'LOGIN'")),  # a sign-in, or one that failed
        raw(RECORD.format("'UPDATE'")),  # a password or another token was set
    ],
)
async def test_what_leaves_the_caller_who_he_is_ends_nothing(shop: Shop, change: Any) -> None:
    clerk = await user_with_token(shop)
    await shop.database.execute(
        raw(
            "INSERT INTO directoire.tokens (user_id, name, sha256)"
            " VALUES (7, 'other', sha256('other'::bytea))"
        )
    )
    async with shop.stream(clerk) as stream:
        await stream.response.content.readline()
        await shop.database.execute(change)
        await shop.word("still")
        await shop.positions()
        assert (await stream.rows(1))[0]["table_name"] == "words"


async def test_a_silent_stream_says_that_it_lives(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT", 0.05)
    async with shop.stream(CLERK) as stream:
        await stream.response.content.readline()
        await shop.database.execute(raw("INSERT INTO labels VALUES (7, 'x')"))
        await shop.positions()
        async with asyncio.timeout(60):
            # not of this one's tables, yet he will not be asked to look through it again
            while True:
                line = await stream.response.content.readline()
                if line == b"id: 1\n":
                    break


async def test_a_reader_that_does_not_read_is_cut_and_can_resume(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BACKLOG", 10_000)
    monkeypatch.setattr(feed, "STRETCH", 20)
    async with shop.stream(CLERK) as stream:
        await stream.response.content.readline()
        first = 0
        for batch in range(100):
            await shop.database.execute(
                raw("UPDATE words SET meaning = repeat(md5(random()::text), 5000) || ")
                + param(str(batch))
            )
            await shop.positions()
            await asyncio.sleep(0.02)
            if stream.response.connection is None or stream.response.connection.closed:
                break
        kind = "message"
        with suppress(aiohttp.ClientError, ConnectionError):
            while kind == "message":
                kind, row = await stream.next(within=10)
                first = row["position"]
        assert kind == "message", "it was told an end instead of being cut"
    async with shop.stream(CLERK, **{"Last-Event-ID": str(first)}) as stream:
        assert (await stream.next())[1]["position"] == first + 1


async def test_what_retention_took_is_said(shop: Shop) -> None:
    for number in range(3):
        await shop.word(f"m{number}")
    await shop.positions()
    await shop.database.execute(raw("DELETE FROM directoire.feed WHERE position < 3"))
    async with shop.stream(CLERK, "after=0") as stream:
        assert await stream.next() == ("gap", {"from": 1, "to": 2})
        assert (await stream.rows(1))[0]["position"] == 3


async def test_a_position_to_come_is_refused(shop: Shop) -> None:
    status, _ = await shop.client.get("activity/stream?after=99")
    assert status == 400
