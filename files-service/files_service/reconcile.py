"""``python -m files_service.reconcile [seconds]``: records and bytes, compared and cleared.

Reads the settings of the service. What is younger than so many seconds (an hour) is let alone.
Ends with 1 when records have lost their bytes: those are for a backup to bring back.
"""

import asyncio
import sys

import msgspec

from files_service.app import contents_of
from files_service.operations.reconcile import Found, reconcile
from files_service.settings import Settings
from shared.database import Database
from shared.settings import load_settings


def main() -> None:
    settings = load_settings(Settings)
    grace = float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0
    found = asyncio.run(_reconcile(settings, grace))
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    sys.exit(1 if found.records_without_bytes else 0)


async def _reconcile(settings: Settings, grace: float) -> Found:
    database = Database(settings.database_url.get_secret_value(), size=2)
    try:
        return await reconcile(database, contents_of(settings), grace=grace)
    finally:
        await database.close()


if __name__ == "__main__":
    main()
