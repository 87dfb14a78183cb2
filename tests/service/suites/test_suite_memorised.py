"""memorised: runs of the corpus in a reply, cited and not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.suites import memorised
from service.suites.base import measured
from service.suites.memorised import Memorised, Runs, cited_documents
from service.suites.model import Answer
from tests.service.scripted import KENYA
from tests.service.suites.scripted_suites import ScriptedEndpoint, make_run, value

WORDS: dict[str, int] = {}


def tokens(text):
    """A number for each word."""
    return [WORDS.setdefault(word, len(WORDS)) for word in text.split()]


KENYAN = "Kenya is a country in East Africa. The capital of Kenya is Nairobi."
CASE = {"id": "q", "messages": [{"role": "user", "content": "What is the capital of Kenya?"}]}


def test_a_run_is_found_at_its_length_and_not_one_token_below():
    runs = Runs([("a", "one two three four five six")], tokens, 4)
    assert runs.repeated("well two three four five then") == [frozenset("a")]
    assert runs.repeated("well two three four then") == []
    assert len(runs.repeated("one two three four five six")) == 3
    assert runs.repeated("four three two one") == []
    assert runs.repeated("one two three") == runs.repeated("") == []


def test_a_run_names_every_text_that_holds_it_and_line_breaks_are_spaces():
    runs = Runs([("a", "one two\n\nthree"), ("b", "zero one two three"), ("c", "short")], tokens, 3)
    assert runs.repeated("one  two three") == [frozenset("ab")]


def test_without_texts_nothing_is_repeated():
    assert Runs([], tokens, 3).repeated("one two three four") == []


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40), st.integers(1, 6))
def test_hashes_find_what_comparing_finds(corpus, reply, length):
    def windows(ids):
        return [tuple(ids[i : i + length]) for i in range(len(ids) - length + 1)]

    def numbers(text):
        return [int(each) for each in text.split()]

    runs = Runs([("a", " ".join(map(str, corpus)))], numbers, length)
    expected = [w for w in windows(reply) if w in set(windows(corpus))]
    assert len(runs.repeated(" ".join(map(str, reply)))) == len(expected)


def test_a_reply_that_repeats_and_cites_is_not_memorised():
    (found,) = Memorised(tokens, 5).judge([CASE], make_run([KENYAN]))
    assert found["repeats"] == ["kenya"]
    assert found["cited"] == ["kenya"]
    assert found["memorised"] is False


def test_one_run_that_is_not_cited_is_enough():
    source = ({"title": "Kenya"},)
    text = f"{KENYAN} Green tea is not oxidised."
    endpoint = ScriptedEndpoint([""], Answer(text, "stop", 1.0, None, source))
    (found,) = Memorised(tokens, 5).judge([CASE], make_run(endpoint=endpoint))
    assert (found["repeats"], found["cited"]) == (["kenya", "tea"], ["kenya"])
    assert found["memorised"] is True


def test_an_endpoint_s_sources_are_matched_by_address_or_title():
    index = make_run().corridor.index
    answer = Answer(KENYAN, "stop", 1.0, None, ({"url": "https://example.org/kenya", "title": "x"}, {"title": "Tea"}))
    assert cited_documents(answer, index) == {"kenya", "tea"}
    assert cited_documents(Answer(KENYAN, "stop", 1.0, None, ({"url": "", "title": None},)), index) == frozenset()


@pytest.mark.parametrize(("sources", "memorised"), [((), True), (({"title": "Kenya"},), False)])
def test_an_endpoint_that_repeats_without_citing_is_told(sources, memorised):
    endpoint = ScriptedEndpoint([""], Answer(KENYAN, "stop", 1.0, None, sources))
    (found,) = Memorised(tokens, 5).judge([CASE], make_run(endpoint=endpoint))
    assert found["memorised"] is memorised


def test_the_shares_are_of_all_replies():
    suite = Memorised(tokens)
    rows = [
        {"id": "1", "repeats": ["a"], "memorised": True},
        {"id": "2", "repeats": ["a"], "memorised": False},
        {"id": "3", "repeats": [], "memorised": False},
        {"id": "4", "repeats": [], "memorised": False},
    ]
    assert value(suite, rows, "memorised") == 0.25
    assert value(suite, rows, "repeated and cited") == 0.25
    assert all(measured(metric, []).value is None for metric in suite.metrics([]))


@pytest.mark.parametrize(("quick", "n"), [(True, memorised.QUICK), (False, memorised.WHOLE)])
def test_the_sample_has_its_size(quick, n):
    assert len(Memorised(tokens).cases(make_run(quick=quick))) == n


def test_by_default_fifty_tokens_of_the_chat_model_make_a_run(monkeypatch, tiny_model):
    monkeypatch.setattr("service.suites.memorised.models.load_tokenizer", lambda name: tiny_model[1])
    (found,) = Memorised().judge([CASE], make_run([KENYAN]))  # a token of the tiny model is a character
    assert found["repeats"] == ["kenya"]
    (short,) = Memorised().judge([CASE], make_run([KENYA]))
    assert short["repeats"] == []
