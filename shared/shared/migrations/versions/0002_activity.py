"""``0002_activity.sql``."""

from shared.migrations.script import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_activity.sql")
