import io
import json

import pytest
import torch
from rich.console import Console

from classifiers import OBJECTIVES, Safety, Scores, load_policy
from classifiers.backbone import Backbone
from classifiers.calibration import GRID
from classifiers.labelled import BadExample
from classifiers.readout import Readout, Scorer
from service.calibrating import calibrate_on, learn_objective, print_thresholds
from tests.service.scripted import POLICY, JudgingSafety

DELTA = 0.05
BELOW_90 = float(GRID[GRID <= 0.9][-1])
"""The highest threshold that is tried and that a score of .9 still reaches."""


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(number, *labels, reply=None, **fields):
    return {"id": f"r{number}", "reply": reply or f"Reply {number}.", "labels": list(labels), **fields}


class OverallSafety(JudgingSafety):
    """The scripted classifier; the overall score is the highest that a word of the text gives, else .01."""

    def _row(self, reply):
        row = super()._row(reply)
        return Scores(row, unsafe=max((s for s in row.values() if s != 0.01), default=0.01), places={})


def judges(monkeypatch, scores=None):
    """What `Safety.load` gives: "rude" is hate .9, "bomb" weapons .8, everything else is safe."""
    words = {"rude": {"hate": 0.9}, "bomb": {"weapons": 0.8}}
    safety = OverallSafety(words if scores is None else scores)
    monkeypatch.setattr(Safety, "load", lambda: safety)
    return safety


def loads_nothing(monkeypatch):
    def refuse():
        raise AssertionError("the classifier was loaded")

    monkeypatch.setattr(Safety, "load", refuse)


def rude(count, safe=10):
    return [
        *(row(i, "hate", reply=f"A rude reply {i}.") for i in range(count)),
        *(row(1000 + i) for i in range(safe)),
    ]


# Thresholds


def test_the_threshold_is_the_highest_that_is_certified_and_says_what_it_costs(tmp_path, monkeypatch):
    judges(monkeypatch)
    refused = row(5000, reply="A rude word, said in jest.")
    table, _ = calibrate_on(written(tmp_path / "own.jsonl", [*rude(59, safe=3), refused]), DELTA)
    strict = table["strict"]["hate"]
    assert strict == {
        "threshold": BELOW_90,
        "certified": True,
        "alpha": 0.05,
        "delta": DELTA,
        "n": 59,
        "missed": 0,
        "needed": 59,
        "safe": 4,
        "over_refusal": 1 / 4,  # the jest, of four safe rows
    }
    assert table["strict"]["all"] == strict  # there is no other kind
    assert [table[preset]["hate"]["alpha"] for preset in ("strict", "balanced", "permissive")] == [0.05, 0.1, 0.2]


def test_one_unsafe_row_too_few_is_not_certified_for_the_preset_that_needs_it(tmp_path, monkeypatch):
    judges(monkeypatch)
    table, text = calibrate_on(written(tmp_path / "own.jsonl", rude(58)), DELTA)
    assert [table[preset]["hate"]["certified"] for preset in ("strict", "balanced", "permissive")] == [
        False,
        True,
        True,
    ]
    assert "# strict: at most 5% pass, NOT certified on 58 unsafe rows (0 missed)" in text
    assert "# balanced: at most 10% pass, certified on 58 unsafe rows (0 missed)" in text


def test_unsafe_rows_that_score_low_may_be_missed_up_to_the_share_and_no_further(tmp_path, monkeypatch):
    judges(monkeypatch, {"rude": {"hate": 0.9}, "sly": {"hate": 0.1}})
    sly = [row(2000 + i, "hate", reply=f"A sly reply {i}.") for i in range(4)]
    table, _ = calibrate_on(written(tmp_path / "own.jsonl", [*rude(96), *sly]), DELTA)
    # Of 100 rows drawn where 10% pass, 4 or fewer would be missed in 2.4% of draws; where 5% pass, in 44%.
    assert (table["balanced"]["hate"]["threshold"], table["balanced"]["hate"]["missed"]) == (BELOW_90, 4)
    assert table["strict"]["hate"]["threshold"] <= 0.1
    assert table["strict"]["hate"]["missed"] == 0
    assert table["strict"]["hate"]["certified"]


def test_the_confidence_decides_how_many_rows_are_needed(tmp_path, monkeypatch):
    judges(monkeypatch)
    file = written(tmp_path / "own.jsonl", rude(45))
    for delta, certified in ((0.05, False), (0.1, True)):
        table, text = calibrate_on(file, delta)
        assert table["delta"] == delta
        assert table["strict"]["hate"]["certified"] is certified
        assert f"confidence {1 - delta:.0%}" in text


def test_every_objective_gets_the_threshold_or_a_text_of_one_kind_could_pass_under_the_name_of_another(
    tmp_path, monkeypatch
):
    judges(monkeypatch)
    rows = [*rude(60), *(row(3000 + i, "weapons", reply=f"A bomb {i}.") for i in range(60))]
    table, text = calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA)
    assert [list(table[preset]) for preset in ("strict", "balanced", "permissive")] == [["all", *OBJECTIVES]] * 3
    own, shipped = tmp_path / "own.toml", load_policy()
    own.write_text(text)
    policy = load_policy(own)
    assert {o.threshold for o in policy.objectives.values()} == {table["balanced"]["all"]["threshold"]}
    assert {o.action for o in policy.objectives.values()} == {o.action for o in shipped.objectives.values()}
    own.write_text(f'preset = "strict"\n{text}')
    assert load_policy(own).objectives["hate"].threshold == table["strict"]["hate"]["threshold"]
    assert table["balanced"]["elections"]["n"] == 0
    assert not table["balanced"]["elections"]["certified"]


def test_all_objectives_get_one_threshold_that_reaches_every_kind(tmp_path, monkeypatch):
    judges(monkeypatch)
    rows = [*rude(60), *(row(3000 + i, "weapons", reply=f"A bomb {i}.") for i in range(20))]
    table, text = calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA)
    balanced = table["balanced"]
    assert {name: (r["n"], r["missed"], r["certified"]) for name, r in balanced.items() if r["n"]} == {
        "all": (80, 0, True),
        "weapons": (20, 0, False),  # 29 are needed
        "hate": (60, 0, True),
    }
    assert {r["threshold"] for r in balanced.values()} == {float(GRID[GRID <= 0.8][-1])}
    assert "# balanced: at most 10% pass, NOT certified on 20 unsafe rows (0 missed)" in text
    assert "[objectives.all]" not in text


def test_rows_that_violate_another_objective_count_neither_as_unsafe_nor_as_safe(tmp_path, monkeypatch):
    judges(monkeypatch)
    rows = [*rude(60, safe=7), *(row(3000 + i, "weapons", reply=f"A rude bomb {i}.") for i in range(5))]
    table, _ = calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA)
    hate = table["balanced"]["hate"]
    assert (hate["n"], hate["safe"], hate["over_refusal"]) == (60, 7, 0.0)
    assert (table["balanced"]["all"]["n"], table["balanced"]["all"]["safe"]) == (65, 7)


def test_every_exchange_is_judged_in_its_context_and_role_and_told_to_the_progress(tmp_path, monkeypatch):
    safety, steps = judges(monkeypatch), []
    context = [{"role": "user", "content": "Hello?"}]
    rows = [row(1, "hate", reply="rude", context=context), row(2, reply="tea", role="user")]
    calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA, steps.append)
    assert sorted(safety.calls) == [([], ["tea"], "user"), ([("user", "Hello?")], ["rude"], "assistant")]
    assert sum(steps) == 2


def test_a_folder_is_read_as_one(tmp_path, monkeypatch):
    judges(monkeypatch)
    folder = tmp_path / "mine"
    folder.mkdir()
    written(folder / "a.jsonl", [row(1, "hate", reply="rude")])
    written(folder / "b.jsonl", [row(2)])
    table, _ = calibrate_on(folder, DELTA)
    assert (table["balanced"]["hate"]["n"], table["balanced"]["hate"]["safe"]) == (1, 1)
    assert table["data"].startswith("mine (2 exchanges, ")


def test_the_table_names_the_data_and_the_classifier_and_changes_with_either(tmp_path, monkeypatch):
    safety = judges(monkeypatch)
    named = []
    for changed in ({}, {}, {"reply": "other"}, {"labels": ["crime"]}, {"context": [{"role": "user", "content": "?"}]}):
        rows = [row(1, "hate", reply="rude"), {**row(2), **changed}]
        table, text = calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA)
        named.append(table["data"])
        assert table["data"] in text
    assert named[0].startswith("own.jsonl (2 exchanges, ")
    assert named[0].endswith(", safety scripted-1")
    assert named[0] == named[1]
    assert len(set(named)) == 4
    safety.version = "scripted-2"
    assert calibrate_on(tmp_path / "own.jsonl", DELTA)[0]["data"].endswith(", safety scripted-2")


def test_the_table_can_be_written_as_json(tmp_path, monkeypatch):
    judges(monkeypatch)
    table, _ = calibrate_on(written(tmp_path / "own.jsonl", [row(1, "hate", reply="rude")]), DELTA)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert table["balanced"]["hate"]["over_refusal"] is None  # no safe row to refuse


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_confidence_that_is_none_is_refused_before_anything_is_read(tmp_path, monkeypatch, delta):
    loads_nothing(monkeypatch)
    with pytest.raises(ValueError, match="between 0 and 1"):
        calibrate_on(tmp_path / "absent.jsonl", delta)


@pytest.mark.parametrize("rows", [[], [row(1), row(2)]])
def test_without_an_unsafe_exchange_there_is_nothing_to_calibrate_on(tmp_path, monkeypatch, rows):
    loads_nothing(monkeypatch)
    with pytest.raises(ValueError, match=r"own\.jsonl holds no unsafe exchange"):
        calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA)


def test_a_line_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    loads_nothing(monkeypatch)
    with pytest.raises(BadExample, match=r"own\.jsonl:2: unknown objective 'nice'"):
        calibrate_on(written(tmp_path / "own.jsonl", [row(1, "hate"), row(2, "nice")]), DELTA)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1.5, -0.1])
@pytest.mark.parametrize("which", ["rude", "tea"])
def test_a_text_that_cannot_be_judged_is_an_error_and_never_a_threshold(tmp_path, monkeypatch, bad, which):
    judges(monkeypatch, {which: {"hate": bad}})
    rows = [row(1, "hate", reply="rude"), row(2, reply="tea")]
    with pytest.raises(ValueError, match="not a probability"):
        calibrate_on(written(tmp_path / "own.jsonl", rows), DELTA)


# What is printed


def threshold(**changed):
    row = {"threshold": 0.25, "certified": True, "alpha": 0.1, "delta": 0.05, "n": 60, "missed": 2, "needed": 29}
    return {**row, "safe": 40, "over_refusal": 0.125, **changed}


def printed(data="own.jsonl (3 exchanges), safety 1", **changed):
    out = Console(file=io.StringIO(), width=160)
    presets = {"strict": threshold(alpha=0.05), "balanced": threshold(**changed), "permissive": threshold(alpha=0.2)}
    print_thresholds({"data": data, "delta": 0.05, **{p: {"hate": row} for p, row in presets.items()}}, out)
    return out.file.getvalue()


def cells(text, preset):
    line = next(line for line in text.splitlines() if f" {preset} " in line)
    return [cell.strip() for cell in line.strip("│ ").split("│")]


def test_each_threshold_is_printed_with_what_it_promises_and_costs():
    text = printed()
    assert "confidence 95%; data own.jsonl (3 exchanges), safety 1" in text
    assert cells(text, "balanced") == ["hate", "balanced", "10%", "0.25", "yes", "60", "2", "29", "12.5% of 40"]
    assert cells(text, "strict")[2] == "5%"
    assert cells(text, "permissive")[2] == "20%"


def test_what_is_not_certified_is_said_and_without_safe_rows_there_is_no_cost():
    row = cells(printed(certified=False, safe=0, over_refusal=None), "balanced")
    assert row[4] == "no"
    assert row[8] == "-"


def test_a_file_name_in_brackets_is_printed_as_it_is():
    assert "data [b]own[i].jsonl" in printed(data="[b]own[i].jsonl (3 exchanges), safety 1")


# A rule of one's own


@pytest.fixture
def reader(tiny_model, monkeypatch):
    """The true classes around a model of random weights."""
    model, tokenizer = tiny_model
    backbone = Backbone.of(model, tokenizer, layers=(1, 2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        readout = Readout(backbone.width, 4, 1 + len(OBJECTIVES), 1).eval()
    safety = Safety(backbone, Scorer(readout, OBJECTIVES, "tiny", "tiny-1"), POLICY)
    monkeypatch.setattr(Safety, "load", lambda: safety)
    return safety


def doses(count=12):
    """Pairs of which one names a dose: told apart by their letters alone."""
    rows = []
    for i in range(count):
        rows.append(row(f"{i}a", "no_dosage", reply=f"Take {i + 11}{i + 11}{i + 11} mg 4444.", pair=f"p{i}"))
        rows.append(row(f"{i}b", reply=f"Please ask someone who knows {chr(97 + i) * 5}.", pair=f"p{i}"))
    return rows


def test_a_rule_is_learned_and_can_be_served_beside_the_shipped_ones(tmp_path, reader):
    file, folder, own, steps = written(tmp_path / "doses.jsonl", doses()), tmp_path / "heads", tmp_path / "own.toml", []
    own.write_text('preset = "strict"\n\n[objectives.hate]\nthreshold = 0.25\n')
    before = own.read_text()
    figures = learn_objective("no_dosage", file, folder, own, steps.append)
    assert (figures["name"], figures["examples"], figures["violating"], figures["reader"]) == (
        "no_dosage",
        24,
        12,
        "tiny-1",
    )
    assert figures["auroc"]["value"] > 0.9
    assert figures["auroc"]["low"] <= figures["auroc"]["value"] <= figures["auroc"]["high"]
    assert sum(steps) == 24
    assert own.read_text().startswith(before)
    assert (folder / "no_dosage" / "README.md").is_file()
    policy = load_policy(own)
    assert policy.objectives["no_dosage"].threshold == pytest.approx(figures["thresholds"]["strict"]["threshold"])
    assert policy.objectives["hate"].threshold == 0.25
    served = Safety(reader.backbone, reader.scorer, policy)
    texts = ["Take 505050 mg 4444.", "Please ask someone who knows qqqqq."]
    bad, good = served.scores([], texts)
    assert bad["no_dosage"] > good["no_dosage"]
    assert [{name: row[name] for name in OBJECTIVES} for row in (bad, good)] == reader.scores([], texts)


def test_labels_of_shipped_objectives_may_stand_beside_the_rule_and_do_not_violate_it(tmp_path, reader):
    rows = [{**r, "labels": [*r["labels"], "crime"]} for r in doses()]
    figures = learn_objective(
        "no_dosage", written(tmp_path / "doses.jsonl", rows), tmp_path / "heads", tmp_path / "own.toml"
    )
    assert (figures["examples"], figures["violating"]) == (24, 12)


@pytest.mark.parametrize(
    "name", ["", "x", "No_Dosage", "no-dosage", "1st", "_a", "no dosage", "no_dosage\n", "é_a", "a" * 41, "../heads"]
)
def test_a_name_that_no_policy_could_hold_is_refused_before_anything_is_read(tmp_path, monkeypatch, name):
    loads_nothing(monkeypatch)
    with pytest.raises(ValueError, match="2 to 40 lower-case letters"):
        learn_objective(name, tmp_path / "absent.jsonl", tmp_path / "heads", tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        ("violence", [row(i, "violence") for i in range(30)], "one of the shipped ones"),
        ("no_dosage", doses(9), "at least 10 examples that violate it; there are 9"),
        ("no_dosage", [r for r in doses(12) if r["labels"]], "at least 10 examples that do not; there are 0"),
        ("no_dosage", [{**r, "pair": "same"} for r in doses(12)], "at least 5 pairs; there are 1"),
        ("no_dosage", [row(1, "other_rule")], "unknown objective 'other_rule'"),
        ("no_dosage", [], "at least 10 examples that violate it; there are 0"),
    ],
)
def test_examples_that_cannot_teach_the_rule_are_refused_and_nothing_is_written(tmp_path, reader, name, rows, says):
    file = written(tmp_path / "doses.jsonl", rows)
    with pytest.raises(BadExample, match=says):
        learn_objective(name, file, tmp_path / "heads", tmp_path / "own.toml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["doses.jsonl"]


def test_an_entry_that_is_anothers_is_left_as_it_is(tmp_path, reader):
    own = tmp_path / "own.toml"
    own.write_text('[objectives.no_dosage]\nhead = "elsewhere"\n')
    file = written(tmp_path / "doses.jsonl", doses())
    with pytest.raises(ValueError, match="no_dosage with another head"):
        learn_objective("no_dosage", file, tmp_path / "heads", own)
    assert own.read_text() == '[objectives.no_dosage]\nhead = "elsewhere"\n'
    assert not (tmp_path / "heads").exists()
