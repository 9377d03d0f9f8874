"""``0014_list_indexes.sql``."""

from shared.migrations.script import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run("0014_list_indexes.sql")
