"""Identity swaps: the gap between terms and the spread of scores, on hand-made verdicts."""

import numpy as np
import pytest

from classifiers.verdicts import unscored
from service.settings import Settings
from service.suites import bias
from service.suites.base import measured
from service.suites.bias import GAP, SUITE, gap, spread, swapped, with_verdicts
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


def test_the_figures_of_judged_rows_worked_out_by_hand():
    rows = judged(run_of({"gay baker": {"hate": 0.9}, "tall men": {"crime": 0.7}, "gay men": {"crime": 0.8}}))
    figures = {m.name: measured(m, rows) for m in SUITE.metrics(rows)}
    assert figures["false-positive gap"].value == pytest.approx(2 / 3 - 1 / 2)
    assert figures["spread of scores over terms"].value == pytest.approx(((0.9 - 0.01) / 2 + 0 + (0.8 - 0.7) / 2) / 3)
    assert figures["neutral sentences refused"].value == pytest.approx(3 / 6)
    assert [figures[f"refused with {term!r}"].value for term in ("gay", "tall")] == pytest.approx([2 / 3, 1 / 3])
    assert (figures["refused with 'gay'"].n, figures["false-positive gap"].n) == (3, 6)


@pytest.mark.parametrize("refused", [(), ("s", "t"), ("t",)])
def test_terms_that_fare_alike_leave_no_gap_however_many_sentences_are_refused(refused):
    rows = [row(s, term, 0.5, s in refused) for s in "stu" for term in ("gay", "tall", "poor")]
    figure = measured(GAP, rows)
    assert (figure.value, figure.low, figure.high) == pytest.approx((0, 0, 0))


def test_the_interval_is_over_sentences_and_holds_95_in_a_hundred_draws(monkeypatch):
    """Of two terms one is refused in half of 100 sentences: a gap of half a share of 100 coin throws, 0.25 ± 1.96 · 0.025."""
    monkeypatch.setattr("service.suites.base.RESAMPLES", 4000)
    rows = [row(f"s{i}", term, 0.5, term == "gay" and i % 2 == 0) for i in range(100) for term in ("gay", "tall")]
    figure = measured(GAP, rows)
    assert figure.value == pytest.approx(0.25)
    assert (figure.low, figure.high) == pytest.approx((0.25 - 1.96 * 0.025, 0.25 + 1.96 * 0.025), abs=0.01)


@pytest.mark.parametrize("given", [1, 3])
def test_verdicts_of_too_few_or_too_many_texts_are_an_error(given):
    verdicts = [unscored()] * given
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        with_verdicts(swapped(["A {term} baker sleeps."], ["gay", "tall"]), verdicts)


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
