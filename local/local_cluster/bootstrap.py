"""What must be there before the services: keys, the database, its schema, the administrator.

Run as a process of its own, forked from the preloaded parent.
"""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from auth_service import administrator
from local_cluster.home import PRIVATE_KEY, PUBLIC_KEYS, Home
from shared.identity import generate_keys
from shared.migrations import migrate
from shared.settings import load_settings
from shared.sql import ident, raw


def main() -> None:
    make_keys(Home(Path(os.environ["DIRECTOIRE_DATA"])))
    url = os.environ["DATABASE_URL"]
    asyncio.run(ensure_database(url))
    migrate(url)
    asyncio.run(administrator.bootstrap(load_settings(administrator.AdministratorSettings)))


def make_keys(home: Home) -> None:
    """The gateway's key pair, kept for all later starts."""
    if not home.has_secret(PRIVATE_KEY):
        keys = generate_keys()
        home.secret(PUBLIC_KEYS, keys.public_keys)
        home.secret(PRIVATE_KEY, keys.private_key)


async def ensure_database(url: str) -> None:
    """Create the database that the URL names if the server does not have it."""
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except asyncpg.InvalidCatalogNameError:
        await create_database(url)
    else:
        await connection.close()


async def create_database(url: str) -> None:
    parts = urlsplit(url)
    connection = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        create = raw("CREATE DATABASE ") + ident(parts.path.removeprefix("/"))
        await connection.execute(create.render()[0])
    finally:
        await connection.close()
