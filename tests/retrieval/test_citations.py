"""Laws 4 and 5: a citation is true, and absence is not support."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrieval import Document, Hit, Index, coverage, ground, sentences
from retrieval.citations import is_claim

KENYA = Document(
    "kenya",
    "Kenya",
    "The capital of Kenya is Nairobi. Mombasa is the main port of Kenya. Kenya has 47 counties.\n"
    "Lake Turkana lies in the north. It is the largest desert lake in the world.",
)
UGANDA = Document("uganda", "Uganda", "The capital of Uganda is Kampala. Uganda has 135 districts. It has tea.")
PERU = Document("peru", "Peru", "The capital of Peru is Lima. Peru has llamas and 24 departments.")
INDEX = Index.build([KENYA, UGANDA, PERU])

FACTS = [document.text[start:end] for document in (KENYA, UGANDA, PERU) for start, end in sentences(document.text)]
FALSE = ["The capital of Kenya is Mombasa.", "Zorblax eats 917 frobnicators.", "Peru does not have llamas."]
IDLE = ["Hello!", "How are you?", "I think so.", "Let me know.", "Maybe.", "Wow \U0001f600", "\u0000", "—"]
ODD = st.text(max_size=40)
GAP = st.sampled_from([" ", "\n", "  ", "\n- ", "\u2028", " \u200b", " é́ "])


def joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(parts, GAP), max_size=6).map(lambda pairs: "".join(part + gap for part, gap in pairs))


TEXTS = joined(st.sampled_from(FACTS) | ODD)
REPLIES = joined(st.sampled_from(FACTS) | st.sampled_from(FALSE) | st.sampled_from(IDLE) | ODD)


def documents_of(texts: list[str]) -> dict[str, Document]:
    return {str(n): Document(str(n), ("Kenya", "", "Uganda")[n % 3], text) for n, text in enumerate(texts)}


@given(st.lists(TEXTS, max_size=4), REPLIES, ODD | st.just("What is the capital of Kenya?"), st.integers(2, 40))
def test_law_4_a_citation_is_true(texts: list[str], reply: str, question: str, words: int) -> None:
    documents = documents_of(texts)
    index = Index.build(documents.values(), words=words)
    for citation in ground(reply, index, question, threshold=0.1).citations:
        quote = citation.quote
        assert index.passage(quote.passage.id) == quote.passage
        assert documents[quote.passage.document_id].text[quote.start : quote.end] == quote.text != ""
        assert quote.passage.start <= quote.start < quote.end <= quote.passage.end
        assert reply[citation.start : citation.end] == citation.claim != ""
        assert 0.1 <= citation.score <= 1
        assert citation.bm25 > 0


@given(st.lists(TEXTS, max_size=4), REPLIES)
def test_law_5_every_claim_is_listed_and_only_citations_count(texts: list[str], reply: str) -> None:
    grounding = ground(reply, Index.build(documents_of(texts).values()))
    spans = [(start, end) for start, end in sentences(reply) if is_claim(reply[start:end])]
    assert [(claim.start, claim.end) for claim in grounding.claims] == spans
    assert all(claim.text == reply[claim.start : claim.end] for claim in grounding.claims)
    assert grounding.supported_count == sum(bool(c.citations) for c in grounding.claims if c.calculation is None)
    assert grounding.score == (grounding.supported_count / len(spans) if spans else None)


@given(st.lists(st.sampled_from(IDLE), max_size=6).map("\n".join))
def test_law_5_a_reply_without_claims_is_not_applicable(reply: str) -> None:
    grounding = ground(reply, INDEX)
    assert (grounding.claims, grounding.score) == ((), None)


@given(REPLIES)
def test_law_5_a_claim_without_a_source_is_listed_and_lowers_the_score(reply: str) -> None:
    before = ground(reply, INDEX)
    after = ground(f"{reply}\n\nZorblax eats 917 frobnicators.", INDEX)
    assert after.claim_count == before.claim_count + 1
    assert not after.claims[-1].citations
    assert after.score is not None
    assert after.score < before.score if before.score else after.score == 0


@given(REPLIES)
def test_law_5_an_index_of_nothing_supports_nothing(reply: str) -> None:
    grounding = ground(reply, Index.build([]))
    assert grounding.citations == ()
    assert grounding.score == (0 if grounding.claims else None)


class LyingRetriever:
    """An engine that answers with passages that its index does not hold in this form."""

    def __init__(self, **changes: object) -> None:
        self.passage = INDEX.passage
        self._changes = changes

    def search(self, query: str, k: int = 5) -> list[Hit]:
        return [replace(hit, passage=replace(hit.passage, **self._changes)) for hit in INDEX.search(query, k)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"id": "nowhere#1"}, {"start": 5}, {"text": "The capital of Kenya is Mombasa."}, {"document_id": "x"}]
)
def test_law_4_a_passage_that_the_index_does_not_hold_is_never_cited(changes: dict[str, object]) -> None:
    reply = "The capital of Kenya is Nairobi. The capital of Kenya is Mombasa."
    assert ground(reply, INDEX).supported_count == 1
    assert ground(reply, LyingRetriever(**changes)).supported_count == 0


class BareRetriever:
    """The least an engine can be: search and nothing else."""

    def search(self, query: str, k: int = 5) -> list[Hit]:
        return INDEX.search(query, k)


def test_an_engine_that_only_searches_will_do() -> None:
    assert ground("The capital of Kenya is Nairobi.", BareRetriever()).score == 1.0


@pytest.mark.parametrize(
    ("question", "reply", "quote"),
    [
        ("", "The capital of Kenya is Nairobi.", "The capital of Kenya is Nairobi."),
        ("", "Nairobi is Kenya's capital city.", "The capital of Kenya is Nairobi."),
        ("How many counties are in Kenya?", "It has 47 counties.", "Kenya has 47 counties."),
        ("", "Uganda grows tea. It has 135 districts.", "Uganda has 135 districts."),
        ("What is the capital of Kenya?", "The capital is Nairobi.", "The capital of Kenya is Nairobi."),
        (
            "",
            "Lake Turkana is the largest desert lake in the world.",
            "Lake Turkana lies in the north. It is the largest desert lake in the world.",
        ),
        (
            "",
            "The capital of Uganda is Kampala and Uganda has 135 districts.",
            "The capital of Uganda is Kampala. Uganda has 135 districts.",
        ),
    ],
)
def test_a_true_claim_cites_its_quote(question: str, reply: str, quote: str) -> None:
    citation = next(iter(ground(reply, INDEX, question).claims[-1].citations), None)
    assert citation is not None
    assert citation.quote.text == quote


@pytest.mark.parametrize(
    ("question", "reply"),
    [
        ("", "The capital of Kenya is Mombasa."),
        ("", "Mombasa is the capital of Kenya."),  # both sentences together hold every word of it
        ("What is the capital of Uganda?", "The capital is Nairobi."),
        ("How many counties does Peru have?", "It has 47 counties."),
        ("", "It has 47 counties."),  # what has?
        ("", "The capital of Uganda is Kampala and Uganda has 47 counties."),
        ("", "Uganda has 135 districts and Uganda has 135 towns."),
        ("", "Kenya has 46 counties."),
        ("", "Peru has no llamas."),
        ("", "word " * 5000),
    ],
)
def test_a_false_or_dangling_claim_is_not_cited(question: str, reply: str) -> None:
    grounding = ground(reply, INDEX, question)
    assert not grounding.claims[-1].citations
    assert grounding.score == 0


def test_a_citation_from_a_later_passage_has_offsets_in_the_document() -> None:
    index = Index.build([KENYA], words=6)
    citation = ground("Kenya has 47 counties.", index).claims[0].citations[0]
    assert len(index) > 2
    assert citation is not None
    assert citation.quote.passage.start > 0
    assert KENYA.text[citation.quote.start : citation.quote.end] == "Kenya has 47 counties."


def test_support_is_the_share_of_supported_claims() -> None:
    grounding = ground("Hello! Kenya has 47 counties. Kenya has 99 volcanoes. Anything else?", INDEX)
    assert (grounding.claim_count, grounding.supported_count, grounding.score) == (2, 1, 0.5)


def test_the_same_input_gives_the_same_grounding() -> None:
    reply = " ".join(FACTS + FALSE)
    assert ground(reply, INDEX, "Kenya?") == ground(reply, Index.build([KENYA, UGANDA, PERU]), "Kenya?")


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_that_lets_everything_or_nothing_through_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        ground("Text.", INDEX, threshold=threshold)


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ground("Text.", INDEX, k=0)


def test_coverage_counts_title_and_text() -> None:
    assert coverage("What is the capital of Kenya?", INDEX.passage("kenya#1"), INDEX.weight) == 1.0
    assert coverage("What is the capital of Kenya?", INDEX.passage("peru#1"), INDEX.weight) < 0.6


@given(st.sampled_from(FACTS))
def test_a_fact_of_the_corpus_is_cited_from_it(fact: str) -> None:
    assume(is_claim(fact) and not fact.startswith("It "))
    assert ground(fact, INDEX).score == 1.0


# With a trained judge


@dataclass(frozen=True)
class Said:
    supported: float
    contradicted: float = 0.0


class Judge:
    """Says of each (passage, before, claim) what it was told to, and remembers what it was asked."""

    threshold = 0.6
    version = "scripted"

    def __init__(self, says: Callable[[str, str], Said]) -> None:
        self.says = says
        self.asked: list[tuple[str, str, str]] = []

    def judge(self, claims: Sequence[tuple[str, str, str]]) -> list[Said]:
        self.asked += claims
        return [self.says(passage, claim) for passage, _, claim in claims]


def always(supported: float, contradicted: float = 0.0) -> Judge:
    return Judge(lambda passage, claim: Said(supported, contradicted))


PROBABILITIES = st.floats(0, 1) | st.just(float("nan")) | st.just(2.0) | st.just(-1.0)


@given(st.lists(TEXTS, max_size=4), REPLIES, st.randoms(use_true_random=False), st.integers(2, 40), PROBABILITIES)
def test_law_4_a_citation_is_true_whatever_the_judge_says(
    texts: list[str], reply: str, random: Random, words: int, odd: float
) -> None:
    documents = documents_of(texts)
    index = Index.build(documents.values(), words=words)
    judge = Judge(lambda passage, claim: Said(random.choice([0.1, 0.5, 0.99, odd]), random.random()))
    grounding = ground(reply, index, "Kenya?", scorer=judge)
    for citation in grounding.citations:
        quote = citation.quote
        assert index.passage(quote.passage.id) == quote.passage
        assert documents[quote.passage.document_id].text[quote.start : quote.end] == quote.text != ""
        assert reply[citation.start : citation.end] == citation.claim != ""
        assert 0.6 <= citation.score <= 1 + 1e-9


@given(st.lists(TEXTS, max_size=4), REPLIES, PROBABILITIES, PROBABILITIES)
def test_law_5_a_claim_without_citation_never_counts_as_supported_whatever_the_judge_says(
    texts: list[str], reply: str, supported: float, contradicted: float
) -> None:
    grounding = ground(reply, Index.build(documents_of(texts).values()), scorer=always(supported, contradicted))
    spans = [(start, end) for start, end in sentences(reply) if is_claim(reply[start:end])]
    assert [(claim.start, claim.end) for claim in grounding.claims] == spans
    labels = [claim.label for claim in grounding.claims]
    assert grounding.supported_count == labels.count("supported")
    assert all((c.label == "supported") == bool(c.citations) for c in grounding.claims if c.calculation is None)
    assert grounding.contradicted_count == labels.count("contradicted")
    assert all(0 <= claim.support <= 1 for claim in grounding.claims)
    if not 0.3 <= supported <= 1:
        assert sum(bool(c.citations) for c in grounding.claims) == 0


def test_the_judge_decides_against_the_words_both_ways() -> None:
    said = "The capital of Kenya is Nairobi."
    assert ground(said, INDEX, scorer=always(0.1)).score == 0
    (claim,) = ground("Kenya's counties number forty-seven.", INDEX, scorer=always(0.9)).claims
    assert claim.label == "supported"


def test_words_that_bear_a_claim_out_lend_the_judge_support_and_words_that_do_not_take_some() -> None:
    (borne,) = ground("The capital of Kenya is Nairobi.", INDEX, scorer=always(0.5)).claims
    (capped,) = ground("The capital of Kenya is Mombasa.", INDEX, scorer=always(0.5)).claims
    assert (borne.label, capped.label) == ("supported", "unsupported")
    assert capped.support < 0.5 < borne.support
    (one_word,) = ground("Nairobi.", INDEX, "What is the capital?", scorer=always(0.5), all_sentences=True).claims
    assert one_word.support == pytest.approx(0.5)


def test_a_denied_claim_is_contradicted_and_a_supported_one_is_not() -> None:
    (claim,) = ground("The capital of Kenya is Mombasa.", INDEX, scorer=always(0.1, 0.8)).claims
    assert (claim.label, claim.citations, claim.contradicted) == ("contradicted", (), True)
    (claim,) = ground("The capital of Kenya is Mombasa.", INDEX, scorer=always(0.1, 0.3)).claims
    assert claim.label == "unsupported"
    (claim,) = ground("The capital of Kenya is Nairobi.", INDEX, scorer=always(0.9, 0.8)).claims
    assert claim.label == "supported"


def test_a_claim_that_only_two_passages_bear_out_together_cites_both() -> None:
    def together(passage: str, claim: str) -> Said:
        return Said(0.9 if "Nairobi" in passage and "Kampala" in passage else 0.2)

    (claim,) = ground("Nairobi and Kampala are the capitals of Kenya and Uganda.", INDEX, scorer=Judge(together)).claims
    assert {citation.quote.passage.document_id for citation in claim.citations} == {"kenya", "uganda"}
    assert {citation.score for citation in claim.citations} == {claim.support}


def test_the_judge_reads_a_passage_under_the_title_that_names_its_subject_and_what_was_said_before() -> None:
    index = Index.build([Document("k", "Kenya", "The capital is Nairobi. It has 47 counties.")])
    judge = always(0.9)
    ground("The capital is Nairobi. It has 47 counties.", index, "Tell me about Kenya", scorer=judge)
    assert judge.asked[0] == (
        "Kenya: The capital is Nairobi. It has 47 counties.",
        "Tell me about Kenya",
        "The capital is Nairobi.",
    )
    assert judge.asked[-1][1:] == ("Tell me about Kenya The capital is Nairobi.", "It has 47 counties.")


def test_a_judge_that_fails_supports_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(passage: str, claim: str) -> Said:
        raise RuntimeError("broken")

    grounding = ground("The capital of Kenya is Nairobi.", INDEX, scorer=Judge(fail))
    assert (grounding.score, grounding.claims[0].label) == (0.0, "unsupported")
    assert "could not be judged" in caplog.text


def test_a_judge_is_not_asked_about_a_claim_for_which_nothing_was_found() -> None:
    judge = always(1.0)
    (claim,) = ground("Zebras yodel quietly underground.", INDEX, scorer=judge).claims
    assert (claim.label, claim.support, judge.asked) == ("unsupported", 0.0, [])


@pytest.mark.parametrize(
    ("claim", "label"),
    [
        ("135 + 7721 is 7856.", "supported"),
        ("So 12% of 250 is 30.", "supported"),
        ("135 + 7721 is 7857.", "contradicted"),
        ("Kenya has 47 counties, and 135 + 7721 is 7856.", "unsupported"),
    ],
)
def test_a_sum_is_borne_out_by_the_calculator_where_it_is_all_that_is_said(claim: str, label: str) -> None:
    for scorer in (None, always(0.2)):
        (found,) = ground(claim, INDEX, scorer=scorer).claims
        assert (found.label, found.citations) == (label, ())
        assert (found.calculation is not None) == (label != "unsupported")


@pytest.mark.parametrize(
    ("end", "label"), [("", "unsupported"), (".", "supported"), ('."', "supported"), (" (East Africa", "unsupported")]
)
def test_a_last_sentence_that_was_cut_off_is_a_claim_without_support(end: str, label: str) -> None:
    reply = f"Uganda has 135 districts. The capital of Kenya is Nairobi{end}"
    first, last = ground(reply, INDEX, cut_off=True).claims
    assert first.label == "supported"
    assert last.label == label
    assert last.end == len(reply)


def test_a_text_that_ended_by_itself_needs_no_end_mark() -> None:
    assert ground("The capital of Kenya is Nairobi", INDEX).score == 1.0


def test_an_answer_of_one_word_is_cited_where_the_passage_bears_on_the_question() -> None:
    (claim,) = ground("Nairobi", INDEX, "What is the capital of Kenya?").claims
    assert [citation.quote.passage.document_id for citation in claim.citations] == ["kenya"]


def test_an_answer_of_one_word_is_not_cited_from_where_that_word_happens_to_stand() -> None:
    (claim,) = ground("Llamas", INDEX, "Which animals pull the old trams of Lisbon uphill?", all_sentences=True).claims
    assert claim.label == "unsupported"


CONGO = Document(
    "congo",
    "Congo",
    "The Congo is the second largest country in Africa. Its rivers are wide. French is spoken there by many people. "
    "The okapi, a relative of the giraffe, lives in the forests of the Congo.",
)


def test_a_compound_claim_is_quoted_at_each_of_the_places_that_bear_it_out() -> None:
    said = "The Congo is the second largest country in Africa, but the okapi, a relative of the giraffe, lives in its forests."
    (claim,) = ground(said, Index.build([CONGO]), scorer=always(0.9)).claims
    quotes = [citation.quote.text for citation in claim.citations]
    assert quotes[0] == "The Congo is the second largest country in Africa."
    assert quotes[1].startswith("The okapi, a relative of the giraffe")


def test_a_clause_that_no_words_bear_out_gets_no_quote_beside() -> None:
    said = "The Congo is the second largest country in Africa, and penguins nest on the beaches of Zanzibar."
    (claim,) = ground(said, Index.build([CONGO]), scorer=always(0.9)).claims
    assert len(claim.citations) == 1
