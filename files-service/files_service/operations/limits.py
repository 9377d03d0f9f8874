"""What may come in: how large, how many, of which type, how much in all. Source: promise S14."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from files_service.store import files
from shared.changes import Change
from shared.context import Context
from shared.database import Database
from shared.errors import InvalidRequest, TooLarge, UnsupportedMediaType


class OverQuota(TooLarge):
    status, code = 413, "QUOTA_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Limits:
    size: int  # bytes of one file
    count: int  # files of one request
    rest: int  # bytes of a body besides its files


def check_announced(limits: Limits, announced: int | None, *, files_at_most: int = 1) -> None:
    """Refuse by the header what cannot be within the limits. Raises TooLarge.

    ``announced`` bytes of body may be base64, which is a third more than what it stands for.
    """
    most = files_at_most * limits.size * 4 // 3 + limits.rest
    if announced is not None and announced > most:
        raise too_large(limits.size)


def too_large(size: int) -> TooLarge:
    return TooLarge(f"a file may have {size} bytes at most", field="data")


def check_count(limits: Limits, count: int) -> None:
    if count > limits.count:
        raise InvalidRequest(f"a request may bring {limits.count} files at most")


async def within(limits: Limits, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks. Raises TooLarge as soon as there are too many."""
    passed = 0
    async for chunk in chunks:
        passed += len(chunk)
        if passed > limits.size:
            raise too_large(limits.size)
        yield chunk
        del chunk


def check_type(context: Context, kind: str) -> None:
    """Raises UnsupportedMediaType for what the setting ``files.allowed_types`` does not name."""
    allowed = context.settings.allowed_types
    if not allowed or kind in allowed or f"{kind.partition('/')[0]}/*" in allowed:
        return
    raise UnsupportedMediaType(f"files of type {kind} are not taken here", field="type")


async def check_quota(database: Database, context: Context, announced: int) -> None:
    """Whether the caller's group has room for this many bytes, as far as anybody knows now."""
    quota = context.settings.quota_of(context.principal.group)
    if quota is None:
        return
    if await files.bytes_of_group(database, context.principal.group) + announced > quota:
        raise _over(quota)


async def keep_quota(change: Change, context: Context, size: int) -> None:
    """The same where it counts: one after the other, in the transaction that adds the bytes."""
    group = context.principal.group
    quota = context.settings.quota_of(group)
    if quota is None:
        return
    await files.lock_quota(change, group)
    if await files.bytes_of_group(change, group) + size > quota:
        raise _over(quota)


def _over(quota: int) -> OverQuota:
    return OverQuota(f"the files of your group would be more than its {quota} bytes")
