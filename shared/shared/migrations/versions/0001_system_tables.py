"""``0001_system_tables.sql``."""

from shared.migrations.script import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_system_tables.sql")
