"""``python -m auth_service.administrator``: makes the first administrator; prints what it made.

Run again, it changes nothing. The output is one JSON object: ``email``, ``user``, ``token``
(null where an administrator was there and DIRECTOIRE_ADMIN_TOKEN is not set) and ``first_password``
(null where he has a password): a token for ``auth/reset-password``, good once and for an hour.
"""

import asyncio
import sys
import time

import msgspec
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from auth_service.operations.administrators import Bootstrapped, ensure_administrator
from auth_service.operations.links import RESET_LIFE
from shared.database import Database
from shared.errors import ApiError
from shared.passwords import set_cost
from shared.secret_settings import ChosenToken, ServerUrl
from shared.settings import PasswordSettings, load_settings
from shared.stamps import Invalidation, note_reader


class AdministratorSettings(PasswordSettings):
    """What the bootstrap reads from its environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: ServerUrl
    redis_url: ServerUrl | None = None  # without it a replaced token may live on for a moment
    redis_prefix: str = "directoire:"
    directoire_admin_email: str = Field(min_length=3, max_length=128)
    directoire_admin_password: SecretStr = SecretStr("")  # empty: he sets one, by a token once
    directoire_admin_token: ChosenToken = SecretStr("")  # empty: made at random


def main() -> None:
    settings = load_settings(AdministratorSettings)
    try:
        made = asyncio.run(bootstrap(settings))
    except ApiError as error:
        raise SystemExit(f"Cannot make the administrator: {error.message}") from error
    answer = {
        "email": made.administrator.email,
        "user": made.administrator.user,
        "token": made.token,
        "first_password": _first_password(made),
    }
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


def _first_password(made: Bootstrapped) -> dict[str, object] | None:
    """How the administrator sets it."""
    if made.password_token is None:
        return None
    body = {"token": made.password_token, "password": ""}
    return {"post": "/api/1.1/auth/reset-password", "body": body, "seconds": RESET_LIFE}


async def bootstrap(settings: AdministratorSettings) -> Bootstrapped:
    set_cost(settings)
    token = settings.directoire_admin_token
    database = Database(settings.database_url.get_secret_value(), size=1)
    try:
        made = await ensure_administrator(
            database,
            settings.directoire_admin_email,
            settings.directoire_admin_password.get_secret_value(),
            token.get_secret_value() or None,
        )
        if made.replaced and settings.redis_url is not None:
            await _void(settings.redis_url.get_secret_value(), settings, database, made)
    finally:
        await database.close()
    return made


async def _void(
    redis_url: str, settings: AdministratorSettings, database: Database, made: Bootstrapped
) -> None:
    """No gateway may go on with the token that was replaced."""
    committed_at = time.monotonic()
    invalidation = Invalidation(redis_url, settings.redis_prefix, note=note_reader(database))
    try:
        await invalidation.raise_({f"u:{made.administrator.user}"}, committed_at)
    finally:
        await invalidation.close()


if __name__ == "__main__":
    main()
