"""Flags as clients send them."""

from typing import Final

_FALSE: Final = ("", "0", "false", "no", "off", "none", "null")


def truth(value: object) -> bool:
    """Flags arrive as JSON booleans, numbers and texts."""
    return str(value).strip().lower() not in _FALSE
