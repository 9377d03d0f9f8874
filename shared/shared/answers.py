"""What an operation gives back: bytes for the client, and what the answer rests on."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON body, ready to send.

    ``depends``    topics (``shared.stamps``) whose change makes this answer old
    ``scope``      whether everybody of the caller's group gets the same bytes, or this user only
    ``cacheable``  false where the topics cannot tell all the answer rests on
    ``version``    of the one row that is answered, for its strong tag (``shared.preconditions``)
    ``next_offset``  where a list goes on that was cut at the largest size of an answer
    """

    body: bytes
    depends: frozenset[str] = frozenset()
    scope: Literal["group", "user"] = "user"
    cacheable: bool = False
    version: str | None = None
    next_offset: int | None = None
