"""What to search for in a dialog: a question that leans on earlier turns takes their words along, another does not."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Document, Index
from retrieval.queries import leans, query_of
from retrieval.tokens import tokenise

CANAL = ("When did the Panama Canal open?", "On 15 August 1914.")
TEXT = st.lists(
    st.sampled_from(
        ["Who", "found", "it", "Kenya", "the", "capital", "WHO", "8,849", "Côte", "d'Ivoire", "isn't", "U.S."]
    ),
    max_size=12,
).map(" ".join)


@pytest.mark.parametrize(
    "question",
    [
        "Since when has the country itself been running it?",
        "does it have a nickname",
        "Which bird died out there?",
        "Is aspirin fine instead?",
        "What's the usual value for the latter?",
        "what name did he get at birth, and in which valley did his mother raise him",
        "how long do those usually go on for",
        "Why?",
        "which bird?",
        "WHO FOUND IT",
    ],
)
def test_a_question_that_points_back_or_says_little_leans_on_earlier_turns(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Kenya?",
        "Where is Mauritius?",
        "Is there a large volcanic lake near Managua?",
        "Which flightless bird that lived on Mauritius died out?",
        "Name one of the countries bordering Uruguay and Chile",
        "How do I start a new branch in git?",
    ],
)
def test_a_question_that_stands_alone_does_not(question: str) -> None:
    assert not leans(question)
    assert query_of(question, CANAL) == question


@pytest.mark.parametrize(
    ("language", "question"),
    [
        ("spanish", "¿Y cuántos habitantes tiene hoy en día la capital de allí?"),
        ("german", "Und wie viele Menschen leben heute dort in der Hauptstadt?"),
        ("french", "Et combien de personnes y habitent aujourd’hui dans la capitale ?"),
        ("portuguese", "E quantas pessoas moram hoje em dia na capital dele?"),
        ("russian", "А столица?"),
    ],
)
def test_questions_of_other_languages_lean_too(language: str, question: str) -> None:
    assert leans(question, language)


def test_the_own_words_of_a_question_count_twice_those_of_earlier_turns() -> None:
    counts = Counter(tokenise(query_of("Who has been running it since?", CANAL)))
    assert counts["run"] == 2 * counts["canal"] == 2
    assert counts["panama"] == counts["1914"] == 1


def test_a_word_of_both_earlier_turns_counts_once() -> None:
    counts = Counter(tokenise(query_of("Who founded it?", ("What sort is polonium?", "Polonium is radioactive."))))
    assert counts["polonium"] == 1


def test_only_the_last_question_and_answer_are_added() -> None:
    terms = tokenise(query_of("Who built it?", ("Tell me about cheetahs.", "They are fast.", *CANAL)))
    assert "canal" in terms
    assert "cheetah" not in terms


def test_a_long_answer_adds_a_bounded_number_of_words() -> None:
    answer = " ".join(f"word{number}" for number in range(5000))
    assert len(tokenise(query_of("Who built it?", ("The Panama Canal?", answer)))) < 50


def test_a_claim_is_looked_for_with_its_question() -> None:
    assert tokenise(query_of("What is the capital of Kenya?", claim="It is Nairobi.")) == ["nairobi", "capit", "kenya"]


def test_a_claim_without_a_question_is_looked_for_alone() -> None:
    assert query_of("", claim="Nairobi has 4.4 million people.").split() == [
        "Nairobi",
        "has",
        "4.4",
        "million",
        "people.",
    ]


def test_capitals_of_a_shouted_question_make_no_names_of_its_stop_words() -> None:
    assert "who" not in tokenise(query_of("WHO OPENED IT?", CANAL))


def test_what_an_earlier_turn_named_is_found() -> None:
    index = Index.build(
        [
            Document(
                "canal", "Panama Canal", "The Panama Canal opened in 1914. Panama has been running it since 1999."
            ),
            Document("race", "Running", "Running is a sport. People have been running races since antiquity."),
        ]
    )
    assert index.search("Since when have they been running it?")[0].passage.document_id == "race"
    assert index.search(query_of("Since when have they been running it?", CANAL))[0].passage.document_id == "canal"


@given(TEXT, st.lists(TEXT, max_size=4), TEXT)
def test_no_word_of_question_or_claim_is_lost(question: str, earlier: list[str], claim: str) -> None:
    searched = Counter(tokenise(query_of(question, earlier, claim)))
    assert not Counter([*tokenise(question), *tokenise(claim)]) - searched


@given(TEXT)
def test_without_earlier_turns_a_question_is_its_own_query(question: str) -> None:
    assert Counter(tokenise(query_of(question))) == Counter(tokenise(question))


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="klingon"):
        query_of("Why?", language="klingon")
