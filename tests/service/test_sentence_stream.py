"""Sentence by sentence: nothing leaves but a text so far that has passed, whatever the scorer does in the middle."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sentences import Sentences, Withdrawn

TEXT = "One is here. Two is there! Is three? Four is the last."


def sentences_of(passes, choices=1):
    pieces = []
    out = Sentences(passes, lambda choice, text, _: pieces.append((choice, text)), choices)
    return out, pieces


def test_each_sentence_leaves_by_itself_and_the_last_stays():
    out, pieces = sentences_of(lambda text: True)
    out.offer(0, TEXT)
    assert pieces == [(0, "One is here."), (0, " Two is there!"), (0, " Is three?")]
    assert out.sent == ["One is here. Two is there! Is three?"]


def test_what_is_judged_is_the_whole_text_so_far():
    asked = []
    out, _ = sentences_of(lambda text: asked.append(text) or True)
    out.offer(0, TEXT)
    assert asked == ["One is here.", "One is here. Two is there!", "One is here. Two is there! Is three?"]


def test_what_does_not_pass_is_held_until_a_longer_text_does():
    out, pieces = sentences_of(lambda text: not text.endswith("there!"))
    out.offer(0, TEXT)
    assert pieces == [(0, "One is here."), (0, " Two is there! Is three?")]


def test_what_has_left_is_not_judged_or_sent_again():
    asked = []
    out, pieces = sentences_of(lambda text: asked.append(text) or True)
    for end in range(len(TEXT) + 1):
        out.offer(0, TEXT[:end])
    assert "".join(piece for _, piece in pieces) == out.sent[0]
    assert len(asked) == len(set(asked))


def test_the_choices_do_not_mix():
    out, pieces = sentences_of(lambda text: True, choices=2)
    out.offer(1, "Uno. Due.")
    out.offer(0, "One. Two.")
    assert pieces == [(1, "Uno."), (0, "One.")]


def test_a_decision_that_does_not_begin_with_what_was_sent_is_an_error():
    out, pieces = sentences_of(lambda text: True)
    out.offer(0, "One. Two.")
    out.offer(0, "Another. Attempt.")
    assert pieces == [(0, "One.")]
    out.check(["One. Three."])
    with pytest.raises(Withdrawn):
        out.check(["I can't say that."])


class Moody:
    """Passes by whim: yes, no, by raising or by taking its time; `passed`: every text that it let pass."""

    def __init__(self, moods):
        self.moods, self.passed = list(moods), set()

    def __call__(self, text):
        mood = self.moods.pop(0) if self.moods else "no"
        if mood == "raises":
            raise RuntimeError(text)
        if mood == "slow":
            time.sleep(0.002)
        if mood in ("yes", "slow"):
            self.passed.add(text)
            return True
        return False


@settings(max_examples=200)
@given(
    moods=st.lists(st.sampled_from(["yes", "no", "raises", "slow"]), max_size=12),
    texts=st.lists(st.text("ab. !?\n", max_size=30), min_size=1, max_size=4),
    steps=st.integers(1, 7),
)
def test_at_no_moment_has_anything_left_that_did_not_pass_as_a_whole(moods, texts, steps):
    moody, seen = Moody(moods), ""

    def send(choice, piece, first):
        nonlocal seen
        seen += piece
        assert seen in moody.passed

    out = Sentences(moody, send, 1)
    try:
        for text in texts:
            for end in range(0, len(text) + 1, steps):
                out.offer(0, text[:end])
    except RuntimeError:
        pass
    assert out.sent == [seen]


def test_following_sends_while_the_text_is_written_and_is_done_when_it_is_left():
    out, pieces = sentences_of(lambda text: True)
    arrived = threading.Event()
    out._send = lambda choice, text, _: pieces.append((choice, text)) or arrived.set()
    with out.following(()) as on_text:
        on_text("  One is here. T")
        assert arrived.wait(10)
        on_text("  One is here. Two is there! Is")
    assert out.sent[0] in ("One is here.", "One is here. Two is there!")
    assert not [thread for thread in threading.enumerate() if thread.name == "winnow-sentences"]


def test_what_may_become_a_stop_string_is_not_looked_at():
    asked, looked = [], threading.Event()
    out, pieces = sentences_of(lambda text: asked.append(text) or looked.set() or True)
    with out.following(("END", "## x")) as on_text:
        on_text("One. Two. Th")
        assert looked.wait(10)
    assert all(len(text) <= len("One. Two. Th") - 4 for text in asked)
    assert pieces == [(0, "One.")]


def test_a_screen_that_fails_while_following_sends_nothing_more_and_ends(caplog):
    looked = threading.Event()

    def passes(text):
        looked.set()
        raise RuntimeError(f"cannot judge {text}")

    out, pieces = sentences_of(passes)
    with out.following(()) as on_text:
        on_text("One. Two. Three.")
        assert looked.wait(10)
        on_text("One. Two. Three. Four.")
    assert pieces == []
    assert "RuntimeError" in caplog.text
    assert "One" not in caplog.text
