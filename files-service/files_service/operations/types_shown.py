"""How bytes of a type are handed to a browser: in place or as an attachment, under which policy.

Stored names are made by the server of letters, digits, ``.``, ``_`` and ``-`` only.
"""

import mimetypes
import re
from typing import Final

BINARY: Final = "application/octet-stream"
# Shown in place; everything else is handed over as an attachment.
_SHOWN: Final = frozenset(
    {
        "image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp",
        "image/tiff", "video/mp4", "video/webm", "audio/mpeg", "audio/ogg", "audio/wav",
        "application/pdf", "text/plain",
    }
)  # fmt: skip
_TYPE: Final = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+")
_SANDBOX: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_PDF: Final = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"  # viewers need it


def shown_type(recorded: str, name: str) -> str:
    """The ``Content-Type``; the preview of an embed is the picture its name says."""
    kind = recorded if _TYPE.fullmatch(recorded) else BINARY
    if kind.startswith("embed/"):
        guessed = mimetypes.guess_type(name)[0] or BINARY
        return guessed if guessed in _SHOWN else BINARY
    return "text/plain; charset=utf-8" if kind == "text/plain" else kind


def disposition_of(kind: str, name: str) -> str:
    shown = kind.partition(";")[0] in _SHOWN
    return f'{"inline" if shown else "attachment"}; filename="{name}"'


def policy_of(kind: str) -> str:
    return _PDF if kind == "application/pdf" else _SANDBOX
