"""``0018_kinds_of_hashes.sql``."""

from shared.migrations.script import run

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run("0018_kinds_of_hashes.sql")
