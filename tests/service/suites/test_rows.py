import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.suites.rows import RowFile

ROWS = [
    {"id": f"c{i}", "text": text, "score": 0.1 * i}
    for i, text in enumerate(["é\u2028\x85", "a\r\nb", "\ud800 half", "猫"])
]


def filled(path, rows=ROWS):
    file = RowFile(path)
    for row in rows:
        if row["id"] not in file:
            file.add(row)
    return file


def test_rows_come_back_as_they_were_in_the_order_in_which_they_were_written(tmp_path):
    filled(tmp_path / "deep" / "rows.jsonl")
    again = RowFile(tmp_path / "deep" / "rows.jsonl")
    assert list(again) == [row["id"] for row in ROWS]
    assert again.values() == [again[row["id"]] for row in ROWS] == ROWS


def test_a_file_cut_off_at_any_byte_is_completed_without_a_row_twice_or_lost(tmp_path):
    path = tmp_path / "rows.jsonl"
    filled(path)
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = RowFile(path)
        assert kept.values() == ROWS[: whole[:length].count(b"\n")]
        assert path.read_bytes() == whole[: whole.rfind(b"\n", 0, length) + 1]
        filled(path)
        assert path.read_bytes() == whole


def test_a_row_is_in_the_file_before_it_counts(tmp_path):
    file = RowFile(tmp_path / "rows.jsonl")
    file.add({"id": "a"})
    assert json.loads(file.path.read_text()) == {"id": "a"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        file.add({"id": "b", "score": float("nan")})
    with pytest.raises(TypeError):
        file.add({"id": "b", "score": object()})
    assert "b" not in file
    assert file.path.read_text() == '{"id": "a"}\n'


def test_an_id_is_written_once(tmp_path):
    file = filled(tmp_path / "rows.jsonl")
    with pytest.raises(ValueError, match=r"rows\.jsonl has a row 'c1' already"):
        file.add({"id": "c1"})
    assert RowFile(file.path).values() == ROWS


@pytest.mark.parametrize("line", ["{", "3", "[]", "{}", '{"text": "no id"}', '{"id": ["a"]}', ""])
def test_a_whole_line_that_is_no_row_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"id": "a"}}\n{line}\n{{"id": "b"}}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:2 is not a row of a run"):
        RowFile(path)


def test_a_line_whose_id_was_there_before_is_named_with_what_is_to_be_done(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}\n{"id": "a"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:3 has the id of a line before it; do this"):
        RowFile(path, "do this")


def test_a_row_that_changed_after_it_was_added_does_not_change_the_file(tmp_path):
    row = {"id": "a", "list": [1]}
    file = RowFile(tmp_path / "rows.jsonl")
    file.add(row)
    row["list"].append(2)
    assert file["a"] == {"id": "a", "list": [1]}


@settings(max_examples=40)
@given(
    st.dictionaries(st.text(min_size=1), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
)
def test_any_json_comes_back_as_it_was(tmp_path_factory, fields):
    row = {**fields, "id": "a"}
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    RowFile(path).add(row)
    assert RowFile(path)["a"] == row
