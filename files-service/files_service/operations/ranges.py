"""Which bytes a ``Range`` header asks for. Source: RFC 9110, section 14."""

import re

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


class NotSatisfiable(Exception):
    """The range lies outside the file."""


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, past the last) of a file of ``size`` bytes; None for all of it.

    A header that is malformed or names several ranges is ignored, as the RFC allows.
    Raises NotSatisfiable.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise NotSatisfiable
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise NotSatisfiable
    return int(first), min(int(last) + 1, size) if last else size
