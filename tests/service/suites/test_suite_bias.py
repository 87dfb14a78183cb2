"""Identity swaps: the gap between terms and the spread of scores, on hand-made verdicts."""

import numpy as np
import pytest

from classifiers.fairness import Swaps, fairness
from service.settings import Settings
from service.suites import bias
from service.suites.base import measured
from service.suites.bias import SUITE, gap, spread
from service.suites.run import Run
from tests.service.scripted import make_corridor

SENTENCES = ["A {term} baker sleeps.", "My {term} aunt sings.", "Two {term} men row."]
SWAPS = f'terms = ["gay", "tall"]\nsentences = {SENTENCES}\n'.replace("'", '"')


@pytest.fixture(autouse=True)
def _swaps(monkeypatch, tmp_path):
    file = tmp_path / "fairness.toml"
    file.write_text(SWAPS)
    monkeypatch.setattr(bias, "FAIRNESS", file)


def run_of(scores=None, **options):
    return Run(Settings(), corridor=make_corridor(scores=scores), **options)


def judged(run):
    return SUITE.judge(SUITE.cases(run), run)


def row(sentence, term, unsafe, dropped):
    return {"id": f"{term}: {sentence}", "sentence": sentence, "term": term, "unsafe": unsafe, "dropped": dropped}


FOUR = [
    row("s", "gay", 0.9, True),
    row("s", "tall", 0.1, False),
    row("t", "gay", 0.3, False),
    row("t", "tall", 0.3, False),
]


def test_the_gap_is_the_largest_distance_of_a_term_from_all_of_them():
    assert gap(FOUR) == pytest.approx(0.5 - 0.25)


def test_a_term_that_is_refused_less_than_the_others_makes_a_gap_too():
    three = [row("s", term, 0.9, term != "tall") for term in ("gay", "poor", "rich", "tall")]
    assert gap(three) == pytest.approx(0.75)


def test_the_spread_is_the_mean_over_sentences_of_the_deviation_over_terms():
    assert spread(FOUR) == pytest.approx((0.4 + 0.0) / 2)


def test_a_sentence_that_was_drawn_twice_counts_twice():
    assert spread(FOUR + FOUR[:2]) == pytest.approx((0.4 + 0.4 + 0.0) / 3)


def test_terms_that_are_treated_alike_have_no_gap():
    assert gap([row("s", "gay", 0.9, True), row("s", "tall", 0.9, True)]) == 0
    assert spread([row("s", "gay", 0.9, True), row("s", "tall", 0.9, True)]) == 0


def test_without_rows_there_is_neither_gap_nor_spread():
    assert gap([]) is None
    assert spread([]) is None


def test_every_sentence_is_judged_with_every_term_as_a_users_prompt_without_context():
    run = run_of({"gay baker": {"hate": 0.9}})
    rows = judged(run)
    assert [r["text"] for r in rows][:3] == ["A gay baker sleeps.", "A tall baker sleeps.", "My gay aunt sings."]
    assert len({r["id"] for r in rows}) == len(rows) == 6
    assert {(tuple(context), role) for context, _, role in run.safety.calls} == {((), "user")}
    assert [(r["unsafe"], r["dropped"], r["because"]) for r in rows[:2]] == [(0.9, True, ["hate"]), (0.01, False, [])]


def test_the_figures_are_those_of_the_fairness_check():
    rows = judged(run_of({"gay baker": {"hate": 0.9}, "tall men": {"crime": 0.7}}))
    figures = {m.name: measured(m, rows) for m in SUITE.metrics(rows)}
    of = {r["text"]: (r["unsafe"], r["dropped"]) for r in rows}
    expected = fairness(Swaps(("gay", "tall"), tuple(SENTENCES)), lambda texts: [of[t] for t in texts])
    assert figures["false-positive gap"].value == pytest.approx(expected.gap)
    assert figures["spread of scores over terms"].value == pytest.approx(expected.spread)
    assert figures["neutral sentences refused"].value == pytest.approx(expected.overall)
    assert expected.overall == pytest.approx(1 / 3)
    assert figures["refused with 'gay'"].value == pytest.approx(expected.refused["gay"])
    assert (figures["refused with 'gay'"].n, figures["false-positive gap"].n) == (3, 6)


def test_whole_sentences_are_drawn():
    rows = [row(f"s{i}", term, 0.5, term == "gay") for i in range(20) for term in ("gay", "tall")]
    figure = measured(SUITE.metrics(rows)[0], rows)
    assert (figure.value, figure.low, figure.high) == (0.5, 0.5, 0.5)  # every sentence has the same gap


def test_a_quick_run_has_all_terms_of_some_sentences(monkeypatch):
    monkeypatch.setattr(bias, "QUICK", 2)
    quick = SUITE.cases(run_of(quick=True))
    assert [len({c[key] for c in quick}) for key in ("sentence", "term")] == [2, 2]
    assert {c["id"] for c in quick} < {c["id"] for c in SUITE.cases(run_of())}


def test_what_cannot_be_judged_counts_as_refused():
    rows = judged(run_of(lambda context, texts, role: [{"hate": np.nan} for _ in texts]))
    assert measured(SUITE.metrics(rows)[2], rows).value == 1
    assert rows[0]["because"] == ["unscored"]


def test_no_rows_have_no_figures():
    assert {measured(m, []).value for m in SUITE.metrics([])} == {None}
