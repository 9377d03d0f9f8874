#!/usr/bin/env python3
"""Make the secrets of an installation: passwords, addresses that hold them, the identity keys.

    .venv/bin/python scripts/make_secrets.py files .secrets
    .venv/bin/python scripts/make_secrets.py kubernetes | kubectl apply -f -

``files`` writes one file a secret for docker-compose.yml and leaves alone what is there.
``kubernetes`` prints one Secret for servers of the dev overlay; for servers of your own, replace
the addresses. Nothing of it belongs into a repository.
"""

import argparse
import secrets
import sys
from pathlib import Path

import yaml

from shared.identity import generate_keys

DIRECTORY_MODE = 0o700  # the folder keeps others out;
FILE_MODE = 0o644  # the files must be readable for the user inside a container


def make_secrets(postgres_host: str) -> dict[str, str]:
    """Every secret by its name, which is the name of its file."""
    postgres, redis, rabbitmq = (secrets.token_urlsafe(24) for _ in range(3))
    keys = generate_keys()
    return {
        "postgres-password": postgres,
        "database-url": f"postgresql://directoire_services:{postgres}@{postgres_host}:5432/directoire",
        # losing the cache costs time only, so the memory is bounded and nothing is saved
        "redis.conf": f"requirepass {redis}\nmaxmemory 256mb\n"
        'maxmemory-policy volatile-lru\nsave ""\n',
        "redis-url": f"redis://:{redis}@redis:6379?direct=1",
        "rabbitmq.conf": f"default_user = directoire\ndefault_pass = {rabbitmq}\n",
        "amqp-url": f"amqp://directoire:{rabbitmq}@rabbitmq:5672/",
        "identity-private-key": keys.private_key,
        "identity-public-keys": keys.public_keys,
        "administrator-password": secrets.token_urlsafe(18),
        "administrator-token": secrets.token_urlsafe(32),
    }


def write_files(folder: Path) -> None:
    """Raises FileExistsError when there are some already: a half-new set would fit nothing."""
    folder.mkdir(mode=DIRECTORY_MODE)
    for name, value in make_secrets("postgres").items():
        path = folder / name
        path.write_text(value, encoding="utf-8")
        path.chmod(FILE_MODE)


def kubernetes_secret() -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "directoire", "namespace": "directoire"},
            "stringData": make_secrets("postgresql"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("files").add_argument("folder", type=Path)
    kinds.add_parser("kubernetes")
    arguments = parser.parse_args()
    if arguments.kind == "kubernetes":
        sys.stdout.write(kubernetes_secret())
        return
    try:
        write_files(arguments.folder)
    except FileExistsError:
        sys.exit(f"{arguments.folder} is there already: nothing was changed.")


if __name__ == "__main__":
    main()
