"""``0007_uploads.sql``."""

from shared.migrations.script import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run("0007_uploads.sql")
