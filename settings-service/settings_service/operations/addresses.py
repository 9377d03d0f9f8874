"""Who a message is for, in all the spellings that clients send. Source: contract 7.10, reading 31.

``recipients`` is a CSV or list of ``0_<user>`` and ``1_<group>``; ``to`` names users, ``toGroup``
groups. All may stand together; a bare number in ``recipients`` is a user.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import InvalidRequest

MAX_NAMED: Final = 1000
_ADDRESS: Final = re.compile(r"(?:([01])_)?([0-9]{1,9})")
_MENTION: Final = re.compile(r"@\[([01]_[0-9]{1,9})(?: [^\]]*)?\]")


@dataclass(frozen=True, slots=True)
class Addressed:
    """Ids as they were named; nothing is known of them yet."""

    users: frozenset[int]
    groups: frozenset[int]

    def __bool__(self) -> bool:
        return bool(self.users or self.groups)


def addressed(body: Mapping[str, Any]) -> Addressed:
    """Raises InvalidRequest, naming what is no address."""
    named = [(word, "recipients", "") for word in words(body.get("recipients"))]
    named += [(word, "to", "0_") for word in words(body.get("to"))]
    named += [(word, "toGroup", "1_") for word in words(body.get("toGroup"))]
    if len(named) > MAX_NAMED:
        raise InvalidRequest(f"A message names at most {MAX_NAMED} recipients", field="recipients")
    users: set[int] = set()
    groups: set[int] = set()
    for word, field, kind in named:
        match = _ADDRESS.fullmatch(word if "_" in word else kind + word)
        if match is None:
            message = f'"{word}" is no recipient: 0_<id> is a user, 1_<id> a group'
            raise InvalidRequest(message, field=field)
        (groups if match[1] == "1" else users).add(int(match[2]))
    return Addressed(frozenset(users), frozenset(groups))


def mentioned(text: str) -> Addressed:
    """Who a comment names as ``@[0_5 Ann]`` or ``@[1_2 Editors]``."""
    found = _MENTION.findall(text)[:MAX_NAMED]
    return addressed({"recipients": found})


def words(given: object) -> list[str]:
    """The parts of a CSV, a list or a form's numbered list."""
    values: Iterable[object]
    if isinstance(given, Mapping):
        values = given.values()
    elif isinstance(given, list):
        values = given
    else:
        values = [] if given is None else [given]
    parts = [part for value in values for part in str(value).split(",")]
    return [part.strip() for part in parts if part.strip()]
