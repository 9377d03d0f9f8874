"""``0006_versions.sql``."""

from shared.migrations.script import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_versions.sql")
