"""What a group may do: levels, owners, workflow rows, blacklists."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalogue import Column, Table
from shared.column_types import Kind
from shared.database import Database
from shared.rights import ANY_STATUS, Levels, Rights, load_rights, names_of
from shared.sql import EMPTY, Sql, raw

T = raw("t")
USER = 7


def column(name: str, kind: Kind = Kind.INTEGER) -> Column:
    return Column(
        name=name, position=1, pg_type="int4", data_type="INT", char_length=None,
        column_type="int(11)", precision=10, scale=0, nullable=True, default=None, key="",
        auto_increment=False, kind=kind, ui=None, hidden_list=False, hidden_input=False,
        required=False, sort=None, comment="", options={}, relationship=None, generated=False,
    )  # fmt: skip


def table(name: str = "books", owner: str | None = "owner", status: str | None = "active") -> Table:
    metadata: dict[str, Any] = dict.fromkeys(
        ("user_create_column", "user_update_column", "date_create_column", "date_update_column",
         "primary_column", "date_created", "default_status", "list_view", "column_groupings",
         "filter_column_blacklist", "display_template", "preview_url")
    )  # fmt: skip
    return Table(
        name=name, oid=1, columns={n: column(n) for n in ("id", "active", "title", "owner")},
        primary_key="id", status_column=status, sort_column=None,
        owner_columns=() if owner is None else (owner,), managed=True, is_system=False,
        closure=frozenset({name}), closure_known=True, hidden=False, single=False,
        is_junction_table=False, footer=False, comment="", **metadata,
    )  # fmt: skip


def rights(*rows: tuple[int, Levels], of: Table | None = None, group: int = 2) -> Any:
    where = of or table()
    return Rights(group, {where.name: dict(rows)}).of(where)


def text(sql: Sql) -> str:
    return sql.render()[0]


def test_administrators_may_do_everything_without_a_row() -> None:
    found = rights(group=1)
    assert (found.view, found.add, found.edit, found.delete, found.alter) == (2, 2, 2, 2, 2)
    assert found.view_condition(USER, T) == EMPTY


def test_without_a_row_nothing_is_allowed() -> None:
    found = rights()
    assert (found.view, found.add, found.edit, found.delete, found.alter) == (0, 0, 0, 0, 0)
    assert text(found.view_condition(USER, T)) == "false"


def test_level_1_is_own_rows() -> None:
    found = rights((ANY_STATUS, Levels(view=1, edit=1)))
    condition, values = found.view_condition(USER, T).render()
    assert (condition, values) == ('(t."owner" = $1::int4)', [USER])
    assert found.depends_on_user()


def test_level_1_without_an_owner_shows_nothing_and_refuses_changes() -> None:
    found = rights((ANY_STATUS, Levels(view=1, edit=1, delete=1)), of=table(owner=None))
    assert (found.view, found.edit, found.delete) == (1, 0, 0)
    assert text(found.view_condition(USER, T)) == "false"


def test_neither_key_nor_status_can_be_kept_from_a_reader() -> None:
    found = rights(
        (ANY_STATUS, Levels(view=2, read_blacklist=frozenset({"id", "active", "title"})))
    )
    assert list(found.readable()) == ["id", "active", "owner"]


def test_a_workflow_row_stands_in_the_place_of_the_general_row() -> None:
    found = rights((ANY_STATUS, Levels(view=2, edit=1)), (2, Levels(view=0, edit=2)))
    condition, values = found.view_condition(USER, T).render()
    assert condition == 'CASE t."active" WHEN $1::int4 THEN false ELSE true END'
    assert values == [2]
    assert (found.level("edit", 2), found.level("edit", 1), found.level("edit", None)) == (2, 1, 1)
    assert found.edit == 2


def test_workflow_rows_need_a_status() -> None:
    found = rights((2, Levels(view=2)), of=table(status=None))
    assert found.view == 0


def test_everybody_keeps_own_preferences_and_bookmarks() -> None:
    for name in ("directus_preferences", "directus_bookmarks"):
        found = rights(of=table(name))
        assert (found.view, found.add, found.edit, found.delete) == (1, 1, 1, 1)


def test_nobody_but_administrators_writes_what_decides_over_rights() -> None:
    everything = Levels(view=2, add=2, edit=2, delete=2, alter=2)
    for name in ("directus_privileges", "directus_tables", "directus_columns"):
        found = rights((ANY_STATUS, everything), of=table(name))
        assert (found.view, found.add, found.edit, found.delete) == (2, 0, 0, 0)


levels = st.builds(
    Levels,
    view=st.integers(0, 2), add=st.integers(0, 2), edit=st.integers(0, 2),
    delete=st.integers(0, 2), alter=st.integers(0, 2),
)  # fmt: skip


@given(st.dictionaries(st.integers(0, 4), levels), st.booleans())
def test_a_closed_action_has_no_rows_and_an_open_one_never_has_more_than_its_level(
    rows: dict[int, Levels], owned: bool
) -> None:
    found = rights(*rows.items(), of=table(owner="owner" if owned else None))
    for action in ("view", "edit", "delete"):
        condition = found.condition(action, USER, T)
        highest = max((found.level(action, status) for status in range(-1, 5)), default=0)
        assert getattr(found, action) >= highest
        if getattr(found, action) == 0:
            assert "true" not in text(condition)
            assert condition
        if not condition:
            assert all(found.level(action, status) == 2 for status in range(-1, 5))


@given(st.lists(st.text(alphabet="ab ,", max_size=4)))
def test_names_of_a_blacklist_are_neither_empty_nor_padded(names: list[str]) -> None:
    assert all(name and name == name.strip() for name in names_of(",".join(names)))
    assert names_of(None) == frozenset()


async def test_rights_are_read_in_one_piece(database: Database) -> None:
    await database.execute(raw("INSERT INTO directus_groups (id, name) VALUES (2, 'Editors')"))
    await database.execute(
        raw(
            "INSERT INTO directus_privileges"
            " (table_name, group_id, status_id, allow_view, read_field_blacklist)"
            " VALUES ('books', 2, NULL, 2, 'title, owner'), ('books', 2, 2, 0, NULL),"
            " ('books', 1, 0, 1, NULL)"
        )
    )
    loaded = await load_rights(database, 2)
    assert set(loaded.privileges) == {"books"}
    assert set(loaded.privileges["books"]) == {ANY_STATUS, 2}
    assert loaded.privileges["books"][ANY_STATUS].read_blacklist == {"title", "owner"}


@pytest.mark.parametrize("group", [2, 9])
async def test_a_group_without_rows_has_no_rights(database: Database, group: int) -> None:
    assert (await load_rights(database, group)).privileges == {}
