"""Mails: written into the transaction of what they tell of, sent by settings-service later.

A mail that is queued belongs to a change that is committed; a mail server that is slow or away
keeps nobody waiting. Sent at least once: a sender that dies between sending and noting it sends
again, under the same Message-ID.
"""

from functools import cache
from typing import Any, Final, Protocol

from jinja2 import PackageLoader, StrictUndefined, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from shared.queries import load_queries
from shared.sql import Sql, fixed

QUERIES: Final = load_queries("shared", "mail.sql")
MAX_SUBJECT: Final = 200  # characters


class Transaction(Protocol):
    """The Change a mail belongs to."""

    async def execute(self, sql: Sql) -> str: ...


async def queue_mail(change: Transaction, to: str, subject: str, text: str) -> None:
    """``text`` is plain; a subject is one line, whatever it was given as."""
    line = " ".join(subject.split())[:MAX_SUBJECT]
    await change.execute(fixed(QUERIES["queue"], to, line, text))


def render(package: str, template: str, **values: Any) -> str:
    """The text of ``<package>/mails/<template>``; a value it names and does not get is an error."""
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=PackageLoader(package, "mails"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
