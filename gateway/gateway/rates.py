"""Rate limits of this process alone, while Redis is away: the same GCRA as in ``read.lua``."""

import time
from collections.abc import Sequence

from shared.answer_cache import Limit

_MOST = 10_000  # buckets; all are forgotten beyond


class LocalRates:
    def __init__(self) -> None:
        self._arrivals: dict[str, float] = {}  # bucket → theoretical time of the next arrival

    def refused_for(self, limits: Sequence[Limit]) -> float | None:
        """Seconds until a request would be let in; None lets this one in."""
        now = time.monotonic()
        if len(self._arrivals) > _MOST:
            self._arrivals.clear()
        for limit in limits:
            following = max(self._arrivals.get(limit.key, now), now) + 1 / limit.rate
            wait = following - limit.burst / limit.rate - now
            if wait > 0:
                return wait
            self._arrivals[limit.key] = following
        return None
