"""The modern query of an export: fields behind relations, a tree of filters, ``deep``, ``alias``.

Whatever it names is looked up as the caller sees it: a table, column or row that is hidden from him
is as unknown as one that does not exist (reading 51). Source: contract 9.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

from shared.catalogue import Column
from shared.column_types import Kind
from shared.context import Context
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.rows.access import TABLE, Access, Field, access, shown_columns
from shared.rows.compile import as_json, behind, related
from shared.rows.operators import NOTHING, OPERATORS, pattern
from shared.rows.parse import ListQuery, Order, parse_list
from shared.rows.plan import ReadPlan, plan_access
from shared.rows.through import MAX_STEPS, Follower, Hop
from shared.rows.values import operand, text_operand
from shared.sql import EMPTY, Sql, join, literal, param, raw

_ALL: Final = 2**53
_DEEPEST: Final = 20
_MOST_RELATED: Final = 10_000  # rows behind one row
_ON_VALUES: Final[Mapping[str, str]] = {
    **{f"_{name}": name for name, operator in OPERATORS.items() if operator.on_values is not None},
    "_icontains": "contains",
    "_nicontains": "ncontains",
}
_ENDS: Final[Mapping[str, tuple[LiteralString, LiteralString]]] = {  # how to match, and where
    "_starts_with": (" LIKE ", "start"),
    "_nstarts_with": (" NOT LIKE ", "start"),
    "_istarts_with": (" ILIKE ", "start"),
    "_nistarts_with": (" NOT ILIKE ", "start"),
    "_ends_with": (" LIKE ", "end"),
    "_nends_with": (" NOT LIKE ", "end"),
    "_iends_with": (" ILIKE ", "end"),
    "_niends_with": (" NOT ILIKE ", "end"),
}
_DEEP: Final = frozenset({"_alias", "_filter", "_limit", "_offset", "_sort"})
_OF_ROWS: Final = frozenset({"_none", "_some"})
_YES_OR_NO: Final = {"null": "nnull", "nnull": "null", "empty": "nempty", "nempty": "empty"}


@dataclass(frozen=True, slots=True)
class Related:
    """A field that holds related rows as JSON: one (an object or null), or a list of ``many``.

    ``paths`` are the dotted names below it that a flat format shows; none for a list.
    """

    hop: Hop
    fields: Mapping[str, Field]
    many: bool
    condition: Sql = EMPTY
    order: Sql = EMPTY
    limit: int = _MOST_RELATED
    offset: int = 0
    paths: tuple[str, ...] = ()

    def __call__(self, _alias: Sql) -> Sql:
        return self.nested(_alias) + raw("::text")

    def nested(self, _alias: Sql) -> Sql:
        """As JSON within JSON. The alias of the row is in the step already."""
        inner: dict[str, Field] = {
            name: of.nested if isinstance(of, Related) else of for name, of in self.fields.items()
        }
        rows, source = self.hop.rows, related(self.hop, self.condition)
        one = as_json(rows.table, inner, rows.alias)
        if not self.many:
            return raw("(SELECT ") + one + raw("::json") + source + raw(" LIMIT 1)")
        limits = raw(" LIMIT ") + literal(str(self.limit))
        limits += raw(" OFFSET ") + literal(str(self.offset)) if self.offset else EMPTY
        return (
            raw("(SELECT coalesce(json_agg(s.j), '[]'::json) FROM (SELECT ")
            + one
            + raw("::json AS j")
            + source
            + self.order
            + limits
            + raw(") AS s)")
        )


def may_export(context: Context, table: str) -> Access:
    """Raises Forbidden, also for a table that does not exist."""
    try:
        return access(context, table)
    except NotFound as error:
        raise Forbidden from error


def plan_export(context: Context, table: str, query: Mapping[str, Any]) -> ReadPlan:
    """Raises Forbidden, InvalidRequest naming what cannot be understood."""
    where_ = may_export(context, table)
    limit = _number(query, "limit", -1)
    asked = ListQuery(
        columns=None,
        filters=parse_list({"filters": _words(query["filters"])}).filters
        if query.get("filters")
        else (),
        any_status=True,
        orders=tuple(
            Order(name.removeprefix("-"), name.startswith("-")) for name in _list(query, "sort")
        ),
        limit=1,
        offset=_number(query, "offset", 0),
        text=str(query["search"]) if query.get("search") else None,
        meta=False,
    )
    plan = plan_access(context, where_, asked)
    limit = _ALL if limit < 0 else limit
    page = _number(query, "page", 1)
    offset = plan.offset + (page - 1) * limit if page > 1 and limit < _ALL else plan.offset
    level = _Level(Follower(context, where_), where_, TABLE)
    tree = level.tree(query.get("filter"))
    visible = plan.visible
    if tree:
        visible = raw("(") + visible + raw(") AND (") + tree + raw(")") if visible else tree
    names = _list(query, "fields") or ["*"]
    fields = level.fields(names, _object(query, "alias"), _object(query, "deep"))
    return replace(plan, visible=visible, fields=fields, limit=limit, offset=offset, counts=None)


# ── one table of the query ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Level:
    """A table that the query looks into, ``steps`` relations away from the one exported."""

    follower: Follower
    of: Access
    alias: Sql
    steps: int = 0
    path: tuple[str, ...] = ()

    def _behind(self, name: str) -> tuple[Hop, "_Level", bool]:
        """Raises InvalidRequest for what is no relation that the caller may follow."""
        column = self.of.named(name)
        found = None
        if column is not None and self.steps < MAX_STEPS:
            found = self.follower.hop(self.of, column, self.alias, self.steps)
        if found is None or column is None:
            raise self._unknown(name)
        hop, access_ = found
        path = (*self.path, name)
        below = _Level(self.follower, access_, hop.rows.alias, self.steps + 1, path)
        return hop, below, column.is_alias

    def _unknown(self, name: str) -> InvalidRequest:
        dotted = ".".join((*self.path, name))
        return InvalidRequest(f'unknown field "{dotted}"', field=dotted)

    # fields

    def fields(
        self, names: Sequence[str], alias: Mapping[str, Any], deep: Mapping[str, Any]
    ) -> dict[str, Field]:
        """``a``, ``a.b`` behind the relation ``a``, ``*`` for all columns, ``*.b``, ``a.*``."""
        own: dict[str, None] = {}
        behind_: dict[str, list[str]] = {}
        shown = shown_columns(self.of, None)
        for name in names:
            first, _, rest = name.partition(".")
            if first == "*" and rest:
                for relation in self._relations():
                    behind_.setdefault(relation, []).append(rest)
                    own[relation] = None
            elif first == "*":
                own |= dict.fromkeys(shown)
            elif rest:
                behind_.setdefault(first, []).append(rest)
                own[first] = None
            else:
                own[first] = None
        fields: dict[str, Field] = {}
        for name in own:
            real = alias.get(name, name)
            if name in behind_:
                options = deep.get(name) or {}
                fields[name] = self._related(str(real), name, behind_[name], options)
            elif real in shown:
                fields[name] = shown[real]
            else:
                raise self._unknown(name)
        return fields

    def _relations(self) -> list[str]:
        if self.steps >= MAX_STEPS:
            return []
        found = ((name, self.of.named(name)) for name in self.of.readable)
        return [
            name
            for name, column in found
            if column is not None
            and column.relationship is not None
            and self.follower.hop(self.of, column, self.alias, self.steps) is not None
        ]

    def _related(self, name: str, shown: str, names: Sequence[str], options: Any) -> Related:
        hop, below, many = self._behind(name)
        if not isinstance(options, dict):
            raise InvalidRequest(f'"deep" of "{shown}" must be an object', field="deep")
        for option in options:
            if option.startswith("_") and option not in _DEEP:
                raise InvalidRequest(f'unknown option "{option}" in "deep"', field="deep")
        fields = below.fields(names, _object(options, "_alias"), options)
        paths: list[str] = []
        for inner, value in fields.items():
            deeper = value.paths if isinstance(value, Related) and not value.many else ()
            paths += [f"{shown}.{path}" for path in deeper or (inner,)]
        limit = _number(options, "_limit", -1)
        return Related(
            hop=hop,
            fields=fields,
            many=many,
            condition=below.tree(options.get("_filter")),
            order=below.order(_list(options, "_sort")) if many else EMPTY,
            limit=_MOST_RELATED if limit < 0 else min(limit, _MOST_RELATED),
            offset=_number(options, "_offset", 0),
            paths=() if many else tuple(paths),
        )

    def order(self, names: Sequence[str]) -> Sql:
        parts: list[Sql] = []
        for name in names:
            column = self.of.own_column(name.removeprefix("-"), "the order")
            descends = raw(" DESC") if name.startswith("-") else EMPTY
            parts.append(operand(column, self.alias) + descends)
        key = self.of.table.columns.get(self.of.table.primary_key or "")
        if key is not None:
            parts.append(operand(key, self.alias))
        return raw(" ORDER BY ") + join(", ", parts) if parts else EMPTY

    # filters

    def tree(self, node: Any, depth: int = 0) -> Sql:
        """``{_and: […], _or: […], field: {_eq: …}}``; everything beside each other must hold."""
        if node in (None, {}, []):
            return EMPTY
        if not isinstance(node, dict) or depth > _DEEPEST:
            raise InvalidRequest("a filter is an object of fields and operators", field="filter")
        parts: list[Sql] = []
        for name, inner in node.items():
            if name in {"_and", "_or"}:
                if not isinstance(inner, list):
                    raise InvalidRequest(f"{name} takes a list", field="filter")
                found = [part for part in (self.tree(item, depth + 1) for item in inner) if part]
                if found:
                    parts.append(_joined(found, either=name == "_or"))
            else:
                parts += self._tests(name, inner, depth)
        return _joined(parts, either=False) if parts else EMPTY

    def _tests(self, name: str, tests: Any, depth: int) -> Iterable[Sql]:
        """Of a column's own value, or of the rows behind a relation."""
        if not isinstance(tests, dict) or not tests:
            message = f'the filter of "{name}" needs an operator: {{"{name}": {{"_eq": …}}}}'
            raise InvalidRequest(message, field=name)
        column = self.of.column(name, "a filter")
        inner: dict[str, Any] = {}
        for operator, value in tests.items():
            if operator in _OF_ROWS:
                hop, below, _ = self._behind(name)
                found = behind(hop, below.tree(value, depth + 1))
                yield found if operator == "_some" else raw("NOT ") + found
            elif not operator.startswith("_") or operator in {"_and", "_or"}:
                inner[operator] = value
            elif column.is_alias:
                yield self._any_row(name, operator, value)
            else:
                yield _condition(column, self.alias, name, operator, value)
        if inner:
            hop, below, _ = self._behind(name)
            yield behind(hop, below.tree(inner, depth + 1))

    def _any_row(self, name: str, operator: str, value: Any) -> Sql:
        """Whether rows are behind a relation to many."""
        known = operator.removeprefix("_")
        if known not in _YES_OR_NO:
            message = f'the operator "{operator}" does not work on the relation "{name}"'
            raise InvalidRequest(message, field=name)
        hop, _, _ = self._behind(name)
        wanted = known in {"nnull", "nempty"}
        wanted = wanted if _truth(value) else not wanted
        return (EMPTY if wanted else raw("NOT ")) + behind(hop, EMPTY)


def _joined(parts: Sequence[Sql], *, either: bool) -> Sql:
    wrapped = [raw("(") + part + raw(")") for part in parts]
    return join(" OR ", wrapped) if either else join(" AND ", wrapped)


def _condition(column: Column, alias: Sql, name: str, operator: str, value: Any) -> Sql:
    if operator in _ENDS:
        return _ends(column, alias, operator, _word(value))
    known = _ON_VALUES.get(operator)
    if known is None:
        raise InvalidRequest(f'unknown operator "{operator}" in the filter of "{name}"', field=name)
    if known in _YES_OR_NO and not _truth(value):
        known = _YES_OR_NO[known]
    if isinstance(value, str) and OPERATORS[known].takes_list:
        value = value.split(",")
    values = value if isinstance(value, list) else [value]
    if known in {"eq", "neq"} and value is None:
        known = "null" if known == "eq" else "nnull"
    if not values:
        return NOTHING if known == "in" else raw("true")
    build = OPERATORS[known].on_values
    assert build is not None
    return build(column, alias, tuple(_word(item) for item in values))


def _ends(column: Column, alias: Sql, operator: str, text: str) -> Sql:
    if column.kind is Kind.BYTES:
        return NOTHING
    matches, where = _ENDS[operator]
    anywhere = pattern(text)
    wanted = anywhere[1:] if where == "start" else anywhere[:-1]
    return text_operand(column, alias) + raw(matches) + param(wanted) + raw("::text")


def _truth(value: Any) -> bool:
    return value not in (False, "false", 0, "0")


# ── reading the query ─────────────────────────────────────────────────────────────────────────────


def _object(query: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = query.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidRequest(f'"{name}" must be an object', field=name)
    return value


def _list(query: Mapping[str, Any], name: str) -> list[str]:
    value = query.get(name) or []
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InvalidRequest(f'"{name}" must be a list of names', field=name)
    return value


def _number(query: Mapping[str, Any], name: str, default: int) -> int:
    value = query.get(name)
    if value is None:
        return default
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,15}", text):
        raise InvalidRequest(f'"{name}" must be a whole number', field=name)
    return int(text)


def _words(value: Any) -> Any:
    """JSON as a query string has it: text all through."""
    if isinstance(value, dict):
        return {str(name): _words(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return {str(index): _words(inner) for index, inner in enumerate(value)}
    return _word(value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, dict | list):
        raise InvalidRequest("a filter compares with text or numbers", field="filter")
    if value == "$NOW":
        return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return "" if value is None else str(value)
