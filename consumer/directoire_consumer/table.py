"""A table as the feed tells it: apply every event, and it is what the table is."""

from collections.abc import Mapping
from typing import Any

from directoire_consumer.event import Event


class Mirror:
    """The rows of one table by key. Applying an event twice does no harm, in the feed's order."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.rows: dict[str, Mapping[str, Any]] = {}

    def apply(self, event: Event) -> None:
        if event.table != self.table:
            return
        if event.action == "TRUNCATE":
            self.rows.clear()
        elif event.row_id is None:
            return
        elif event.after is None:
            self.rows.pop(event.row_id, None)
        else:
            self._forget_old_key(event)
            self.rows[event.row_id] = event.after

    def _forget_old_key(self, event: Event) -> None:
        """An update of the key itself: the row as it was is still there under its old key."""
        if event.action != "UPDATE" or not event.before or event.after is None:
            return
        old = {**event.after, **event.before}
        for name, value in event.before.items():
            if str(event.after.get(name)) == event.row_id and self.rows.get(str(value)) == old:
                del self.rows[str(value)]
