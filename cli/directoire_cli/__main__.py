"""``directoire``, or ``python -m directoire_cli``: one group of commands a module."""

import typer

from directoire_cli import activity, utilities

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(activity.app, name="activity")
app.add_typer(utilities.app)
app.add_typer(utilities.hashes, name="hash")
app.add_typer(utilities.cache, name="cache")


@app.callback()
def directoire() -> None:
    """What operators of Directoire do from a shell."""


def main() -> None:
    app()


if __name__ == "__main__":
    main()
