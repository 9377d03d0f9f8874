"""``0008_retention.sql``."""

from shared.migrations.script import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run("0008_retention.sql")
