"""The bootstrap: one administrator, whoever runs it and how often."""

import asyncio
from hashlib import sha256

import pytest

from auth_service.operations.administrators import ensure_administrator
from shared.database import Database
from shared.errors import InvalidValue
from shared.passwords import verify_password
from shared.sql import raw

PASSWORD = "a passphrase for operators"


async def test_an_empty_instance_gets_an_administrator_with_a_token(database: Database) -> None:
    made = await ensure_administrator(database, "root@example.com", PASSWORD, None)
    assert made.token
    row = await database.fetchrow(
        raw(
            'SELECT u.email, u.active, u."group", c.password_hash, t.sha256'
            " FROM directus_users u JOIN directoire.credentials c ON c.user_id = u.id"
            " JOIN directoire.tokens t ON t.user_id = u.id"
        )
    )
    assert row is not None
    assert (row["email"], row["active"], row["group"]) == ("root@example.com", 1, 1)
    assert verify_password(row["password_hash"], PASSWORD)
    assert row["sha256"] == sha256(made.token.encode()).digest()


async def test_a_second_run_changes_nothing(database: Database) -> None:
    first = await ensure_administrator(database, "root@example.com", PASSWORD, "the-token")
    again = await ensure_administrator(database, "other@example.com", "another one", "the-token")
    assert again.administrator == first.administrator
    assert not again.replaced
    assert (await ensure_administrator(database, "x@example.com", "pw", None)).token is None
    counts = await database.fetchrow(
        raw(
            "SELECT (SELECT count(*) FROM directus_users) AS users,"
            " (SELECT count(*) FROM directoire.tokens) AS tokens"
        )
    )
    assert tuple(counts or ()) == (1, 1)


async def test_a_new_token_takes_the_place_of_the_former(database: Database) -> None:
    await ensure_administrator(database, "root@example.com", PASSWORD, "first")
    made = await ensure_administrator(database, "root@example.com", PASSWORD, "second")
    assert made.replaced
    digests = await database.fetch(raw("SELECT sha256 FROM directoire.tokens"))
    assert [row["sha256"] for row in digests] == [sha256(b"second").digest()]


async def test_an_inactive_administrator_with_the_address_becomes_active(
    database: Database,
) -> None:
    await database.execute(
        raw("INSERT INTO directus_users (email, active) VALUES ('Root@example.com', 0)")
    )
    made = await ensure_administrator(database, "root@example.com", PASSWORD, None)
    row = await database.fetchrow(raw('SELECT id, active, "group" FROM directus_users'))
    assert tuple(row or ()) == (made.administrator.user, 1, 1)


async def test_two_bootstraps_at_once_make_one_administrator(database: Database) -> None:
    results = await asyncio.gather(
        *(ensure_administrator(database, f"{n}@example.com", PASSWORD, None) for n in range(3))
    )
    assert len({made.administrator.user for made in results}) == 1
    assert sum(made.token is not None for made in results) == 1


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaaaaaaaaaa"])
async def test_a_weak_password_makes_no_administrator(database: Database, password: str) -> None:
    with pytest.raises(InvalidValue):
        await ensure_administrator(database, "root@example.com", password, None)
    assert await database.fetchval(raw("SELECT count(*) FROM directus_users")) == 0
