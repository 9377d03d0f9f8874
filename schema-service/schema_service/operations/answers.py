"""The envelopes of schema answers: 1.0 is bare, 1.1 wraps. Source: contract 4 and 7.1 to 7.4."""

from typing import Any

import msgspec

from shared.answers import Answer
from shared.context import Context
from shared.stamps import SCHEMA, group_topic
from shared.versions import ApiVersion


def wrapped(
    context: Context, data: object, meta: dict[str, Any], *, success: bool = False
) -> bytes:
    """``success``: the answers that say so beside ``meta`` and ``data`` in 1.1."""
    if context.version is ApiVersion.V1_0:
        return msgspec.json.encode(data)
    said: dict[str, Any] = {"success": True} if success else {}
    return msgspec.json.encode({**said, "meta": meta, "data": data})


def of_the_schema(context: Context, body: bytes, version: str | None = None) -> Answer:
    """An answer that rests on the catalogue and the rights of the caller's group only."""
    depends = frozenset({SCHEMA, group_topic(context.principal.group)})
    return Answer(body, depends=depends, scope="group", cacheable=True, version=version)
