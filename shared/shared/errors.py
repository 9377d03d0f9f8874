"""What a client may be told. Each failure is a type; ``shared.http`` turns it into a response."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ApiError(Exception):
    """Subclasses fix status and code; the message is safe to show to a client.

    ``field`` names the parameter, column or body key at fault, where there is one.
    ``retry_after`` is in seconds.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL"

    def __init__(
        self, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.errors: Sequence[Mapping[str, Any]] = ()  # as the modern clients read them, if several


class InvalidRequest(ApiError):
    """A parameter or a body that cannot be meant."""

    status, code = 400, "INVALID_REQUEST"


class InvalidQuery(InvalidRequest):
    """A parameter of a utility."""

    code = "INVALID_QUERY"


class Unauthorized(ApiError):
    status, code = 401, "UNAUTHORIZED"

    def __init__(self, message: str = "You must be logged in to access the API") -> None:
        super().__init__(message)


class Forbidden(ApiError):
    """Also raised for what does not exist, so that a stranger cannot probe for names."""

    status, code = 403, "FORBIDDEN"

    def __init__(self, message: str = "Permission denied", *, field: str | None = None) -> None:
        super().__init__(message, field=field)


class NotFound(ApiError):
    status, code = 404, "NOT_FOUND"


class MethodNotAllowed(ApiError):
    status, code = 405, "METHOD_NOT_ALLOWED"


class NotUnique(ApiError):
    status, code = 409, "NOT_UNIQUE"


class Conflict(ApiError):
    status, code = 409, "CONFLICT"


class TooLarge(ApiError):
    status, code = 413, "TOO_LARGE"


class PreconditionFailed(ApiError):
    """The row is another one, or another version, than the caller has seen."""

    status, code = 412, "PRECONDITION_FAILED"


class UnsupportedMediaType(ApiError):
    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"


class InvalidValue(ApiError):
    """A value its column cannot hold, or a rule of the database it breaks."""

    status, code = 422, "INVALID_VALUE"


class IncompleteRelation(ApiError):
    """The metadata of a relation do not say where it leads. Source: contract, section 3."""

    status, code = 424, "INCOMPLETE_RELATION"


class PreconditionRequired(ApiError):
    """The table demands that a write says which version of the row it changes."""

    status, code = 428, "PRECONDITION_REQUIRED"


class TooManyRequests(ApiError):
    status, code = 429, "TOO_MANY_REQUESTS"


class UpstreamFailed(ApiError):
    status, code = 502, "UPSTREAM_FAILED"


class Unavailable(ApiError):
    """Something this needs is away for the moment."""

    status, code = 503, "UNAVAILABLE"


class TimedOut(ApiError):
    status, code = 504, "TIMED_OUT"


class Refused(ApiError):
    """A business failure: 200 with ``success: false`` on the 1.x wire, 409 where asked for truth.

    Source: contract, section 3 and reading 2.
    """

    status, code = 409, "REFUSED"


class Taken(Refused):
    """What was to be made is there already."""


class Missing(Refused):
    """The same for a thing that is not there (table info, column, bookmark, settings)."""

    status, code = 404, "NOT_FOUND"
