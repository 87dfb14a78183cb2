"""Relevance tells a passage that bears on the question from one that shares words with it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Document, Index, relevance
from retrieval.relevance import FEATURES, features

INDEX = Index.build(
    [
        Document("kenya", "Kenya", "The capital of Kenya is Nairobi. Kenya lies in East Africa."),
        Document("tea", "Tea", "Tea is made from the leaves of a bush. Much of it grows in Kenya."),
        Document("bees", "Honey bees", "Honey bees live in hives. A hive has one queen."),
        Document("burns", "Burns", "Cool the burn under cool running water for twenty minutes."),
        Document("iron", "Iron", "Iron is a metal. It rusts in damp air."),
    ]
)


def of(question: str, index: Index = INDEX, leaning: bool = False) -> list[float]:
    return relevance(question, index.search(question, 5), index.weight, leaning)


def test_what_answers_the_question_is_relevant():
    assert of("What is the capital of Kenya?")[0] > 0.5


def test_what_answers_is_more_relevant_than_what_only_shares_a_word():
    found = of("What is the capital of Kenya?")
    assert found[0] > 2 * found[1]


def test_chat_that_shares_a_word_with_a_document_is_not_relevant():
    assert max(of("I was so busy this morning, no water in the whole house, and my tea went cold!"), default=0) < 0.3


def test_a_document_named_in_the_question_is_more_relevant_than_one_that_mentions_its_words():
    question = "Does iron rust?"
    hits = INDEX.search(question, 5)
    assert hits[0].passage.document_id == "iron"
    assert of(question)[0] > 0.5


def test_words_of_earlier_turns_count_half():
    hits = INDEX.search("capital Kenya Africa rivers mountains", 5)
    alone, leaning = (
        features("capital Kenya Africa rivers mountains", hits, INDEX.weight, leaning)[0] for leaning in (False, True)
    )
    assert leaning[FEATURES.index("coverage")] > alone[FEATURES.index("coverage")]


def test_without_hits_there_is_nothing_to_judge():
    assert relevance("What?", [], INDEX.weight) == []


@pytest.mark.parametrize("copies", [1, 40])
def test_the_figures_do_not_grow_with_the_index(copies):
    more = [Document(f"x{i}", f"Thing {i}", f"Thing number {i} is kept in a box of wood.") for i in range(copies)]
    index = Index.build([Document("kenya", "Kenya", "The capital of Kenya is Nairobi."), *more])
    question = "What is the capital of Kenya?"
    for row in features(question, index.search(question, 5), index.weight):
        assert all(0 <= value <= 2.5 for value in row)


@given(st.text(max_size=60))
def test_relevance_is_a_probability_whatever_is_asked(question):
    for value in of(question):
        assert math.isfinite(value)
        assert 0 <= value <= 1
