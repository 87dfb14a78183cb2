"""Labelled exchanges in, figures out: each worked out by hand, and which exchanges are read."""

import json
from dataclasses import replace

import numpy as np
import pytest

from classifiers.labelled import SPLITS, BadExample, Example, split_of
from service.settings import Settings
from service.suites import classify
from service.suites.base import measured
from service.suites.classify import SUITE
from service.suites.run import Run
from tests.service.scripted import make_corridor, scores_of


def row(id, unsafe_label, unsafe, dropped, baseline=0.5, source="own", labels=None, complete=True, **fields):
    """Labelled and scored on hate alone, unless fields say otherwise."""
    named = (["hate"] if unsafe_label else []) if labels is None else labels
    return {
        "id": id,
        "group": id,
        "source": source,
        "labels": named,
        "unsafe_label": unsafe_label,
        "complete": complete,
        "scores": {"hate": unsafe},
        "unsafe": unsafe,
        "dropped": dropped,
        "because": ["hate"] if dropped else [],
        "flagged": [],
        "baseline": baseline,
        "baseline_scores": {"hate": baseline},
        **fields,
    }


ROWS = [
    row("a", True, 0.95, True, 0.9),
    row("b", True, 0.65, True, 0.2),
    row("c", True, 0.25, False, 0.8),
    row("d", False, 0.65, True, 0.7),
    row("e", False, 0.15, False, 0.1),
]
"""Three unsafe, two dropped; two safe, one dropped with the score of an unsafe one."""


def figures(rows):
    return {m.name: measured(m, rows) for m in SUITE.metrics(rows)}


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr("service.suites.base.RESAMPLES", 30)


HAND = {
    # d ties with b and beats c; e beats none: 6 pairs, of which 4 in order, 1 tied
    "AUROC": (4 + 1 / 2) / 6,
    # .95 unsafe: precision 1; at .65 two of three; at .25 three of four
    "AUPRC": (1 + 2 / 3 + 3 / 4) / 3,
    "F1": 2 * 2 / (3 + 3),
    "recall": 2 / 3,
    "precision": 2 / 3,
    "recall at 1% false positives": 1 / 3,  # above .65 is a alone
    # bins .9, .6 (two rows, one unsafe), .2, .1: gaps .05, .15, .75, .15
    "calibration error": (0.05 + 2 * 0.15 + 0.75 + 0.15) / 5,
    "over-refusal": 1 / 2,
    # .9 u, .8 u, .7 s, .2 u, .1 s
    "AUROC, TF-IDF": 5 / 6,
    "AUPRC, TF-IDF": (1 + 1 + 3 / 4) / 3,
    "F1, TF-IDF": 2 * 2 / (3 + 3),  # drops three, as we do: .9, .8, .7
    "recall at 1% false positives, TF-IDF": 2 / 3,
}


@pytest.mark.parametrize(("name", "value"), HAND.items())
def test_a_figure_worked_out_by_hand(name, value):
    found = figures(ROWS)[name]
    assert found.value == pytest.approx(value)
    assert found.n == (2 if name == "over-refusal" else 5)
    assert found.prevalence == (None if name == "over-refusal" else 0.6)


@pytest.mark.parametrize(("name", "value"), HAND.items())
def test_an_objective_has_the_same_figures_from_its_own_labels_scores_and_reasons(name, value):
    other = [r | {"unsafe": 0.5, "baseline": 0.5, "dropped": True} for r in ROWS]
    assert figures(other)[f"objective hate: {name}"].value == pytest.approx(value)


def test_a_flagged_objective_counts_as_reached():
    flagged = [r | {"dropped": False, "because": [], "flagged": r["because"]} for r in ROWS]
    found = figures(flagged)
    assert found["recall"].value == 0
    assert found["objective hate: recall"].value == pytest.approx(2 / 3)


def test_what_violates_another_objective_is_no_over_refusal_of_this_one():
    rows = [*ROWS, row("f", True, 0.9, True, labels=["crime"])]
    found = figures(rows)["objective hate: over-refusal"]
    assert (found.value, found.n) == (1 / 2, 2)
    assert figures(rows)["objective hate: precision"].value == pytest.approx(2 / 4)


def test_only_rows_with_complete_labels_say_something_of_an_objective():
    rows = [*ROWS, row("f", True, 0.1, False, labels=[], complete=False)]
    found = figures(rows)
    assert found["objective hate: recall"].n == 5
    assert found["recall"].n == 6


def test_what_could_not_be_judged_is_taken_for_the_worst():
    unscored = row("f", False, 1.0, True, scores={}, because=["unscored"])
    found = figures([unscored, ROWS[0], ROWS[1]])
    assert found["objective hate: AUROC"].value == 0
    assert found["over-refusal"].value == 1


@pytest.mark.parametrize(
    ("rows", "defined"),
    [
        (ROWS[:3], {"F1", "F1, TF-IDF", "recall", "precision", "calibration error"}),
        (ROWS[3:], {"precision", "over-refusal", "calibration error"}),
        (ROWS[4:], {"over-refusal", "calibration error"}),  # nothing dropped
        ([], set()),
    ],
)
def test_with_one_class_only_just_what_is_defined_has_a_value(rows, defined):
    found = {name: f.value for name, f in figures(rows).items() if ":" not in name}
    assert {name for name, value in found.items() if value is not None} == defined
    assert set(found) == set(HAND)


def test_each_source_has_figures_where_there_are_several():
    assert not [name for name in figures(ROWS) if name.startswith("source")]
    found = figures([*ROWS, row("f", False, 0.9, True, source="diasafety", complete=False)])
    assert found["source own: over-refusal"].value == 1 / 2
    assert found["source diasafety: over-refusal"].value == 1
    assert found["over-refusal"].value == pytest.approx(2 / 3)
    assert found["source own: AUROC"].value == pytest.approx(HAND["AUROC"])


def test_rows_of_a_pair_are_drawn_together():
    pairs = [r | {"group": "one"} for r in ROWS]
    assert figures(pairs)["recall"].low is None  # one group has nothing to vary
    assert figures(ROWS)["recall"].low is not None


def test_the_baseline_stands_beside_the_figure_that_it_is_the_baseline_of():
    metrics = {m.name: m for m in SUITE.metrics(ROWS)}
    for name, metric in metrics.items():
        assert metric.beside == (name.removesuffix(", TF-IDF") if name.endswith("TF-IDF") else "")
        assert not metric.beside or metric.beside in metrics


def test_an_objective_that_the_baseline_could_not_learn_has_no_figure_beside_it():
    found = figures([r | {"baseline_scores": {}} for r in ROWS])
    assert found["objective hate: AUROC, TF-IDF"].value is None
    assert found["objective hate: AUROC"].value is not None


# Which exchanges are read


def own(name, *labels, split="test", reply=None):
    return Example(
        name, (("user", name),), reply or name, "assistant", bool(labels), frozenset(labels), True, name, "own", split
    )


WORDS = ["garden", "cellar", "attic", "market", "kitchen", "harbour"]
OWN = [own("own-1", "hate", reply="poison here"), own("own-2", reply="butter here")] + [
    own(f"train {word} {place}", *(["hate"] if word == "poison" else []), split="train", reply=f"{place} {word}")
    for place in WORDS
    for word in ("poison", "butter")
]


def public(source, name, split="validation"):
    return replace(own(f"{source}:{name}", split=split), source=source, complete=False)


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Our rows, and two public sets of which the folder of one is there."""
    sets = {"diasafety": [public("diasafety", f"d{i}") for i in range(30)], "edos": [public("edos", "x")]}
    sets["diasafety"] += [public("diasafety", split, split) for split in ("train", "calibration", "test")]
    monkeypatch.setattr(classify, "read_labelled", _reader(classify.read_labelled))
    monkeypatch.setattr(classify, "read_set", lambda public_set, folder: sets.get(public_set.name, []))
    (tmp_path / "sets" / "diasafety").mkdir(parents=True)
    return tmp_path


def _reader(read):
    return lambda path: OWN if path == classify.LABELLED else read(path)


def run_of(scores=None, **options):
    def by_word(context, texts, role):
        return [scores_of(hate=0.9 if "poison" in t else 0.1) for t in texts]

    scores = scores or by_word
    return Run(Settings(), corridor=make_corridor(scores=scores), **options)


def test_our_test_split_is_judged_and_nothing_else_without_public_sets(world):
    assert [c["id"] for c in SUITE.cases(run_of())] == ["own-1", "own-2"]


def test_of_the_public_sets_that_are_there_what_they_hold_out_is_judged_too(world):
    found = SUITE.cases(run_of(datasets=world / "sets"))
    assert [c["id"] for c in found] == ["own-1", "own-2", *(f"diasafety:d{i}" for i in range(30))]
    quick = SUITE.cases(run_of(datasets=world / "sets", quick=True))
    assert [c["source"] for c in quick] == ["own"] * 2 + ["diasafety"] * classify.A_SOURCE_QUICK
    assert all(c["id"] in {f["id"] for f in found} for c in quick)


def test_a_row_has_the_verdict_the_labels_the_text_and_the_baseline(world):
    run = run_of()
    cases = SUITE.cases(run)
    first, second = SUITE.judge(cases, run)
    assert first["scores"] == scores_of(hate=0.9)
    assert (first["unsafe"], first["dropped"], first["because"], first["flagged"]) == (0.9, True, ["hate"], [])
    assert (first["text"], first["labels"], first["unsafe_label"]) == ("poison here", ["hate"], True)
    assert first["context"] == [{"role": "user", "content": "own-1"}]
    assert (second["unsafe"], second["dropped"], second["because"]) == (0.1, False, [])
    assert first["baseline"] > 0.6 > 0.4 > second["baseline"]
    assert set(first["baseline_scores"]) == {"hate"}
    assert first["baseline_scores"]["hate"] > 0.6
    assert run.safety.calls[0][0] == [("user", "own-1")]
    json.dumps([first, second], allow_nan=False)


@pytest.mark.parametrize("scores", [None, {}, scores_of(hate=None), scores_of(hate=float("nan"))])
def test_what_could_not_be_scored_counts_as_dropped_and_as_certainly_unsafe(world, scores):
    run = run_of(scores=lambda context, texts, role: [scores] * len(texts))
    rows = SUITE.judge(SUITE.cases(run), run)
    assert [(row["unsafe"], row["dropped"], row["because"]) for row in rows] == [(1.0, True, ["unscored"])] * 2
    json.dumps(rows, allow_nan=False)


def test_rows_do_not_depend_on_what_is_judged_with_them(world):
    run = run_of()
    cases = SUITE.cases(run)
    assert SUITE.judge(cases, run) == [SUITE.judge([case], run)[0] for case in cases]
    assert SUITE.cases(run) == cases


def lines(path, *rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_users_files_take_the_place_of_ours(world):
    first = lines(world / "a.jsonl", {"id": "1", "reply": "poison", "labels": ["hate"]})
    second = lines(world / "b.jsonl", {"id": "2", "reply": "butter", "labels": [], "source": "theirs"})
    assert [(c["id"], c["source"]) for c in SUITE.cases(run_of(files=[first, second]))] == [
        ("1", "own"),
        ("2", "theirs"),
    ]


def test_public_sets_that_are_named_with_a_file_are_judged_as_well_all_of_them(world, monkeypatch):
    monkeypatch.setattr("service.suites.run.read_public", lambda folder: [public("edos", s, s) for s in SPLITS])
    file = lines(world / "a.jsonl", {"id": "1", "reply": "poison", "labels": ["hate"]})
    assert [c["id"] for c in SUITE.cases(run_of(files=[file], datasets=world))] == ["1", *(f"edos:{s}" for s in SPLITS)]
    mine = lines(world / "b.jsonl", {"id": "edos:test", "reply": "poison", "labels": []})
    with pytest.raises(BadExample, match=r"id 'edos:test' is in .*b\.jsonl too"):
        SUITE.cases(run_of(files=[mine], datasets=world))


def test_of_a_split_only_what_falls_into_it_is_judged_less_what_leaked_into_training(world, monkeypatch):
    rows = [{"id": str(i), "pair": str(i), "reply": f"Tea {i}.", "labels": []} for i in range(60)]
    file = lines(world / "a.jsonl", *rows)
    of = {split: {c["id"] for c in SUITE.cases(run_of(files=[file], split=split))} for split in SPLITS}
    assert sorted(id for ids in of.values() for id in ids) == sorted(row["id"] for row in rows)
    assert all(split_of(id) == split for split, ids in of.items() for id in ids)
    (taught, *_), (kept, *_) = of["train"], of["test"]
    leak = [{**row, "reply": "Tea."} if row["id"] in (taught, kept) else row for row in rows]
    lines(world / "a.jsonl", *leak)
    assert {c["id"] for c in SUITE.cases(run_of(files=[file], split="train"))} == of["train"] - {taught}
    assert {c["id"] for c in SUITE.cases(run_of(files=[file], split="test"))} == of["test"]


def test_a_split_that_does_not_exist_or_holds_nothing_is_named(world):
    file = lines(world / "a.jsonl", {"id": "1", "reply": "x", "labels": []})
    with pytest.raises(ValueError, match="--split is 'dev'; allowed: train, calibration, validation, test"):
        run_of(files=[file], split="dev")
    (empty, *_) = set(SPLITS) - {split_of("1")}
    with pytest.raises(BadExample, match=f"a.jsonl: no labelled exchange of the {empty} split"):
        SUITE.cases(run_of(files=[file], split=empty))


def test_ids_that_two_files_share_are_an_error_that_names_both(world):
    files = [lines(world / name, {"id": "1", "reply": "x", "labels": []}) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(BadExample, match=r"b\.jsonl: id '1' is in .*a\.jsonl too"):
        SUITE.cases(run_of(files=files))


def test_a_file_without_exchanges_is_an_error_that_names_it(world):
    with pytest.raises(BadExample, match=r"none\.jsonl: no labelled exchange"):
        SUITE.cases(run_of(files=[lines(world / "none.jsonl")]))


def test_the_baseline_has_not_learned_what_it_is_asked(world, monkeypatch):
    taught = []
    monkeypatch.setattr(
        classify, "baseline_scores", lambda train, asked: (taught.extend(train), np.zeros(len(asked)))[1]
    )
    seen = lines(
        world / "a.jsonl",
        {"id": "1", "reply": "x", "context": [{"role": "user", "content": OWN[2].id}], "labels": []},
    )
    SUITE.cases(run_of(files=[seen]))
    assert {e.id for e in taught} == {e.id for e in OWN[3:]}
