"""A file whose bytes are stored, and whoever stores them for a row that brings a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A record to be. Without bytes, ``storage_key`` and ``sha256`` are None.

    ``stem`` None: the name is the padded id. ``extension`` begins with a dot or is empty.
    """

    storage_key: str | None
    sha256: str | None
    size: int
    stem: str | None
    extension: str
    type: str | None
    charset: str | None
    width: int | None
    height: int | None
    title: str
    caption: str
    tags: str
    location: str
    embed_id: str | None
    active: int
    user: int


class FileStore(Protocol):
    """Files-service, on behalf of one caller."""

    async def store(self, body: Mapping[str, Any]) -> NewFile:
        """Store the base64 ``data`` of a body as POST ``files`` takes it; its record is to follow.

        Raises what files-service answers: Forbidden, TooLarge, InvalidRequest, Unavailable…
        """
        ...

    async def forget(self, key: str) -> None:
        """Clear bytes that got no record; what cannot be cleared now is cleared later."""
        ...
