"""Which bytes a ``Range`` header asks for. Source: RFC 9110, section 14."""

import re
from typing import Final

_PART: Final = re.compile(r"(\d{0,18})-(\d{0,18})")
_MOST: Final = 16  # ranges of one request; more are ignored, as the RFC advises


class NotSatisfiable(Exception):
    """No range lies inside the file."""


def asked_ranges(header: str | None, size: int) -> list[tuple[int, int]]:
    """(first, past the last) of each range that lies in a file of ``size`` bytes; none: all of it.

    A header that is malformed, or asks for more than the file has, is ignored, as the RFC allows.
    Raises NotSatisfiable.
    """
    unit, _, listed = (header or "").strip().partition("=")
    if unit.lower() != "bytes":
        return []
    asked = [part.strip() for part in listed.split(",") if part.strip()]
    matches = [_PART.fullmatch(part) for part in asked]
    if not asked or len(asked) > _MOST or not all(matches):
        return []
    ranges: list[tuple[int, int]] = []
    for match in matches:
        assert match is not None
        first, last = match.groups()
        if (not first and not last) or (first and last and int(last) < int(first)):
            return []
        found = _within(first, last, size)
        if found is not None:
            ranges.append(found)
    if not ranges:
        raise NotSatisfiable
    if len(ranges) > 1 and sum(end - start for start, end in ranges) > size:
        return []
    return ranges


def _within(first: str, last: str, size: int) -> tuple[int, int] | None:
    """What of ``first``-``last`` lies in the file."""
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    if int(first) >= size:
        return None
    return int(first), min(int(last) + 1, size) if last else size
