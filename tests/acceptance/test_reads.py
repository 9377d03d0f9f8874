"""No read that begins after a reply is older than it, whatever breaks; the checker would notice.

The long form is `make prove-reads`.
"""

from uuid import uuid4

import pytest

from prove.history import Register, Verdict
from prove.reads import caught, prove
from shared.testing import server, with_database

pytestmark = [pytest.mark.xdist_group("reads"), pytest.mark.timeout(240)]

SECONDS = 12.0
CAUGHT_WITHIN = 60.0


async def short(
    mutation: str, seconds: float, *, enough: int = 0, widened: bool = False
) -> Verdict:
    url = with_database(server("DATABASE_URL"), f"reads_{uuid4().hex}")
    return await prove(
        1_000_000,
        mutation,
        seconds=seconds,
        enough=enough,
        widened=widened,
        database_url=url,
        amqp_url=server("AMQP_URL"),
    )


def test_the_checker_knows_stale_inverted_and_invented() -> None:
    verdict = Verdict()
    row = Register("row", verdict)
    row.read(0.1, 0.2, 0, "right")
    assert row.begin(1.0) == 1
    row.end(2.0)
    row.read(2.5, 2.6, 2, "invented")
    assert (verdict.stale, verdict.inverted, verdict.invented) == (0, 0, 1)
    verdict = Verdict()
    row = Register("row", verdict)
    row.begin(1.0)
    row.end(2.0)
    row.begin(3.0)
    row.read(3.1, 3.2, 2, "new before its reply")
    row.read(3.15, 3.4, 1, "old, and begun before that ended: right")
    assert (verdict.stale, verdict.inverted) == (0, 0)
    row.read(3.3, 3.4, 1, "old again: inverted")
    row.end(4.0)
    row.read(4.1, 4.2, 1, "stale, and inverted")
    assert (verdict.stale, verdict.inverted, verdict.invented) == (1, 2, 0)
    assert (verdict.reads, verdict.writes) == (4, 2)


def test_the_checker_knows_what_has_two_values_only() -> None:
    verdict = Verdict()
    flag = Register("flag", verdict, values=2)
    for version in (1, 2):
        flag.begin(2.0 * version)
        flag.end(2.0 * version + 1)
    flag.read(5.1, 5.2, 0, "even")
    assert verdict.stale == 0
    flag.read(5.1, 5.2, 1, "odd after even")
    assert verdict.stale == 1
    flag.begin(6.0)
    flag.read(1.0, 6.1, 1, "the first version, or the third")
    flag.read(6.2, 6.3, 0, "still the second")
    assert verdict.inverted == 0
    flag.read(6.2, 6.4, 1, "the third")
    flag.read(6.5, 6.6, 0, "the second again: inverted")
    assert (verdict.stale, verdict.inverted) == (1, 1)


def test_the_checker_forgets_what_no_read_can_reach() -> None:
    verdict = Verdict()
    row = Register("row", verdict)
    for second in range(10_000):
        version = row.begin(second)
        row.end(second + 0.1)
        row.read(second + 0.2, second + 0.3, version, "right")
    assert (verdict.stale, verdict.inverted, verdict.invented) == (0, 0, 0)
    row.read(9999.5, 9999.6, 9_999, "the last but one")
    assert (verdict.stale, verdict.inverted) == (1, 1)


async def test_no_read_is_stale() -> None:
    verdict = await short("", SECONDS, widened=True)
    assert verdict.stale == 0, str(verdict)
    assert (verdict.inverted, verdict.invented) == (0, 0), str(verdict)
    assert verdict.reads > 500
    assert verdict.writes > 50


@pytest.mark.parametrize("mutation", ["order", "epoch", "lease", "announcement"])
async def test_without_a_part_of_the_design_some_are(mutation: str) -> None:
    verdict = await short(mutation, CAUGHT_WITHIN, enough=1)
    assert caught(verdict, mutation), f"{mutation}: {verdict}"
