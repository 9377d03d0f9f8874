"""What the caller may do with a row: at all, and as conditions on the row itself."""

from collections.abc import Mapping
from typing import Any

from shared.errors import Forbidden
from shared.rights import owned
from shared.rows import write
from shared.rows.access import TABLE
from shared.rows.writer import DELETED, Writer
from shared.sql import EMPTY, Sql, raw


def may_change_at_all(to: Writer, body: Mapping[str, Any]) -> None:
    """A change of status to deleted needs the delete right alone; everything else editing."""
    if to.rights.edit:
        return
    status = to.status
    others = [name for name in body if name not in {to.key.name, status.name if status else ""}]
    deletes = status is not None and status.name in body and not others
    if not deletes or not to.rights.delete:
        raise Forbidden


def may_add(to: Writer, values: Mapping[str, Any]) -> None:
    """Raises Forbidden; workflow rows ask for the status that the new row will have."""
    status = to.status
    number: int | None = None
    if status is not None:
        given = values.get(status.name, status.default)
        text = str(given) if given is not None else ""
        number = int(text) if text.lstrip("-").isdigit() else None
    if not to.rights.add or not to.rights.level("add", number):
        raise Forbidden


def conditions(to: Writer, values: Mapping[str, Any]) -> list[Sql]:
    """Conditions on a row for these values to be written into it."""
    rules = [to.visible, to.unchanged]
    status = to.status
    changes_status = status is not None and status.name in values
    edit = to.rights.edit_condition(to.user, TABLE)
    if status is None or not changes_status:
        return [*rules, edit]
    if any(name not in {to.key.name, status.name} for name in values):
        rules.append(edit)
    new = values[status.name]
    if new in {DELETED, str(DELETED)}:
        allowed = to.rights.delete_condition(to.user, TABLE)
    else:
        allowed = both(edit, _level_condition(to, new))
    rules.append(write.status_rule(status, new, allowed, edit))
    return rules


def _level_condition(to: Writer, status: object) -> Sql:
    """Which rows the caller might edit once they have this status."""
    level = to.rights.level("edit", status if isinstance(status, int) else None)
    if level >= 2:
        return EMPTY
    return owned(to.table, to.user, TABLE) if level == 1 else raw("false")


def both(first: Sql, second: Sql) -> Sql:
    if not first or not second:
        return first or second
    return raw("(") + first + raw(") AND (") + second + raw(")")
