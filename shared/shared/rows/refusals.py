"""Why a change of a row is refused: its version, its rights, or that there is none."""

from collections.abc import Iterable, Mapping
from functools import reduce

from msgspec.structs import replace

from shared.database import Reader
from shared.errors import (
    ApiError,
    Forbidden,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from shared.preconditions import NONE
from shared.rows import write
from shared.rows.may_write import both
from shared.rows.writer import Writer
from shared.sql import EMPTY, Sql


def demand_version(to: Writer) -> None:
    """Raises PreconditionRequired where the table wants changes to say what they change."""
    if to.table.require_if_match and not to.precondition.exists:
        raise PreconditionRequired(
            f'a change of a row of "{to.table.name}" must carry If-Match with the row\'s ETag'
        )


def only_new(to: Writer) -> bool:
    """Whether a row that exists already may not be met."""
    return to.precondition.absent or (to.table.require_if_match and not to.precondition.exists)


def other_version() -> PreconditionFailed:
    return PreconditionFailed("the row is not, or not any more, as If-Match says")


def exists_already() -> PreconditionFailed:
    return PreconditionFailed("a row with this key exists")


async def refusal(reader: Reader, to: Writer, allowed: Mapping[object, Iterable[Sql]]) -> ApiError:
    """Why rows that the caller sees were not changed: what he may not do comes before versions.

    ``allowed`` holds the conditions of the caller's rights for each key.
    """
    if to.precondition.versions is None and not to.precondition.absent:
        return Forbidden()
    for key, conditions in allowed.items():
        may = reduce(both, conditions, EMPTY)
        there, open_ = (write.seen(to.table, to.key, [key], rows) for rows in (to.visible, may))
        if await reader.fetchval(there) and not await reader.fetchval(open_):
            return Forbidden()
    return exists_already() if to.precondition.absent else other_version()


def any_version(to: Writer) -> Writer:
    """For conditions that speak of rights alone."""
    return replace(to, precondition=NONE)


def no_record(to: Writer, key: object) -> NotFound:
    return NotFound(f"Unable to find the record in [{to.table.name}] with ID [{key}]")
