"""Rows in the two envelopes of the wire. Source: contract, section 4.

1.0 is flat and counts the whole table beside the rows; 1.1 wraps ``data`` with ``meta``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shared.versions import ApiVersion

STATUS_NAMES: Final[Mapping[str, str]] = {"0": "Delete", "1": "Active", "2": "Draft"}
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

Row = Mapping[str, Any]
Related = Row | msgspec.Raw  # the JSON of a row, where nothing in it matters any more
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
    more: Mapping[str, object] | None = None,
) -> bytes:
    """A list of rows. ``counts`` None: only what the answer itself holds is counted.

    ``more`` stands in the meta, on 1.0 beside the rows.
    """
    named: dict[str, int] = {}
    if counts is not None and has_status:
        named = {name: counts.get(status, 0) for status, name in STATUS_NAMES.items()}
    entries = len(rows) if counts is None else sum(counts.values())
    if version is ApiVersion.V1_0:
        return encode({**named, "total": entries, **(more or {}), "rows": rows})
    if not meta:
        return encode({"data": rows})
    said: dict[str, Any] = {"table": table, "type": "collection", "total": len(rows)}
    if counts is not None:
        said |= {**named, "total_entries": entries}
    if more:
        said |= more
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


# ── related rows inside a row: contract 7.3, "Relations in answers" ───────────────────────────────


@dataclass(frozen=True, slots=True)
class Junction:
    """The table between two that are related many to many, with its key and sort column."""

    table: str
    key: str
    sort: str | None


def related(version: ApiVersion, table: str, row: Related, *, meta: bool) -> object:
    """The one row that a key names."""
    if version is ApiVersion.V1_0:
        return row
    return _wrapped(table, "item", row, meta=meta)


def related_key(version: ApiVersion, key: object) -> object:
    """In place of a row that the caller may not view."""
    return key if version is ApiVersion.V1_0 else {"data": {"id": key}}


def related_rows(
    version: ApiVersion, table: str, rows: Sequence[Related], *, more: bool, meta: bool
) -> object:
    """The rows that point at a row; ``more``: these are not all."""
    if version is ApiVersion.V1_0:
        return {"rows": rows, **({"more": True} if more else {})}
    return _wrapped(table, "collection", rows, more=more, meta=meta)


def through(
    version: ApiVersion,
    table: str,
    rows: Sequence[Related],
    junctions: Sequence[Row],
    junction: Junction,
    *,
    more: bool,
    meta: bool,
) -> object:
    """The rows behind a junction, each with the junction row that leads to it at the same place."""
    if version is ApiVersion.V1_1:
        body = _wrapped(table, "collection", rows, more=more, meta=meta)
        body["junction"] = _wrapped(junction.table, "collection", junctions, meta=meta)
        return body
    pairs: list[Row] = []
    for row, near in zip(rows, junctions, strict=True):
        pair: dict[str, Any] = {"id": near.get(junction.key)}
        if junction.sort is not None and junction.sort in near:
            pair["sort"] = near[junction.sort]
        pairs.append({**pair, "data": row})
    return {"rows": pairs, **({"more": True} if more else {})}


def _wrapped(
    table: str, kind: str, data: object, *, meta: bool, more: bool = False
) -> dict[str, Any]:
    said: dict[str, Any] = {"table": table, "type": kind}
    if isinstance(data, Sequence):
        said["total"] = len(data)  # pyright: ignore[reportUnknownArgumentType]
    if more:
        said["more"] = True
    return {"meta": said, "data": data} if meta else {"data": data}
