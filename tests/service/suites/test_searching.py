"""BM25 over a test collection and its measures, on a collection small enough to check by hand."""

import numpy as np
import pytest

from retrieval.bm25 import K1, B, Okapi
from retrieval.tokens import tokenise
from service.suites.questions import Collection, Question
from service.suites.searching import Matrix, compare, measure, plain_terms

TEXTS = (
    ("kenya", "Kenya", "The capital of Kenya is Nairobi. Nairobi grows."),
    ("uganda", "Uganda", "The capital of Uganda is Kampala, far from Nairobi."),
    ("peru", "Peru", "The capital of Peru is Lima."),
    ("kenya", "Kenya", "Kenya has lions and many more animals."),
)
ASKED = (
    Question("1", "What is the capital of Kenya?", frozenset(["kenya"])),
    Question("2", "Does it have animals?", frozenset(["peru"]), ("Where is Lima?", "In Peru.")),
)
SMALL = Collection("small", TEXTS, ASKED)


def test_scores_are_those_of_the_index() -> None:
    queries = ["capital of Kenya", "Nairobi Nairobi lions", "zzz", ""]
    okapi = Okapi([tokenise(f"{title}\n{text}") for _, title, text in TEXTS])
    for query, scores in zip(queries, Matrix(SMALL, tokenise).scores(queries, K1, B, 1), strict=True):
        np.testing.assert_allclose(scores, okapi.get_scores(tokenise(query)))


def test_a_title_weight_counts_the_title_as_often() -> None:
    doubled = Okapi([tokenise(f"{title}\n{title}\n{text}") for _, title, text in TEXTS])
    (scores,) = Matrix(SMALL, tokenise).scores(["capital of Kenya"], K1, B, 2)
    np.testing.assert_allclose(scores, doubled.get_scores(["capit", "kenya"]))


def test_a_document_is_ranked_by_its_best_text_and_ties_keep_their_order() -> None:
    matrix = Matrix(SMALL, tokenise)
    assert list(matrix.ranking(np.array([1.0, 2.0, 2.0, 3.0]))) == ["kenya", "uganda", "peru"]
    assert list(matrix.ranking(np.array([0.0, 1.0, 0.0, 0.0]))) == ["uganda"]


def test_measures_are_as_defined() -> None:
    values = measure(SMALL, {"1": {"peru": 0.0, "kenya": -1.0}})  # nothing found for the second question
    assert values["MRR"] == pytest.approx([1 / 2, 0])
    assert values["nDCG@10"] == pytest.approx([1 / np.log2(3), 0])
    assert values["recall@10"] == pytest.approx([1, 0])


def test_earlier_turns_are_used_by_ours_alone() -> None:
    compared = compare(SMALL, K1, B, 1)
    assert compared.plain["recall@10"][1] == 0
    assert compared.ours["recall@10"][1] == 1


def test_plain_terms_are_lower_case_words_without_the_commonest() -> None:
    assert plain_terms("The capitals of Kenya's U.S. a") == ["capitals", "kenya"]
