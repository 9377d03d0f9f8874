"""What things are called on the bus. ``exchange`` is ``directoire.activity`` unless told otherwise.

``<exchange>``               topic exchange, keys ``activity.<table>.<action>``
``<exchange>.stream``        everything, for as long as the stream is kept
``<exchange>.<name>``        the quorum queue of a named consumer
``<exchange>.<name>.dead``   what that consumer did not take
``<exchange>.dead``          the direct exchange between the two
"""

from typing import Final
from urllib.parse import quote

EXCHANGE: Final = "directoire.activity"
EVERYTHING: Final = "activity.#"
AGAIN: Final = "sent_again"  # header of a dead letter that was sent again


def stream(exchange: str) -> str:
    return f"{exchange}.stream"


def queue(exchange: str, name: str) -> str:
    """Raises ValueError for a name that would be another queue's."""
    if not name or "." in name or name in {"stream", "dead"}:
        raise ValueError(f"{name!r} cannot be a consumer's name: no dots, not stream, not dead")
    return f"{exchange}.{name}"


def dead_exchange(exchange: str) -> str:
    return f"{exchange}.dead"


def dead_queue(exchange: str, name: str) -> str:
    return f"{queue(exchange, name)}.dead"


def table_key(table: str) -> str:
    """The binding that takes one table: its name as one word of a routing key."""
    word = quote(table, safe="").replace(".", "%2E")
    return f"activity.{word}.*"
