"""No read that begins after a reply is older than it, whatever breaks; the checker would notice.

The long form is `make prove-reads`.
"""

from uuid import uuid4

import pytest

from prove.history import Read, Register, Verdict
from prove.reads import prove
from shared.testing import server, with_database

pytestmark = [pytest.mark.xdist_group("reads"), pytest.mark.timeout(240)]

SECONDS = 12.0
CAUGHT_WITHIN = 60.0


async def short(mutation: str, seconds: float, enough: int = 0) -> Verdict:
    url = with_database(server("DATABASE_URL"), f"reads_{uuid4().hex}")
    return await prove(
        1_000_000,
        mutation,
        seconds=seconds,
        enough=enough,
        database_url=url,
        amqp_url=server("AMQP_URL"),
    )


def test_the_checker_knows_stale_inverted_and_invented() -> None:
    register = Register(begun=[1.0, 3.0], acked=[2.0, 4.0])
    verdict = Verdict()
    register.reads = [
        Read(3.1, 3.2, 2, "new before its reply"),
        Read(3.3, 3.4, 1, "old again: inverted"),
        Read(4.1, 4.2, 1, "stale, and inverted"),
        Read(2.5, 2.6, 2, "invented"),
        Read(0.1, 0.2, 0, "right"),
    ]
    verdict.add("row", register)
    assert (len(verdict.stale), verdict.inverted, verdict.invented) == (1, 2, 1)
    flags = Register(begun=[1.0, 3.0], acked=[2.0, 4.0], values=2)
    flags.reads = [Read(4.1, 4.2, 1, "odd after even"), Read(4.1, 4.2, 0, "even")]
    verdict = Verdict()
    verdict.add("flag", flags)
    assert len(verdict.stale) == 1


async def test_no_read_is_stale() -> None:
    verdict = await short("", SECONDS)
    assert verdict.stale == [], str(verdict)
    assert verdict.invented == 0
    assert verdict.reads > 500
    assert verdict.writes > 50


@pytest.mark.parametrize("mutation", ["order", "epoch", "lease"])
async def test_without_a_part_of_the_design_some_are(mutation: str) -> None:
    verdict = await short(mutation, CAUGHT_WITHIN, enough=1)
    assert verdict.stale, f"{mutation}: {verdict}"
