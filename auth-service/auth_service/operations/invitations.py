"""Inviting people: an account without a password, and a mail that tells of it. Contract 7.6.

The mail holds no secret: whoever reads it proves the address by asking for a password.
"""

from collections.abc import Mapping
from typing import Any, Final

from shared import rows
from shared.answers import Answer
from shared.changes import Changes
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest, NotUnique
from shared.mail import queue_mail, render
from shared.queries import load_queries
from shared.sql import fixed
from shared.stamps import table_topic, user_topic

TABLE: Final = "directus_users"
MOST: Final = 100  # addresses at once
QUERIES: Final = load_queries("auth_service.store", "invitations.sql")


async def invite(changes: Changes, context: Context, body: Mapping[str, Any]) -> Answer:
    """Answers the invited users. Who was invited before and has no password yet is told again.

    Raises Forbidden, InvalidRequest, InvalidValue for what is no address, NotUnique for somebody
    who has an account: then nobody is invited.
    """
    if not context.rights.of(context.catalogue.tables[TABLE]).add:
        raise Forbidden
    emails = _emails(body.get("email"))
    known = await changes.database.fetch(fixed(QUERIES["known"], list(emails)))
    for row in known:
        if row["signs_in"]:
            raise NotUnique(f"{row['email']} has an account already.", field="email")
    new = emails - {row["email"] for row in known}
    if new:
        group = body.get("group") or body.get("group_id")
        more = {} if group in (None, "") else {"group": group}
        people = [{"email": email, **more} for email in sorted(new)]
        await rows.create_rows(changes, context, TABLE, {"rows": people}, query={})
    users = await _tell(changes, context, emails)
    ids = ",".join(str(user) for user in users)
    return await rows.list_rows(changes.database, context, TABLE, {"ids": ids, "preview": "1"})


async def _tell(changes: Changes, context: Context, emails: frozenset[str]) -> list[int]:
    told = context.settings.collections["global"]
    project, url = told["project_name"], told["project_url"]
    async with changes.transaction(context.actor) as change:
        found = await change.fetch(fixed(QUERIES["known"], list(emails)))
        invited = await change.fetch(fixed(QUERIES["invited"], [row["id"] for row in found]))
        sender = await change.fetchval(fixed(QUERIES["sender"], context.principal.user))
        for row in invited:
            text = render(
                "auth_service",
                "invitation.txt",
                sender=sender,
                project=project,
                url=url,
                email=row["email"],
            )
            await queue_mail(change, row["email"], f"Invitation to {project}", text)
        change.touch(table_topic(TABLE), *(user_topic(row["id"]) for row in invited))
    return [row["id"] for row in invited]


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
