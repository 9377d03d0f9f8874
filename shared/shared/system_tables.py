"""The rules of the directus_* tables, whoever reads or writes them.

A reader takes ``system_table(…)``: fields that are computed, and what they mean for caching.
A writer calls ``prepare`` with the values of a body before its transaction; in it ``before``, its
own statement, and ``after`` with the row's key. ``deleting`` stands before a DELETE.
Source: contract 7.4 to 7.7, readings 37, 38, 55, 56, 58, 60, 62, 71.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Protocol

from shared.catalogue import Table
from shared.column_types import Kind, is_alias
from shared.context import Context
from shared.database import Reader
from shared.errors import Forbidden, InvalidValue, NotUnique
from shared.identity import ADMINISTRATORS, Principal
from shared.passwords import check_password, hash_soon
from shared.queries import load_queries
from shared.rights import TableRights
from shared.sql import Sql, fixed, param, raw
from shared.stamps import ENTRIES
from shared.system_settings import check_setting

QUERIES: Final = load_queries("shared", "system_tables.sql")
STATIC_TOKEN: Final = "static"  # noqa: S105  the name of the token that stands in a user's record

Computed = Callable[[Sql], Sql]  # alias of the table → the value of a field
Values = dict[str, Any]  # column → value, as the body gave it


class Writer(Protocol):
    async def execute(self, sql: Sql) -> str: ...


class Transaction(Reader, Writer, Protocol):
    """The Change a write runs in."""

    def touch(self, *topics: str) -> None: ...


Before = Callable[[Transaction], Awaitable[None]]
After = Callable[[Transaction, Any], Awaitable[None]]  # the key of the stored row


@dataclass(frozen=True, slots=True)
class Prepared:
    """What of a body is to be stored, and what else belongs to the same transaction.

    ``echo`` are fields to show in this one answer in place of what is stored.
    """

    values: Values
    before: Before | None = None
    after: After | None = None
    echo: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def plain(self) -> bool:
        """Nothing but the row: one statement is enough."""
        return self.before is None and self.after is None


Prepare = Callable[[Context, Values, Any], Awaitable[Prepared]]
Deleting = Callable[[Context, Transaction, Sequence[Any]], Awaitable[None]]


async def _as_given(_context: Context, values: Values, _key: int | None) -> Prepared:
    return Prepared(values)


async def _unhindered(_context: Context, _change: Transaction, _keys: Sequence[Any]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class SystemTable:
    """How one system table differs from a user's.

    computed  fields that are shown in place of, or beside, columns; not for filters or orders
    volatile  of these, the ones that rest on what no topic tells of: such an answer is not kept
    personal  two users of one group may be shown different values
    virtual   keys of a body that are no columns
    prepare   (context, values of the body, key of the row or None for a new one); drops what is not
              the client's to say. Raises Forbidden, InvalidValue
    deleting  runs in the transaction before rows with these keys are deleted
    """

    computed: Mapping[str, Computed] = field(default_factory=dict[str, Computed])
    volatile: frozenset[str] = frozenset()
    personal: bool = False
    virtual: frozenset[str] = frozenset()
    prepare: Prepare = _as_given
    deleting: Deleting = _unhindered


# ── directus_users ────────────────────────────────────────────────────────────────────────────────

_EMAIL: Final = re.compile(
    r"[^@\s\x00-\x1f\"(),:;<>\[\\\]]+@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+"
)
_TOKEN: Final = re.compile(r"[\x21-\x7e]{8,255}")
_GRAVATAR: Final = "https://www.gravatar.com/avatar/"
# Of others these may be changed by administrators only: each is a way into the account.
_WAYS_IN: Final = ("email", "password", "token")
_OWN_WORDS: Final = ("email", "first_name", "last_name")


def _column(name: str) -> Computed:
    quoted = {"email_messages": raw(".email_messages"), "avatar": raw(".avatar")}[name]
    return lambda alias: alias + quoted


def _of_presence(expression: Sql) -> Computed:
    return lambda alias: (
        raw("(SELECT ")
        + expression
        + raw(" FROM directoire.presence p WHERE p.user_id = ")
        + alias
        + raw(".id)")
    )


_ISO: Final = ', \'YYYY-MM-DD"T"HH24:MI:SS"+00:00"\')'
_PRESENCE: Final[Mapping[str, Computed]] = {
    "last_login": _of_presence(raw("to_char(p.last_login AT TIME ZONE 'UTC'" + _ISO)),
    "last_access": _of_presence(raw("to_char(p.last_access AT TIME ZONE 'UTC'" + _ISO)),
    "last_page": _of_presence(raw("coalesce(p.last_page, '')")),
    "ip": _of_presence(raw("coalesce(host(p.ip), '')")),
}
_PRIVATE: Final = ("email_messages", "last_access", "last_page", "ip")


def _avatar(alias: Sql) -> Sql:
    return (
        raw("coalesce(nullif(")
        + alias
        + raw(".avatar, ''), '" + _GRAVATAR + "' || md5(lower(")
        + alias
        + raw(".email)) || '?s=200&d=mm&r=g')")
    )


def _own(shown: Computed, user: int) -> Computed:
    """Shown to the user himself, null of everybody else."""
    return lambda alias: (
        raw("CASE WHEN ")
        + alias
        + raw(".id = ")
        + param(user)
        + raw("::int4 THEN ")
        + shown(alias)
        + raw(" END")
    )


async def _prepare_user(context: Context, values: Values, key: int | None) -> Prepared:
    """Nobody raises himself, and the last administrator stays one."""
    principal = context.principal
    password, token = values.pop("password", None), values.pop("token", None)
    _drop_shown(values)
    if isinstance(values.get("group"), Mapping):
        values["group"] = _key_of(values["group"])
    if not principal.is_admin:
        _refuse_what_only_administrators_do(principal, values, key, password, token)
    if "email" in values or key is None:
        values["email"] = _email(values.get("email"))
    digest = None if token in (None, "") else _digest(token)
    own = [str(values.get(name) or "") for name in _OWN_WORDS]
    password_hash = None if password in (None, "") else await _hash(password, own)
    removes = _leaves_administrators(values)
    guarded = removes or not principal.is_admin or password_hash is not None

    async def before(change: Transaction) -> None:
        assert key is not None
        await _guard_administrators(context, change, [key], removes=removes)
        if password_hash is not None:
            check_password(str(password), await own_words(change, key))

    async def after(change: Transaction, stored: int) -> None:
        change.touch(f"u:{stored}")
        if password_hash is not None:
            await set_password(change, stored, password_hash, spared=principal.token)
            await _record(change, stored, "password")
        if digest is not None:
            await _set_token(change, stored, digest)
            await _record(change, stored, "token")

    return Prepared(
        values,
        before=before if key is not None and guarded else None,
        after=after if password_hash or digest else None,
        echo={"token": token} if digest else {},
    )


async def set_password(
    change: Transaction, user: int, password_hash: str, *, spared: int = 0
) -> None:
    """Another password of a user. What was signed in with the former one ends with it, and so does
    what mails carry: sessions, tokens of ``auth/request-token``, links. Tokens by name stay, and
    the token ``spared`` with its session: whose user has just told who he is.
    """
    change.touch(f"u:{user}")
    await change.execute(fixed(QUERIES["set_password"], user, password_hash))
    await end_sign_ins(change, user, spared=spared)


async def end_sign_ins(change: Writer, user: int, *, spared: int = 0) -> None:
    """To be called after the statement that locks what a sign-in looks at: one that came before
    that has committed by then, one that comes later is refused.
    """
    await change.execute(fixed(QUERIES["end_sign_ins"], user, spared))


async def own_words(reader: Reader, user: int) -> list[str]:
    """What everybody who knows a user tries first as the password."""
    row = await reader.fetchrow(fixed(QUERIES["own_words"], user))
    return [] if row is None else [word or "" for word in row]


async def _hash(password: object, own: Sequence[str]) -> str:
    if not isinstance(password, str):
        raise InvalidValue("A password is text.", field="password")
    check_password(password, own)
    return await hash_soon(password)


def _drop_shown(values: Values) -> None:
    """What only the answers hold comes back with a record that is sent as it was read."""
    for name in (*_PRESENCE, "invite_date", "invite_accepted"):
        values.pop(name, None)
    if str(values.get("avatar") or "").startswith(_GRAVATAR):
        del values["avatar"]


def _refuse_what_only_administrators_do(
    principal: Principal, values: Values, key: int | None, password: object, token: object
) -> None:
    if "group" in values:
        if _number(values["group"]) != principal.group:
            raise Forbidden("Only administrators put users into another group.", field="group")
        if key is not None and key != principal.user:
            raise Forbidden("Only administrators change the group of a user.", field="group")
    elif key is None:
        values["group"] = principal.group
    if key is None or key == principal.user:
        return
    for name, value in (("email", values.get("email")), ("password", password), ("token", token)):
        if value not in (None, "") and name in _WAYS_IN:
            raise Forbidden(f"Only administrators change the {name} of others.", field=name)


def _email(value: object) -> str:
    if not isinstance(value, str) or len(value) > 128 or not _EMAIL.fullmatch(value.strip()):
        raise InvalidValue("This is no e-mail address.", field="email")
    return value.strip()


def _digest(token: object) -> bytes:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        message = "A token has 8 to 255 characters: letters, digits and signs, no blanks."
        raise InvalidValue(message, field="token")
    return sha256(token.encode()).digest()


def _number(value: object) -> int | None:
    text = str(value).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _key_of(related: Mapping[str, Any]) -> Any:
    """The key in a related object: ``{id: 2, …}`` of 1.0, ``{data: {id: 2}}`` of 1.1."""
    inner = related.get("data", related)
    return inner.get("id") if isinstance(inner, Mapping) else None


def _leaves_administrators(values: Values) -> bool:
    moved = "group" in values and _number(values["group"]) != ADMINISTRATORS
    return moved or ("active" in values and str(values["active"]).strip() not in ("1", "True"))


async def _guard_administrators(
    context: Context, change: Transaction, users: Sequence[int], *, removes: bool
) -> None:
    """Raises Forbidden when a non-administrator touches one, or when the last one would go."""
    if removes:
        await change.execute(fixed(QUERIES["lock_administrators"]))
    found = await change.fetchrow(fixed(QUERIES["administrators"], list(users)))
    if not context.principal.is_admin and found["given"]:
        raise Forbidden("Only administrators change administrators.")
    if removes and found["active_given"] and not found["remaining"]:
        raise Forbidden("The last administrator cannot be removed, disabled or moved.")


async def _set_token(change: Transaction, user: int, digest: bytes) -> None:
    await change.execute(fixed(QUERIES["drop_static_token"], user, STATIC_TOKEN, digest))
    stored = await change.fetchrow(fixed(QUERIES["set_static_token"], user, STATIC_TOKEN, digest))
    if stored is None:
        raise NotUnique("This token cannot be used; choose another.", field="token")


async def _record(change: Transaction, user: int, what: str) -> None:
    """An entry of what stands in no row: that it was set, never what it is."""
    await change.execute(fixed(QUERIES["record_set"], user, what))
    change.touch(ENTRIES)


async def _deleting_users(context: Context, change: Transaction, keys: Sequence[Any]) -> None:
    users = [number for key in keys if (number := _number(key)) is not None]
    await _guard_administrators(context, change, users, removes=True)
    change.touch(*(f"u:{user}" for user in users))


_USERS: Final = SystemTable(
    computed={"token": lambda _alias: raw("NULL"), "avatar": _avatar, **_PRESENCE},
    volatile=frozenset(_PRESENCE),
    virtual=frozenset({"password", "token", *_PRESENCE}),
    prepare=_prepare_user,
    deleting=_deleting_users,
)


def _users_for(principal: Principal, rights: TableRights) -> SystemTable:
    """As somebody else than an administrator sees users."""
    computed = dict(_USERS.computed)
    for name in _PRIVATE:
        shown = computed.get(name) or _column(name)
        computed[name] = _own(shown, principal.user)
    if "email" in rights.read_blacklist:  # its hash would tell it
        computed["avatar"] = _column("avatar")
    return replace(_USERS, computed=computed, personal=True)


# ── directus_groups ───────────────────────────────────────────────────────────────────────────────


async def _prepare_group(_context: Context, values: Values, key: int | None) -> Prepared:
    if "name" in values and not str(values["name"] or "").strip():
        raise InvalidValue("A group needs a name.", field="name")

    async def after(change: Transaction, stored: int) -> None:
        await change.execute(fixed(QUERIES["first_privileges"], stored))
        change.touch("t:directus_privileges", f"g:{stored}")

    return Prepared(values, after=after if key is None else None)


async def _deleting_groups(_context: Context, change: Transaction, keys: Sequence[Any]) -> None:
    groups = [number for key in keys if (number := _number(key)) is not None]
    for row in await change.fetch(fixed(QUERIES["group_names"], groups)):
        if row["id"] == ADMINISTRATORS or row["name"] == "public":
            raise Forbidden(f'The group "{row["name"]}" cannot be deleted.')
    change.touch("t:directus_privileges", *(f"g:{group}" for group in groups))


# ── rights and schema: administrators only, which rights.py sees to ──────────────────────────────

_LISTS: Final = ("read_field_blacklist", "write_field_blacklist")


async def _prepare_privilege(_context: Context, values: Values, key: int | None) -> Prepared:
    for name in _LISTS:
        if isinstance(values.get(name), list):
            values[name] = ",".join(str(column) for column in values[name])
    for name in ("allow_view", "allow_add", "allow_edit", "allow_delete", "allow_alter"):
        if name in values and str(values[name]).strip() not in ("0", "1", "2"):
            raise InvalidValue(f"{name} must be 0, 1 or 2.", field=name)
    if key is None and not values.get("table_name"):
        raise InvalidValue("A privilege needs a table_name.", field="table_name")
    return Prepared(values)


_AUTOMATIC: Final[Mapping[str, frozenset[Kind]]] = {
    "user_create_column": frozenset({Kind.INTEGER}),
    "user_update_column": frozenset({Kind.INTEGER}),
    "date_create_column": frozenset({Kind.DATETIME, Kind.DATETIME_UTC, Kind.DATE}),
    "date_update_column": frozenset({Kind.DATETIME, Kind.DATETIME_UTC, Kind.DATE}),
    "sort_column": frozenset({Kind.INTEGER, Kind.FLOAT}),
    "status_column": frozenset({Kind.INTEGER}),
}


AUTOMATIC_COLUMNS: Final = frozenset(_AUTOMATIC)


def check_table_metadata(table: Table, values: Mapping[str, Any]) -> None:
    """Automatic columns name columns of the table, of a fitting type. Raises InvalidValue."""
    for name, kinds in _AUTOMATIC.items():
        given = values.get(name)
        if given in (None, ""):
            continue
        column = table.columns.get(str(given))
        if column is None:
            message = f'Unable to find the column [{given}] in the table "{table.name}"'
            raise InvalidValue(message, field=name)
        if column.kind not in kinds or column.name == table.primary_key:
            raise InvalidValue(f'The column "{given}" cannot be the {name}.', field=name)


async def _prepare_table(context: Context, values: Values, key: Any) -> Prepared:
    name = str(values.get("table_name") if key is None else key)
    table = context.catalogue.table(name)
    if table is None:
        raise InvalidValue(f'Unable to find the table "{name}"', field="table_name")
    if key is not None and values.get("table_name", name) != name:
        raise InvalidValue("A table keeps its name.", field="table_name")
    check_table_metadata(table, values)

    async def after(change: Transaction, _stored: Any) -> None:
        await change.execute(fixed(QUERIES["manage_again"], name))

    return Prepared(values, after=after if "status_column" in values else None)


async def _prepare_column(context: Context, values: Values, key: int | None) -> Prepared:
    if key is not None and {"table_name", "column_name"} & values.keys():
        for name in ("table_name", "column_name"):
            values.pop(name, None)  # a record of metadata stays with its column
    if key is None:
        table = context.catalogue.table(str(values.get("table_name")))
        if table is None:
            message = f'Unable to find the table "{values.get("table_name")}"'
            raise InvalidValue(message, field="table_name")
        column = str(values.get("column_name") or "")
        relation = values.get("relationship_type") or values.get("data_type") or ""
        if column not in table.columns and not is_alias(str(relation)):
            raise InvalidValue(f"Unable to find the column [{column}]", field="column_name")
    return Prepared(values)


# ── settings, files, what is everybody's own ─────────────────────────────────────────────────────


async def _prepare_setting(context: Context, values: Values, _key: int | None) -> Prepared:
    table = context.catalogue.table("directus_settings")
    assert table is not None
    rights = context.rights.of(table)
    if not rights.add or rights.edit < 2:
        raise Forbidden
    if values.get("value") is not None:
        values["value"] = str(values["value"])
        collection, name = str(values.get("collection")), str(values.get("name"))
        check_setting(collection, name, values["value"])
    return Prepared(values)


# Of the rest the bytes or the server speak (reading 58).
_OF_FILES: Final = frozenset(
    {"id", "title", "caption", "tags", "location", "charset", "embed_id", "active"}
)


async def _prepare_file(context: Context, values: Values, key: int | None) -> Prepared:
    allowed = _OF_FILES | ({"user"} if context.principal.is_admin else set[str]())
    kept = {name: value for name, value in values.items() if name in allowed}
    if key is None:
        kept.setdefault("user", context.principal.user)
    return Prepared(kept)


_YOUTUBE: Final = '<iframe width="620" height="349" src="https://www.youtube.com/embed/'
_VIMEO: Final = '<iframe width="500" height="281" src="https://player.vimeo.com/video/'
_FRAME_END: Final = '" frameborder="0" allowfullscreen></iframe>'


def _url(alias: Sql) -> Sql:
    return raw("'/storage/uploads/' || nullif(") + alias + raw(".name, '')")


def _thumbnail_url(alias: Sql) -> Sql:
    """Thumbnails are named by id; those of TIFF, AVIF, Photoshop and PDF are JPEGs."""
    extension = raw("lower(substring(") + alias + raw(".name from '\\.([A-Za-z0-9]+)$'))")
    return (
        raw("CASE WHEN ")
        + extension
        + raw(" IN ('jpg', 'jpeg', 'png', 'gif', 'webp') THEN '/storage/uploads/thumbs/' || ")
        + alias
        + raw(".id || '.' || ")
        + extension
        + raw(" WHEN ")
        + extension
        + raw(" IN ('tif', 'tiff', 'psd', 'pdf', 'avif') THEN '/storage/uploads/thumbs/' || ")
        + alias
        + raw(".id || '.jpeg' END")
    )


def _embedded(youtube: Sql, vimeo: Sql, end: Sql) -> Computed:
    """For embeds, null else; an id that is more than an id could end the attribute it stands in."""

    def shown(alias: Sql) -> Sql:
        embed_id = alias + raw(".embed_id")
        return (
            raw("CASE WHEN ")
            + embed_id
            + raw(" ~ '^[A-Za-z0-9_-]+$' THEN CASE ")
            + alias
            + raw(".type WHEN 'embed/youtube' THEN ")
            + youtube
            + raw(" || ")
            + embed_id
            + end
            + raw(" WHEN 'embed/vimeo' THEN ")
            + vimeo
            + raw(" || ")
            + embed_id
            + end
            + raw(" END END")
        )

    return shown


async def _prepare_own(context: Context, values: Values, key: int | None) -> Prepared:
    """``user`` is whoever asks (contract 7.8, 7.9)."""
    if key is None:
        values["user"] = context.principal.user
    elif not context.principal.is_admin:
        values.pop("user", None)
    return Prepared(values)


async def _deleting_bookmarks(context: Context, change: Transaction, keys: Sequence[Any]) -> None:
    """The view saved for a bookmark goes with it (contract 7.9)."""
    bookmarks = [number for key in keys if (number := _number(key)) is not None]
    principal = context.principal
    owner = None if principal.is_admin else principal.user  # of keys that are not his, none goes
    await change.execute(fixed(QUERIES["forget_saved_views"], bookmarks, owner))
    change.touch("t:directus_preferences")


async def _prepare_message(context: Context, values: Values, key: int | None) -> Prepared:
    """``from`` in a body is ignored: the sender is whoever asks (contract 7.10)."""
    values.pop("from", None)
    if key is None:
        values["from"] = context.principal.user
    return Prepared(values)


SYSTEM_TABLES: Final[Mapping[str, SystemTable]] = MappingProxyType(
    {
        "directus_users": _USERS,
        "directus_groups": SystemTable(prepare=_prepare_group, deleting=_deleting_groups),
        "directus_privileges": SystemTable(prepare=_prepare_privilege),
        "directus_tables": SystemTable(prepare=_prepare_table),
        "directus_columns": SystemTable(prepare=_prepare_column),
        "directus_settings": SystemTable(prepare=_prepare_setting),
        "directus_files": SystemTable(
            computed={
                "url": _url,
                "thumbnail_url": _thumbnail_url,
                "old_thumbnail_url": _thumbnail_url,
                "html": _embedded(
                    raw("'" + _YOUTUBE + "'"),
                    raw("'" + _VIMEO + "'"),
                    raw(" || '" + _FRAME_END + "'"),
                ),
                "embed_url": _embedded(
                    raw("'https://www.youtube.com/watch?v='"),
                    raw("'https://vimeo.com/'"),
                    raw(""),
                ),
            },
            prepare=_prepare_file,
        ),
        "directus_preferences": SystemTable(prepare=_prepare_own),
        "directus_bookmarks": SystemTable(prepare=_prepare_own, deleting=_deleting_bookmarks),
        "directus_messages": SystemTable(prepare=_prepare_message),
    }
)


def system_table(name: str, principal: Principal, rights: TableRights) -> SystemTable | None:
    """The rules of this table as they bear on this caller; None for a user's table."""
    if name == "directus_users" and not principal.is_admin:
        return _users_for(principal, rights)
    return SYSTEM_TABLES.get(name)
