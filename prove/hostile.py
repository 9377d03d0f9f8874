"""Requests nobody should send: every route, verb, parameter and body, with hostile values.

What an answer must be, whatever was asked: not a fault of ours, and if it refuses, JSON that says
why. ``prove.fuzz`` asks for a long time, tests/acceptance/test_fuzz.py for a short one.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from gateway.routes import API_ROUTES

TABLE, OTHER = "fuzz_rows", "fuzz_owners"
COLUMNS = {
    "title": "VARCHAR:20",
    "note": "TEXT",
    "n": "INT",
    "small": "TINYINT",
    "price": "DECIMAL:10,2",
    "ratio": "DOUBLE",
    "day": "DATE",
    "moment": "DATETIME",
    "clock": "TIME",
    "bytes": "BLOB",
}
SYSTEM = (
    "directus_users", "directus_groups", "directus_files", "directus_tables", "directus_columns",
    "directus_privileges", "directus_preferences", "directus_bookmarks", "directus_messages",
    "directus_messages_recipients", "directus_settings", "directus_activity",
)  # fmt: skip

ENDLESS = "activity/stream"
# What the services know below the patterns of the routing table, and those patterns themselves.
ROUTES = (
    "auth/request-token", "auth/{value}", "users", "users/{key}", "groups", "groups/{key}",
    "hash", "random", "utils/hash/generate", "utils/hash/verify", "utils/random/string",
    "tables", "tables/{made}", "tables/{table}/columns", "tables/{table}/columns/{column}",
    "tables/{table}/columns/{column}/{value}", "tables/{table}/columns/bulk",
    "privileges/{key}", "privileges/{key}/{table}",
    "tables/{table}/rows", "tables/{table}/rows/bulk", "tables/{table}/rows/{key}",
    "tables/{table}/rows/{key}/revisions", "tables/{table}/typeahead",
    "tables/{table}/meta/{key}", "activity", "activity/{value}",
    "utils/import/{table}", "utils/export/{table}", "utils/sort/{table}",
    "files", "files/{key}", "upload", "upload/link", "upload/{value}",
    "settings", "settings/{value}", "tables/{table}/preferences", "preferences/{table}",
    "bookmarks", "bookmarks/self", "bookmarks/{key}", "bookmarks/user/{key}",
    "messages/rows", "messages/self", "messages/rows/{key}", "messages/{key}",
    "messages/recipients", "messages/rows/bulk", "messages/user/{key}",
    "comments", "utils/cache/clear", "{value}",
    *(
        route.pattern.replace("**", "{key}") for route in API_ROUTES if route.pattern != ENDLESS
    ),
)  # fmt: skip
LISTS = (
    "tables/{table}/rows", "files", "users", "groups", "bookmarks", "activity", "messages/rows",
    "tables", "tables/{table}/typeahead", "tables/{table}/rows/{key}", "privileges/{key}",
)  # fmt: skip
WRITES = (
    ("POST", f"tables/{TABLE}/rows"), ("PUT", f"tables/{TABLE}/rows/4"),
    ("PATCH", f"tables/{TABLE}/rows/5"), ("POST", f"tables/{TABLE}/rows/bulk"),
    ("PUT", f"tables/{OTHER}/rows/1"), ("POST", f"tables/{OTHER}/rows"),
    ("PUT", f"tables/{TABLE}/rows/bulk"), ("DELETE", f"tables/{TABLE}/rows/{{key}}"),
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
VERSIONS = ("1", "1.1", "1.1", "/1.1")
CALLERS = ("administrator", "reader", "nobody", "unknown")

VALUES = (
    "", "0", "1", "2", "-1", "true", "True", "null", "NULL", "NaN", "Infinity", "-Infinity",
    "1e400", "1e-400", "0x10", "1.5", "1,5", "9" * 40, "2147483648", "-2147483649",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "007", "+1", " 1 ",
    "1,2", "1,,2", ",", "a,b", "[]", "{}", '{"a":1}', "[0]", "'", '"', "''", "\\", "\\'", "%",
    "_", "%%", "$1", "{0}", "%s", "1; DROP TABLE fuzz_rows", "' OR '1'='1", "1) OR (1=1",
    "0000-00-00", "2026-02-30", "2026-11-21", "2026-11-21 24:00:00", "2026-11-21T10:00:00Z",
    "99999-01-01", "-838:59:59", "25:61:61", "infinity", "now", "epoch", "\0", "\ufffe", "\ud800",
    "\u202e", "😀" * 5, "e\u0301", "ß", "x" * 300, "x" * 9000, "../../etc/passwd",
    "..%2f..", "<script>", "a\r\nX-Bad: 1", "id", "active", "title", "n", "owner", "rows",
    "bulk", "self", "me", "owner.name", "owner.missing", "a.b.c.d.e", "ASC", "DESC",
    "directus_users", TABLE, OTHER, "count(*)", "exact", "estimated", "INNER", "OUTER",
    "data:image/png;base64,aaaa", "data:;base64,", "data:", "base64", "0_1", "1_99", "0_x",
    "varchar", "INT", "DECIMAL", "ENUM", "ALIAS", "MANYTOONE", "ONETOMANY", "MANYTOMANY",
)  # fmt: skip
NAMES_OF_COLUMNS = (
    "id", "active", "owner", *COLUMNS, "missing", "owner.name", "owner.id", f"{OTHER}.name",
    "directus_users.password", "password", "group.name", "status", "user", "items",
)  # fmt: skip
OPERATORS = (
    "=", "eq", "!=", "<>", "neq", "<", "lt", "<=", "lte", ">", "gt", ">=", "gte", "in", "nin",
    "null", "nnull", "contains", "like", "ncontains", "nlike", "between", "nbetween", "empty",
    "nempty", "has", "nhas", "all", "logical", "",
)  # fmt: skip
PARAMETERS = (
    "perPage", "currentPage", "limit", "offset", "sort", "sort_order", "orderBy",
    "orderDirection", "status", "preview", "columns", "columns_visible", "ids", "q", "search",
    "depth", "single", "group_by", "groups", "skip", "skip_activity_log", "soft", "meta",
    "include_system", "count", "cursor", "after", "title", "max_id", "length", "newTitle",
    "filters", "in", "orders", "order", "joins", "last_updated", "access_token", "version",
)  # fmt: skip
BRACKETS = (
    "filters[{column}][{operator}]", "filters[{column}][{operator}]", "filters[{column}]",
    "filters[{column}][in][]", "filters[{column}][between][]", "in[{column}]", "orders[{column}]",
    "order[{column}]", "last_updated[{table}]", "ids[]", "ids[0]", "ids[x]", "columns[]",
    "columns[0]", "status[]", "joins[{table}]", "joins[{table}][on][]", "joins[{table}][type]",
)  # fmt: skip
BROKEN = (
    "", "&", "=", "==", "%", "%zz", "%ff", "a=%ff", "[", "]", "[]", "[]=1", "a[=1", "a]=1",
    "a[b]c=1", "a[b]=1&a=2", "a=1&a[b]=2", "filters=1", "filters[]=1", "filters[a][][]=1",
    "ids[][]=1", "a" + "[b]" * 40 + "=1", "&".join("ids[]=1" for _ in range(500)),
    "joins[x][on][]=a", "x=" + "y" * 7000,
)  # fmt: skip
FIELDS = (
    *COLUMNS, "id", "active", "owner", "items", "name", "table_name", "column_name", "data_type",
    "char_length", "ui", "relationship_type", "related_table", "junction_table",
    "junction_key_left", "junction_key_right", "options", "default_value", "required", "sort",
    "group_id", "allow_view", "allow_add", "allow_edit", "allow_delete", "status_id",
    "read_field_blacklist", "write_field_blacklist", "nav_listed", "email", "first_name",
    "data", "type", "embed_id", "link", "subject", "message", "recipients", "to", "toGroup",
    "response_to", "attachment", "url", "section", "columns_visible", "search_string",
    "rows_per_page", "file_naming", "thumbnail_size", "string", "hasher", "length", "hash",
    "item", "query", "format", "comment", "hidden", "single", "user_create_column",
    "sort_column", "status_column", "key", "value", "collection", "restrict_to_ip_whitelist",
)  # fmt: skip
TYPES = (
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data",
    "multipart/form-data; boundary=x", "text/csv", "text/plain", "x", "application/json;",
    "application/json; charset=klingon",
)  # fmt: skip
RAW = (
    b"", b"{", b"[", b"null", b"1", b'"x"', b"{}", b"[]", b"[" * 50_000, b'{"a":' * 5000,
    b"\xff\xfe", b'{"a":1}{', b"--x\r\n", b'{"n":' + b"9" * 5000 + b"}", b'"\\ud800"',
    b'{"title":"\\u0000"}', b'{"title":"\\ud800"}', b"title=%ff", b"title=%00",
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nz\r\n--x--',
)  # fmt: skip
HEADERS: tuple[Mapping[str, str], ...] = (
    {"Accept": "application/problem+json"}, {"Prefer": "handling=strict"},
    {"If-None-Match": "x, *"}, {"If-Match": '"x"'}, {"Range": "bytes=9-1"}, {"Cookie": "a=b; ;="},
    {"Accept": "*/*;q=x"}, {"X-Forwarded-For": "not an address"}, {"Origin": "null"},
    {"X-HTTP-Method-Override": "DELETE"}, {"Authorization": "Basic %%%"}, {"Idempotency-Key": "x"},
    {"X-Directoire-Identity": "x"}, {"Authorization": "Bearer"}, {"Content-Encoding": "gzip"},
)  # fmt: skip


class Hostile:
    """What to ask, drawn from one seed: the same seed asks the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one_in(self, n: int) -> bool:
        return self._random.randrange(n) == 0

    def value(self) -> str:
        match self._random.randrange(8):
            case 0:
                return str(self._random.randrange(-(10**9), 10**9))
            case 1:
                return str(self._random.uniform(-1e9, 1e9))
            case 2:
                return "".join(chr(self._random.randrange(0x2FF)) for _ in range(6))
            case _:
                return self._random.choice(VALUES)

    def one_of(self, likely: Sequence[str]) -> str:
        return self.value() if self.one_in(5) else self._random.choice(likely)

    def column(self) -> str:
        return self.one_of(NAMES_OF_COLUMNS)

    def table(self) -> str:
        return self.one_of((TABLE,) * 12 + (OTHER,) * 4 + SYSTEM)

    def key(self) -> str:
        """Not 1 to 3: those who ask have to live on, and the group of administrators."""
        likely = ("4", "5", "0", "-1", "999999", "9" * 30, "x", "4.0", "", "null", "4,5")
        key = self.one_of(likely)
        return "4" if key.strip().lstrip("+0") in {"1", "2", "3", "me"} else key

    def made(self) -> str:
        """A table that may be dropped."""
        name = self.one_of(("fuzz_made", "missing", "directus_users"))
        return "fuzz_made" if name in {TABLE, OTHER} else name

    def name(self) -> str:
        """A parameter's, with brackets after it."""
        if self.one_in(3):
            return self.one_of(PARAMETERS)
        return self._random.choice(BRACKETS).format(
            column=self.column(), operator=self.one_of(OPERATORS), table=self.table()
        )

    def query(self) -> str:
        pairs: list[str] = []
        for _ in range(self._random.randrange(5)):
            value = self._random.choice((self.value, self.value, self.column, self.table))()
            # raw and encoded brackets are the same
            brackets = "[]" if self.one_in(2) else ""
            pairs.append(f"{escaped(self.name(), brackets)}={escaped(value, ',')}")
        if self.one_in(6):
            pairs.append(self._random.choice(BROKEN))
        return "&".join(pairs)

    def document(self, depth: int = 0) -> Any:
        kind = self._random.randrange(9 if depth < 3 else 6)
        match kind:
            case 0:
                return self._random.choice((None, True, False))
            case 1:
                return self._random.randrange(-(2**70), 2**70)
            case 2:
                return self._random.choice((0, 1, 1.5, -0.0, 1e308, float("inf"), float("nan")))
            case 3 | 4 | 5:
                return self.value()
            case 6:
                return [self.document(depth + 1) for _ in range(self._random.randrange(4))]
            case _:
                return self.object(depth + 1)

    def object(self, depth: int = 0) -> dict[str, Any]:
        size = self._random.randrange(6)
        return {self.one_of(FIELDS): self.document(depth) for _ in range(size)}

    def row(self) -> dict[str, Any]:
        """Of the table that is asked most: few columns, so that some of them are stored."""
        size = 1 + self._random.randrange(2)
        names = [
            self._random.choice((*COLUMNS, "owner", "items", "active", "id")) for _ in range(size)
        ]
        return {name: self.document(2) if self.one_in(3) else self.value() for name in names}

    def body(self) -> tuple[str | None, bytes]:
        match self._random.randrange(8):
            case 0:
                return None, b""
            case 1:
                return "application/x-www-form-urlencoded", self.query().encode()
            case 2:
                content = self._random.randbytes(20) if self.one_in(3) else self._random.choice(RAW)
                return self._random.choice(TYPES), content
            case 3:
                return _json({"rows": [self.object() for _ in range(self._random.randrange(4))]})
            case 4:
                return _json(self.document())
            case _:
                return _json(self.object())

    def request(self) -> "Request":
        """A list with parameters, a row, or anything."""
        match self._random.randrange(3):
            case 0:
                method, pattern, body = "GET", self._random.choice(LISTS), (None, b"")
            case 1:
                method, pattern = self._random.choice(WRITES)
                body = _json({"rows": [self.row()]} if pattern.endswith("bulk") else self.row())
            case _:
                method, pattern = self._random.choice(METHODS), self._random.choice(ROUTES)
                body = self.body()
        path = pattern
        if method == "DELETE" and (pattern == "tables/{table}" or "/columns/" in pattern):
            path = path.replace("{table}", "fuzz_made")  # what is asked most has to stay
        for part, draw in (
            ("{table}", self.table), ("{key}", self.key), ("{column}", self.column),
            ("{made}", self.made), ("{value}", self.value),
        ):  # fmt: skip
            if part in path:
                path = path.replace(part, escaped(draw()))
        query = self.query()
        return Request(
            method,
            f"/api/{self._random.choice(VERSIONS)}/{path}" + (f"?{query}" if query else ""),
            "administrator" if self.one_in(2) else self._random.choice(CALLERS),
            *body,
            headers=self._random.choice(HEADERS) if self.one_in(6) else {},
        )

    def requests(self, number: int) -> list["Request"]:
        return [self.request() for _ in range(number)]


def escaped(text: str, safe: str = "") -> str:
    """As it stands in an address; what no encoding has becomes a question mark."""
    return quote(text.encode("utf-8", "replace"), safe=safe)


def _json(body: object) -> tuple[str, bytes]:
    return "application/json", json.dumps(body).encode()


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # from the root, with the query
    caller: str
    content_type: str | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.method} {self.path} as {self.caller}, {self.content_type}: {self.body!r}"


def fault(status: int, content_type: str, content: bytes, method: str) -> str | None:
    """What is wrong with an answer, whatever was asked."""
    if status >= 500:
        return f"{status}: {content[:300]!r}"
    if b"Traceback (most recent" in content or b"asyncpg" in content:
        return "the inside shows"
    if method in {"HEAD", "OPTIONS"}:
        return None
    is_json = "json" in content_type
    body = json.loads(content) if is_json else None
    if status >= 400 and not (is_json and message(body)):
        return f"{status}, {content_type}, without a message: {content[:300]!r}"
    return None


def message(refusal: Any) -> str | None:
    """The message of 1.1, 1.0, the utilities or RFC 9457."""
    match refusal:
        case {"error": {"message": str(text)}} | {"message": str(text)} | {"detail": str(text)}:
            return text
        case {"errors": [{"message": str(text)}, *_]}:
            return text
        case _:
            return None


class Fuzzed:
    """An instance that is asked, its callers, and what came of it."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, token: str) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._tokens: dict[str, str | None] = {"nobody": None, "unknown": "unknown"}
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []

    async def prepare(self) -> None:
        """Two tables with a relation and rows, an administrator and a reader to ask with."""
        for table, columns in ((OTHER, {"name": "VARCHAR:20"}), (TABLE, COLUMNS)):
            await self._set("POST", "tables", {"name": table})
            for name, declared in columns.items():
                data_type, _, length = declared.partition(":")
                body = {"column_name": name, "data_type": data_type, "char_length": length or None}
                await self._set("POST", f"tables/{table}/columns", body)
        relation = {
            "column_name": "owner", "data_type": "INT", "ui": "many_to_one",
            "relationship_type": "MANYTOONE", "related_table": OTHER, "junction_key_right": "owner",
        }  # fmt: skip
        await self._set("POST", f"tables/{TABLE}/columns", relation)
        back = {
            "column_name": "items", "data_type": "ALIAS", "ui": "one_to_many",
            "relationship_type": "ONETOMANY", "related_table": TABLE, "junction_key_right": "owner",
        }  # fmt: skip
        await self._set("POST", f"tables/{OTHER}/columns", back)
        owner = await self._set("POST", f"tables/{OTHER}/rows", {"name": "Ada", "active": 1})
        rows = [{"title": "row", "n": n, "active": n % 3, "owner": owner["id"]} for n in range(9)]
        await self._set("POST", f"tables/{TABLE}/rows/bulk", {"rows": rows})
        group = await self._set("POST", "groups", {"name": "Fuzz readers"})
        right = {"group_id": group["id"], "table_name": TABLE, "allow_view": 2, "allow_add": 1}
        await self._set("POST", f"privileges/{group['id']}", right)
        for caller, number in (("reader", group["id"]), ("administrator", 1)):
            self._tokens[caller] = f"fuzz-{caller}-{'0123456789' * 3}"
            user = {"email": f"fuzz-{caller}@desk.example", "group": number, "active": 1}
            await self._set("POST", "users", {**user, "token": self._tokens[caller]})

    async def _set(self, method: str, path: str, body: object) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        url = f"{self._base_url}/api/1.1/{path}"
        async with self._session.request(method, url, json=body, headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, (path, answer)
            return answer.get("data")

    async def ask(self, batch: Sequence[Request]) -> list[str]:
        """All of them at once; the faults of the answers."""
        found = [fault for fault in await asyncio.gather(*map(self._ask, batch)) if fault]
        self.faults += found
        return found

    async def _ask(self, request: Request) -> str | None:
        headers = dict(request.headers)
        token = self._tokens[request.caller]
        if token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {token}"
        if request.content_type:
            headers["Content-Type"] = request.content_type
        async with self._session.request(
            request.method,
            URL(self._base_url + request.path, encoded=True),
            data=request.body or None,
            headers=headers,
            skip_auto_headers=["Content-Type"],
            allow_redirects=False,
        ) as response:
            content = await response.read()
            self.statuses[response.status] += 1
            wrong = fault(response.status, response.content_type, content, request.method)
            return f"{request} → {wrong}" if wrong else None
