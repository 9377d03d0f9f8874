"""Rows in the two envelopes of the wire. Source: contract, section 4.

1.0 is flat and counts the whole table beside the rows; 1.1 wraps ``data`` with ``meta``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from shared.versions import ApiVersion

STATUS_NAMES: Final[Mapping[str, str]] = {"0": "Delete", "1": "Active", "2": "Draft"}
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

Row = Mapping[str, Any]
Counts = Mapping[str, int]  # rows of the whole table by stored status, '' for none


def encode(body: object) -> bytes:
    return _ENCODER.encode(body)


def collection(
    version: ApiVersion,
    table: str,
    rows: Sequence[Row],
    counts: Counts | None,
    *,
    has_status: bool,
    meta: bool = True,
) -> bytes:
    """A list of rows. ``counts`` None: only what the answer itself holds is counted."""
    named: dict[str, int] = {}
    if counts is not None and has_status:
        named = {name: counts.get(status, 0) for status, name in STATUS_NAMES.items()}
    entries = len(rows) if counts is None else sum(counts.values())
    if version is ApiVersion.V1_0:
        return encode({**named, "total": entries, "rows": rows})
    if not meta:
        return encode({"data": rows})
    said: dict[str, Any] = {"table": table, "type": "collection", "total": len(rows)}
    if counts is not None:
        said |= {**named, "total_entries": entries}
    return encode({"meta": said, "data": rows})


def item(
    version: ApiVersion, table: str, row: Mapping[str, Any] | None, *, meta: bool = True
) -> bytes:
    """One row; without one the empty list that clients take for "nothing" (reading 66)."""
    data: object = [] if row is None else row
    if version is ApiVersion.V1_0:
        return encode(data)
    if not meta:
        return encode({"data": data})
    return encode({"meta": {"table": table, "type": "item"}, "data": data})


def deleted(version: ApiVersion, table: str, success: bool) -> bytes:
    if version is ApiVersion.V1_0:
        return encode({"success": success})
    return encode({"meta": {"table": table}, "success": success})


def deleted_all(version: ApiVersion, table: str, ids: Sequence[Any], success: bool) -> bytes:
    if version is ApiVersion.V1_0:
        return encode({"success": success})
    return encode({"meta": {"table": table, "ids": ids}, "data": {"success": success}})
