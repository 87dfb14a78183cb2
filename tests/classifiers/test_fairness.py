"""Scores that move by the term alone are seen, scores that move by the sentence are not held against a term."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from classifiers.fairness import Swaps, fairness
from data import FAIRNESS

Score = Callable[[Sequence[str]], Sequence[tuple[float, bool]]]

SWAPS = Swaps(
    ("red", "green", "blue", "grey"), ("A {term} hat.", "The {term} door.", "My {term} cup.", "One {term} bus.")
)


def drops(condition: Callable[[str], bool]) -> Score:
    return lambda texts: [(0.9, True) if condition(text) else (0.1, False) for text in texts]


def test_every_sentence_is_said_with_every_term_sentence_by_sentence() -> None:
    swaps = Swaps(("red", "dark green"), ("A {term} hat.", "Is it {term}?"))
    assert swaps.texts() == ["A red hat.", "A dark green hat.", "Is it red?", "Is it dark green?"]


def test_the_shipped_swaps_are_many_and_fit_one_another() -> None:
    swaps = Swaps.read(FAIRNESS)
    assert len(swaps.terms) >= 40
    assert len(swaps.sentences) >= 30
    texts = swaps.texts()
    assert len(set(texts)) == len(texts) == len(swaps.terms) * len(swaps.sentences)
    assert not any("{" in text or "}" in text or "  " in text for text in texts)
    assert all(term.strip() == term != "" for term in swaps.terms)


def test_swaps_are_read_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "swaps.toml"
    file.write_text('terms = ["naïve", "b"]\nsentences = ["A {term} cat."]\n', encoding="utf-8")
    assert Swaps.read(file) == Swaps(("naïve", "b"), ("A {term} cat.",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('terms = ["a", "b"]\nsentences = ["A {term}.", "None."]', "'None.' must have {term} in it once"),
        ('terms = ["a", "b"]\nsentences = ["{term} or {term}"]', "'{term} or {term}' must have {term} in it once"),
        ('terms = ["a", "b"]\nsentences = []', "needs sentences"),
        ('terms = ["a", "b"]', "needs sentences"),
        ('sentences = ["A {term}."]', "terms that differ"),
        ('terms = ["a"]\nsentences = ["A {term}."]', "terms that differ"),
        ('terms = ["a", "b", "a"]\nsentences = ["A {term}."]', "terms that differ"),
        ("", "needs sentences"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_names_it_and_what_is_wrong(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "swaps.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^swaps\.toml: ") as error:
        Swaps.read(file)
    assert problem in str(error.value)


def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "swaps.toml"
    file.write_text("terms = [")
    with pytest.raises(ValueError, match="at end of document"):
        Swaps.read(file)


def test_a_term_that_is_refused_shows_in_its_share_and_in_the_gap() -> None:
    found = fairness(SWAPS, drops(lambda text: "red" in text or text == "A blue hat."))
    assert found.refused == {"red": 1.0, "green": 0.0, "blue": 0.25, "grey": 0.0}
    assert found.overall == pytest.approx(5 / 16)
    assert found.gap == pytest.approx(1 - 5 / 16)
    assert found.n == 16


def test_a_term_that_is_spared_counts_as_a_gap_too() -> None:
    found = fairness(SWAPS, drops(lambda text: "red" not in text))
    assert found.gap == found.overall == pytest.approx(0.75)


@pytest.mark.parametrize("condition", [lambda _: False, lambda _: True, lambda text: "hat" in text or "cup" in text])
def test_terms_that_fare_alike_leave_no_gap_however_many_sentences_are_dropped(
    condition: Callable[[str], bool],
) -> None:
    found = fairness(SWAPS, drops(condition))
    assert len(set(found.refused.values())) == 1
    assert (found.gap, found.low, found.high) == pytest.approx((0, 0, 0))
    assert found.spread == pytest.approx(0)


def test_the_spread_is_the_mean_over_sentences_of_how_far_the_terms_scatter() -> None:
    swaps = Swaps(("a", "b"), ("One {term}.", "Two {term}."))
    scores = {"One a.": 0.1, "One b.": 0.3, "Two a.": 0.5, "Two b.": 0.9}
    found = fairness(swaps, lambda texts: [(scores[text], False) for text in texts])
    assert found.spread == pytest.approx((0.1 + 0.2) / 2)
    assert (found.overall, found.gap) == (0, 0)


def test_the_gap_is_of_what_is_dropped_and_the_spread_of_the_scores() -> None:
    found = fairness(SWAPS, lambda texts: [(0.5, "red" in text) for text in texts])
    assert found.gap == pytest.approx(0.75)
    assert found.spread == pytest.approx(0)


def test_a_gap_that_every_sentence_shares_has_no_interval_to_speak_of() -> None:
    found = fairness(SWAPS, drops(lambda text: "red" in text))
    assert (found.low, found.gap, found.high) == pytest.approx((0.75, 0.75, 0.75))


def test_the_interval_is_over_sentences_and_holds_95_in_a_hundred_draws() -> None:
    """Of two terms one is dropped in half of 100 sentences: a gap of half a share of 100 coin throws, 0.25 ± 1.96 · 0.025."""
    swaps = Swaps(("red", "blue"), tuple(f"The {{term}} hat number {i}." for i in range(100)))
    found = fairness(swaps, drops(lambda text: "red" in text and int(text.split()[-1][:-1]) % 2 == 0), resamples=4000)
    assert found.gap == pytest.approx(0.25)
    assert found.low == pytest.approx(0.25 - 1.96 * 0.025, abs=0.01)
    assert found.high == pytest.approx(0.25 + 1.96 * 0.025, abs=0.01)


def test_the_same_seed_gives_the_same_interval_and_another_seed_may_not() -> None:
    swaps = Swaps(("red", "blue"), tuple(f"The {{term}} hat number {i}." for i in range(37)))
    score = drops(lambda text: "red" in text and chosen(text))
    found = fairness(swaps, score, resamples=50, seed=1)
    assert fairness(swaps, score, resamples=50, seed=1) == found
    others = [fairness(swaps, score, resamples=50, seed=seed) for seed in range(2, 8)]
    assert {other.gap for other in others} == {found.gap}
    assert any((other.low, other.high) != (found.low, found.high) for other in others)


def chosen(text: str) -> bool:
    """Some of the sentences, always the same."""
    return int(np.frombuffer(text.encode(), dtype=np.uint8).sum()) % 3 == 0


def test_what_scores_is_asked_once_for_all_the_texts() -> None:
    asked: list[Sequence[str]] = []

    def score(texts: Sequence[str]) -> list[tuple[float, bool]]:
        asked.append(texts)
        return [(0.0, False)] * len(texts)

    fairness(SWAPS, score)
    assert asked == [SWAPS.texts()]


@pytest.mark.parametrize("given", [15, 17])
def test_an_answer_for_too_few_or_too_many_texts_is_an_error(given: int) -> None:
    with pytest.raises(ValueError, match="reshape"):
        fairness(SWAPS, lambda _: [(0.0, False)] * given)


@pytest.mark.parametrize(
    "text",
    [
        'terms = "ab"\nsentences = ["A {term}."]',
        'terms = [1, 2]\nsentences = ["A {term}."]',
        'terms = 2\nsentences = ["A {term}."]',
        'terms = ["a", "b"]\nsentences = [1]',
    ],
)
def test_terms_and_sentences_that_are_no_lists_of_texts_are_an_error_that_names_the_file(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "swaps.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^swaps\.toml: "):
        Swaps.read(file)
