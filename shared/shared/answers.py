"""What an operation gives back: bytes for the client, and what the answer rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec


@dataclass(frozen=True, slots=True)
class Link:
    """Another page: its relation to this one (RFC 8288), and the parameters that differ.

    A parameter that is None is taken away.
    """

    rel: str
    query: Mapping[str, str | None]


class Answer(msgspec.Struct, frozen=True):
    """A JSON body, ready to send.

    ``depends``    topics (``shared.stamps``) whose change makes this answer old
    ``scope``      whether everybody of the caller's group gets the same bytes, or this user only
    ``cacheable``  false where the topics cannot tell all the answer rests on
    ``version``    of the one row that is answered, for its strong tag (``shared.preconditions``)
    ``links``      other pages of the same list
    """

    body: bytes
    depends: frozenset[str] = frozenset()
    scope: Literal["group", "user"] = "user"
    cacheable: bool = False
    version: str | None = None
    links: tuple[Link, ...] = ()
