"""Which tables a caller may alter."""

from shared.catalogue import Table
from shared.context import Context
from shared.errors import Forbidden, NotFound


def alterable(context: Context, name: str, *, structure: bool = True) -> Table:
    """A table the caller may alter. Raises Forbidden, NotFound for administrators.

    ``structure``: not only metadata; the tables of the system keep theirs.
    """
    table = context.catalogue.table(name)
    if table is None:
        if context.principal.is_admin:
            raise NotFound(f'Unable to find the table "{name}"')
        raise Forbidden
    if not context.rights.of(table).alter:
        raise Forbidden
    if structure and table.is_system:
        raise Forbidden("Tables of the system keep their structure.")
    if table.is_system and not context.principal.is_admin:
        raise Forbidden
    return table
