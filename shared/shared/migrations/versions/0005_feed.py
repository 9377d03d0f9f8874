"""``0005_feed.sql``."""

from shared.migrations.script import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_feed.sql")
