"""Fixed SQL lives in ``.sql`` files; each statement follows a line ``-- name``."""

import re
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- ([a-z][a-z0-9_]*)\n", re.MULTILINE)


def load_queries(package: str, file: str) -> dict[str, LiteralString]:
    """The statements of one file by name.

    The text is ours and never changes, which is what LiteralString stands for.
    """
    text = (files(package) / file).read_text(encoding="utf-8")
    pieces = _NAME.split(text)
    named = zip(pieces[1::2], pieces[2::2], strict=True)
    return {name: cast("LiteralString", body.strip().rstrip(";")) for name, body in named}
