"""``0016_relay_plans.sql``."""

from shared.migrations.script import run

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run("0016_relay_plans.sql")
