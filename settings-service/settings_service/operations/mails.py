"""Sending queued mails beside the requests: nothing waits for a mail server."""

import asyncio
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final

import aiosmtplib
import structlog

from settings_service.settings import MailServer
from settings_service.store.mails import MailQueue

log = structlog.get_logger(__name__)

AT_ONCE: Final = 10  # mails a connection
TIMEOUT: Final = 15.0  # seconds for each step of a connection
LIFE: Final = 3 * 86_400.0  # seconds after which a mail is given up
LONGEST_PAUSE: Final = 3600.0  # seconds between two attempts


class Sender:
    """Takes mails from the queue for as long as it runs. Without a server they wait, then go."""

    def __init__(
        self, queue: MailQueue, server: MailServer | None, sender: str, interval: float
    ) -> None:
        self._queue = queue
        self._server = server
        self._sender = sender
        self._interval = interval

    async def run(self) -> None:
        """For ever; a fault is logged and tried again."""
        while True:
            sent = 0
            try:
                sent = await self.send_due()
            except Exception as error:  # noqa: BLE001  a task that died would never send again
                log.warning("mails wait", fault=repr(error))
            if not sent:
                await asyncio.sleep(self._interval)

    async def send_due(self) -> int:
        """How many were sent or given up."""
        for row in await self._queue.expire(LIFE):
            log.error("mail given up", mail=row["id"], attempts=row["attempts"], fault=row["fault"])
        if self._server is None:
            return 0
        mails = await self._queue.claim(AT_ONCE)
        if not mails:
            return 0
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls,
            username=server.username,
            password=server.password,
            timeout=TIMEOUT,
        )
        try:
            async with client:
                return sum([await self._send(client, mail) for mail in mails])
        except (aiosmtplib.SMTPException, OSError) as error:
            for mail in mails:
                await self._put_off(mail, error)
            return 0

    async def _send(self, client: aiosmtplib.SMTP, mail: Any) -> int:
        """1 for a mail that is gone from the queue. Raises when the connection is lost."""
        try:
            await client.send_message(self._message(mail))
        except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError):
            raise
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
            if _code(error) < 500:
                await self._put_off(mail, error)
                return 0
            log.warning("mail refused", mail=mail["id"], fault=str(error))
        except (aiosmtplib.SMTPException, ValueError) as error:  # never will this one be sent
            log.warning("mail impossible", mail=mail["id"], fault=repr(error))
        await self._queue.done(mail["id"])
        return 1

    async def _put_off(self, mail: Any, error: Exception) -> None:
        pause = min(5.0 * mail["attempts"] ** 2, LONGEST_PAUSE)
        log.warning("mail put off", mail=mail["id"], seconds=pause, fault=str(error))
        await self._queue.later(mail["id"], pause, str(error)[:500])

    def _message(self, mail: Any) -> EmailMessage:
        """Raises ValueError for an address no header can hold."""
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail["recipient"]
        message["Subject"] = mail["subject"]
        message["Date"] = format_datetime(mail["queued_at"])
        domain = self._sender.rpartition("@")[2].rstrip(">") or "localhost"
        # the same at each attempt: a mailbox that has it already can tell
        message["Message-ID"] = f"<{mail['id']}.{mail['queued_at']:%Y%m%d%H%M%S}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail["body"])
        return message


def _code(error: aiosmtplib.SMTPException) -> int:
    """The worst of what the server said."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return max((refused.code for refused in error.recipients), default=500)
    return error.code if isinstance(error, aiosmtplib.SMTPResponseException) else 400
