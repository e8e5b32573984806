import json
from pathlib import Path

import pytest

from client.errors import UserError
from research import tables


def earlier(folder: Path, rows: list[tables.Row]) -> tables.Earlier:
    path = folder / "then.json"
    tables.save_json(path, {"basis": "then", "rows": rows})
    return tables.Earlier(path, ("arm", "n"), lambda row: row["arm"] == "rival")


def test_a_row_that_was_left_out_is_kept_in_its_place_and_says_of_which_run_it_is(tmp_path: Path) -> None:
    before = earlier(tmp_path, [{"arm": "rival", "n": 4, "share": 0.2}, {"arm": "ours", "n": 4, "share": 0.7}])
    rows = tables.joined([{"arm": "ours", "n": 4, "share": 0.8, "more": 1}], {"basis": "now"}, ["basis"], before)
    assert rows == [
        {"arm": "rival", "n": 4, "share": 0.2, "more": "", "basis": "then"},
        {"arm": "ours", "n": 4, "share": 0.8, "more": 1, "basis": "now"},
    ]


def test_what_no_longer_holds_is_not_kept(tmp_path: Path) -> None:
    before = earlier(tmp_path, [{"arm": "dropped", "n": 4, "share": 0.2}])
    rows = tables.joined([{"arm": "ours", "n": 4, "share": 0.8}], {"basis": "now"}, ["basis"], before)
    assert [row["arm"] for row in rows] == ["ours"]


def test_a_row_that_was_kept_once_is_kept_again_as_what_it_was(tmp_path: Path) -> None:
    before = earlier(tmp_path, [{"arm": "rival", "n": 4, "share": 0.2, "basis": "long ago"}])
    rows = tables.joined([{"arm": "ours", "n": 4, "share": 0.8}], {"basis": "now"}, ["basis"], before)
    assert [(row["arm"], row["basis"]) for row in rows] == [("rival", "long ago"), ("ours", "now")]


def test_without_an_earlier_run_every_row_is_of_this_one() -> None:
    rows = tables.joined([{"arm": "ours", "n": 4}], {"basis": "now", "device": "a CPU"}, ["basis", "device"], None)
    assert rows == [{"arm": "ours", "n": 4, "basis": "now", "device": "a CPU"}]


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"basis": "then"}), json.dumps({"rows": 3})])
def test_a_file_without_results_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "then.json").write_text(content)
    before = tables.Earlier(tmp_path / "then.json", ("arm",), lambda _: True)
    with pytest.raises(UserError, match="no results to keep"):
        tables.joined([{"arm": "ours"}], {"basis": "now"}, ["basis"], before)
