"""The queue of mails: claimed by one sender at a time, gone once sent."""

from typing import Any, Final

from shared.database import Database
from shared.queries import load_queries
from shared.sql import fixed

QUERIES: Final = load_queries("settings_service.store", "mails.sql")


class MailQueue:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, most: int) -> list[Any]:
        """Rows with id, recipient, subject, body, attempts and queued_at; nobody else's for now."""
        if not await self._database.fetchval(fixed(QUERIES["is_due"])):
            return []
        return await self._database.fetch(fixed(QUERIES["claim"], most))

    async def done(self, mail: int) -> None:
        await self._database.execute(fixed(QUERIES["done"], mail))

    async def later(self, mail: int, seconds: float, fault: str) -> None:
        await self._database.execute(fixed(QUERIES["later"], mail, seconds, fault))

    async def expire(self, seconds: float) -> list[Any]:
        """Gives up what is older; returns id, attempts and fault of each."""
        return await self._database.fetch(fixed(QUERIES["expire"], seconds))
