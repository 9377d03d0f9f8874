"""The settings of the instance: read over their defaults, written one collection at a time."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from settings_service.store.settings import upsert
from shared.answers import Answer
from shared.changes import Changes
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest, Missing
from shared.preconditions import state_version
from shared.rights import TableRights
from shared.system_settings import (
    DEFAULTS,
    SystemSettings,
    check_setting,
    load_system_settings,
)
from shared.versions import ApiVersion

TABLE: Final = "directus_settings"
MAX_NAME: Final = 64  # characters, as the column
_COLUMNS: Final = frozenset({"collection", "name", "value"})


def list_settings(context: Context) -> Answer:
    """Every collection with all its values, as strings. Raises Forbidden."""
    _may_view(context)
    return _answer(context, context.settings.collections, {})


def get_settings(context: Context, collection: str) -> Answer:
    """One collection. Raises Forbidden, Missing."""
    _may_view(context)
    return _one(context, context.settings, collection)


async def update_settings(
    changes: Changes, context: Context, collection: str, body: Mapping[str, Any]
) -> Answer:
    """Store the named values, and answer the collection as it is then.

    ``body`` maps names to scalars; names it leaves out keep their values. Nothing is stored unless
    all of it can be. Raises Forbidden, Missing, InvalidRequest.
    """
    _may_write(context)
    if collection not in DEFAULTS:
        raise _missing(collection)
    values = {name: _text(name, value) for name, value in body.items()}
    for name, value in values.items():
        check_setting(collection, name, value)
    async with changes.transaction(context.actor, compares=True) as change:

        async def version() -> str:
            return state_version((await load_system_settings(change)).collections[collection])

        await change.compare(context.precondition, version, alone=TABLE)
        if values:
            change.touch(f"t:{TABLE}")
            await upsert(change, collection, values)
        settings = await load_system_settings(change)
    return _one(context, settings, collection)


def _may_view(context: Context) -> None:
    rights = _rights(context)
    if rights.view < 2 or not rights.readable().keys() >= _COLUMNS:
        raise Forbidden


def _may_write(context: Context) -> None:
    rights = _rights(context)
    if rights.add < 1 or rights.edit < 2 or not rights.writable().keys() >= _COLUMNS:
        raise Forbidden


def _rights(context: Context) -> TableRights:
    return context.rights.of(context.catalogue.tables[TABLE])


def _text(name: str, value: object) -> str:
    """A setting is text; a JSON number or flag becomes its text. Raises InvalidRequest."""
    if not name or len(name) > MAX_NAME:
        raise InvalidRequest(f"The name of a setting has 1 to {MAX_NAME} characters.", field=name)
    match value:
        case bool():
            return "1" if value else "0"
        case str() | int() | float() | Decimal():
            text = str(value)
        case None:
            text = ""
        case _:
            raise InvalidRequest(f'The setting "{name}" must be text.', field=name)
    if "\0" in text:
        raise InvalidRequest(f'The setting "{name}" holds a NUL character.', field=name)
    return text


def _one(context: Context, settings: SystemSettings, collection: str) -> Answer:
    values = settings.collections.get(collection)
    if values is None:
        raise _missing(collection)
    return _answer(
        context, values, {"settings_collection": collection}, version=state_version(values)
    )


def _missing(collection: str) -> Missing:
    return Missing(f'Unable to find the settings collection "{collection}"')


def _answer(
    context: Context,
    data: Mapping[str, object],
    meta: Mapping[str, str],
    *,
    version: str | None = None,
) -> Answer:
    body: Mapping[str, object] = data
    if context.version is ApiVersion.V1_1:
        body = {"meta": {"table": TABLE, "type": "item", **meta}, "data": data}
    return Answer(
        body=msgspec.json.encode(body),
        depends=frozenset({f"t:{TABLE}", "schema", f"g:{context.principal.group}"}),
        scope="group",
        cacheable=True,
        version=version,
    )
