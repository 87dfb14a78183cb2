"""`winnow ground`: people's own text in; claims, citations and support out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Document, Index
from service.batch import BadLine
from service.grounding import ground_line, read_texts
from service.requests import MAX_SOURCES

KENYA = "Kenya lies in East Africa. The capital of Kenya is Nairobi."
INDEX = Index.build(
    [Document("kenya", "Kenya", KENYA, "https://e.org/kenya", "an atlas"), Document("peru", "Peru", "Lima.")]
)


def grounded(text, **fields):
    all_sentences = fields.pop("all_sentences", False)
    return ground_line({"text": text, **fields}, INDEX, 0.6, all_sentences)


def test_a_line_out_has_the_shape_of_the_design():
    row = grounded("Sure! The capital of Kenya is Nairobi.", id=7)
    assert set(row) == {"id", "claims", "support", "groundedness"}
    (claim,) = row["claims"]
    assert set(claim) == {"text", "start", "end", "support", "label", "citations"}
    assert (row["id"], row["groundedness"], row["support"]) == (7, 1.0, claim["support"])
    assert (claim["text"], claim["label"]) == ("The capital of Kenya is Nairobi.", "supported")
    (citation,) = claim["citations"]
    assert (citation["document"], citation["url"], citation["source"]) == ("kenya", "https://e.org/kenya", "an atlas")
    quote = citation["quote"]
    assert KENYA[quote["start"] : quote["end"]] == quote["text"] == "The capital of Kenya is Nairobi."
    assert json.loads(json.dumps(row)) == row


def test_a_claim_that_nothing_bears_out_is_unsupported_and_has_its_best_support_and_no_citation():
    (claim,) = grounded("The capital of Kenya is Mombasa.")["claims"]
    assert (claim["label"], claim["citations"]) == ("unsupported", [])
    assert 0 < claim["support"] < 0.6
    (other,) = grounded("Zebras yodel quietly underground.")["claims"]
    assert other["support"] == 0.0


def test_the_support_of_a_text_is_that_of_its_weakest_claim():
    row = grounded("The capital of Kenya is Nairobi. Zebras yodel quietly underground.")
    assert [claim["label"] for claim in row["claims"]] == ["supported", "unsupported"]
    assert (row["support"], row["groundedness"]) == (0.0, 0.5)


@pytest.mark.parametrize("text", ["", "Hello there!", "How can I help?"])
def test_law_5_a_text_without_claims_has_no_support_and_no_groundedness(text):
    assert grounded(text) == {"id": None, "claims": [], "support": None, "groundedness": None}


def test_every_sentence_is_a_claim_where_that_is_asked_for():
    text = "Hello there! How are you? ... The capital of Kenya is Nairobi."
    assert len(grounded(text)["claims"]) == 1
    row = grounded(text, all_sentences=True)
    assert [claim["text"] for claim in row["claims"]][-1] == "The capital of Kenya is Nairobi."
    assert len(row["claims"]) >= 3
    assert row["support"] == 0.0


def test_sources_of_a_line_replace_the_index():
    row = grounded("The capital of Kenya is Nairobi.", sources=["Bees make honey."])
    assert row["claims"][0]["label"] == "unsupported"
    row = grounded("Bees make honey.", sources=["Cows give milk.", "In summer, bees make honey."])
    (citation,) = row["claims"][0]["citations"]
    assert (citation["document"], citation["url"]) == ("source-2", "corpus:source-2")
    assert grounded("Bees make honey.", sources=[])["claims"][0]["support"] == 0.0


def test_the_question_says_what_a_pronoun_means():
    asked = [{"role": "user", "content": "What is the capital of Kenya?"}]
    (claim,) = grounded("Its capital is Nairobi.", messages=asked)["claims"]
    assert claim["label"] == "supported"


@given(st.text(max_size=300), st.lists(st.text(max_size=80), max_size=3), st.booleans())
def test_whatever_the_text_spans_and_shares_are_true(text, sources, all_sentences):
    row = grounded(text, sources=sources, all_sentences=all_sentences)
    for claim in row["claims"]:
        assert text[claim["start"] : claim["end"]] == claim["text"]
        assert 0 <= claim["support"] <= 1
        assert (claim["label"] == "supported") == bool(claim["citations"])
        for citation in claim["citations"]:
            number = int(citation["document"].removeprefix("source-")) - 1
            quote = citation["quote"]
            assert sources[number][quote["start"] : quote["end"]] == quote["text"]
    assert (row["support"] is None) == (row["groundedness"] is None) == (not row["claims"])


def test_lines_are_read_from_json_lines_and_any_other_file_is_one_text(tmp_path):
    lines = tmp_path / "in.jsonl"
    lines.write_text('{"id": "a", "text": "One."}\n\n{"text": "Two.", "sources": ["Two."]}\n')
    assert [row["text"] for row in read_texts(lines)] == ["One.", "Two."]
    whole = tmp_path / "reply.md"
    whole.write_text("One.\n\nTwo.")
    assert list(read_texts(whole)) == [{"id": "reply.md", "text": "One.\n\nTwo."}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[]", "must be a JSON object"),
        ('{"id": 1}', "field 'text'"),
        ('{"text": 3}', "field 'text'"),
        ('{"text": "x", "messages": ["hi"]}', "field 'messages'"),
        ('{"text": "x", "sources": "y"}', "field 'sources'"),
        (json.dumps({"text": "x", "sources": ["y"] * (MAX_SOURCES + 1)}), f"the limit is {MAX_SOURCES}"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_field(tmp_path, line, said):
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(BadLine, match=r"in\.jsonl:2: ") as error:
        list(read_texts(file))
    assert said in str(error.value)


def test_a_text_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "reply.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadLine, match="not UTF-8"):
        list(read_texts(tmp_path / "reply.txt"))
