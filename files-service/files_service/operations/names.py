"""What a stored file is called. Source: contract 7.7, setting ``files.file_naming``."""

import re
import unicodedata
from hashlib import md5
from typing import Final

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
MAX_STEM: Final = 100  # characters


def bare_name(name: str) -> str:
    """A client's file name without any folder of it: ``C:\\a\\b.jpg`` → ``b.jpg``."""
    return re.split(r"[/\\]", name)[-1]


def stem_for(naming: str, *, name: str, key: str | None) -> str | None:
    """The stored name without its extension; None where the record's id makes it.

    ``key`` is the random one of the bytes. Directus 6 hashed the moment and the name, not the
    bytes: the same file sent twice has two names, and neither can be guessed.
    """
    if naming == "file_hash" and key is not None:
        return md5(f"{key}{name}".encode(), usedforsecurity=False).hexdigest()
    if naming == "file_name":
        return _safe(name.rpartition(".")[0] or name) or None
    return None


def _safe(stem: str) -> str:
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return _UNSAFE.sub("-", plain).strip("-_")[:MAX_STEM].lower()
