"""What an event looks like on the bus: CloudEvents 1.0, structured JSON.

Routing keys are ``activity.<table>.<action>`` with the action in lower case. Of a table's name
everything but ASCII letters, digits, ``_``, ``-`` and ``~`` is percent-encoded, the dot as ``%2E``
too, so that a name is one word of the key and no wildcard: ``my.table`` →
``activity.my%2Etable.add``.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5
from typing import Final
from urllib.parse import quote

import msgspec
from asyncpg import Record

_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}").fullmatch
CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Event:
    """A message: its position, id, routing key and body."""

    position: int
    id: str
    routing_key: str
    body: bytes


def routing_key(table: str, action: str) -> str:
    word = quote(table, safe="").replace(".", "%2E")
    return f"activity.{word}.{action.lower()}"


def event_of(entry: Record) -> Event:
    """The event of one entry; ``before`` and ``after`` come as JSON text, and go out unread.

    ``sequence`` is the position; ``id`` and ``source``, which names the feed's epoch, are the same
    however often the event is sent.
    """
    table, action, row = entry["table_name"], entry["action"], entry["row_id"]
    subject = quote(table, safe="") + ("" if row is None else "/" + quote(row, safe=""))
    moment: datetime = entry["at"]
    body = {
        "specversion": "1.0",
        "id": str(entry["id"]),
        "source": f"/directoire/feeds/{entry['feed']}",
        "type": f"directoire.activity.{action.lower()}",
        "subject": subject,
        "time": moment.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "sequence": str(entry["position"]),
        "sequencetype": "Integer",
        "data": {
            "position": entry["position"],
            "table": table,
            "row_id": row,
            "action": action,
            "actor": entry["actor"],
            "request_id": entry["request_id"],
            "quiet": entry["quiet"],
            "before": _json(entry["before"]),
            "after": _json(entry["after"]),
        },
    }
    if entry["request_id"] is not None:
        body["traceparent"] = traceparent(entry["request_id"], entry["id"])
    encoded = msgspec.json.encode(body)
    return Event(entry["position"], str(entry["id"]), routing_key(table, action), encoded)


def traceparent(request_id: str, entry: int) -> str:
    """The W3C trace context of an entry: the request's trace, and the entry as a span of it.

    A request id of 32 hex digits is a trace id, as the gateway makes and takes them; others are
    hashed to one, so that all entries of a request still share it.
    """
    trace = request_id
    if not _TRACE_ID(trace) or not trace.strip("0"):
        trace = md5(request_id.encode(), usedforsecurity=False).hexdigest()
    return f"00-{trace}-{entry & 0xFFFFFFFFFFFFFFFF:016x}-01"


def _json(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text.encode())
