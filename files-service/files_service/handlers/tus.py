"""``files/tus``: tus 1.0 with creation, creation-with-upload, creation-defer-length, termination,
expiration and checksum. Source: https://tus.io/protocols/resumable-upload
"""

from email.utils import format_datetime
from typing import Final

from aiohttp import web

from files_service.handlers.files import make_thumbnails
from files_service.keys import CONTENTS, LIMITS, RULES
from files_service.operations import resumable
from files_service.operations.resumable import Piece, checksum_of
from files_service.store.resumable import State
from shared.bodies import body_of
from shared.errors import ApiError, InvalidRequest, UnsupportedMediaType
from shared.http import CONTEXT
from shared.service import CHANGES, DATABASE

VERSION: Final = "1.0.0"
_PART: Final = "application/offset+octet-stream"
_EXTENSIONS: Final = (
    "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum"
)


class OtherVersion(ApiError):
    status, code = 412, "TUS_VERSION"


async def options(request: web.Request) -> web.Response:
    """What is spoken here; anybody may ask."""
    return web.Response(
        status=204,
        headers={
            "Tus-Resumable": VERSION,
            "Tus-Version": VERSION,
            "Tus-Extension": _EXTENSIONS,
            "Tus-Max-Size": str(request.app[LIMITS].size),
            "Tus-Checksum-Algorithm": "sha256,sha1",
        },
    )


async def create(request: web.Request) -> web.Response:
    _check_version(request)
    context, rules = request[CONTEXT], request.app[RULES]
    length = _number(request, "Upload-Length")
    if request.headers.get("Upload-Defer-Length") != (None if length is not None else "1"):
        raise InvalidRequest("Upload-Length or Upload-Defer-Length: 1 is needed, not both")
    changes, contents = request.app[CHANGES], request.app[CONTENTS]
    brings = request.content_type == _PART and request.can_read_body
    if not brings:
        await changes.join()
    key = await resumable.create(
        changes,
        contents,
        context,
        rules,
        length=length,
        metadata=request.headers.get("Upload-Metadata", ""),
    )
    if brings and length != 0:
        piece = Piece(
            body_of(request).pieces(), 0, request.content_length, None, _checksum(request)
        )
        state = await resumable.append(changes, contents, context, rules, key, piece)
        await _announce(request, state)
    else:
        state = await resumable.state_of(request.app[DATABASE], context, key)
    headers = {"Location": f"{request.path.rstrip('/')}/{key}", **_headers(state)}
    if not brings:
        headers.pop("Upload-Offset")
    return web.Response(status=201, headers=headers)


async def look(request: web.Request) -> web.Response:
    _check_version(request)
    state = await resumable.state_of(
        request.app[DATABASE], request[CONTEXT], request.match_info["upload"]
    )
    headers = _headers(state)
    if state.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(state.length)
    if state.metadata:
        headers["Upload-Metadata"] = state.metadata
    return web.Response(status=200, headers=headers)


async def append(request: web.Request) -> web.Response:
    _check_version(request)
    if request.content_type != _PART:
        raise UnsupportedMediaType(f"a part is sent as {_PART}")
    offset = _number(request, "Upload-Offset")
    if offset is None:
        raise InvalidRequest("Upload-Offset is needed")
    piece = Piece(
        body_of(request).pieces(),
        offset,
        request.content_length,
        _number(request, "Upload-Length"),
        _checksum(request),
    )
    state = await resumable.append(
        request.app[CHANGES],
        request.app[CONTENTS],
        request[CONTEXT],
        request.app[RULES],
        request.match_info["upload"],
        piece,
    )
    await _announce(request, state)
    return web.Response(status=204, headers=_headers(state))


async def terminate(request: web.Request) -> web.Response:
    _check_version(request)
    await resumable.give_up(
        request.app[CHANGES],
        request.app[CONTENTS],
        request[CONTEXT],
        request.match_info["upload"],
    )
    return web.Response(status=204, headers={"Tus-Resumable": VERSION})


async def _announce(request: web.Request, state: State) -> None:
    if state.file is not None:
        await make_thumbnails(request, [state.file])


def _headers(state: State) -> dict[str, str]:
    headers = {
        "Tus-Resumable": VERSION,
        "Upload-Offset": str(state.received),
        "Upload-Expires": format_datetime(state.expires_at, usegmt=True),
        "Cache-Control": "no-store",
    }
    if state.file is not None:
        headers["Directus-File-Id"] = str(state.file)
    return headers


def _check_version(request: web.Request) -> None:
    if request.headers.get("Tus-Resumable", VERSION) != VERSION:
        raise OtherVersion(f"tus {VERSION} is spoken here")


def _checksum(request: web.Request) -> tuple[str, bytes] | None:
    header = request.headers.get("Upload-Checksum")
    return checksum_of(header) if header else None


def _number(request: web.Request, header: str) -> int | None:
    value = request.headers.get(header)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise InvalidRequest(f"{header} must be a whole number")
    return int(value)
