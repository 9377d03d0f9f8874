"""Videos of YouTube and Vimeo, known by their id. Nothing is ever fetched (promise S12)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from shared.errors import InvalidRequest

YOUTUBE: Final = "embed/youtube"
VIMEO: Final = "embed/vimeo"
TYPES: Final = frozenset({YOUTUBE, VIMEO})
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_YOUTUBE_HOSTS: Final = frozenset({"youtube.com", "m.youtube.com", "youtube-nocookie.com"})
_VIMEO_HOSTS: Final = frozenset({"vimeo.com", "player.vimeo.com"})


@dataclass(frozen=True, slots=True)
class Embed:
    type: str
    id: str

    @property
    def url(self) -> str:
        start = "https://www.youtube.com/watch?v=" if self.type == YOUTUBE else "https://vimeo.com/"
        return start + self.id

    @property
    def html(self) -> str:
        """As the records of embeds show it (shared.system_tables)."""
        if self.type == YOUTUBE:
            size, start = 'width="620" height="349"', "https://www.youtube.com/embed/"
        else:
            size, start = 'width="500" height="281"', "https://player.vimeo.com/video/"
        return f'<iframe {size} src="{start}{self.id}" frameborder="0" allowfullscreen></iframe>'


def embed_of(kind: str, embed_id: object) -> Embed:
    """Raises InvalidRequest for an id that is more than an id."""
    if not isinstance(embed_id, str | int) or not _ID.fullmatch(str(embed_id)):
        raise InvalidRequest("embed_id must be the id of a video", field="embed_id")
    return Embed(kind, str(embed_id))


def embed_in(link: str) -> Embed:
    """The video an address names. Raises InvalidRequest for any other address."""
    try:
        parts = urlsplit(link if "://" in link else f"https://{link}")
        host = (parts.hostname or "").lower().removeprefix("www.")
    except ValueError:
        host, parts = "", urlsplit("")
    last = parts.path.rstrip("/").rpartition("/")[2]
    if parts.scheme in {"http", "https"}:
        if host == "youtu.be":
            return embed_of(YOUTUBE, last)
        if host in _YOUTUBE_HOSTS:
            return embed_of(YOUTUBE, parse_qs(parts.query).get("v", [last])[0])
        if host in _VIMEO_HOSTS and last.isdigit():
            return embed_of(VIMEO, last)
    raise InvalidRequest("only links to YouTube and Vimeo are supported", field="link")
