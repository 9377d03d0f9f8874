"""``0012_sign_in.sql``."""

from shared.migrations.script import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run("0012_sign_in.sql")
