"""One change, as the bus tells it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
Step = Callable[[], Awaitable[None]]


class BadEvent(ValueError):
    """A message that is no event of this feed."""


async def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Event:
    """``position`` counts 1, 2, 3 … over all tables; ``feed`` names the count it belongs to.

    ``after`` is the row as it is now, None when it is gone; ``before`` holds the columns that
    changed, as they were, and the whole row of a DELETE. ``row_id`` is None for a TRUNCATE.

    Of a named consumer's events ``done`` says that it was dealt with, ``failed`` gives it back at
    once: it comes again, a few times.
    """

    position: int
    feed: str
    table: str
    row_id: str | None
    action: str
    actor: str
    request_id: str | None
    time: datetime
    before: Row | None
    after: Row | None
    whole: Mapping[str, Any] = field(repr=False)  # the CloudEvent
    done: Step = field(default=_nothing, repr=False, compare=False)
    failed: Step = field(default=_nothing, repr=False, compare=False)


def event_of(body: bytes, done: Step = _nothing, failed: Step = _nothing) -> Event:
    """Raises BadEvent."""
    try:
        whole = json.loads(body)
        data = whole["data"]
        return Event(
            position=int(whole["sequence"]),
            feed=str(whole["source"]),
            table=str(data["table"]),
            row_id=data["row_id"],
            action=str(data["action"]),
            actor=str(data["actor"]),
            request_id=data["request_id"],
            time=datetime.fromisoformat(whole["time"]),
            before=data["before"],
            after=data["after"],
            whole=whole,
            done=done,
            failed=failed,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadEvent(f"no event of the feed: {type(error).__name__}: {error}") from error
