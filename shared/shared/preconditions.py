"""What a write demands of the row it meets (RFC 9110, 13): ``If-Match`` and ``If-None-Match: *``.

The tag of a row is ``"<version>.<digest>"``: the transaction that wrote it last (its ``xmin``; for
a caller who may not see all of the row a digest of what he may) and a digest of the answer. A read
compares the whole tag; a write compares the version, in the very statement that writes. What is no
row (a table, a collection of settings) has a digest of its state for a version, compared by a write
that lets nobody else write meanwhile (``Change.compare``).
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from shared.errors import InvalidRequest, PreconditionFailed

_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')
_VERSION: Final = re.compile(r"([0-9]{1,20}|[0-9a-f]{32})\.[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Precondition:
    """``versions`` None: any. ``exists``: the row must be there; ``absent``: it must not."""

    versions: tuple[str, ...] | None = None
    exists: bool = False
    absent: bool = False


NONE: Final = Precondition()


def precondition(if_match: str | None, if_none_match: str | None) -> Precondition:
    """Of a write. Weak and foreign tags match nothing. Raises InvalidRequest."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise InvalidRequest("a write understands If-Match, or If-None-Match with *")
        return Precondition(absent=True)
    if if_match is None:
        return NONE
    if if_match.strip() == "*":
        return Precondition(exists=True)
    versions: list[str] = []
    for weak, tag in _tags(if_match):
        version = _VERSION.fullmatch(tag)
        if version is not None and not weak:
            versions.append(version[1])
    return Precondition(versions=tuple(versions), exists=True)


def entity_tag(body: bytes, version: str | None) -> str:
    """The tag of an answer: strong for a row of a known version, else weak."""
    digest = blake2b(body, digest_size=9).hexdigest()
    return f'W/"{digest}"' if version is None else f'"{version}.{digest}"'


def state_version(state: object) -> str:
    """The version of what is no row. ``state`` is all that a write of it compares."""
    digest = blake2b(msgspec.json.encode(state, enc_hook=str), digest_size=8).digest()
    return str(int.from_bytes(digest))


def check_version(given: Precondition, version: str | None) -> None:
    """``version`` of what is there, None for nothing. Raises PreconditionFailed."""
    if given.absent and version is not None:
        raise PreconditionFailed("this exists already")
    if given.exists and version is None:
        raise PreconditionFailed("there is nothing that If-Match could name")
    if given.versions is not None and version not in given.versions:
        raise PreconditionFailed("this is not, or not any more, as If-Match says")


def tag_matches(if_none_match: str, tag: str) -> bool:
    """Whether a client has the answer of this tag already: by weak comparison."""
    if if_none_match.strip() == "*":
        return True
    opaque = tag.removeprefix("W/").strip('"')
    return any(opaque == given for _weak, given in _tags(if_none_match))


def _tags(header: str) -> list[tuple[str | None, str]]:
    """A header that cannot be read names no tag."""
    tags: list[tuple[str | None, str]] = []
    position = 0
    while position < len(header):
        match = _TAG.match(header, position)
        if match is None:
            return []
        tags.append((match[1], match[2]))
        position = match.end()
    return tags
