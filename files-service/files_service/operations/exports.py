"""Exports that items-service has made become files of the library, each once.

The bytes wait in PostgreSQL; the record, the end of the job and the message to whoever asked are
one transaction.
"""

from uuid import uuid4

from files_service.operations import uploads
from files_service.operations.names import bare_name, stem_for
from files_service.store import exports
from files_service.store.contents import Contents
from files_service.store.exports import Waiting
from shared.changes import Changes
from shared.context import Actor
from shared.file_records import record
from shared.new_file import NewFile


class _Lost(Exception):
    """Somebody else has this export, or nobody wants it any more."""


async def store_next_export(changes: Changes, contents: Contents) -> bool:
    """Whether there was one."""
    waiting = await exports.take(changes.database, str(uuid4()))
    if waiting is None:
        return False
    parts = exports.read_parts(changes.database, waiting)
    try:
        async with uploads.upload(changes.database, contents, waiting.user, parts) as upload:
            await _record(changes, waiting, upload)
    except _Lost:
        pass
    return True


async def _record(changes: Changes, waiting: Waiting, upload: uploads.Upload) -> None:
    result = waiting.result
    name = bare_name(str(result["name"]))
    stem, dot, ending = name.rpartition(".")
    new = NewFile(
        storage_key=upload.key,
        sha256=upload.sha256,
        size=upload.size,
        stem=stem_for("file_name", name=name, key=None),
        extension=f".{ending.lower()}" if dot and stem and ending.isalnum() else "",
        type=str(result["type"]),
        charset="utf-8",
        width=None,
        height=None,
        title=str(result["title"]),
        caption=(
            f"{waiting.rows} rows of {waiting.collection}, with every change up to position "
            f"{result['position']} of the feed {result['feed']}"
        ),
        tags=_tags(str(result.get("folder", ""))),
        location="",
        embed_id=None,
        active=1,
        user=waiting.user,
    )
    async with changes.transaction(Actor(waiting.user, waiting.id)) as change:
        change.touch("t:directus_files", "t:directus_messages", "t:directus_messages_recipients")
        key = await record(change, new)
        if key is None or not await exports.finish(change, waiting, key):
            raise _Lost
        subject = f"The export of {waiting.collection} is ready"
        message = f"{waiting.rows} rows are in the file library as {name} (file {key})."
        await exports.tell(change, waiting, subject, message)


def _tags(folder: str) -> str:
    """The library has no folders; what one is called is looked for among the tags."""
    return f"export,{folder.replace(',', ' ')}" if folder else "export"
