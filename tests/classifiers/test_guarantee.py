"""Which rows speak for an objective, one threshold for all of them, and thresholds that arrive in a policy as certified."""

import json
import math
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.calibration import ALPHAS, GRID, certify
from classifiers.guarantee import ALL, Table, guarantees, label_of, policy_lines, thresholds_of, write_thresholds
from classifiers.labelled import Example
from classifiers.policy import OBJECTIVES, load_policy
from data import POLICY

Make = Callable[..., Example]


def table_of(thresholds: dict[str, dict[str, float]], safe: bool = True) -> Table:
    """A table with these thresholds, preset by preset."""
    row = certify([0.5] * 40, [0.1] * 8 if safe else [], 0.1).as_dict()
    presets = {
        preset: {name: {**row, "alpha": alpha, "threshold": t[preset]} for name, t in thresholds.items()}
        for preset, alpha in ALPHAS.items()
    }
    return {"data": "abc123", "delta": 0.05, **presets}


@pytest.fixture
def table() -> Table:
    """Other thresholds of the grid for each objective and preset, both ends among them."""
    places = np.linspace(0, len(GRID) - 1, len(OBJECTIVES) * len(ALPHAS)).astype(int)
    values = iter(GRID[places].tolist())
    return table_of({name: {preset: next(values) for preset in ALPHAS} for name in OBJECTIVES})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copy(POLICY, tmp_path / "policy.toml"))


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("only", [None, "hate", "crime"])
def test_an_objective_that_a_row_names_is_violated_whatever_its_source(
    make: Make, complete: bool, only: str | None
) -> None:
    assert label_of(make("hate", "crime", complete=complete, only=only), "hate") is True


@pytest.mark.parametrize(
    ("named", "unsafe", "complete", "only", "expected"),
    [
        (["crime"], True, True, None, False),  # ours: what is not named is respected
        (["crime"], True, False, None, None),  # public: merely not labelled
        (["crime"], True, False, "crime", None),
        ([], True, False, None, None),  # unsafe, and nobody says by what
        ([], True, True, None, False),
        ([], False, True, None, False),  # safe: violates nothing
        ([], False, False, None, False),
        ([], False, False, "hate", False),  # labelled for this very one
        ([], False, False, "crime", None),  # safe by another one's labels
    ],
)
def test_an_objective_that_a_row_does_not_name_is_respected_only_where_its_source_says_so(
    make: Make, named: list[str], unsafe: bool, complete: bool, only: str | None, expected: bool | None
) -> None:
    assert label_of(make(*named, unsafe=unsafe, complete=complete, only=only), "hate") is expected


@pytest.mark.parametrize(
    ("named", "unsafe", "only", "expected"),
    [
        (["hate"], True, None, True),
        ([], True, None, True),
        (["hate"], True, "hate", True),
        ([], False, None, False),
        ([], False, "hate", None),  # it may well violate another
    ],
)
def test_a_row_is_safe_as_a_whole_only_where_it_was_labelled_for_everything(
    make: Make, named: list[str], unsafe: bool, only: str | None, expected: bool | None
) -> None:
    assert label_of(make(*named, unsafe=unsafe, complete=False, only=only), None) is expected


def rows_of(make: Make) -> tuple[list[Example], NDArray[Any]]:
    examples = [
        *(make("hate") for _ in range(60)),
        *(make("hate", "crime") for _ in range(20)),
        *(make("crime", complete=False) for _ in range(10)),
        make(unsafe=True, complete=False),
        *(make() for _ in range(25)),
    ]
    return examples, np.random.default_rng(0).random(len(examples))


def test_one_threshold_is_certified_on_all_unsafe_rows_and_costed_on_the_safe_ones(make: Make) -> None:
    examples, unsafe = rows_of(make)
    table = guarantees(unsafe, examples, ["hate", "crime"], "abc123")
    assert (table["data"], table["delta"]) == ("abc123", 0.05)
    assert set(table) == {"data", "delta", *ALPHAS}
    together = thresholds_of(unsafe[:91], unsafe[91:])
    for preset in ALPHAS:
        assert list(table[preset]) == [ALL, "hate", "crime"]
        assert table[preset][ALL] == together[preset]
    assert json.loads(json.dumps(table)) == table


def test_every_objective_has_that_threshold_with_what_its_own_rows_say_of_it(make: Make) -> None:
    examples, unsafe = rows_of(make)
    table = guarantees(unsafe, examples, ["hate", "crime"], "abc123")
    for preset, alpha in ALPHAS.items():
        together = table[preset][ALL]
        for name, own in (("hate", unsafe[:80]), ("crime", unsafe[60:90])):
            alone = certify(own, unsafe[91:], alpha)
            assert table[preset][name] == {
                **together,
                "n": len(own),
                "missed": int((own < together["threshold"]).sum()),
                "certified": alone.certified and alone.threshold >= together["threshold"],
            }


def test_a_kind_that_is_missed_more_often_than_the_rest_is_not_certified(make: Make) -> None:
    examples = [*[make("hate")] * 400, *[make("crime")] * 60]
    unsafe = np.array([*[0.9] * 430, *[0.1] * 30])
    row = guarantees(unsafe, examples, ["hate", "crime"], "abc123")["permissive"]
    assert 0.89 < row[ALL]["threshold"] <= 0.9
    assert {name: (each["n"], each["missed"], each["certified"]) for name, each in row.items()} == {
        ALL: (460, 30, True),
        "hate": (400, 0, True),
        "crime": (60, 30, False),
    }
    assert len({each["threshold"] for each in row.values()}) == 1


def test_a_kind_of_too_few_rows_is_not_certified_where_all_together_are(make: Make) -> None:
    examples = [*[make("hate")] * 60, *[make("crime")] * 13]
    table = guarantees(np.full(73, 0.9), examples, ["hate", "crime"], "abc123")
    assert [[table[preset][name]["certified"] for name in (ALL, "hate", "crime")] for preset in ALPHAS] == [
        [True, True, False],  # 59 rows are needed for 5%
        [True, True, False],  # 29 for 10%
        [True, True, False],  # 14 for 20%
    ]


def test_the_confidence_asked_for_is_the_one_certified(make: Make) -> None:
    examples = [make("hate")] * 80
    unsafe = np.full(80, 0.6)
    usual = guarantees(unsafe, examples, ["hate"], "abc123")
    surer = guarantees(unsafe, examples, ["hate"], "abc123", delta=0.01)
    assert surer["delta"] == 0.01
    for name in (ALL, "hate"):
        assert surer["strict"][name]["delta"] == 0.01
        assert usual["strict"][name]["certified"] is True
        assert surer["strict"][name]["certified"] is False
        assert surer["strict"][name]["needed"] == 90


def test_an_objective_without_a_row_has_the_threshold_of_all_and_is_not_certified(make: Make) -> None:
    examples = [*[make("hate")] * 60, *[make()] * 30]
    table = guarantees(np.array([0.8] * 60 + [0.2] * 30), examples, ["hate", "crime"], "abc123")
    for preset in ALPHAS:
        row = table[preset]["crime"]
        assert (row["certified"], row["n"], row["missed"], row["safe"]) == (False, 0, 0, 30)
        assert row["threshold"] == table[preset][ALL]["threshold"]


@pytest.mark.parametrize("safe", [0, 30])
def test_without_an_unsafe_row_there_is_nothing_to_set_a_threshold_on(make: Make, safe: int) -> None:
    with pytest.raises(ValueError, match="no exchange is unsafe"):
        guarantees(np.full(safe, 0.2), [make()] * safe, ["hate"], "abc123")


@pytest.mark.parametrize("preset", ALPHAS)
def test_the_lines_are_a_policy_that_lays_every_threshold_over_the_shipped_one(
    table: Table, tmp_path: Path, preset: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'preset = "{preset}"\n' + policy_lines(table, OBJECTIVES), encoding="utf-8")
    shipped, found = load_policy(preset), load_policy(file)
    assert found == replace(
        shipped,
        objectives={n: replace(o, threshold=table[preset][n]["threshold"]) for n, o in shipped.objectives.items()},
    )


def test_the_lines_hold_nothing_but_thresholds_of_the_objectives_asked_for(table: Table) -> None:
    found = tomllib.loads(policy_lines(table, ["hate", "crime"]))
    assert found == {
        "objectives": {
            n: {"thresholds": {preset: table[preset][n]["threshold"] for preset in ALPHAS}} for n in ("hate", "crime")
        }
    }


def test_the_lines_say_what_is_promised_and_what_is_not(make: Make) -> None:
    examples = [*[make("hate")] * 40, *[make()] * 8]
    unsafe = np.array([*[0.05] * 2, *[0.6] * 38, 0.7, *[0.01] * 7])
    lines = policy_lines(guarantees(unsafe, examples, ["hate"], "abc123"), ["hate"]).split("\n")
    assert lines[0] == "# Thresholds from data abc123, confidence 95%."
    assert lines[2].startswith("# strict: at most 5% pass, NOT certified on 40 unsafe rows (")
    assert lines[3] == "# balanced: at most 10% pass, certified on 40 unsafe rows (0 missed); over-refusal 12.5% of 8"
    assert lines[4] == "# permissive: at most 20% pass, certified on 40 unsafe rows (2 missed); over-refusal 12.5% of 8"
    assert lines[5] == "[objectives.hate]"


def test_the_lines_can_be_written_without_a_safe_row() -> None:
    table = table_of({"hate": {"strict": 0.0009, "balanced": 0.5, "permissive": 1.0}}, safe=False)
    text = policy_lines(table, ["hate"])
    assert "over-refusal 0.0% of 0" in text
    assert tomllib.loads(text)["objectives"]["hate"]["thresholds"] == {
        "strict": 0.0009,
        "balanced": 0.5,
        "permissive": 1.0,
    }


def test_writing_changes_the_thresholds_lines_and_no_other(table: Table, copy: Path) -> None:
    write_thresholds(copy, table)
    before, after = POLICY.read_bytes().split(b"\n"), copy.read_bytes().split(b"\n")
    changed = [b for b, a in zip(before, after, strict=True) if a != b]
    assert len(changed) == len(OBJECTIVES)
    assert all(line.startswith(b"thresholds = ") for line in changed)


def test_every_objective_gets_its_own_thresholds(table: Table, copy: Path) -> None:
    write_thresholds(copy, table)
    expected = tomllib.loads(POLICY.read_text(encoding="utf-8"))
    for name, row in expected["objectives"].items():
        row["thresholds"] = {preset: table[preset][name]["threshold"] for preset in ALPHAS}
    assert tomllib.loads(copy.read_text(encoding="utf-8")) == expected


def test_writing_twice_is_writing_once(table: Table, copy: Path) -> None:
    write_thresholds(copy, table)
    once = copy.read_bytes()
    write_thresholds(copy, table)
    assert copy.read_bytes() == once


def test_an_objective_that_the_table_lacks_is_an_error_and_the_file_stays_whole(table: Table, copy: Path) -> None:
    del table["permissive"][OBJECTIVES[-1]]
    with pytest.raises(KeyError, match=OBJECTIVES[-1]):
        write_thresholds(copy, table)
    assert copy.read_bytes() == POLICY.read_bytes()


@pytest.mark.parametrize("row", [0, 1], ids=["an unsafe row", "a safe row"])
@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_a_score_that_is_no_probability_is_refused_wherever_it_stands(make: Make, row: int, bad: float) -> None:
    unsafe = np.full(2, 0.5)
    unsafe[row] = bad
    with pytest.raises(ValueError, match="not a probability"):
        guarantees(unsafe, [make("hate"), make()], ["hate", "crime"], "abc123")


def test_a_remark_behind_a_heading_gives_no_objective_the_thresholds_of_another(table: Table, copy: Path) -> None:
    text = copy.read_text(encoding="utf-8").replace("[objectives.crime]", "[objectives.crime]  # not violent")
    copy.write_text(text, encoding="utf-8")
    write_thresholds(copy, table)
    found = tomllib.loads(copy.read_text(encoding="utf-8"))["objectives"]["crime"]["thresholds"]
    assert found == {preset: table[preset]["crime"]["threshold"] for preset in ALPHAS}


def test_a_stricter_preset_never_has_the_higher_threshold() -> None:
    """40 rows are enough for a promise of 10%, not of 5%; the preset without a promise must not let more pass than that with."""
    scores = [0.1, 0.6, *[0.9] * 38]
    found = thresholds_of(scores, [0.05])
    assert list(found) == list(ALPHAS)
    assert certify(scores, [], ALPHAS["strict"]).threshold > found["balanced"]["threshold"]
    assert found["strict"]["threshold"] == found["balanced"]["threshold"] <= 0.1
    assert found["balanced"]["threshold"] <= found["permissive"]["threshold"]
    assert (found["strict"]["certified"], found["strict"]["missed"]) == (False, 0)  # counted at the threshold it has


def test_presets_that_do_not_cross_have_the_thresholds_they_would_have_alone() -> None:
    unsafe, safe = np.linspace(0.3, 0.99, 300), np.linspace(0.01, 0.5, 40)
    assert thresholds_of(unsafe, safe, 0.1) == {
        preset: certify(unsafe, safe, alpha, 0.1).as_dict() for preset, alpha in ALPHAS.items()
    }
