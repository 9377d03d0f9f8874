"""Privileges: what each group may do with each table. Administrators only. Source: contract 7.4."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from schema_service.operations import tables, versions
from schema_service.operations.answers import wrapped
from schema_service.operations.names import new_table_name
from schema_service.operations.truth import truth
from schema_service.store import schema
from schema_service.store.schema import QUERIES, schema_change
from shared.answers import Answer
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.preconditions import state_version
from shared.sql import fixed
from shared.stamps import SCHEMA, group_topic, table_topic
from shared.versions import ApiVersion

_META: Final = {"table": "directus_privileges", "type": "item"}
_ENTRY: Final = {"table": "directus_privileges", "type": "entry"}
_LEVELS: Final = ("allow_view", "allow_add", "allow_edit", "allow_delete", "allow_alter")
_WORDS: Final = frozenset(
    {"view", "bigview", "add", "edit", "bigedit", "delete", "bigdelete", "alter"}
)
_LISTS: Final = ("read_field_blacklist", "write_field_blacklist")


async def list_privileges(database: Database, context: Context, group: str) -> Answer:
    """The rows of a group, and a stub for each table without one, by table name.

    Raises Forbidden, NotFound for a group that is not there.
    """
    number = await _group(database, context, group)
    rows = await database.fetch(fixed(QUERIES["privileges_of_group"], number))
    found = [dict(row) for row in rows]
    named = {row["table_name"] for row in found}
    stubs: list[dict[str, Any]] = [
        {"table_name": name, "group_id": number, "status_id": None}
        for name in context.catalogue.tables
        if name not in named
    ]
    listed = sorted([*found, *stubs], key=lambda row: row["table_name"])
    return _answer(context, number, listed)


async def get_privilege(database: Database, context: Context, group: str, table: str) -> Answer:
    """The row of a group for one table. Raises Forbidden, NotFound."""
    number = await _group(database, context, group)
    rows = await database.fetch(fixed(QUERIES["privileges_of_group"], number))
    for row in rows:  # the general row stands before those of single statuses
        if row["table_name"] == table:
            return _answer(context, number, dict(row), state_version(dict(row)))
    raise NotFound(f'There are no privileges of group {number} for the table "{table}"')


def _answer(context: Context, group: int, data: object, version: str | None = None) -> Answer:
    depends = {SCHEMA, group_topic(context.principal.group), group_topic(group)}
    depends |= {table_topic("directus_privileges"), table_topic("directus_groups")}
    body = wrapped(context, data, _META)
    return Answer(body, depends=frozenset(depends), scope="group", cacheable=True, version=version)


async def _group(database: Database, context: Context, given: str) -> int:
    if not context.principal.is_admin:
        raise Forbidden
    number = _number(given)
    if number is None or not await database.fetchval(fixed(QUERIES["group_exists"], number)):
        raise NotFound(f"Unable to find the group [{given}]")
    return number


async def create_privilege(
    changes: Changes, context: Context, path: str, body: Mapping[str, Any]
) -> Answer:
    """The row of a group and table, made or changed; with ``addTable`` the table too.

    The group of the body counts, else that of the path (reading 21). Raises Forbidden,
    InvalidRequest, NotFound for a table that is not there.
    """
    if not context.principal.is_admin:
        raise Forbidden
    group = _number(body.get("group_id"))
    group = _number(path) if group is None else group
    if group is None:
        raise InvalidRequest("A privilege needs a group_id.", field="group_id")
    name = str(body.get("table_name") or body.get("name") or "")
    adds = truth(body.get("addTable")) and context.catalogue.table(name) is None
    values = _values(body)
    if adds:
        name = new_table_name(name)
        async with schema_change(changes, context, versions.nothing) as change:
            await tables.add_table(change, context, name)
            row = await _save(change, group, name, _number(body.get("status_id")), values)
    else:
        if context.catalogue.table(name) is None:
            raise NotFound(f'Unable to find the table "{name}"')
        status = _number(body.get("status_id"))
        async with changes.transaction(context.actor, compares=True) as change:
            await _compare(change, context, group, name, status)
            row = await _save(change, group, name, status, values)
    return Answer(wrapped(context, row, _ENTRY), version=state_version(row))


async def update_privilege(
    changes: Changes, context: Context, path: str, which: str, body: Mapping[str, Any]
) -> Answer:
    """By id, or by table name within the group of the path (reading 22).

    ``activeState`` picks the row of that status, made if it is missing. Raises Forbidden, NotFound.
    """
    if not context.principal.is_admin:
        raise Forbidden
    async with changes.transaction(context.actor, compares=True) as change:
        group, table, status = await _place(change, context, path, which, body)
        await _compare(change, context, group, table, status)
        row = await _save(change, group, table, status, _values(body))
    if context.version is ApiVersion.V1_0:
        return Answer(msgspec.json.encode(row), version=state_version(row))
    body_out = msgspec.json.encode({"meta": _META, "data": row})
    return Answer(body_out, version=state_version(row))


async def _compare(
    change: Change, context: Context, group: int, table: str, status: int | None
) -> None:
    """Raises PreconditionFailed where the row of that status is not as the caller has seen it."""

    async def version() -> str | None:
        for row in await change.fetch(fixed(QUERIES["privileges_of_group"], group)):
            if row["table_name"] == table and (row["status_id"] or 0) == (status or 0):
                return state_version(dict(row))
        return None

    await change.compare(context.precondition, version, alone="directus_privileges")


async def _place(
    change: Change, context: Context, path: str, which: str, body: Mapping[str, Any]
) -> tuple[int, str, int | None]:
    """Group, table and status of the row that is meant. Raises NotFound."""
    status = _number(body.get("activeState"))
    key = _number(which)
    if key is not None and context.catalogue.table(which) is None:
        row = await change.fetchrow(fixed(QUERIES["privilege_by_id"], key))
        if row is None:
            raise NotFound(f"Unable to find the record in [directus_privileges] with ID [{key}]")
        return row["group_id"], row["table_name"], row["status_id"] if status is None else status
    group = _number(path)
    group = _number(body.get("group_id")) if group is None else group
    if group is None or context.catalogue.table(which) is None:
        raise NotFound(f'There are no privileges of group {path} for the table "{which}"')
    return group, which, _number(body.get("status_id")) if status is None else status


async def _save(
    change: Change, group: int, table: str, status: int | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    row = await schema.save_privilege(change, group, table, status, values)
    change.touch("t:directus_privileges", group_topic(group))
    return dict(row)


def _values(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body says of a privilege, as it is stored. Raises InvalidRequest."""
    values = _of_words(body.get("permissions"))
    for name in _LEVELS:
        if name in body:
            level = _number(body[name])
            if level is None or level > 2:
                raise InvalidRequest(f"{name} must be 0, 1 or 2", field=name)
            values[name] = level
    for name in _LISTS:
        if name in body:
            given = body[name]
            names = given.values() if isinstance(given, Mapping) else given
            text = names if isinstance(names, str) else ",".join(str(n) for n in names or ())
            values[name] = text or None
    if "nav_listed" in body:
        values["nav_listed"] = int(truth(body["nav_listed"]))
    return values


def _of_words(given: object) -> dict[str, Any]:
    """``view,bigview,add,…`` of the time before 1.0: plain words are one's own, big ones all.

    Raises InvalidRequest.
    """
    if given is None:
        return {}
    words = {word for word in map(str.strip, str(given).split(",")) if word}
    unknown = sorted(words - _WORDS)
    if unknown:
        message = (
            f'permissions has the unknown word "{unknown[0]}"; it takes {", ".join(sorted(_WORDS))}'
        )
        raise InvalidRequest(message, field="permissions")
    levels: dict[str, Any] = {}
    for name in _LEVELS:
        word = name.removeprefix("allow_")
        levels[name] = 2 if f"big{word}" in words else int(word in words)
    return levels


def _number(given: object) -> int | None:
    text = str(int(given)) if isinstance(given, bool) else str(given).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
