"""Rows in the two envelopes of the wire (contract, section 4)."""

import json
from typing import Any

from shared import envelopes
from shared.versions import ApiVersion

OLD, NEW = ApiVersion.V1_0, ApiVersion.V1_1
ROWS: list[dict[str, Any]] = [{"id": 1}, {"id": 2}]


def collection(version: ApiVersion, counts: dict[str, int] | None, **more: bool) -> Any:
    settings: dict[str, Any] = {"has_status": True, **more}
    return json.loads(envelopes.collection(version, "t", ROWS, counts, **settings))


def test_1_0_counts_the_table_beside_the_rows() -> None:
    assert collection(OLD, {"1": 5, "2": 3}) == {
        "Delete": 0,
        "Active": 5,
        "Draft": 3,
        "total": 8,
        "rows": ROWS,
    }


def test_1_1_counts_the_answer_and_the_table() -> None:
    assert collection(NEW, {"1": 5, "0": 1})["meta"] == {
        "table": "t",
        "type": "collection",
        "total": 2,
        "Delete": 1,
        "Active": 5,
        "Draft": 0,
        "total_entries": 6,
    }


def test_other_statuses_and_none_count_into_the_sum() -> None:
    assert collection(NEW, {"1": 5, "7": 1, "": 2})["meta"]["total_entries"] == 8
    assert collection(OLD, {"1": 5, "7": 1, "": 2})["total"] == 8


def test_without_a_status_column_only_totals_are_said() -> None:
    assert collection(OLD, {"": 9}, has_status=False) == {"total": 9, "rows": ROWS}
    meta = collection(NEW, {"": 9}, has_status=False)["meta"]
    assert meta == {"table": "t", "type": "collection", "total": 2, "total_entries": 9}


def test_meta_can_be_left_out() -> None:
    assert collection(NEW, None, meta=False) == {"data": ROWS}


def test_an_item_is_bare_in_1_0_and_a_missing_one_an_empty_list() -> None:
    assert json.loads(envelopes.item(OLD, "t", {"id": 1})) == {"id": 1}
    assert json.loads(envelopes.item(OLD, "t", None)) == []
    meta = {"table": "t", "type": "item"}
    assert json.loads(envelopes.item(NEW, "t", {"id": 1})) == {"meta": meta, "data": {"id": 1}}
    assert json.loads(envelopes.item(NEW, "t", None)) == {"meta": meta, "data": []}


def test_deletions_say_whether_they_did() -> None:
    assert json.loads(envelopes.deleted(OLD, "t", success=True)) == {"success": True}
    assert json.loads(envelopes.deleted(NEW, "t", success=False)) == {
        "meta": {"table": "t"},
        "success": False,
    }
    assert json.loads(envelopes.deleted_all(NEW, "t", [1], success=True)) == {
        "meta": {"table": "t", "ids": [1]},
        "data": {"success": True},
    }
