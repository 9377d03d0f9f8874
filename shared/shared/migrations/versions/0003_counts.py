"""``0003_counts.sql``."""

from shared.migrations.script import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_counts.sql")
