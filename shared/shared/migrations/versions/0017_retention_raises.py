"""``0017_retention_raises.sql``."""

from shared.migrations.script import run

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run("0017_retention_raises.sql")
