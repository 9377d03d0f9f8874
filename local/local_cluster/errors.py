"""What ends a command with one sentence for the person who gave it."""


class Refused(Exception):
    """The command cannot do its work; the message says why and what to do."""
