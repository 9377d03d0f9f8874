"""Messages between users: threads of one message and its replies, read and archived by each.

A message is its sender's and its recipients', whatever rights a group has on the table; a reply
goes to whoever takes part in the thread. Source: contract 7.10, readings 31 to 33.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from settings_service.operations.addresses import Addressed, addressed, mentioned, words
from shared.answers import Answer
from shared.brackets import Query
from shared.changes import Change, Changes
from shared.context import Context
from shared.database import Database, Reader
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.mail import queue_mail, render
from shared.preconditions import state_version
from shared.queries import load_queries
from shared.sql import fixed
from shared.stamps import group_topic, table_topic
from shared.system_settings import MAX_ROWS_PER_PAGE
from shared.versions import ApiVersion

TABLE: Final = "directus_messages"
RECIPIENTS: Final = "directus_messages_recipients"
QUERIES: Final = load_queries("settings_service.store", "messages.sql")
MAX_ID: Final = 2**31 - 1
MAX_SUBJECT: Final = 255  # characters, as the column
_TOPICS: Final = (table_topic(TABLE), table_topic(RECIPIENTS))


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be stored; ``root`` is the message a reply belongs to."""

    subject: str
    text: str
    attachment: str
    root: int | None = None
    comment_metadata: str | None = None


@dataclass(frozen=True, slots=True)
class Receiver:
    """``group``: the group he was addressed by, if not by himself."""

    id: int
    email: str
    by_mail: bool
    group: int | None


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


async def list_messages(database: Database, context: Context, user: int, query: Query) -> Answer:
    """The inbox of one user: threads, newest first, and counts of all his messages.

    With ``max_id`` only threads with newer unread messages. Raises Forbidden, InvalidRequest.
    """
    if user != context.principal.user:
        _may_look_at_others(context)
    limit, offset = _page(context, query)
    newer = _whole(query, "max_id")
    found = await database.fetch(fixed(QUERIES["inbox"], user, limit, offset, newer))
    order = [row["id"] for row in found]
    threads = await _threads(database, user, order)
    counts = await database.fetchrow(fixed(QUERIES["counts"], user))
    assert counts is not None
    listed = [threads[number] for number in order if number in threads]
    if context.version is ApiVersion.V1_0:
        return _cached(context, {**counts, "rows": listed})
    meta = {"table": TABLE, "type": "collection", "recipient": user, **counts}
    return _cached(context, {"meta": meta, "data": listed})


def _may_look_at_others(context: Context) -> None:
    rights = context.rights
    for name in (TABLE, RECIPIENTS):
        if rights.of(context.catalogue.tables[name]).view < 2:
            raise Forbidden


async def get_message(database: Database, context: Context, key: str) -> Answer:
    """Raises NotFound for a message the caller neither sent nor received."""
    message = await _message(database, context, _id(key))
    return _cached(context, _item(context, message), state_version(message))


async def _message(database: Reader, context: Context, number: int) -> dict[str, Any]:
    threads = await _threads(database, context.principal.user, [number])
    if number not in threads:
        raise NotFound("Message not found")
    return threads[number]


async def _threads(
    database: Reader, user: int, numbers: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """These messages as one user sees them, each with its replies. Two queries' worth in one."""
    rows = await database.fetch(fixed(QUERIES["messages"], user, list(numbers)))
    messages = {row["id"]: dict(row) for row in rows}
    replies: dict[int, list[dict[str, Any]]] = {}
    for message in messages.values():
        message["date_updated"] = message["datetime"]
        message["responses"] = {"rows": [], "data": []}
        replies.setdefault(message["response_to"], []).append(message)
    for number in numbers:
        answers = replies.get(number)
        if answers and number in messages:
            # 1.0 and the documents say rows, the last server said data (reading 33)
            messages[number]["responses"] = {"rows": answers, "data": answers}
            messages[number]["date_updated"] = answers[-1]["datetime"]
    return {number: messages[number] for number in numbers if number in messages}


def _page(context: Context, query: Query) -> tuple[int, int]:
    """Limit and offset, from either pair of parameters. Raises InvalidRequest."""
    per_page, page = _whole(query, "perPage"), _whole(query, "currentPage")
    limit, offset = _whole(query, "limit"), _whole(query, "offset")
    if per_page is not None or (limit is None and page is not None):
        limit = context.settings.rows_per_page if per_page is None else per_page
        offset = limit * (page or 0)
    limit = context.settings.rows_per_page if limit is None else limit
    if limit > MAX_ROWS_PER_PAGE:
        raise InvalidRequest(f"limit is at most {MAX_ROWS_PER_PAGE}", field="limit")
    return limit, min(offset or 0, MAX_ID)


def _whole(query: Query, name: str) -> int | None:
    given = query.get(name)
    if given is None or given == "":
        return None
    if not isinstance(given, str) or not (given.isascii() and given.isdigit() and len(given) < 19):
        raise InvalidRequest(f"{name} must be a whole number from 0 on", field=name)
    return int(given)


# ── sending ───────────────────────────────────────────────────────────────────────────────────────


async def send_message(changes: Changes, context: Context, body: Mapping[str, Any]) -> Answer:
    """Store a message and tell those who want it by mail; with ``response_to`` it is a reply.

    Raises InvalidRequest, NotFound for a recipient, an empty group or a thread that is not his.
    """
    if body.get("response_to") not in (None, "", 0, "0"):
        return await reply(changes, context, str(body["response_to"]), body)
    to = addressed(body)
    if not to:
        message = "A message needs recipients: recipients=0_<user>,1_<group>, or to, or toGroup"
        raise InvalidRequest(message, field="recipients")
    draft = _draft(body)
    async with changes.transaction(context.actor) as change:
        receivers = await _receivers(change, to)
        number = await _store(change, context, draft, receivers)
    return Answer(_encode(_item(context, await _message(changes.database, context, number))))


async def reply(changes: Changes, context: Context, key: str, body: Mapping[str, Any]) -> Answer:
    """An answer to a message, for all who take part, or for those who are named.

    Who is named and was not in the thread gets to see how it began. Raises as ``send_message``.
    """
    user = context.principal.user
    to = addressed(body)
    async with changes.transaction(context.actor, compares=True) as change:
        await _compare(change, context, _id(key), alone=TABLE)
        root = await change.fetchrow(fixed(QUERIES["root"], user, _id(key)))
        if root is None:
            raise NotFound("Message not found")
        if not to:
            taking_part = await change.fetch(fixed(QUERIES["participants"], root["id"]))
            to = Addressed(frozenset(row["id"] for row in taking_part), frozenset())
        draft = _draft({"subject": f"Re: {root['subject']}"[:MAX_SUBJECT], **body}, root["id"])
        receivers = await _receivers(change, to)
        number = await _store(change, context, draft, receivers)
        everybody = sorted({user, *(receiver.id for receiver in receivers)})
        nobody = [None] * len(everybody)
        await change.execute(fixed(QUERIES["add_recipients"], root["id"], everybody, nobody, user))
        await change.execute(fixed(QUERIES["bring_back"], root["id"], everybody))
    return Answer(_encode(_item(context, await _message(changes.database, context, number))))


async def comment(changes: Changes, context: Context, body: Mapping[str, Any]) -> Answer:
    """A message about a row, named in ``comment_metadata`` as ``<table>:<key>``.

    Who is mentioned in it as ``@[0_5 Ann]`` receives it. Raises InvalidRequest, Forbidden for a
    table the caller may not view, NotFound.
    """
    subject = str(body.get("comment_metadata") or "").strip()
    table = context.catalogue.table(subject.partition(":")[0])
    if not subject or len(subject) > MAX_SUBJECT:
        message = 'comment_metadata says what the comment is about, as "<table>:<key>"'
        raise InvalidRequest(message, field="comment_metadata")
    if table is None or not context.rights.of(table).view:
        raise Forbidden
    draft = _draft(body)
    draft = Draft(draft.subject, draft.text, draft.attachment, comment_metadata=subject)
    to = mentioned(draft.text)
    async with changes.transaction(context.actor) as change:
        receivers = await _receivers(change, to) if to else []
        number = await _store(change, context, draft, receivers, sender_receives=bool(receivers))
    return Answer(_encode(_item(context, await _message(changes.database, context, number))))


def _draft(body: Mapping[str, Any], root: int | None = None) -> Draft:
    subject, text = _line(body, "subject"), _line(body, "message")
    if not text.strip() and not (subject.strip() and root is None):
        raise InvalidRequest("A message needs a text", field="message")
    if len(subject) > MAX_SUBJECT:
        raise InvalidRequest(f"A subject has at most {MAX_SUBJECT} characters", field="subject")
    files = words(body.get("attachment"))
    for file in files:
        if not (file.isascii() and file.isdigit()):
            raise InvalidRequest(f'"{file}" is not the id of a file', field="attachment")
    attachment = ",".join(files)
    if len(attachment) > 512:
        raise InvalidRequest("A message has fewer attachments", field="attachment")
    return Draft(subject, text, attachment, root, None)


def _line(body: Mapping[str, Any], name: str) -> str:
    given = body.get(name)
    if given is None:
        return ""
    if isinstance(given, list | dict) or "\0" in str(given):
        raise InvalidRequest(f"{name} must be text", field=name)
    return str(given)


async def _receivers(change: Change, to: Addressed) -> list[Receiver]:
    """Raises NotFound for a user who is not there or not active, and for a group without users."""
    rows = await change.fetch(fixed(QUERIES["receivers"], list(to.users), list(to.groups)))
    for missing in sorted(to.users - {row["id"] for row in rows}):
        message = f"Unable to find an active user with ID [{missing}]"
        raise NotFound(message, field="recipients")
    for empty in sorted(to.groups - {row["group"] for row in rows}):
        message = f"The group with ID [{empty}] has no active users"
        raise NotFound(message, field="recipients")
    return [
        Receiver(
            id=row["id"],
            email=row["email"],
            by_mail=row["email_messages"] == 1,
            group=None if row["id"] in to.users else row["group"],
        )
        for row in rows
    ]


async def _store(
    change: Change,
    context: Context,
    draft: Draft,
    receivers: Iterable[Receiver],
    *,
    sender_receives: bool = True,
) -> int:
    """The id of the stored message. Its sender has it too, and has read it."""
    user = context.principal.user
    number = await change.fetchval(
        fixed(
            QUERIES["add_message"],
            user,
            draft.subject,
            draft.text,
            draft.attachment,
            draft.root,
            draft.comment_metadata,
        )
    )
    groups = {receiver.id: receiver.group for receiver in receivers}
    if sender_receives:
        groups = {user: None, **groups}
    await change.execute(
        fixed(QUERIES["add_recipients"], number, list(groups), list(groups.values()), user)
    )
    wanting = [receiver for receiver in receivers if receiver.by_mail and receiver.id != user]
    if wanting:
        await _mail(change, context, draft, wanting)
    change.touch(*_TOPICS)
    return number


async def _mail(
    change: Change, context: Context, draft: Draft, receivers: Iterable[Receiver]
) -> None:
    [sender] = await change.fetch(fixed(QUERIES["receivers"], [context.principal.user], []))
    told = context.settings.collections["global"]
    subject = draft.subject or "A message for you"
    text = render(
        "settings_service",
        "message.txt",
        sender=sender["name"] or sender["email"],
        is_reply=draft.root is not None,
        project=told["project_name"],
        url=told["project_url"],
        subject=subject,
        text=draft.text,
    )
    for receiver in receivers:
        await queue_mail(change, receiver.email, f"[{told['project_name']}] {subject}", text)


# ── read marks and the archive ────────────────────────────────────────────────────────────────────


async def mark(changes: Changes, context: Context, key: str, *, read: bool) -> Answer:
    """A message and its replies, for the caller only. Answers the message. Raises NotFound."""
    number = _id(key)
    user = context.principal.user
    await _message(changes.database, context, number)
    async with changes.transaction(context.actor, compares=True) as change:
        await _compare(change, context, number)
        await change.execute(fixed(QUERIES["mark"], user, number, int(read)))
        change.touch(*_TOPICS)
    message = await _message(changes.database, context, number)
    return Answer(_encode(_item(context, message)), version=state_version(message))


async def _compare(
    change: Change, context: Context, number: int, *, alone: str = RECIPIENTS
) -> None:
    """Raises PreconditionFailed where the message is not as the caller has seen it."""

    async def version() -> str:
        return state_version(await _message(change, context, number))

    await change.compare(context.precondition, version, alone=alone)


async def archive(changes: Changes, context: Context, keys: Sequence[object]) -> Answer:
    """These threads leave the caller's inbox; a new reply brings one back.

    Raises InvalidRequest when none is named, NotFound when one of them is not his: then nothing
    is archived.
    """
    numbers = {_id(str(key)) for key in keys}
    if not numbers:
        raise InvalidRequest("Rows no specified", field="rows")
    one = len(numbers) == 1
    async with changes.transaction(context.actor, compares=one) as change:
        if one:
            await _compare(change, context, *numbers)
        found = await change.fetch(
            fixed(QUERIES["archive"], context.principal.user, sorted(numbers))
        )
        if numbers - {row["message"] for row in found}:
            raise NotFound("Message not found")
        change.touch(*_TOPICS)
    if context.version is ApiVersion.V1_0:
        return Answer(_encode({"success": True}))
    meta = {"table": TABLE, "ids": sorted(numbers)}
    return Answer(_encode({"meta": meta, "data": {"success": True}}))


def _id(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 11 and int(key) <= MAX_ID):
        raise NotFound("Message not found")
    return int(key)


def _item(context: Context, message: Mapping[str, Any]) -> Mapping[str, Any]:
    if context.version is ApiVersion.V1_0:
        return message
    return {"meta": {"table": TABLE, "type": "item"}, "data": message}


def _encode(body: object) -> bytes:
    return msgspec.json.encode(body)


def _cached(context: Context, body: object, version: str | None = None) -> Answer:
    depends = frozenset(
        {*_TOPICS, table_topic("directus_settings"), group_topic(context.principal.group)}
    )
    return Answer(_encode(body), depends=depends, scope="user", cacheable=True, version=version)
