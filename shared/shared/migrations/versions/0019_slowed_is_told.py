"""``0019_slowed_is_told.sql``."""

from shared.migrations.script import run

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run("0019_slowed_is_told.sql")
