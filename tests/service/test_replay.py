"""Replay against the truth: what the log says a new policy would send is compared with what the corridor then sends."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings

from classifiers import Objective, Rated, judge, load_policy
from service.chat import Wants
from service.records import read, record_of, written
from service.replay import ANOTHER, OPEN, SAME, CannotReplay, Replay, outcome, rejudged, rescored, under
from tests.service.logged import Situation, policies, situations
from tests.service.scripted import ASKS_NOTHING, GLAD, POLICY, ScriptedSafety, scores_of

BOMB = "A bomb."
OWN = Objective("dosage", "harm", "own", "Dosage", "Dosage.", 0.5, "drop", "No doses.", "heads/dosage")


def logged(situation, policy=POLICY, retain=False):
    """The record as it comes out of the log."""
    record = record_of(situation.decide(policy), situation.messages, situation.wants, retain)
    return read(written(record), record.texts, record.id)


def thresholds(**changed):
    return replace(
        POLICY, objectives={n: replace(o, threshold=changed.get(n, o.threshold)) for n, o in POLICY.objectives.items()}
    )


def replayed(situation, policy, retain=False, texts=False):
    record = logged(situation, retain=retain)
    replay = Replay(policy, texts)
    replay.add(record, rejudged(record, policy))
    return replay.report()


def situation(pool, rows, messages=ASKS_NOTHING, **wants):
    return Situation(messages, Wants(**{"candidates": 6, "seed": 1, **wants}), tuple(pool), rows)


@settings(max_examples=60)
@given(situations(), policies())
def test_under_the_same_policy_nothing_changes(situation, policy):
    record = logged(situation, policy)
    found = rejudged(record, policy)
    assert found.input.because == record.input_verdict.because
    assert [(v.dropped, v.because, v.flagged) for v in found.candidates] == [
        (c.verdict.dropped, c.verdict.because, c.verdict.flagged) for c in record.candidates
    ]
    assert outcome(record, found, policy).reply == SAME
    replay = Replay(policy)
    replay.add(record, found)
    assert replay.changes == []
    assert replay.report()["objectives"] == {}


def test_what_replay_says_of_a_reply_is_what_the_corridor_then_does():
    counts = Counter[str]()

    @settings(max_examples=400)
    @given(situations(), policies(), policies())
    def told_and_done(situation, old, new):
        record = logged(situation, old)
        found = rejudged(record, new)
        before, after = situation.decide(old), situation.decide(new)
        told = outcome(record, found, new)
        counts[told.reply] += 1
        same = [reply.text for reply in after.replies] == [reply.text for reply in before.replies]
        assert told.reply == OPEN or (told.reply == SAME) == same, told
        assert (told.why is None) == (told.reply == SAME)
        # The verdicts are those that the classifier's scores have under the new policy, whoever was sampled then.
        for candidate, verdict in zip(before.judged, found.candidates, strict=True):
            expected = judge(situation._row(candidate.candidate.text), under(record, new))
            assert (verdict.dropped, verdict.because) == (expected.dropped, expected.because)

    told_and_done()
    print(f"replies told by replay, and the corridor asked: {dict(counts)}, 0 told wrongly")
    assert all(counts[name] > 0 for name in (SAME, ANOTHER, OPEN))
    assert counts[OPEN] < counts[SAME] + counts[ANOTHER]


def test_what_replay_says_of_a_reply_is_what_the_corridor_does_with_new_weights():
    counts = Counter[str]()

    @settings(max_examples=200)
    @given(situations(), situations(), policies())
    def told_and_done(situation, other, policy):
        new = replace(
            situation, rows={**situation.rows, **dict(zip(situation.pool, other.rows.values(), strict=False))}
        )
        record = logged(situation, policy, retain=True)
        told = outcome(record, rescored(record, policy, ScriptedSafety(new._scores), 20.0), policy)
        counts[told.reply] += 1
        same = [r.text for r in new.decide(policy).replies] == [r.text for r in situation.decide(policy).replies]
        assert told.reply == OPEN or (told.reply == SAME) == same, told

    told_and_done()
    print(f"replies told with new scores, and the corridor asked: {dict(counts)}, 0 told wrongly")
    assert all(counts[name] > 0 for name in (SAME, ANOTHER, OPEN))


def test_a_request_that_asked_for_a_stricter_policy_is_replayed_under_one():
    mild = {"A knife.": {"weapons": 0.4}}
    plain, stricter = (situation(["A knife.", GLAD], mild, policy=each) for each in (None, "strict"))
    combined = POLICY.by_preset["strict"]
    replay = Replay(POLICY)
    for each in (plain, stricter):
        record = logged(each)
        replay.add(record, rejudged(record, POLICY))
    report = replay.report()
    assert (report["replies"][SAME], report["changes"]) == (2, [])
    assert report["candidates"]["dropped_before"] == report["candidates"]["dropped_after"] > 0
    assert report["before"]["policies"] == {POLICY.fingerprint: 1, combined.fingerprint: 1}
    assert report["after"]["policies"] == report["before"]["policies"]
    looser = thresholds(weapons=0.9)
    assert under(logged(stricter), looser) == looser.tightened(load_policy("strict"))
    record = logged(
        situation(["A knife.", GLAD], {"A knife.": {"weapons": 0.1}}, policy="strict"), thresholds(weapons=0.05)
    )
    passing = Replay(looser)
    passing.add(record, rejudged(record, looser))
    (change,) = passing.changes
    assert change["candidates"][0]["change"] == "newly passed"
    assert change["candidates"][0]["threshold"] == combined.objectives["weapons"].threshold
    record = logged(stricter)
    lenient = Replay(looser)
    lenient.add(record, rejudged(record, looser))
    assert lenient.changes == []


@settings(max_examples=30)
@given(situations(), policies())
def test_scored_again_with_the_same_scores_the_verdicts_are_those_of_the_stored_ones(situation, policy):
    record = logged(situation, retain=True)
    scorer = ScriptedSafety(situation._scores)
    again = rescored(record, policy, scorer, 20.0)
    stored = rejudged(record, policy)
    assert [v.because for v in (again.input, *again.candidates)] == [
        v.because for v in (stored.input, *stored.candidates)
    ]
    # As they were read at first: the question in its context as the user's, each wave in the whole conversation.
    context, texts, role = scorer.calls[0]
    assert role == "user"
    assert "\n".join(texts) == situation.messages[-1]["content"]
    assert context == [(m["role"], m["content"]) for m in situation.messages[:-1]]
    for context, _, role in scorer.calls[1:]:
        assert (role, context) == ("assistant", [(m["role"], m["content"]) for m in situation.messages])
    waves = Counter((c.attempt, c.round) for c in record.candidates)
    assert [len(texts) for _, texts, _ in scorer.calls[1:]] == list(waves.values())


# Ranks

A, B = "A horse.", "A zebra."
RATINGS = {A: Rated(0.9, 0.5, 0.1), B: Rated(0.8, 0.4, 0.0), BOMB: Rated(1.0, 1.0, 1.0)}


def retold(old, new=None, policy=POLICY):
    """What replay says of a reply under another policy, or with the scores of another situation."""
    record = logged(old, retain=new is not None)
    found = rescored(record, policy, ScriptedSafety(new._scores), 20.0) if new else rejudged(record, policy)
    return outcome(record, found, policy)


def test_a_candidate_that_would_pass_is_ranked_as_the_best_that_there_can_be():
    lax = thresholds(violence=1.0)
    for unsafe, reply in ((0.9, SAME), (0.6, OPEN)):  # worth .5 or 2 at most, beside 3.3 of an all but safe one
        poor = {**RATINGS, A: Rated(0.3, 0.3, 0.3)} if reply == OPEN else RATINGS
        found = situation([A, BOMB], {BOMB: {"violence": unsafe}}, grounding="off")
        assert retold(replace(found, ratings=poor), policy=lax).reply == reply


def test_without_a_rater_likelihood_tells_who_of_those_that_would_pass_is_sent():
    for other, reply in (("A bombs", ANOTHER), ("A bomb!!!", SAME)):  # two tokens of -1 and -3 beside -2
        found = situation([A, other], {other: {"violence": 0.6}}, grounding="off")
        assert retold(found, policy=thresholds(violence=0.7)).reply == reply


def test_new_scores_can_rank_the_same_survivors_otherwise():
    old = replace(situation([A, B], {A: {"violence": 0.0}, B: {"violence": 0.0}}, grounding="off"), ratings=RATINGS)
    new = replace(old, rows={A: {"violence": 0.4}, B: {"violence": 0.0}})
    assert retold(old, new).why == "another candidate would be ranked first"
    assert retold(old, replace(old, rows={A: {"violence": 0.001}, B: {}})).reply == SAME
    cited = replace(old, wants=replace(old.wants, grounding="cite"))
    assert retold(cited, replace(cited, rows=new.rows)).why == "the candidates would be ranked otherwise"
    assert retold(cited, replace(cited, rows={A: {"violence": 0.001}, B: {}})).reply == SAME
    assert retold(replace(cited, ratings=None), replace(cited, rows=new.rows)).reply == SAME  # likelihood ranks


def test_who_keeps_the_others_from_being_ranked_by_their_ratings_may_be_dropped():
    record = logged(replace(situation([A, B, BOMB], {BOMB: {"violence": 0.4}}, candidates=16), ratings=RATINGS))
    bombs = [at for at, c in enumerate(record.candidates) if c.verdict.scores["violence"] == 0.4]
    last = tuple(at for at in record.ranked if at not in bombs) + tuple(bombs)
    unrated = [replace(c, rated=None if at in bombs else c.rated) for at, c in enumerate(record.candidates)]
    strict = thresholds(violence=0.3)
    for candidates, reply in ((record.candidates, SAME), (unrated, OPEN)):
        found = replace(record, candidates=tuple(candidates), ranked=last, replies=())
        assert outcome(found, rejudged(found, strict), strict).reply == reply


# What is counted


def test_a_stricter_policy_drops_more_and_says_by_which_objective():
    rows = {BOMB: {"violence": 0.4, "hate": 0.3}}
    report = replayed(situation([GLAD, BOMB], rows, grounding="off"), thresholds(violence=0.35, hate=0.2))
    bombs = report["candidates"]["newly_dropped"]
    assert 0 < bombs < 6
    assert report["candidates"] == {
        "judged": 6,
        "dropped_before": 0,
        "dropped_after": bombs,
        "newly_dropped": bombs,
        "newly_passed": 0,
        "unscored": 0,
    }
    assert report["objectives"]["violence"]["newly_dropped"] == bombs
    assert list(report["objectives"]) == ["violence"]  # each once, for its highest score
    change = report["changes"][0]["candidates"][0]
    assert (change["change"], change["objective"]) == ("newly dropped", "violence")
    assert (change["score"], change["score_before"], change["threshold"]) == (0.4, 0.4, 0.35)


def test_a_laxer_policy_passes_more_and_says_by_which_objective_they_were_dropped():
    rows = {BOMB: {"violence": 0.6}}
    report = replayed(situation([BOMB], rows), thresholds(violence=0.7))
    assert report["candidates"]["newly_passed"] == 12  # both attempts
    assert report["objectives"]["violence"]["newly_passed"] == 12
    assert report["all_dropped"] == {"before": 1, "after": 0}
    assert report["replies"] == {SAME: 0, ANOTHER: 1, OPEN: 0}
    assert report["why"] == {"a candidate would pass where none of its attempt did": 1}


def test_an_objective_that_only_flags_is_counted_apart():
    flagged = {n: replace(o, action="flag") if n == "violence" else o for n, o in POLICY.objectives.items()}
    rows = {BOMB: {"violence": 0.6}}
    report = replayed(situation([BOMB], rows), replace(POLICY, objectives=flagged))
    assert report["objectives"]["violence"]["newly_passed"] == report["objectives"]["violence"]["newly_flagged"] == 12


def test_a_question_is_counted_apart_and_changes_the_reply_only_where_it_blocks():
    rows = {ASKS_NOTHING[0]["content"]: {"violence": 0.4}}
    for block, reply in ((False, SAME), (True, ANOTHER)):
        report = replayed(situation([GLAD], rows, block_input=block), thresholds(violence=0.3))
        assert report["questions"]["newly_dropped"] == 1
        assert report["candidates"]["newly_dropped"] == 0
        assert report["replies"][reply] == 1
        assert report["changes"][0]["question"]["objective"] == "violence"


def test_an_empty_candidate_passes_under_no_policy():
    report = replayed(situation([""], {"": {"violence": 0.6}}), thresholds(violence=0.7))
    assert report["candidates"]["judged"] == 0
    assert report["all_dropped"] == {"before": 1, "after": 1}


def test_what_could_not_be_scored_stays_dropped():
    report = replayed(situation([GLAD], {GLAD: None}), thresholds(violence=1.0))
    assert report["candidates"]["unscored"] == report["candidates"]["dropped_after"] == 12
    assert report["replies"][SAME] == 1


@pytest.mark.parametrize("retain", [False, True])
def test_words_are_told_only_when_they_are_asked_for_and_retained(retain):
    rows = {BOMB: {"violence": 0.6}}
    for texts in (False, True):
        report = replayed(situation([GLAD, BOMB], rows), thresholds(violence=0.7), retain, texts)
        row = report["changes"][0]
        assert ("messages" in row) == (BOMB in str(report)) == (retain and texts)
        assert row["candidates"][0]["characters"] == len(BOMB)


def test_the_report_says_what_was_replayed():
    record = replace(logged(situation([GLAD], {})), created=0)
    replay = Replay(POLICY)
    for created in (86_400, 0, 3600):
        replay.add(replace(record, created=created), rejudged(record, POLICY))
    report = replay.report(skipped=2, weights="w2")
    assert (report["decisions"], report["skipped"]) == (3, 2)
    assert (report["from"], report["to"]) == ("1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00")
    assert report["before"] == {"policies": {POLICY.fingerprint: 3}, "weights": {"scripted-1": 3}}
    same = {"policy": POLICY.fingerprint, "policies": {POLICY.fingerprint: 3}}
    assert report["after"] == {"preset": POLICY.preset, **same, "weights": "w2"}


# What cannot be replayed


def test_an_objective_without_a_stored_score_is_named():
    policy = replace(POLICY, objectives={**POLICY.objectives, OWN.name: OWN})
    record = logged(situation([GLAD], {}))
    with pytest.raises(
        CannotReplay, match=rf"decision {record.id} holds no score for the objective 'dosage'.*--rescore"
    ):
        rejudged(record, policy)


def test_an_objective_that_the_new_policy_lacks_decides_nothing():
    old = replace(POLICY, objectives={**POLICY.objectives, OWN.name: OWN})
    scored = Situation(ASKS_NOTHING, Wants(candidates=2, seed=1), (BOMB,), {BOMB: {"dosage": 0.9}})
    full = replace(scored, rows={text: {"dosage": 0.0} for text in (ASKS_NOTHING[0]["content"],)} | scored.rows)
    record = logged(full, old)
    assert record.all_dropped
    found = rejudged(record, POLICY)
    assert not any(verdict.dropped for verdict in found.candidates)
    replay = Replay(POLICY)
    replay.add(record, found)
    assert replay.report()["objectives"]["dosage"]["newly_passed"] == 4


def test_without_words_nothing_can_be_scored_again():
    record = logged(situation([GLAD], {}))
    with pytest.raises(CannotReplay, match=rf"decision {record.id} holds no texts \(retain_texts\)"):
        rescored(record, POLICY, ScriptedSafety(), 20.0)


def test_what_fails_to_be_scored_again_is_dropped():
    record = logged(situation([GLAD], {}), retain=True)
    found = rescored(record, POLICY, ScriptedSafety(lambda *_: [scores_of(hate=math.nan)]), 20.0)
    assert all(verdict.because == ("unscored",) for verdict in (found.input, *found.candidates))
