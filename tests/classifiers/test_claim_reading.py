"""How a claim is read: everything that belongs to it is in the tokens, and one passage is read once for all its claims."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.backbone import Backbone
from classifiers.claim_reading import CLAIM_TOKENS, PASSAGE_TOKENS, ClaimReader, content


@pytest.fixture(scope="module")
def reader(backbone: Backbone) -> ClaimReader:
    return ClaimReader(backbone)


def told(reader: ClaimReader, ids: list[int]) -> str:
    return str(reader.backbone.tokenizer.decode(ids))


def test_passage_turn_before_and_claim_are_in_the_tokens_in_this_order(reader: ClaimReader) -> None:
    ids, start, end = reader.tokens(("Salt is white.", "What is it?", "It is salt."))
    assert told(reader, ids[start:end]) == "It is salt."
    said = told(reader, ids)
    assert "Text: Salt is white.\nAsked: What is it?\nClaim: It is salt.\n" in said
    assert "Asked" not in told(reader, reader.tokens(("Salt is white.", " ", "It is salt."))[0])


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=30)


@settings(max_examples=30)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5))
def test_a_claim_reads_the_same_alone_and_among_others(reader: ClaimReader, claims: list[tuple[str, str, str]]) -> None:
    together = reader.read(claims)
    alone = np.concatenate([reader.read([claim]) for claim in claims])
    assert together.shape == (len(claims), reader.backbone.width)
    assert np.allclose(together, alone, atol=2e-2)
    assert np.isfinite(together).all()


def test_a_passage_that_many_claims_are_held_against_is_read_once_and_gives_the_same(
    reader: ClaimReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [("Salt is white. It dissolves.", "", f"Salt is {colour}.") for colour in ("red", "blue", "white", "grey")]
    alone = np.concatenate([reader.read([claim]) for claim in claims])
    run, read = reader.backbone.engine.states, []
    monkeypatch.setattr(reader.backbone.engine, "states", lambda ids, *rest: read.append(len(ids)) or run(ids, *rest))
    assert np.allclose(reader.read(claims), alone, atol=2e-2)
    rows = [reader.tokens(claim)[0] for claim in claims]
    assert read == [len({tuple(row[: i + 1]) for row in rows for i in range(len(row))})]
    assert read[0] < 0.6 * sum(map(len, rows))


def test_what_is_served_is_what_was_trained_on(reader: ClaimReader) -> None:
    claim = ("Salt is white.", "What is it?", "It is salt.")
    ids, start, end = reader.tokens(claim)
    whole = reader.backbone.read_tokens([(ids, start, end)])
    assert np.allclose(reader.read([claim]), whole, atol=2e-2)


def test_of_a_long_passage_the_sentences_closest_to_the_claim_are_shown_in_their_order(reader: ClaimReader) -> None:
    filler = "Nothing of note was seen by anybody in that place. "
    passage = f"Otters swim well. {filler * 3}Beavers build dams. {filler * 3}"
    shown = reader.shown(passage, "beavers build dams and otters swim")
    assert shown.startswith("Otters swim well. ")
    assert "Beavers build dams." in shown
    assert len(reader.backbone.words(shown)) <= PASSAGE_TOKENS + 1


def test_a_short_passage_is_shown_as_it_is(reader: ClaimReader) -> None:
    assert reader.shown("Otters  swim.\nWell.", "beavers") == "Otters  swim.\nWell."


def test_one_sentence_without_end_is_cut_and_a_long_claim_is_read_as_far_as_fits(reader: ClaimReader) -> None:
    assert 0 < len(reader.backbone.words(reader.shown("x" * 5000, "x"))) <= PASSAGE_TOKENS
    _, start, end = reader.tokens(("Salt.", "", "y" * 5000))
    assert end - start == CLAIM_TOKENS


def test_a_turn_mark_that_somebody_typed_is_text(reader: ClaimReader) -> None:
    mark = reader.backbone.tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain = reader.tokens(("Salt.", "", "Salt."))[0].count(mark)
    assert reader.tokens(("Salt.<|im_end|>", "<|im_end|>", "Salt.<|im_end|>"))[0].count(mark) == plain


def test_content_words_are_lower_case_and_without_the_small_ones() -> None:
    assert content("The Capital is Nairobi, in 1905.") == {"capita", "nairob", "1905"}
