"""The checker of the feed, short: it passes, and fails without what it checks.

``make prove-feed`` is its long form.
"""

import pytest

from prove.feed import SETTLE, prove, running

pytestmark = [pytest.mark.xdist_group("feed"), pytest.mark.timeout(240)]
SEED = 7


async def test_nothing_is_lost_doubled_or_out_of_order_under_fire() -> None:
    """And the same cluster, once more, with a trigger off for a moment."""
    async with running(SEED) as run:
        await run.work(10, None)
        await run.judge(SETTLE)
        findings = run.findings
        assert findings.wrong == [], findings.numbers
        assert findings.numbers["committed changes"] > 50
        assert findings.blows.total() > 2

        await run.work(2, "trigger")
        await run.judge(SETTLE)
        assert findings.wrong != [], findings.numbers


@pytest.mark.parametrize("mutation", ["confirms", "fence"])
async def test_the_checker_notices_when_a_mechanism_is_off(mutation: str) -> None:
    findings = await prove(5, SEED, mutation)
    assert findings.wrong != [], findings.numbers
