"""Inviting people: an account without a password, and a mail with a token that sets one.

The token is like that of a forgotten password: single use, kept as a digest, good for an hour.
Afterwards whoever was invited asks for another by his address. An address that has an account gets
the same answer and no mail. Contract 7.6.
"""

import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from auth_service.operations.links import RESET_LIFE
from shared import rows
from shared.answers import Answer
from shared.changes import Changes
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest
from shared.mail import queue_mail, render
from shared.queries import load_queries
from shared.sql import Sql, fixed
from shared.stamps import table_topic, user_topic

TABLE: Final = "directus_users"
MOST: Final = 100  # addresses at once
QUERIES: Final = load_queries("auth_service.store", "invitations.sql")


async def invite(changes: Changes, context: Context, body: Mapping[str, Any]) -> Answer:
    """Answers the users with these addresses. Who has no password yet is told again.

    Raises Forbidden, InvalidRequest, InvalidValue for what is no address: then nobody is invited.
    """
    if not context.rights.of(context.catalogue.tables[TABLE]).add:
        raise Forbidden
    emails = _emails(body.get("email"))
    asked = fixed(QUERIES["known"], list(emails), context.principal.is_admin)
    known = await changes.database.fetch(asked)
    new = emails - {row["email"] for row in known}
    if new:
        group = body.get("group") or body.get("group_id")
        more = {} if group in (None, "") else {"group": group}
        people = [{"email": email, **more} for email in sorted(new)]
        await rows.create_rows(changes, context, TABLE, {"rows": people}, query={})
    users = await _tell(changes, context, asked)
    ids = ",".join(str(user) for user in users)
    return await rows.list_rows(changes.database, context, TABLE, {"ids": ids, "preview": "1"})


async def _tell(changes: Changes, context: Context, asked: Sql) -> list[int]:
    told = context.settings.collections["global"]
    project, url = told["project_name"], told["project_url"]
    async with changes.transaction(context.actor) as change:
        found = await change.fetch(asked)
        tokens = {row["id"]: secrets.token_urlsafe(32) for row in found if row["invited"]}
        digests = [sha256(token.encode()).digest() for token in tokens.values()]
        invited = await change.fetch(fixed(QUERIES["invite"], list(tokens), digests, RESET_LIFE))
        sender = await change.fetchval(fixed(QUERIES["sender"], context.principal.user))
        for row in invited:
            text = render(
                "auth_service",
                "invitation.txt",
                sender=sender,
                project=project,
                url=url.rstrip("/"),
                email=row["email"],
                token=tokens[row["id"]],
            )
            await queue_mail(change, row["email"], f"Invitation to {project}", text)
        change.touch(table_topic(TABLE), *(user_topic(row["id"]) for row in invited))
    return [row["id"] for row in found]


def _emails(given: object) -> frozenset[str]:
    """From CSV or a list; the row's own rules say what an address is."""
    values: list[Any]
    if isinstance(given, Mapping):
        values = list(given.values())
    else:
        values = given if isinstance(given, list) else [given or ""]
    emails = {part.strip().lower() for value in values for part in str(value).split(",")} - {""}
    if not 1 <= len(emails) <= MOST:
        raise InvalidRequest(f"email names 1 to {MOST} addresses, as CSV", field="email")
    return frozenset(emails)
