"""What a revision does: its SQL file, whole."""

from importlib.resources import files

from alembic import op


def run(file: str) -> None:
    """Put the file's text into the migration as it is.

    Not ``op.execute``: that takes one statement, and reads colons and percent signs as its own.
    """
    text = (files("shared.migrations") / "versions" / file).read_text(encoding="utf-8")
    op.get_context().impl.static_output(text)
