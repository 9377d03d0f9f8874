"""Why a change of a row is refused: its version, its rights, or that there is none."""

from shared.errors import (
    ApiError,
    Forbidden,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from shared.rows.writer import Writer


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


def refusal(to: Writer) -> ApiError:
    """Why a row that the caller sees was not changed."""
    return Forbidden() if to.precondition.versions is None else other_version()


def no_record(to: Writer, key: object) -> NotFound:
    return NotFound(f"Unable to find the record in [{to.table.name}] with ID [{key}]")
