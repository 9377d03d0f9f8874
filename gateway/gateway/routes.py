"""Which service serves which path: the one list. Everything it does not name is 404.

``{name}`` stands for one segment, a final ``**`` for the segments that follow, or none. Where two
patterns fit, the one that names more is taken: ``tables/directus_users/rows/**`` before
``tables/{table}/rows/**``. The rules of the system tables do not hang on this choice: they hold in
whatever service touches those tables.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote_to_bytes

AUTH: Final = "auth"
ITEMS: Final = "items"
FILES: Final = "files"
SCHEMA: Final = "schema"
SETTINGS: Final = "settings"
SERVICES: Final = (AUTH, ITEMS, FILES, SCHEMA, SETTINGS)

ANY: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
READ: Final = frozenset({"GET", "HEAD"})
GET: Final = frozenset({"GET"})
POST: Final = frozenset({"POST"})
VERSIONS: Final = ("1", "1.1")


@dataclass(frozen=True, slots=True)
class Route:
    """``public``: needs no token. ``upload``: the large limit of body sizes holds.

    ``stream``: the reply goes on for as long as its client listens.
    ``either``: works without a token too; the service decides what it shows to whom.
    """

    pattern: str
    service: str
    methods: frozenset[str] = ANY
    public: bool = False
    upload: bool = False
    either: bool = False
    stream: bool = False


# Under /api/1 and /api/1.1
API_ROUTES: Final = (
    Route("auth/request-token", AUTH, POST, public=True),
    Route("auth/login", AUTH, POST, public=True),
    Route("auth/refresh", AUTH, POST, public=True),
    Route("auth/forgot-password", AUTH, POST, public=True),
    Route("auth/reset-password", AUTH, POST, public=True),
    Route("auth/**", AUTH),
    Route("users/**", AUTH),
    Route("groups/**", AUTH),
    Route("hash", AUTH),
    Route("random", AUTH),
    Route("utils/hash/**", AUTH),
    Route("utils/random/**", AUTH),

    Route("tables", SCHEMA),
    Route("tables/{table}", SCHEMA),
    Route("tables/{table}/columns/**", SCHEMA),
    Route("privileges/**", SCHEMA),

    Route("tables/{table}/rows/**", ITEMS),
    Route("tables/{table}/typeahead", ITEMS),
    Route("tables/{table}/meta/**", ITEMS),
    Route("activity", ITEMS, READ),
    Route("activity/stream", ITEMS, GET, stream=True),
    Route("utils/import/**", ITEMS, upload=True),
    Route("utils/export/**", ITEMS),
    Route("utils/sort/**", ITEMS),
    Route("utils/jobs/**", ITEMS),

    Route("tables/directus_users/rows/**", AUTH),
    Route("tables/directus_groups/rows/**", AUTH),
    Route("tables/directus_tables/rows/**", SCHEMA),
    Route("tables/directus_columns/rows/**", SCHEMA),
    Route("tables/directus_privileges/rows/**", SCHEMA),
    Route("tables/directus_files/rows/**", FILES, upload=True),
    Route("tables/directus_settings/rows/**", SETTINGS),
    Route("tables/directus_preferences/rows/**", SETTINGS),
    Route("tables/directus_bookmarks/rows/**", SETTINGS),
    Route("tables/directus_messages/rows/**", SETTINGS),
    Route("tables/directus_messages_recipients/rows/**", SETTINGS),

    Route("files/**", FILES, upload=True),
    Route("files/tus", FILES, upload=True),
    Route("files/tus", FILES, frozenset({"OPTIONS"}), public=True),
    Route("upload/**", FILES, upload=True),

    Route("settings/**", SETTINGS),
    Route("tables/{table}/preferences", SETTINGS),
    Route("preferences/**", SETTINGS),
    Route("bookmarks/**", SETTINGS),
    Route("messages/**", SETTINGS),
    Route("comments", SETTINGS),
    Route("utils/cache/clear", SETTINGS),
)  # fmt: skip

# Outside the API, from the root: files, readable without a token where they are public.
ROOT_ROUTES: Final = (
    Route("storage/uploads/**", FILES, READ, either=True),
    Route("asyncapi.json", ITEMS, READ, public=True),
    Route("thumbnail/**", FILES, READ, either=True),
)


CUSTOM: Final = "custom:"  # before the name of an operator's own service


def custom_routes(names: Iterable[str]) -> tuple[Route, ...]:
    """``custom/<name>/**`` under both versions."""
    return tuple(Route(f"custom/{name}/**", CUSTOM + name) for name in names)


class InvalidPath(ValueError):
    """A path that no route could mean: broken escapes, NUL, dot segments."""


@dataclass(frozen=True, slots=True)
class Match:
    """``path`` is the normalized path as the service gets it; ``version`` is None outside the API.

    ``routes`` are those that fit the path: usually one, several only when methods decide.
    """

    path: str
    version: str | None
    routes: tuple[Route, ...]

    def route(self, method: str) -> Route | None:
        for route in self.routes:
            if method in route.methods:
                return route
        return None


_NONE: Final[tuple[Route, ...]] = ()


@dataclass(slots=True)
class _Node:
    named: dict[str, "_Node"] = field(default_factory=dict)
    any: "_Node | None" = None
    here: tuple[Route, ...] = _NONE
    below: tuple[Route, ...] = _NONE

    def find(self, segments: tuple[str, ...], at: int = 0) -> tuple[Route, ...]:
        if at == len(segments):
            return self.here or self.below
        named = self.named.get(segments[at])
        if named is not None and (found := named.find(segments, at + 1)):
            return found
        if self.any is not None and (found := self.any.find(segments, at + 1)):
            return found
        return self.below


def _tree(routes: Iterable[Route]) -> _Node:
    root = _Node()
    for route in routes:
        node = root
        for segment in route.pattern.split("/"):
            if segment == "**":
                node.below += (route,)
                break
            if segment.startswith("{"):
                node.any = node = node.any or _Node()
            else:
                node = node.named.setdefault(segment, _Node())
        else:
            node.here += (route,)
    return root


_UNREMARKABLE: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9_.\-]+)+").fullmatch
_SAFE: Final = "-._~!$&'()*+,;=:@"  # what RFC 3986 lets stand in a segment
_MOST_REMEMBERED: Final = 4096


class RoutingTable:
    """Finds the route of a raw path; remembers what it found for the last few thousand paths."""

    def __init__(
        self,
        api: Iterable[Route] = API_ROUTES,
        root: Iterable[Route] = ROOT_ROUTES,
    ) -> None:
        self._api = _tree(api)
        self._root = _tree(root)
        self._matches: dict[str, Match] = {}

    def match(self, raw_path: str) -> Match:
        """The match for a path as it stands in the request line, without the query.

        Raises InvalidPath.
        """
        known = self._matches.get(raw_path)
        if known is not None:
            return known
        match = self._find(raw_path)
        if len(raw_path) < 512:
            if len(self._matches) >= _MOST_REMEMBERED:
                self._matches.clear()
            self._matches[raw_path] = match
        return match

    def _find(self, raw_path: str) -> Match:
        segments = normalized(raw_path)
        if segments[:1] == ("utils",):  # where the modern clients ask
            segments = ("api", VERSIONS[-1], *segments)
        if segments[:1] != ("api",):
            return Match("/" + "/".join(segments), None, self._root.find(segments))
        version = segments[1] if len(segments) > 1 else ""
        if version == "1.0":
            version = "1"
        if version not in VERSIONS:
            return Match("/" + "/".join(segments), None, _NONE)
        rest = segments[2:]
        if rest and rest[-1].endswith(".json"):
            rest = (*rest[:-1], rest[-1].removesuffix(".json"))
        routes = self._api.find(rest) if rest and rest[-1] else _NONE
        return Match("/".join(("/api", version, *rest)), version, routes)


def normalized(raw_path: str) -> tuple[str, ...]:
    """The segments of a path, one spelling each: no empty ones, only the escapes it needs.

    Raises InvalidPath for what two readers might read differently.
    """
    segments = tuple(part for part in raw_path.split("/") if part)
    if _UNREMARKABLE(raw_path):
        return segments
    return tuple(_respelled(segment) for segment in segments)


def _respelled(segment: str) -> str:
    try:
        text = unquote_to_bytes(segment.encode("utf-8", "strict")).decode("utf-8", "strict")
    except UnicodeError as error:
        raise InvalidPath("the path is not UTF-8") from error
    if text in {".", ".."} or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise InvalidPath("the path holds a dot segment or a control character")
    return quote(text, safe=_SAFE)


def version_of(raw_path: str) -> str | None:
    """The API version a path asks for, in whose shape it is answered, routed or not."""
    segments = [part for part in raw_path.split("/") if part][:2]
    if len(segments) == 2 and segments[0] == "api":
        return "1" if segments[1] in {"1", "1.0"} else "1.1"
    return None


def methods_of(routes: Iterable[Route]) -> str:
    """The value of an ``Allow`` header."""
    return ", ".join(sorted(frozenset[str]().union(*(route.methods for route in routes))))


SERVICE_NAMES: Final[Mapping[str, str]] = {name: f"{name}-service" for name in SERVICES}


def name_of(service: str) -> str:
    """What a client may be told of who should have answered."""
    return SERVICE_NAMES.get(service, service)
