"""SQL text is never computed: it is a fixed text or a value made by shared.sql."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "shared/shared",
    "gateway/gateway",
    "auth-service/auth_service",
    "items-service/items_service",
    "files-service/files_service",
    "schema-service/schema_service",
    "settings-service/settings_service",
    "local/local_cluster",
    "benchmarks",
    "demo",
)
TAKES_SQL = frozenset(
    [
        "execute",
        "executemany",
        "fetch",
        "fetchrow",
        "fetchval",
        "fetch_all",
        "cursor",
        "prepare",
        "raw",
        "fixed",
        "text",
    ]
)


def glued(source: str) -> Iterator[int]:
    """Line numbers of calls whose SQL text is put together on the spot.

    ``Sql + Sql`` is how fragments are joined, so an addition is a fault only where a text is in it.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args and _name(node.func) in TAKES_SQL:
            text = node.args[0]
            if _is_computed_text(text):
                yield text.lineno


def _name(function: ast.expr) -> str:
    match function:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _is_computed_text(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr(values=values):
            return any(isinstance(value, ast.FormattedValue) for value in values)
        case ast.BinOp(op=ast.Mod()):
            return True
        case ast.BinOp(op=ast.Add()):
            parts = list(_parts(node))
            return any(map(_is_text, parts)) and not all(map(_is_fixed, parts))
        case ast.Call(func=ast.Attribute(attr="format" | "format_map" | "replace")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="join")):
            return True
        case _:
            return False


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from _parts(node.left)
        yield from _parts(node.right)
    else:
        yield node


def _is_fixed(node: ast.expr) -> bool:
    """A text, or a CONSTANT made of texts: the type checker looks at what is in it."""
    return (isinstance(node, ast.Constant) and isinstance(node.value, str)) or (
        isinstance(node, ast.Name) and node.id.isupper()
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize(
    "call",
    [
        'connection.fetch(f"SELECT {name}")',
        'connection.execute("DROP TABLE " + name)',
        'connection.fetchrow("SELECT %s" % name)',
        'connection.fetchval("SELECT {}".format(name))',
        'raw("SELECT " + name)',
        'fixed(f"SELECT {a}")',
        'connection.executemany(", ".join(names), rows)',
        'connection.fetch("a" + name + "b")',
        'raw("a" + _ISO + name)',
    ],
)
def test_the_checker_sees(call: str) -> None:
    assert list(glued(call)) == [1]


@pytest.mark.parametrize(
    "call",
    [
        'database.fetch(raw("SELECT ") + ident(name))',
        'connection.fetch("SELECT 1")',
        'connection.execute(QUERIES["name"], value)',
        'raw("SELECT a"\n    ", b")',
        'raw("to_char(at, " + _ISO_FORMAT + ")")',
        'log.info(f"{name}")',
    ],
)
def test_the_checker_lets_pass(call: str) -> None:
    assert list(glued(call)) == []


def test_no_sql_text_is_put_together() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in glued(path.read_text(encoding="utf-8"))
    ]
    assert found == []
