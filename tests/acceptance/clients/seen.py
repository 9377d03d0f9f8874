"""What a call of a published client came to, and what should hold of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from published import Outcome


@dataclass(frozen=True)
class Seen:
    """What one call came to, under the version it was sent to."""

    outcome: Outcome
    version: str
    table: str

    @property
    def value(self) -> Any:
        assert self.outcome.how in {"resolved", "called back", "returned"}, self.outcome
        return self.outcome.value

    @property
    def item(self) -> Any:
        if isinstance(self.value, dict):
            assert self.value.get("success") is not False, self.value
        return self.value["data"] if self.version == "1.1" else self.value

    @property
    def rows(self) -> list[dict[str, Any]]:
        if self.version == "1.1":
            return self.value["data"]
        return self.value if isinstance(self.value, list) else self.value["rows"]

    @property
    def tables(self) -> set[str]:
        return {row["name"] for row in self.rows}

    @property
    def refusal(self) -> str:
        """The message of a success:false that came with 200."""
        assert self.value["success"] is False
        return self.value["error"]["message"] if self.version == "1.1" else self.value["message"]

    @property
    def rejection(self) -> Any:
        assert self.outcome.how == "rejected", self.outcome
        return self.outcome.value

    @property
    def error(self) -> str:
        """The message of an error body that a promise was rejected with."""
        assert self.rejection["success"] is False
        return self.rejection["error"]["message"]

    @property
    def thrown(self) -> str:
        assert self.outcome.how == "threw", self.outcome
        return self.outcome.value

    # the Python client gives nothing for what it sends; its last answer says more

    @property
    def sent(self) -> Any:
        assert self.outcome.how == "returned", self.outcome
        assert self.outcome.value is None
        return self.outcome.answer["data"]

    @property
    def model(self) -> Any:
        return self.value["data"]

    @property
    def type_error(self) -> str:
        assert self.outcome.how == "TypeError", self.outcome
        return self.outcome.value


Holds = Callable[[Seen], object]
Cases = Mapping[str, tuple[str, Holds]]  # call → what it does, and what then holds
