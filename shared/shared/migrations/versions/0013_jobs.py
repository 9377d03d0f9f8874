"""``0013_jobs.sql``."""

from shared.migrations.script import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run("0013_jobs.sql")
