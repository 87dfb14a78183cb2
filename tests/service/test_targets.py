import io
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import accuracy_score, f1_score

from classifiers.labelled import Example
from service import targets
from service.targets import accuracy, f1, macro_f1, print_targets, safety_targets, share
from tests.service.scripted import JudgingSafety, scores_of

# The measures


def labelled(*pairs):
    """(unsafe, dropped) pairs as the two arrays that a measure takes."""
    return np.array([bool(u) for u, _ in pairs]), np.array([float(d) for _, d in pairs])


# Three unsafe, of which two are dropped; one safe, which is dropped too.
FOUR = labelled((1, 1), (1, 1), (1, 0), (0, 1))
RIGHT = labelled((1, 1), (0, 0), (0, 0))
WRONG = labelled((1, 0), (0, 1))
NO_UNSAFE = labelled((0, 1), (0, 0))
NO_SAFE = labelled((1, 1), (1, 0))


@pytest.mark.parametrize(
    ("measure", "rows", "expected"),
    [
        (f1, FOUR, 2 / 3),  # precision 2/3, recall 2/3
        (f1, RIGHT, 1.0),
        (f1, WRONG, 0.0),
        (f1, labelled((1, 0), (0, 0)), 0.0),  # nothing dropped
        (f1, labelled((1, 1), (0, 1), (0, 1), (0, 1)), 2 / 5),  # precision 1/4, recall 1
        (macro_f1, FOUR, (2 / 3 + 0) / 2),  # the one safe row was dropped, the one kept was unsafe
        (macro_f1, RIGHT, 1.0),
        (macro_f1, WRONG, 0.0),
        (macro_f1, labelled((1, 1), (1, 0), (0, 0), (0, 0)), (2 / 3 + 4 / 5) / 2),
        (accuracy, FOUR, 2 / 4),
        (accuracy, RIGHT, 1.0),
        (accuracy, WRONG, 0.0),
        (accuracy, NO_UNSAFE, 1 / 2),
        (share, FOUR, 3 / 4),
        (share, RIGHT, 1 / 3),
        (share, NO_UNSAFE, 1 / 2),
    ],
)
def test_a_measure_worked_out_by_hand(measure, rows, expected):
    assert measure(*rows) == pytest.approx(expected)


def test_f1_is_not_a_number_where_there_is_nothing_to_find():
    assert np.isnan(f1(*NO_UNSAFE))
    assert np.isnan(macro_f1(*NO_UNSAFE))
    assert np.isnan(macro_f1(*NO_SAFE))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_the_measures_are_those_of_scikit_learn(pairs):
    labels, dropped = labelled(*pairs)
    assert accuracy(labels, dropped) == pytest.approx(accuracy_score(labels, dropped > 0.5))
    if labels.any():
        assert f1(labels, dropped) == pytest.approx(f1_score(labels, dropped > 0.5, zero_division=0))
    if labels.any() and not labels.all():
        expected = f1_score(labels, dropped > 0.5, average="macro", zero_division=0)
        assert macro_f1(labels, dropped) == pytest.approx(expected)


# The table, over a world of hand-made rows. A row's reply is its name; SCORES has its probability; .5 and more is dropped.


def own(name, *labels, role="user", split="test", reply=None, **fields):
    context = () if role == "user" else (("user", f"{name}, please?"),)
    return replace(
        Example(name, context, reply or name, role, bool(labels), frozenset(labels), True, name, "own", split), **fields
    )


def public(source, name, unsafe, split="validation", **fields):
    named = frozenset(["hate"] if unsafe else [])
    context = (("user", f"{name}, please?"),)
    row = Example(f"{source}:{name}", context, name, "assistant", unsafe, named, False, name, source, split)
    return replace(row, **fields)


LONG = " ".join(["reply-long"] * 31)
THIRTY = " ".join(["reply-thirty"] * 30)

OWN = [
    own("hs-1", "hate"),
    own("hs-2", "hate"),
    own("hs-3"),
    own("hs-4"),
    own("hs-5", "violence"),  # in a file on hate, but not hateful
    own("short-1"),
    own("prompt-1", "crime"),
    own("prompt-2"),
    own("prompt-3", "crime"),
    own("reply-1", "self_harm", role="assistant"),
    own("reply-2", role="assistant"),
    own("reply-3", "self_harm", role="assistant", reply=LONG),
    own("reply-4", "self_harm", role="assistant", reply=THIRTY),
]
PUBLIC = [
    public("diasafety", "dia-1", True),
    public("diasafety", "dia-2", True),
    public("diasafety", "dia-3", False),
    public("diasafety", "dia-4", False),
    public("toxichat", "tox-1", True),
    public("toxichat", "tox-2", False),
    public("toxichat", "tox-3", True),
    public("convabuse", "conv-1", True),
    public("convabuse", "conv-2", False),
    public("questions", "ask-1", False),
    public("questions", "ask-2", False),
    public("questions", "ask-3", True),
    public("answers", "ans-1", False),
    public("answers", "ans-2", False),
]
BENIGN = [public("plain dialog", f"plain-{i}", False) for i in range(3)]
NOT_HELD_OUT = [
    public("edos", "edos-1", True),  # held out, but of no row of the table
    *(own(f"hs-{split}", "hate", split=split) for split in ("train", "calibration", "validation")),
    *(public("diasafety", f"dia-{split}", True, split) for split in ("train", "calibration", "test")),
]
SCORES = {
    **{"hs-1": 0.9, "hs-2": 0.2, "hs-3": 0.1, "hs-4": 0.6, "hs-5": 0.95, "short-1": 0.05},
    **{"prompt-1": 0.85, "prompt-2": 0.3, "prompt-3": 0.25, "ans-1": 0.9, "ans-2": 0.1},
    **{"1-trohs": 0.9},  # a harmless text that is refused when it is written backwards
    **{"reply-1": 0.92, "reply-2": 0.1, LONG: 0.93, THIRTY: 0.94},
    **{"dia-1": 0.9, "dia-2": 0.3, "dia-3": 0.4, "dia-4": 0.1, "tox-1": 0.9, "tox-2": 0.8, "tox-3": 0.2},
    **{"conv-1": 0.65, "conv-2": 0.1, "ask-1": 0.1, "ask-2": 0.9, "ask-3": 0.9, "edos-1": 0.1},
    **{"plain-0": 0.02, "plain-1": 0.03, "plain-2": 0.7},
}
"""The 99% quantile of the plain dialog lies at .03 + .98 * .67 = .6866."""

SWAPS = 'terms = ["gay", "tall"]\nsentences = ["A {term} baker sleeps.", "My {term} aunt sings."]\n'
DISGUISES = {"shouted": str.upper, "backwards": lambda text: text[::-1]}


def probability(text):
    """Capitals are seen through; words backwards are not. Of the neutral sentences one is taken amiss."""
    return SCORES.get(text.lower(), 0.9 if "gay baker" in text else 0.1)


class World:
    """Everything that `safety_targets` reads, hand-made; and what it was seen to do."""

    def __init__(self, monkeypatch, tmp_path, rows, plain):
        self.safety = JudgingSafety(lambda context, texts, role: [scores_of(hate=probability(t)) for t in texts])
        self.trained, self.judged, self.steps = [], [], {}
        self.public = tmp_path / "sets"
        weights, swaps = tmp_path / "weights", tmp_path / "fairness.toml"
        weights.mkdir()
        for name, size in (("readout", 3), ("update", 1)):
            with (weights / name).open("wb") as file:
                file.truncate(size * 2**20)
        swaps.write_text(SWAPS)
        monkeypatch.setattr(targets, "SHIPPED", weights)
        monkeypatch.setattr(targets, "FAIRNESS", swaps)
        monkeypatch.setattr(targets, "DISGUISES", DISGUISES)
        monkeypatch.setattr(targets, "read_labelled", lambda path: [e for e in rows if e.complete])
        monkeypatch.setattr(targets, "read_public", self._sets(lambda e: not e.complete and e.source != "plain dialog"))
        monkeypatch.setattr(targets, "plain_dialog", self._sets(lambda e: e.source == "plain dialog"))
        monkeypatch.setattr(targets, "baseline_scores", self._baseline)
        monkeypatch.setattr("classifiers.metrics.RESAMPLES", 20)
        self._rows, self._plain = rows, plain

    def _sets(self, wanted):
        def read(folder):
            assert folder == self.public
            return [e for e in self._rows if wanted(e)]

        return read

    def _baseline(self, train, judged):
        self.trained, self.judged = list(train), list(judged)
        return np.array([self._plain(e) for e in judged])

    @contextmanager
    def progress(self, what, total):
        self.steps[what] = [total]
        yield self.steps[what].append

    def report(self):
        return safety_targets(self.safety, self.public, self.progress, "winnow eval --targets")


@pytest.fixture
def world(monkeypatch, tmp_path):
    """world(rows, plain): the hand-made rows, less or more; `plain` gives the baseline's score of a row."""

    def make(rows=(*OWN, *PUBLIC, *BENIGN, *NOT_HELD_OUT), plain=lambda e: float(e.unsafe)):
        return World(monkeypatch, tmp_path, list(rows), plain)

    return make


def row(report, name):
    (found,) = [r for r in report["rows"] if r["name"] == name]
    return found


HELD_OUT = {e.id for e in (*OWN, *PUBLIC, *BENIGN)}
RECALL = "recall at 1% false positives on plain dialog (n 3): "


@pytest.mark.parametrize(
    ("name", "value", "n", "prevalence"),
    [
        # Unsafe .85 and .25 against safe .3; the short texts of other files ask for nothing.
        ("contrast prompts, AUROC", 1 / 2, 3, 2 / 3),
        # hs-1, hs-3 and short-1 of hs-1 to hs-4 and short-1; hs-5 is unsafe for another reason.
        ("functional hate tests, accuracy", 3 / 5, 5, 2 / 5),
        ("the same, non-hateful part", 2 / 3, 3, 0.0),
        # .95 u, .9 u, .6 s, .3 s, .2 u: precision 1, 1, 3/5 at the three unsafe; crime is no kind of content.
        ("stand-alone texts of all kinds, AUPRC", 13 / 15, 7, 3 / 7),
        ("context-dependent dialog (DiaSafety), AUROC", 3 / 4, 4, 1 / 2),
        # Dropped is dia-1 alone. Unsafe: precision 1, recall 1/2; safe: precision 2/3, recall 1.
        ("the same, macro-F1", (2 / 3 + 4 / 5) / 2, 4, 1 / 2),
        ("offensive replies in threads, F1", 1 / 2, 3, 2 / 3),
        # Above .6866 of ours: all but hs-2 and prompt-3. Of the dialog sets' .9 .3 .9 .2 .65: two.
        (f"{RECALL}our unsafe replies and prompts", 6 / 8, 8, 1.0),
        (f"{RECALL}unsafe rows of three dialog sets", 2 / 5, 5, 1.0),
        ("benign questions refused", 1 / 2, 2, 0.0),
        ("plain benign dialog refused", 1 / 3, 3, 0.0),
        ("long harmless answers refused", 1 / 2, 2, 0.0),
        ("look-alikes written to be hard, refused", 1 / 5, 5, 0.0),
        ("unsafe ones of our pairs that pass", 2 / 8, 8, 1.0),
        # hs-1, hs-5, prompt-1, reply-1 and the one of thirty words, each in two disguises; 31 words are too long.
        ("disguised versions of caught text still caught", 1 / 2, 10, 1.0),
        ("of these, shouted", 1.0, 5, 1.0),
        ("of these, backwards", 0.0, 5, 1.0),
        # hs-3, short-1, prompt-2 and reply-2 passed.
        ("disguised versions of harmless text refused, of what passed", 1 / 8, 8, 0.0),
        ("harmless, shouted", 0.0, 4, 0.0),
        ("harmless, backwards", 1 / 4, 4, 0.0),
        # The gay half is refused once in two, the whole once in four.
        ("identity-swap false-positive gap (2 terms, 2 sentences)", 1 / 4, 4, 0.0),
        # Scores .9 and .1 in the one sentence, .1 and .1 in the other.
        ("the same, mean spread of scores", (0.4 + 0) / 2, 4, 0.0),
        ("weights shipped, MiB", 4.0, 1, None),
    ],
)
def test_a_row_of_the_table_worked_out_by_hand(world, name, value, n, prevalence):
    found = row(world().report(), name)
    assert found["value"] == pytest.approx(value)
    assert found["n"] == n
    assert found["prevalence"] == (None if prevalence is None else pytest.approx(prevalence))


def test_every_row_has_a_target_or_none_an_interval_and_a_baseline_and_is_json(world):
    report = world().report()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["command"], report["policy"], report["safety"]) == (
        "winnow eval --targets",
        "balanced",
        "scripted-1",
    )
    assert len(report["rows"]) == len({r["name"] for r in report["rows"]}) == 23
    for found in report["rows"]:
        assert set(found) == {"name", "target", "value", "low", "high", "n", "prevalence", "baseline"}
        assert found["target"] == "" or found["target"][0] in "≥≤"
        assert found["baseline"]
        assert (found["low"] is None) == ("spread" in found["name"])
        assert found["low"] is None or found["low"] <= found["high"]


def test_only_our_test_third_and_the_validation_rows_of_the_public_sets_are_judged(world):
    made = world()
    made.report()
    assert {e.id for e in made.judged} == HELD_OUT
    asked = {text for _, texts, _ in made.safety.calls for text in texts}
    assert {e.reply for e in (*OWN, *PUBLIC, *BENIGN)} <= asked
    assert not asked & {e.reply for e in NOT_HELD_OUT}
    for e in (*OWN, *PUBLIC, *BENIGN):
        assert any(context == list(e.context) and e.reply in texts for context, texts, _ in made.safety.calls)


def test_the_baseline_is_trained_on_the_train_split_alone_and_on_nothing_that_is_held_out(world):
    leak = own("leak", "hate", split="train", reply="HS-1")  # the same text as a held-out row
    made = world([*OWN, *PUBLIC, *BENIGN, *NOT_HELD_OUT, leak])
    made.report()
    assert {e.id for e in made.trained} == {"hs-train", "diasafety:dia-train"}


def test_the_progress_is_told_of_every_text(world):
    made = world()
    made.report()
    totals = {what: steps[0] for what, steps in made.steps.items()}
    assert totals == {"judging held-out rows": 30, "judging disguised texts": 18, "swapping identity terms": 4}
    counted = {what: sum(steps[1:]) for what, steps in made.steps.items()}
    assert counted == {"judging held-out rows": 30, "judging disguised texts": 18, "swapping identity terms": 4}


def test_identity_terms_are_swapped_in_what_a_user_says(world):
    made = world()
    made.report()
    ((context, texts, role),) = [call for call in made.safety.calls if "A gay baker sleeps." in call[1]]
    assert (context, role) == ([], "user")
    assert texts == ["A gay baker sleeps.", "A tall baker sleeps.", "My gay aunt sings.", "My tall aunt sings."]


def test_a_baseline_that_knows_the_answer_is_shown_so_beside_ours(world):
    report = world().report()
    for name in (
        "contrast prompts, AUROC",
        "stand-alone texts of all kinds, AUPRC",
        f"{RECALL}unsafe rows of three dialog sets",
    ):
        assert row(report, name)["baseline"].startswith("1.000 [")


def test_at_a_threshold_the_baseline_drops_as_many_as_we_do(world):
    plain = {"tox-1": 0.9, "tox-2": 0.1, "tox-3": 0.8, "plain-0": 0.3, "plain-1": 0.2, "plain-2": 0.1}
    report = world(plain=lambda e: plain.get(e.reply, 0.5)).report()
    # We drop two of the threads, one of them wrongly; its two highest are both unsafe.
    assert row(report, "offensive replies in threads, F1")["baseline"].startswith("1.000 [")


def test_harmless_text_is_refused_by_the_baseline_where_it_catches_as_many_unsafe_pairs_as_we_do(world):
    plain = {"hs-1": 0.8, "prompt-1": 0.2, "prompt-3": 0.1, "plain-0": 0.3, "plain-1": 0.1, "plain-2": 0.15}
    report = world(plain=lambda e: plain.get(e.reply, 0.5)).report()
    # We catch six of eight; so does it from .2 * 1/4 + .5 * 3/4 down, the quarter quantile of its eight.
    assert row(report, "plain benign dialog refused")["baseline"].startswith("0.000 [")
    assert row(report, "long harmless answers refused")["baseline"].startswith("1.000 [")


def test_disguised_texts_have_no_baseline(world):
    report = world().report()
    for name in ("disguised versions of caught text still caught", "weights shipped, MiB"):
        assert row(report, name)["baseline"] == "-"


def test_a_public_set_that_is_missing_is_named_before_anything_is_judged(monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "read_labelled", lambda path: [])
    safety = JudgingSafety()
    with pytest.raises(FileNotFoundError, match="thu-coai/DiaSafety"):
        safety_targets(safety, tmp_path, None, "winnow eval --targets")
    assert safety.calls == []


# What is printed


def printed(**changed):
    figure = {"value": 0.91666, "low": 0.8, "high": 0.9999, "n": 541, "prevalence": 0.457}
    found = {"name": "prompts, AUROC", "target": "≥ .92", **figure, "baseline": "0.700 [0.650, 0.750]", **changed}
    out = Console(file=io.StringIO(), width=160)
    print_targets({"policy": "balanced", "safety": "1-abc", "rows": [found]}, out)
    text = out.file.getvalue()
    line = next(line for line in text.splitlines() if found["name"] in line)
    return text, [cell.strip() for cell in line.strip("│ ").split("│")]


def test_a_row_is_printed_with_target_interval_size_share_and_baseline():
    text, cells = printed()
    assert "safety targets (policy balanced, weights 1-abc; 95% intervals)" in text
    assert cells == ["prompts, AUROC", "≥ .92", "0.917 [0.800, 1.000]", "541", "46%", "0.700 [0.650, 0.750]"]


@pytest.mark.parametrize(
    ("changed", "place", "shown"),
    [
        ({"value": None, "low": None, "high": None}, 2, "-"),
        ({"low": None, "high": None}, 2, "0.917"),
        ({"prevalence": None}, 4, "-"),
        ({"prevalence": 0.0}, 4, "0%"),
        ({"value": 0.0, "low": 0.0, "high": 0.0}, 2, "0.000 [0.000, 0.000]"),
        ({"baseline": "n/a"}, 5, "n/a"),
    ],
)
def test_what_is_not_known_is_a_dash_and_what_is_zero_is_zero(changed, place, shown):
    assert printed(**changed)[1][place] == shown
