"""``utils/sort``: one row takes the place of another. Source: contract 9, readings 46 and 47."""

from typing import Any, Final

from items_service.store import sorting
from shared.catalogue import Column, Table
from shared.changes import Changes
from shared.column_types import Kind
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.rows.access import TABLE
from shared.rows.values import Unfit, compared, comparison_type
from shared.rows.writer import Writer, writer

_FIELDS: Final = frozenset({"item", "to"})


async def sort_row(changes: Changes, context: Context, table: str, body: dict[str, Any]) -> None:
    """Move the row ``item`` to the place of the row ``to``.

    Safe when many sort at once: each move is made under a lock of its table. Raises Forbidden,
    also for a table that does not exist, InvalidRequest.
    """
    to = utility_writer(context, table)
    if body.keys() != _FIELDS:
        raise InvalidRequest('the body has exactly "item" and "to": two keys of this table')
    sort = _sort_column(to.table)
    if not to.rights.edit or sort.name in to.rights.write_blacklist:
        raise Forbidden
    item, target = _key(to, body, "item"), _key(to, body, "to")
    async with changes.transaction(to.actor) as change:
        await change.fetchval(sorting.lock(to.table))
        both = list({item: None, target: None})
        seen = await change.fetchval(sorting.covered(to.table, to.key, both, to.visible))
        if not to.rights.view or seen < len(both):
            raise Forbidden
        if item == target:
            return
        change.touch(*to.topics)
        moved = await change.fetch(
            sorting.move(to.table, to.key, sort, item=item, to=target, actor=to.actor)
        )
        keys = [record[0] for record in moved]
        editable = to.rights.edit_condition(to.user, TABLE)
        if editable and keys:
            allowed = await change.fetchval(sorting.covered(to.table, to.key, keys, editable))
            if allowed < len(keys):
                raise Forbidden


def utility_writer(context: Context, table: str) -> Writer:
    """The utilities know no 404: a table that is missing, hidden or read only is forbidden."""
    try:
        return writer(context, table)
    except NotFound as error:
        raise Forbidden from error


def _sort_column(table: Table) -> Column:
    """The column whose interface is `sort`, else the one of this name, else the table's setting."""
    found = [column for column in table.columns.values() if column.ui == "sort"]
    named = ("sort", table.sort_column or "sort")
    found += [table.columns[name] for name in named if name in table.columns]
    if not found or found[0].kind is not Kind.INTEGER:
        raise InvalidRequest(f'the table "{table.name}" has no sort column of whole numbers')
    return found[0]


def _key(to: Writer, body: dict[str, Any], field: str) -> object:
    given = body[field]
    if isinstance(given, bool) or not isinstance(given, str | int) or given == "":
        raise InvalidRequest(f'"{field}" must be a key of this table', field=field)
    try:
        pg_type, value = compared(to.key, str(given))
    except Unfit as error:
        raise Forbidden from error
    if pg_type != comparison_type(to.key):
        raise Forbidden
    return value
