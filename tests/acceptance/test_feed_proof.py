"""The checker of the feed, short: it passes, and fails without what it checks.

``make prove-feed`` is its long form.
"""

import pytest

from prove.feed import prove

pytestmark = [pytest.mark.xdist_group("feed"), pytest.mark.timeout(240)]
SEED = 7


async def test_nothing_is_lost_doubled_or_out_of_order_under_fire() -> None:
    findings = await prove(10, SEED)
    assert findings.wrong == [], findings.numbers
    assert findings.numbers["committed changes"] > 50
    assert findings.blows.total() > 2


@pytest.mark.parametrize("mutation", ["confirms", "fence", "trigger"])
async def test_the_checker_notices_when_a_mechanism_is_off(mutation: str) -> None:
    findings = await prove(5, SEED, mutation)
    assert findings.wrong != [], findings.numbers
