"""Sentences and terms that fit one another, and what a file of them may not be."""

from pathlib import Path

import pytest

from classifiers.fairness import Swaps
from data import FAIRNESS


def test_the_shipped_swaps_are_many_and_fit_one_another() -> None:
    swaps = Swaps.read(FAIRNESS)
    assert len(swaps.terms) >= 40
    assert len(swaps.sentences) >= 30
    assert len(set(swaps.terms)) == len(swaps.terms)
    assert len(set(swaps.sentences)) == len(swaps.sentences)
    texts = [sentence.replace("{term}", term) for sentence in swaps.sentences for term in swaps.terms]
    assert len(set(texts)) == len(texts)
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
