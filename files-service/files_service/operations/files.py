"""Files: bytes in the store, records in directus_files. Source: contract 7.7, reading 58."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from files_service.operations import uploads
from files_service.operations.base64_data import decode, split_data
from files_service.operations.content_types import content_type, picture_size, title_of
from files_service.operations.names import bare_name, stem_for
from files_service.store import files
from files_service.store.contents import Contents
from files_service.store.files import NewFile
from shared import envelopes, rows
from shared.answers import Answer
from shared.brackets import Query
from shared.changes import Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Conflict, Forbidden, InvalidRequest, NotFound, Refused

TABLE: Final = "directus_files"
ACTIVE: Final = 1
MAX_NAME: Final = 255  # characters
_TEXTS: Final = ("title", "caption", "tags", "location", "charset", "embed_id")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client says of a new file."""

    name: str
    type: str | None
    texts: Mapping[str, str]
    active: int
    user: int


async def create_file(
    changes: Changes, contents: Contents, context: Context, body: dict[str, Any]
) -> Answer:
    """Store the base64 ``data`` of ``body`` and record it; without ``data`` a record only.

    Nothing is kept unless all of it is. Raises Forbidden, Refused (no name), InvalidRequest.
    """
    sent = _sent(context, body)
    data = body.pop("data", None)
    if data in (None, ""):
        key = await _record(changes, context, sent, None)
    elif isinstance(data, str):
        kind, text = split_data(data)
        del data
        async with uploads.upload(
            changes.database, contents, context.principal.user, decode(text)
        ) as upload:
            key = await _record(changes, context, sent, upload, claimed=kind)
    else:
        raise InvalidRequest("data must be base64 text", field="data")
    if not context.rights.of(context.catalogue.tables[TABLE]).view:
        return Answer(envelopes.item(context.version, TABLE, {"id": key}))
    return await rows.get_row(changes.database, context, TABLE, str(key), {})


async def _record(
    changes: Changes,
    context: Context,
    sent: Sent,
    upload: uploads.Upload | None,
    *,
    claimed: str | None = None,
) -> int:
    new = await _described(context, sent, upload, claimed)
    async with changes.transaction(context.actor) as change:
        change.touch(f"t:{TABLE}")
        key = await files.record(change, new)
        if key is None:
            raise Conflict("The upload took too long and was cleared away; send it again.")
    return key


async def _described(
    context: Context, sent: Sent, upload: uploads.Upload | None, claimed: str | None
) -> NewFile:
    """The record: detected from the bytes, overridden by what the client may override."""
    head = upload.head if upload else b""
    kind = content_type(head, name=sent.name, claimed=sent.type or claimed)
    size = await picture_size(head, kind.type) if upload else None
    sha256 = upload.sha256 if upload else None
    texts = sent.texts
    return NewFile(
        storage_key=upload.key if upload else None,
        sha256=sha256,
        size=upload.size if upload else 0,
        stem=stem_for(context.settings.file_naming, name=sent.name, sha256=sha256),
        extension=f".{kind.extension}" if kind.extension else "",
        type=kind.type if upload else sent.type,
        charset=texts.get("charset") or (kind.charset if upload else None),
        width=size[0] if size else None,
        height=size[1] if size else None,
        title=texts.get("title") or title_of(sent.name),
        caption=texts.get("caption", ""),
        tags=texts.get("tags", ""),
        location=texts.get("location", ""),
        embed_id=texts.get("embed_id"),
        active=sent.active,
        user=sent.user,
    )


def _sent(context: Context, body: Mapping[str, Any]) -> Sent:
    """Check the rights and the shape before a byte is stored."""
    table = context.catalogue.tables[TABLE]
    rights = context.rights.of(table)
    active = _number(body, "active", ACTIVE)
    if rights.level("add", active) < 1:
        raise Forbidden
    refused = sorted(body.keys() & rights.write_blacklist)
    if refused:
        raise Forbidden(f'You may not write the column "{refused[0]}"', field=refused[0])
    name = body.get("name")
    if not isinstance(name, str) or not bare_name(name).strip():
        raise Refused("Missing [name] parameter. Must provide filename.", field="name")
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"name is longer than {MAX_NAME} characters", field="name")
    user = context.principal.user
    return Sent(
        name=bare_name(name).strip(),
        type=_text(body, "type"),
        texts={field: text for field in _TEXTS if (text := _text(body, field)) is not None},
        active=active,
        user=_number(body, "user", user) if context.principal.is_admin else user,
    )


def _text(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is None:
        return None
    if field == "tags" and isinstance(value, list):
        value = ",".join(str(tag) for tag in value)
    if isinstance(value, bool | dict | list):
        raise InvalidRequest(f"{field} must be text", field=field)
    text = str(value)
    if "\0" in text:
        raise InvalidRequest(f"{field} holds a NUL character", field=field)
    return text


def _number(body: Mapping[str, Any], field: str, default: int) -> int:
    value = body.get(field)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{field} must be a whole number", field=field) from error


async def update_file(
    changes: Changes, context: Context, key: str, body: Mapping[str, Any], query: Query
) -> Answer:
    """Change what a client may change of a record (the rules of the system tables say what).

    Raises Forbidden, NotFound, InvalidRequest for new bytes: they need a new file.
    """
    if body.get("data"):
        raise InvalidRequest(
            "The bytes of a file cannot be replaced; create another.", field="data"
        )
    return await rows.update_row(changes, context, TABLE, key, body, query=query)


async def delete_file(
    changes: Changes, contents: Contents, context: Context, key: str, query: Query
) -> Answer:
    """Delete the record, and with it the bytes: ``{success, data: {id}}``.

    ``soft=1`` only sets the status. Raises Forbidden.
    """
    answer = await rows.delete_row(changes, context, TABLE, key, query=query)
    deleted = msgspec.json.decode(answer.body, type=dict[str, Any])
    if deleted.get("success"):
        await uploads.clear_abandoned(changes.database, contents)
        deleted["data"] = {"id": int(key)}
    return Answer(msgspec.json.encode(deleted))


async def find_stored(database: Database, name: str) -> files.StoredFile:
    """What is served as ``/storage/uploads/<name>``. Raises NotFound."""
    found = None if "\0" in name else await files.stored_under(database, name)
    if found is None:
        raise NotFound("There is no such file.")
    return found
