"""What may come in: how large, how many, of which type, how much in all. Source: promise S14."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.context import Context
from shared.errors import InvalidRequest, TooLarge, UnsupportedMediaType


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
