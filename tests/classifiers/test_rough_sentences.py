"""Where sentences begin and end: nothing but white space is left out, and what is quoted has none at its edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.sentences import sentences

pieces = st.sampled_from(
    ["word", "a", " ", "  ", "\n", "\r\n", "\t", ".", "!", "?", "...", "…", '"', "”", ")", "]", "。", "！", "3.5", "é"]
)
texts = st.lists(pieces, max_size=30).map("".join) | st.text(max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t ", []),
        ("no stop", ["no stop"]),
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("One.  Two.", ["One.", "Two."]),
        ("  padded.  ", ["padded."]),
        ("Wait... what?! Yes", ["Wait...", "what?!", "Yes"]),
        ("So… yes.", ["So…", "yes."]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        (
            "She said “Go!” And (it was late.) So ['it is.'] Bye",
            ["She said “Go!”", "And (it was late.)", "So ['it is.']", "Bye"],
        ),
        ("One\nTwo\r\n\r\nThree", ["One", "Two", "Three"]),
        ("- one thing  \n  - another", ["- one thing", "- another"]),
        ("One.\nTwo", ["One.", "Two"]),
        ("3.14 is not e.g.this", ["3.14 is not e.g.this"]),
        ("。", ["。"]),
        ("你好。 再见！ 好？ 好", ["你好。", "再见！", "好？", "好"]),
    ],
)
def test_a_text_is_cut_after_stops_and_at_line_breaks(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


@given(texts)
def test_sentences_stand_in_order_and_hold_every_character_but_the_white_space_between_them(text: str) -> None:
    at = 0
    for start, end in sentences(text):
        assert at <= start < end <= len(text)
        assert not text[at:start].strip()
        at = end
    assert not text[at:].strip()


@given(texts)
def test_a_sentence_has_no_white_space_at_its_edges_and_is_one_sentence(text: str) -> None:
    for start, end in sentences(text):
        quoted = text[start:end]
        assert quoted == quoted.strip() != ""
        assert sentences(quoted) == [(0, len(quoted))]


@given(texts)
def test_no_sentence_runs_over_a_line_break(text: str) -> None:
    assert not any({"\n", "\r"} & set(text[start:end]) for start, end in sentences(text))
