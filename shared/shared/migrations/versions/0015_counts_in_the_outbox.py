"""``0015_counts_in_the_outbox.sql``."""

from shared.migrations.script import run

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run("0015_counts_in_the_outbox.sql")
