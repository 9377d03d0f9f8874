"""Which headers pass the edge, in each direction, as the bytes that are sent.

What only the inside may say (``X-Directoire-…`` in any spelling) passes in neither direction; what
belongs to one connection stays on it. The gateway adds its own words after this, so nothing a
client names in ``Connection`` can take them away.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

RawHeaders = Sequence[tuple[bytes, bytes]]

_INTERNAL: Final = b"x-directoire-"
_OF_ONE_CONNECTION: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"trailers", b"transfer-encoding", b"upgrade",
        b"http2-settings", b"expect", b"content-length",
    }
)  # fmt: skip
_NOT_INSIDE: Final = _OF_ONE_CONNECTION | {
    # credentials end here
    b"authorization", b"cookie", b"access-token", b"x-access-token",
    # the gateway says these itself, or nobody does: an answer may not depend on them
    b"host", b"x-request-id", b"forwarded", b"x-real-ip", b"x-http-method-override",
    b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url",
    # bodies are compressed at the edge, if at all
    b"accept-encoding",
}  # fmt: skip
_NOT_OUTSIDE: Final = _OF_ONE_CONNECTION | {
    b"server", b"x-request-id", b"cache-status", b"referrer-policy", b"x-content-type-options",
}  # fmt: skip


@lru_cache(maxsize=1024)
def passes_inside(name: bytes) -> bool:
    name = name.lower().replace(b"_", b"-")
    return not (name in _NOT_INSIDE or name.startswith((_INTERNAL, b"x-forwarded-")))


@lru_cache(maxsize=1024)
def passes_outside(name: bytes) -> bool:
    name = name.lower().replace(b"_", b"-")
    return not (
        name in _NOT_OUTSIDE or name.startswith((_INTERNAL, b"access-control-", b"set-cookie"))
    )


def inside(headers: RawHeaders, connection: str | None) -> bytes:
    """The lines of a request's headers that a service gets; ``connection`` is that header."""
    return _lines(headers, passes_inside, connection)


def outside(headers: RawHeaders, connection: str | None) -> bytes:
    """The lines of a reply's headers that a client gets."""
    return _lines(headers, passes_outside, connection)


def _lines(headers: RawHeaders, passes: Callable[[bytes], bool], connection: str | None) -> bytes:
    if connection is not None and connection.lower() not in {"keep-alive", "close"}:
        named = {name.strip().lower().encode() for name in connection.split(",")}
        headers = [(name, value) for name, value in headers if name.lower() not in named]
    return b"".join([b"%b: %b\r\n" % header for header in headers if passes(header[0])])
