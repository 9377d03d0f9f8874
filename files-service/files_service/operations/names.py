"""What a stored file is called. Source: contract 7.7, setting ``files.file_naming``."""

import re
import unicodedata
from typing import Final

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
MAX_STEM: Final = 100  # characters


def bare_name(name: str) -> str:
    """A client's file name without any folder of it: ``C:\\a\\b.jpg`` → ``b.jpg``."""
    return re.split(r"[/\\]", name)[-1]


def stem_for(naming: str, *, name: str, sha256: str | None) -> str | None:
    """The stored name without its extension; None where the record's id makes it."""
    if naming == "file_hash" and sha256 is not None:
        return sha256[:32]
    if naming == "file_name":
        return _safe(name.rpartition(".")[0] or name) or None
    return None


def _safe(stem: str) -> str:
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("-", plain).strip("-_")[:MAX_STEM].lower()
