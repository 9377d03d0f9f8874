"""Files: bytes in the store, records in directus_files. Source: contract 7.7, reading 58."""

from asyncio import AbstractEventLoop, Semaphore, get_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from files_service.operations import embeds, limits, uploads
from files_service.operations.content_types import ContentType, content_type, title_of
from files_service.operations.incoming import DATA, Incoming, Sending
from files_service.operations.limits import Limits
from files_service.operations.names import bare_name, stem_for
from files_service.operations.pictures import PICTURES, Picture, picture_of
from files_service.operations.thumbnails import Thumbnails
from files_service.operations.uploads import Upload
from files_service.store import files
from files_service.store.contents import Contents
from shared import envelopes, rows
from shared.answers import Answer
from shared.brackets import Query
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database
from shared.errors import Conflict, Forbidden, InvalidRequest, NotFound, Refused
from shared.file_records import add_record, add_record_alone, check_quota, keep_quota
from shared.new_file import NewFile
from shared.rights import TableRights
from shared.sql import raw

TABLE: Final = "directus_files"
ACTIVE: Final = 1
MAX_NAME: Final = 255  # characters
AHEAD: Final = "upload"  # a body's key for bytes that were sent ahead by POST upload
_TEXTS: Final = ("title", "caption", "tags", "location", "charset", "embed_id")
_NOT_OF_A_ROW: Final = frozenset({DATA, "name", AHEAD})
_ONE_PICTURE: Final = WeakKeyDictionary[AbstractEventLoop, Semaphore]()
_CLEARED: Final = "The upload took too long and was cleared away; send it again."


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client says of a new file."""

    name: str
    type: str | None
    texts: Mapping[str, str]
    active: int
    user: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that are in the store and wait for their record."""

    key: str
    size: int
    sha256: str
    kind: ContentType
    picture: Picture
    name: str | None  # as the client called the file


Fields = dict[str, Any]
Also = Callable[[Change, int], Awaitable[None]]


async def create_files(
    changes: Changes, contents: Contents, context: Context, incoming: Incoming, most: Limits
) -> tuple[Answer, list[int]]:
    """Store the files a body brings and record them; one that brings none is a record only.

    Several files make several records, or none. Nothing is kept unless all of it is. Also returns
    the ids of those that have thumbnails. Raises Forbidden, Refused (no name), InvalidRequest,
    TooLarge, UnsupportedMediaType.
    """
    if not _rights(context).add:
        raise Forbidden
    async with AsyncExitStack() as stack:
        fields, stored = await take_in(changes.database, contents, context, incoming, most, stack)
        if not stored and fields.get(AHEAD):
            stored = [await sent_ahead(changes.database, context, fields[AHEAD])]
        keys = await record_all(changes, context, fields, stored)
    pictures = [key for key, one in zip(keys, stored, strict=False)
                if Thumbnails.are_made_of(one.kind.type)]  # fmt: skip
    if len(keys) > 1:
        listing: Query = {"filters": {"id": {"in": ",".join(map(str, keys))}}}
        if not _rights(context).view:
            return Answer(msgspec.json.encode([{"id": key} for key in keys])), pictures
        return await rows.list_rows(changes.database, context, TABLE, listing), pictures
    return await _shown(changes.database, context, keys[0]), pictures


async def take_in(
    database: Database,
    contents: Contents,
    context: Context,
    incoming: Incoming,
    most: Limits,
    stack: AsyncExitStack,
) -> tuple[Fields, list[Stored]]:
    """Read a body: its fields, and its files, stored; ``stack`` clears them by a fault."""
    fields: Fields = {}
    stored: list[Stored] = []
    async for part in incoming:
        if not isinstance(part, Sending):
            fields[part.name] = part.value
            continue
        limits.check_count(most, len(stored) + 1)
        upload = await stack.enter_async_context(
            uploads.upload(
                database, contents, context.principal.user, limits.within(most, part.chunks)
            )
        )
        name = part.name or _name_in(fields)
        stored.append(
            await described(contents, context, upload, name, part.claimed or _type_in(fields))
        )
    if isinstance(fields.get(DATA), bool | int | float | dict | list) and fields[DATA]:
        raise InvalidRequest("data must be base64 text", field=DATA)
    return fields, stored


def _name_in(fields: Fields) -> str | None:
    name = fields.get("name")
    return bare_name(name) if isinstance(name, str) else None


def _type_in(fields: Fields) -> str | None:
    kind = fields.get("type")
    return kind if isinstance(kind, str) else None


async def described(
    contents: Contents, context: Context, upload: Upload, name: str | None, claimed: str | None
) -> Stored:
    """What the bytes themselves tell. Raises UnsupportedMediaType for a type not taken here."""
    kind = content_type(upload.head, name=name or "", claimed=claimed)
    limits.check_type(context, kind.type)
    picture = await _picture(contents, upload, kind.type)
    return Stored(upload.key, upload.size, upload.sha256, kind, picture, name)


async def _picture(contents: Contents, upload: Upload, kind: str) -> Picture:
    """Only one picture's header is in memory at a time, however many are sent."""
    if kind not in PICTURES:
        return Picture()

    async def read(start: int, end: int) -> AsyncIterator[bytes]:
        if end <= len(upload.head):
            yield upload.head[start:end]
        else:
            async for chunk in contents.read(upload.key, start, end):
                yield chunk

    async with _ONE_PICTURE.setdefault(get_running_loop(), Semaphore()):
        return await picture_of(read, upload.size)


async def record_all(
    changes: Changes,
    context: Context,
    fields: Fields,
    stored: Sequence[Stored],
    *,
    also: Also | None = None,
) -> list[int]:
    """One record for each of the stored files, or one without bytes; all in one transaction.

    ``also`` is done in it for each record.
    """
    if len(stored) > 1:
        fields = {name: value for name, value in fields.items() if name != "name"}
    news = [_new_file(context, fields, one) for one in stored or [None]]
    if len(news) == 1 and also is None:
        return [await add_record_alone(changes, context, news[0])]
    keys: list[int] = []
    async with changes.transaction(context.actor) as change:
        for new in news:
            key = await add_record(change, context, new)
            if also is not None:
                await also(change, key)
            keys.append(key)
    return keys


async def _shown(database: Database, context: Context, key: int) -> Answer:
    if not _rights(context).view:
        return Answer(envelopes.item(context.version, TABLE, {"id": key}))
    return await rows.get_row(database, context, TABLE, str(key), {})


def _new_file(context: Context, fields: Fields, stored: Stored | None) -> NewFile:
    """The record: detected from the bytes, overridden by what the client may override."""
    embed = None
    if fields.get("type") in embeds.TYPES:
        embed = embeds.embed_of(fields["type"], fields.get("embed_id"))
    sent = _sent(context, fields, stored, embed)
    texts, kind = sent.texts, stored.kind if stored else None
    picture = stored.picture if stored else Picture()
    key = stored.key if stored else None
    detected = kind.type if kind else content_type(b"", name=sent.name, claimed=sent.type).type
    extension = kind.extension if kind else ""
    if kind is None and embed is None:
        extension = content_type(b"", name=sent.name, claimed=sent.type).extension
    return NewFile(
        storage_key=key,
        sha256=stored.sha256 if stored else None,
        size=stored.size if stored else 0,
        stem=stem_for(context.settings.file_naming, name=sent.name, key=key),
        extension=f".{extension}" if extension else "",
        type=embed.type if embed else detected if stored else sent.type,
        charset=texts.get("charset") or (kind.charset if kind else None),
        width=picture.width,
        height=picture.height,
        title=texts.get("title") or picture.title or title_of(sent.name),
        caption=texts.get("caption", picture.caption),
        tags=texts.get("tags", picture.tags),
        location=texts.get("location", picture.location),
        embed_id=texts.get("embed_id"),
        active=sent.active,
        user=sent.user,
    )


def _rights(context: Context) -> TableRights:
    return context.rights.of(context.catalogue.tables[TABLE])


def _sent(
    context: Context,
    fields: Mapping[str, Any],
    stored: Stored | None,
    embed: embeds.Embed | None,
) -> Sent:
    """Raises Forbidden, Refused without a name, InvalidRequest."""
    rights = _rights(context)
    active = _number(fields, "active", ACTIVE)
    if rights.level("add", active) < 1:
        raise Forbidden
    check_blacklist(rights, fields)
    name = fields.get("name") or (stored.name if stored else None)
    if name is None and embed is not None:
        name = embed.id
    if not isinstance(name, str) or not bare_name(name).strip():
        raise Refused("Missing [name] parameter. Must provide filename.", field="name")
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"name is longer than {MAX_NAME} characters", field="name")
    user = context.principal.user
    return Sent(
        name=bare_name(name).strip(),
        type=_text(fields, "type"),
        texts={field: text for field in _TEXTS if (text := _text(fields, field)) is not None},
        active=active,
        user=_number(fields, "user", user) if context.principal.is_admin else user,
    )


def check_blacklist(rights: TableRights, fields: Mapping[str, Any]) -> None:
    refused = sorted(fields.keys() & rights.write_blacklist)
    if refused:
        raise Forbidden(f'You may not write the column "{refused[0]}"', field=refused[0])


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


# ── bytes ahead of their record ───────────────────────────────────────────────────────────────────


async def store_ahead(
    changes: Changes, contents: Contents, context: Context, incoming: Incoming, most: Limits
) -> list[dict[str, Any]]:
    """Store files without a record: what is known of each, and ``upload``, a name for its bytes.

    POST ``files`` with that ``upload`` makes the record; without one the bytes are cleared after
    an hour. Raises as create_files.
    """
    if not _rights(context).add:
        raise Forbidden
    async with AsyncExitStack() as stack:
        _, stored = await take_in(changes.database, contents, context, incoming, most, stack)
        if not stored:
            raise InvalidRequest("the body brings no file")
        total = sum(one.size for one in stored)
        await check_quota(changes.database, context, total)
        await changes.join()
        for one in stored:
            info = msgspec.json.encode(one).decode()
            await files.keep_info(changes.database, one.key, info)
    return [_info(context, one) for one in stored]


async def prepare(
    changes: Changes, contents: Contents, context: Context, incoming: Incoming, most: Limits
) -> NewFile:
    """Store the one file a body brings; its record is made by whoever asked, within the hour.

    Raises as create_files.
    """
    if not _rights(context).add:
        raise Forbidden
    async with AsyncExitStack() as stack:
        fields, stored = await take_in(changes.database, contents, context, incoming, most, stack)
        if len(stored) != 1:
            raise InvalidRequest("the body brings no file", field=DATA)
        new = _new_file(context, fields, stored[0])
        await check_quota(changes.database, context, new.size)
    return new


async def give_back(database: Database, contents: Contents, context: Context, key: str) -> None:
    """Clear the bytes of a file that got no record; those that got one stay.

    Raises NotFound for bytes that are not the caller's.
    """
    if not _is_key(key) or not await files.is_registered(database, key, context.principal.user):
        raise NotFound("There are no such bytes waiting for a record.")
    await uploads.clear(database, contents, key)


def _is_key(key: str) -> bool:
    return len(key) == 36 and key.replace("-", "").isalnum()


async def sent_ahead(database: Database, context: Context, key: object) -> Stored:
    """Raises NotFound for bytes that are not there, or not the caller's."""
    info = None
    if isinstance(key, str) and _is_key(key):
        info = await files.info(database, key, context.principal.user)
    if info is None:
        raise NotFound("There are no such bytes waiting for a record.")
    return msgspec.json.decode(info, type=Stored)


def _info(context: Context, stored: Stored) -> dict[str, Any]:
    name = stored.name or ""
    return {
        AHEAD: stored.key,
        "name": name,
        "title": stored.picture.title or title_of(name),
        "type": stored.kind.type,
        "charset": stored.kind.charset,
        "size": stored.size,
        "sha256": stored.sha256,
        "width": stored.picture.width,
        "height": stored.picture.height,
        "caption": stored.picture.caption,
        "tags": stored.picture.tags,
        "location": stored.picture.location,
        "user": context.principal.user,
        "date_uploaded": datetime.now(UTC).isoformat(timespec="seconds"),
        "storage_adapter": "local",
        "data": None,
        "html": None,
        "embed_id": None,
    }


def embed_info(context: Context, link: object) -> dict[str, Any]:
    """What a record of a linked video would hold. Raises Forbidden, InvalidRequest."""
    if not _rights(context).add:
        raise Forbidden
    if not isinstance(link, str) or not link.strip():
        raise InvalidRequest("link must be the address of a video", field="link")
    embed = embeds.embed_in(link.strip())
    return {
        "type": embed.type,
        "embed_id": embed.id,
        "name": embed.id,
        "title": embed.id,
        "html": embed.html,
        "embed_url": embed.url,
        "url": embed.url,
        "data": None,
        "size": 0,
        "width": None,
        "height": None,
        "charset": None,
        "caption": "",
        "tags": "",
        "location": "",
        "user": context.principal.user,
        "date_uploaded": datetime.now(UTC).isoformat(timespec="seconds"),
        "storage_adapter": "local",
    }


# ── one file ──────────────────────────────────────────────────────────────────────────────────────


async def update_file(
    changes: Changes,
    contents: Contents,
    context: Context,
    key: str,
    incoming: Incoming,
    query: Query,
    most: Limits,
) -> Answer:
    """Change what a client may change of a record, and its bytes where the body brings some.

    The rules of the system tables say which columns a client may write.
    Raises Forbidden, NotFound, InvalidRequest, TooLarge, UnsupportedMediaType.
    """
    if not (_rights(context).edit or _rights(context).delete):
        raise Forbidden
    async with AsyncExitStack() as stack:
        fields, stored = await take_in(changes.database, contents, context, incoming, most, stack)
        if not stored and fields.get(AHEAD):
            stored = [await sent_ahead(changes.database, context, fields[AHEAD])]
        if len(stored) > 1:
            raise InvalidRequest("a file has one content", field=DATA)
        body = {name: fields[name] for name in fields if not (stored and name in _NOT_OF_A_ROW)}
        body.pop(DATA, None)
        if not stored:
            return await rows.update_row(changes, context, TABLE, key, body, query=query)
        await _change_both(changes, context, key, body, stored[0], _name_in(fields))
    return await _shown(changes.database, context, int(key))


async def _change_both(
    changes: Changes, context: Context, key: str, body: Fields, stored: Stored, name: str | None
) -> None:
    """Record and bytes, or neither. Locked before it is compared, for a body of bytes alone."""
    async with changes.all_or_none():
        async with changes.transaction(context.actor, compares=True) as change:
            await _lock(change, context, key)
        await rows.update_row(changes, context, TABLE, key, body, query={})
        await replace_bytes(changes, context, key, stored, name, compared=True)


async def replace_bytes(
    changes: Changes,
    context: Context,
    key: str,
    stored: Stored,
    name: str | None,
    *,
    compared: bool = False,
    also: Also | None = None,
) -> None:
    """``compared``: the record was found as If-Match says, in the same transaction.

    Raises NotFound for a file that is missing or hidden, Forbidden for one not to be changed,
    OverQuota, Conflict.
    """
    new = _new_file(context, {"name": name or stored.name or "file"}, stored)
    async with changes.transaction(context.actor, compares=compared) as change:
        change.touch(f"t:{TABLE}")
        await _lock(change, context, key)
        await keep_quota(change, context, stored.size)
        if not await files.replace(change, int(key), new):
            raise Conflict(_CLEARED)
        if also is not None:
            await also(change, int(key))


async def _lock(change: Change, context: Context, key: str) -> None:
    """Nobody else changes the record until the end. Raises NotFound, Forbidden."""
    rights, user, alias = _rights(context), context.principal.user, raw("t")
    may = None
    if key.isascii() and key.isdigit() and len(key) < 10:
        visible, editable = rights.view_condition(user, alias), rights.edit_condition(user, alias)
        may = await files.lock_editable(change, int(key), visible, editable)
    if may is None:
        raise NotFound(f"Unable to find the record in [{TABLE}] with ID [{key}]")
    if not may:
        raise Forbidden


async def delete_file(
    changes: Changes, contents: Contents, context: Context, key: str, query: Query
) -> Answer:
    """Delete the record, and with it the bytes: ``{success, data: {id}}``.

    ``soft=1`` only sets the status. Raises Forbidden.
    """
    answer = await rows.delete_row(changes, context, TABLE, key, query=query)
    deleted = msgspec.json.decode(answer.body, type=dict[str, Any])
    if deleted.get("success"):
        await changes.afterwards(lambda: uploads.clear_abandoned(changes.database, contents))
        deleted["data"] = {"id": int(key)}
    return Answer(msgspec.json.encode(deleted))


async def find_stored(database: Database, name: str) -> files.StoredFile:
    """What is served as ``/storage/uploads/<name>``. Raises NotFound."""
    found = None if "\0" in name else await files.stored_under(database, name)
    if found is None:
        raise NotFound("There is no such file.")
    return found
