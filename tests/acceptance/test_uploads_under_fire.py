"""The short form of ``make prove-uploads``: kills and pauses while files come in."""

from uuid import uuid4

import pytest

from prove.uploads import Options, prove
from shared.testing import server, with_database

pytestmark = pytest.mark.xdist_group("uploads")


@pytest.mark.timeout(240)
async def test_uploads_survive_the_death_of_their_receiver() -> None:
    options = Options(
        uploads=20, smallest=1_000_000, largest=16_000_000, clients=5, every=(0.1, 0.5)
    )
    said = await prove(
        options,
        database_url=with_database(server("DATABASE_URL"), f"uploads_{uuid4().hex}"),
        redis_url=server("REDIS_URL"),
        amqp_url=server("AMQP_URL"),
    )
    assert "nothing amiss" in said
