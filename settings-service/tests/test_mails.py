"""Mails from the queue to a real mail server: sent, put off, dropped, given up."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from settings_service.operations.mails import LIFE, Sender
from settings_service.settings import MailServer
from settings_service.store.mails import MailQueue
from shared.database import Database
from shared.mail import queue_mail
from shared.ports import claimed_port
from shared.sql import param, raw


@dataclass
class Inside:
    """``answers`` by recipient; everybody else's mail is taken."""

    port: int
    answers: dict[str, str] = field(default_factory=dict[str, str])
    taken: list[str] = field(default_factory=list[str])

    async def handle_DATA(  # noqa: N802  aiosmtpd calls it so
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        [recipient] = envelope.rcpt_tos
        answer = self.answers.get(recipient, "250 taken")
        if answer.startswith("2"):
            self.taken.append(recipient)
        return answer


@pytest.fixture
def inside() -> Generator[Inside]:
    inside = Inside(claimed_port())
    controller = Controller(inside, hostname="127.0.0.1", port=inside.port)
    controller.start()
    yield inside
    controller.stop()


def sender(database: Database, port: int | None) -> Sender:
    server = None if port is None else MailServer.from_url(f"smtp://127.0.0.1:{port}")
    return Sender(MailQueue(database), server, "Directoire <mail@example.com>", 0.01)


async def queue(database: Database, *recipients: str) -> None:
    for recipient in recipients:
        await queue_mail(database, recipient, "Subject", "Text")


async def waiting(database: Database) -> dict[str, tuple[int, str | None]]:
    """Recipient → attempts and fault of what is in the queue."""
    rows = await database.fetch(raw("SELECT recipient, attempts, fault FROM directoire.mails"))
    return {row["recipient"]: (row["attempts"], row["fault"]) for row in rows}


async def test_what_is_sent_is_gone_and_what_is_refused_for_now_waits(
    database: Database, inside: Inside
) -> None:
    inside.answers = {"busy@x.org": "451 later", "no@x.org": "550 nobody here"}
    await queue(database, "a@x.org", "busy@x.org", "no@x.org", "b@x.org")
    assert await sender(database, inside.port).send_due() == 3  # two sent, one dropped
    assert sorted(inside.taken) == ["a@x.org", "b@x.org"]
    left = await waiting(database)
    assert list(left) == ["busy@x.org"]
    assert left["busy@x.org"][0] == 1
    assert "later" in (left["busy@x.org"][1] or "")
    assert await sender(database, inside.port).send_due() == 0  # not due yet


async def test_a_server_that_is_away_puts_everything_off(database: Database) -> None:
    await queue(database, "a@x.org", "b@x.org")
    assert await sender(database, claimed_port()).send_due() == 0
    assert {attempts for attempts, _ in (await waiting(database)).values()} == {1}


async def test_two_senders_send_each_mail_once(database: Database, inside: Inside) -> None:
    recipients = [f"user{number}@x.org" for number in range(40)]
    await queue(database, *recipients)
    senders = [sender(database, inside.port) for _ in range(2)]
    while await waiting(database):
        await asyncio.gather(*(each.send_due() for each in senders))
    assert sorted(inside.taken) == sorted(recipients)


async def test_an_address_that_cannot_be_hinders_no_other(
    database: Database, inside: Inside
) -> None:
    await queue(database, "bad\naddress@x.org", "a@x.org")
    assert await sender(database, inside.port).send_due() == 2
    assert inside.taken == ["a@x.org"]


async def test_without_a_server_mails_wait_until_they_are_given_up(database: Database) -> None:
    await queue(database, "new@x.org", "old@x.org")
    await database.execute(
        raw("UPDATE directoire.mails SET queued_at = now() - make_interval(secs => ")
        + param(LIFE + 60)
        + raw(") WHERE recipient = 'old@x.org'")
    )
    assert await sender(database, None).send_due() == 0
    assert list(await waiting(database)) == ["new@x.org"]


@pytest.mark.parametrize("url", ["http://x", "smtp://", "mail.example.com:25"])
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="smtp://host:port"):
        MailServer.from_url(url)


def test_a_mail_server_may_need_a_name_and_a_password() -> None:
    assert MailServer.from_url("smtps://me%40x:a%2Fb@mail.x.org") == MailServer(
        "mail.x.org", 465, True, "me@x", "a/b"
    )
