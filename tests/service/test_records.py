import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings

from classifiers import Rated
from service.chat import Wants
from service.decisions import Decision
from service.generator import Sampling
from service.records import BadRecord, Record, read, record_of, said_of, shown, written
from tests.service.logged import Situation, situations
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, INVENTED, KENYA, make_corridor

BOMB = "A bomb for you."
SECRET = [{"role": "user", "content": "My sister Ada says hello to you."}]


def decided(texts=(KENYA, BOMB), messages=ASKS_KENYA, scores=None, **wants):
    wanted = Wants(**{"candidates": 4, "seed": 1, **wants})
    corridor = make_corridor(list(texts), {"bomb": {"weapons": 0.9}} if scores is None else scores)
    return corridor.reply(messages, wanted), wanted


@settings(max_examples=60)
@given(situations())
def test_a_record_that_was_written_is_read_as_it_was(situation):
    decision = situation.decide()
    for retain in (False, True):
        record = record_of(decision, situation.messages, situation.wants, retain)
        assert read(written(record), record.texts, record.id) == record
        assert record.has_texts is retain


@settings(max_examples=40)
@given(situations())
def test_the_record_tells_what_the_decision_tells(situation):
    decision = situation.decide()
    record = record_of(decision, situation.messages, situation.wants, True)
    assert [record.text(c.said) for c in record.candidates] == [j.candidate.text for j in decision.judged]
    assert [record.text(r.said) for r in record.replies] == [r.text for r in decision.replies]
    assert record.conversation() == situation.messages
    # What is kept, dropped and sent is the same without a word of it.
    bare = record_of(decision, situation.messages, situation.wants)
    assert [j.reason for j in bare.judged] == [j.reason for j in decision.judged]
    assert [j.verdict.scores for j in bare.judged] == [j.verdict.scores for j in decision.judged]
    # And what they were ranked by.
    assert [j.rated for j in bare.judged] == [j.rated for j in decision.judged]
    assert [j.candidate.log_likelihood for j in bare.judged] == [j.candidate.log_likelihood for j in decision.judged]
    for logged, reply in zip(bare.replies, decision.replies, strict=True):
        assert (logged.candidate is None) == (reply.verdict is None)
        if logged.candidate is not None:
            assert decision.judged[logged.candidate].candidate.text == reply.text
            assert bare.judged[logged.candidate].kept
    sent = [r.candidate for r in bare.replies if r.candidate is not None]
    assert len(sent) == len(set(sent))


@settings(max_examples=40)
@given(situations())
def test_the_ranks_are_of_every_survivor_once(situation):
    record = record_of(situation.decide(), situation.messages, situation.wants)
    assert sorted(record.ranked) == [
        i for i, c in enumerate(record.candidates) if not c.verdict.dropped and c.said.characters
    ]


def test_nothing_of_a_decision_is_left_out():
    told_otherwise = {"judged": "candidates", "replies": "replies"}
    kept = {each.name for each in fields(Record)}
    assert {told_otherwise.get(each.name, each.name) for each in fields(Decision)} <= kept


def test_no_word_is_in_a_record_whose_texts_are_not_retained():
    decision, wants = decided([INVENTED, BOMB], SECRET, grounding="research", sampling=Sampling(stop=("Ada",)))
    record = record_of(decision, SECRET, wants)
    assert record.rounds
    assert any(reply.claims for reply in record.replies)
    stored = written(record) + json.dumps(shown(record))
    for word in ("Ada", "sister", "bomb", "cheese", "Kenya has"):
        assert word not in stored
    assert record.texts == {}
    assert any(c.said == said_of(BOMB) for c in record.candidates)


def test_a_place_that_decided_keeps_its_characters_and_loses_its_words():
    situation = Situation(ASKS_KENYA, Wants(candidates=1, seed=1), (BOMB,), {BOMB: {"weapons": 0.9}})
    decision = situation.decide()
    assert decision.judged[0].verdict.reasons[0].place.sentence == BOMB[:9]
    place = record_of(decision, ASKS_KENYA, situation.wants, True).candidates[0].verdict.reasons[0].place
    assert (place.sentence, place.start, place.end) == ("", 0, 9)


def test_how_many_candidates_were_asked_for_and_came_is_told():
    corridor = make_corridor(lambda messages, n, sampling: [GLAD] * (n - 1))
    record = record_of(corridor.reply(ASKS_NOTHING, Wants(candidates=4, seed=1)), ASKS_NOTHING, Wants(candidates=4))
    assert (record.asked, len(record.candidates)) == (4, 3)


def test_a_citation_is_told_by_its_place():
    decision, wants = decided([KENYA])
    cited = record_of(decision, ASKS_KENYA, wants, True)
    citation = cited.replies[0].claims[0].citations[0]
    quote = decision.replies[0].grounding.citations[0].quote
    assert (citation.document, citation.passage, citation.tool) == ("kenya", quote.passage.id, "retrieval")
    assert (citation.start, citation.end, cited.text(citation.quote)) == (quote.start, quote.end, quote.text)


def test_words_are_shown_only_where_they_are_at_hand():
    decision, wants = decided()
    with_words = record_of(decision, ASKS_KENYA, wants, True)
    assert shown(with_words)["candidates"][1]["said"]["text"] == BOMB
    assert "text" not in shown(replace(with_words, texts={}))["candidates"][1]["said"]


def test_half_of_a_surrogate_pair_and_what_is_no_number_can_be_logged():
    decision, wants = decided(["\ud800 is half."])
    nan = float("nan")
    judged = [
        replace(j, candidate=replace(j.candidate, log_likelihood=nan), rated=Rated(0.5, nan, nan))
        for j in decision.judged
    ]
    record = record_of(replace(decision, judged=tuple(judged)), ASKS_KENYA, wants, True)
    assert {(c.log_likelihood, c.rated) for c in record.candidates} == {(None, None)}
    assert read(written(record), record.texts, "x") == record


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda row: row.pop("seed"), "field seed: "),
        (lambda row: row["candidates"][0].update(tokens="many"), r"field candidates\.0\.tokens: "),
    ],
)
def test_a_record_that_is_none_is_refused_with_its_id_and_field(change, says):
    decision, wants = decided()
    row = json.loads(written(record_of(decision, ASKS_KENYA, wants)))
    change(row)
    with pytest.raises(BadRecord, match=f"decision chat-1: {says}"):
        read(json.dumps(row), {}, "chat-1")
    with pytest.raises(BadRecord, match="decision chat-1: not JSON"):
        read("{", {}, "chat-1")


def test_a_later_winnow_may_have_added_a_field():
    decision, wants = decided([GLAD])
    record = record_of(decision, ASKS_KENYA, wants)
    row = json.loads(written(record))
    row["candidates"][0]["rating"] = 0.5
    assert read(json.dumps({**row, "mood": "fair"}), {}, "x") == record
