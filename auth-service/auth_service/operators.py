"""Commands for operators, for what the API cannot do (any more):

``python -m auth_service.operators set-password EMAIL``   reads the new password from stdin
``python -m auth_service.operators unlock EMAIL``         forgets the guesses at an account
``python -m auth_service.operators rotate-signing-keys``  a new key for access tokens; the former go
``python -m auth_service.operators new-identity``         a key pair for the gateway, printed
``python -m auth_service.operators rotate-identity PRIVATE PUBLIC``  turns the key in these files

DATABASE_URL, REDIS_URL, REDIS_PREFIX and ARGON2_… are read as by the services; the last two
commands need none.
"""

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec
from pydantic_settings import SettingsConfigDict

from auth_service.operations import recovery
from auth_service.operations.identity_files import OVERLAP, rotate_identity
from shared.changes import Changes
from shared.database import Database
from shared.errors import ApiError
from shared.identity import generate_keys
from shared.passwords import set_cost
from shared.secret_settings import ServerUrl
from shared.settings import PasswordSettings, load_settings
from shared.stamps import Invalidation, note_reader


class OperatorSettings(PasswordSettings):
    """What the commands read from their environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: ServerUrl
    redis_url: ServerUrl
    redis_prefix: str = "directoire:"


def main() -> None:
    arguments = _arguments()
    if arguments.command == "new-identity":
        sys.stdout.write(msgspec.json.encode(generate_keys()).decode() + "\n")
        return
    if arguments.command == "rotate-identity":
        rotate_identity(arguments.private, arguments.public, arguments.overlap)
        sys.stdout.write("Requests are signed with a new key; the former one is forgotten.\n")
        return
    try:
        said = asyncio.run(_run(load_settings(OperatorSettings), arguments))
    except ApiError as error:
        raise SystemExit(error.message) from error
    sys.stdout.write(said + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m auth_service.operators")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("set-password").add_argument("email")
    commands.add_parser("unlock").add_argument("email")
    commands.add_parser("rotate-signing-keys")
    commands.add_parser("new-identity")
    rotate = commands.add_parser("rotate-identity")
    rotate.add_argument("private", type=Path)
    rotate.add_argument("public", type=Path)
    rotate.add_argument("--overlap", type=float, default=OVERLAP, help="seconds of both keys")
    return parser.parse_args()


async def _run(settings: OperatorSettings, arguments: argparse.Namespace) -> str:
    set_cost(settings)
    database = Database(settings.database_url.get_secret_value(), size=1)
    invalidation = Invalidation(
        settings.redis_url.get_secret_value(), settings.redis_prefix, note=note_reader(database)
    )
    changes = Changes(database, invalidation)
    try:
        if arguments.command == "set-password":
            await recovery.set_password(changes, arguments.email, sys.stdin.readline().rstrip("\n"))
            return f"{arguments.email} has a new password; its sign-ins have ended."
        if arguments.command == "unlock":
            await recovery.unlock(changes, arguments.email)
            return f"The guesses at {arguments.email} are forgotten."
        await recovery.rotate_signing_keys(changes)
        return "Access tokens are signed with a new key."
    finally:
        await invalidation.close()
        await database.close()


if __name__ == "__main__":
    main()
