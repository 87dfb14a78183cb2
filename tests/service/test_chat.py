"""The laws of the corridor, and what it does when everything was dropped. What is sent is read off the wire's own shapes."""

import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from classifiers import OBJECTIVES, Rated
from retrieval import Index, sentences
from retrieval.claims import is_claim
from service import wire
from service.chat import Wants
from service.generator import PromptTooLong, Sampling
from service.screening import MAX_HUNG
from tests.service.scripted import (
    ASKS_KENYA,
    ASKS_NOTHING,
    DOCUMENTS,
    GLAD,
    INDEX,
    INVENTED,
    KENYA,
    POLICY,
    ScriptedGenerator,
    ScriptedQuality,
    make_corridor,
    scores_of,
)

FALLBACKS = {POLICY.fallback, *(objective.fallback for objective in POLICY.objectives.values())}

FAULTS = ("one row too few", "one row too many", "no rows", "a tuple", "a generator", "None", "a string", "a mapping")
RAISED = (KeyError, RuntimeError, MemoryError, ValueError, AssertionError, StopIteration, SystemExit, GeneratorExit)


class Malformed:
    """Neither a mapping nor a number."""


def below_thresholds() -> st.SearchStrategy:
    """Rows that pass: every score under its threshold, often by as little as a float can be."""
    just_below = {name: math.nextafter(o.threshold, 0.0) for name, o in POLICY.objectives.items()}
    return st.one_of(
        st.just(just_below),
        st.just(scores_of()),
        st.just(dict.fromkeys(OBJECTIVES, 0)),
        st.fixed_dictionaries({name: st.floats(0.0, high) for name, high in just_below.items()}),
    )


@st.composite
def violations(draw) -> dict:
    """Rows of which one score or more reaches its threshold, often exactly."""
    row = scores_of()
    for name in draw(st.lists(st.sampled_from(OBJECTIVES), min_size=1, max_size=3)):
        threshold = POLICY.objectives[name].threshold
        row[name] = draw(st.one_of(st.just(threshold), st.floats(threshold, 1.0)))
    return row


@st.composite
def malformed(draw) -> object:
    """What is no row of scores, or a row of which one score is no probability."""
    if draw(st.booleans()):
        return draw(st.sampled_from([None, 0, 0.0, "", "safe", [], {}, (), True, False, Malformed(), [0.0] * 15]))
    row = scores_of()
    name = draw(st.sampled_from(OBJECTIVES))
    bad = [math.nan, math.inf, -math.inf, -0.01, 1.01, None, "0.01", False, True, 10**400, -(10**400), [0.0], 0j]
    if draw(st.booleans()):
        row[name] = draw(st.sampled_from(bad))
    else:
        del row[name]
    return row


@st.composite
def texts(draw) -> str:
    """What a reply says besides its marker: nothing, claims with and without a source, odd characters, a great deal."""
    parts = [
        GLAD,
        KENYA,
        INVENTED,
        "Bees make honey from nectar.",
        "naïve 🐝 “quotes” \u200b",
        "A\n\nB",
        "<|im_end|>",
        " ",
    ]
    return " ".join(draw(st.lists(st.sampled_from(parts), max_size=4))) * draw(st.sampled_from([1, 1, 1, 40]))


class Attempt:
    """One attempt's candidates as a test plans them: (text, row of scores, whether it should pass), and the scorer's fault."""

    def __init__(self, rows: list[tuple[str, object, bool]], fault: object) -> None:
        self.rows, self.fault = rows, fault
        self.texts = [text for text, _, _ in rows]
        self.passing = [] if fault else [text for text, _, passes in rows if passes and text]

    def answer(self, texts: list[str]) -> object:
        by_text = {text: row for text, row, _ in self.rows}
        answer = [by_text[text] for text in texts]
        if isinstance(self.fault, type):
            raise self.fault(f"cannot judge {texts}")
        faulty = {
            "one row too few": answer[:-1],
            "one row too many": [*answer, scores_of()],
            "no rows": [],
            "a tuple": tuple(answer),
            "a generator": (row for row in answer),
            "None": None,
            "a string": "safe" * len(answer),
            "a mapping": dict(enumerate(answer)),
        }
        return faulty[self.fault] if self.fault else answer


@st.composite
def attempts(draw) -> tuple[int, list[Attempt]]:
    """How many candidates, and both attempts at them. Every candidate has a marker that nothing else has."""
    n = draw(st.one_of(st.integers(1, 6), st.just(64)))
    number = count()
    planned = []
    for _ in range(2):
        unsafe_only = draw(st.booleans())
        fails = st.tuples(st.one_of(violations(), malformed()), st.just(False))
        fate = fails if unsafe_only else st.one_of(st.tuples(below_thresholds(), st.just(True)), fails)
        fates = draw(st.lists(fate, min_size=min(n, 6), max_size=min(n, 6)))
        says = draw(st.lists(texts(), min_size=1, max_size=6))
        silent = draw(st.sets(st.integers(0, n - 1), max_size=2))
        rows = [(f"marker{next(number)}q {says[i % len(says)]}".strip(), *fates[i % len(fates)]) for i in range(n)]
        rows = [("", scores_of(), True) if i in silent else row for i, row in enumerate(rows)]
        fault = draw(st.one_of(st.none(), st.none(), st.sampled_from(FAULTS), st.sampled_from(RAISED)))
        planned.append(Attempt(rows, fault))
    return n, planned


def played(n: int, planned: list[Attempt], **settings) -> tuple:
    """A corridor that meets the planned attempts in order."""
    deal = iter([text for attempt in planned for text in attempt.texts])
    turn = iter(planned)

    def says(messages, k, sampling):
        return [next(deal) for _ in range(k)]

    def scores(context, texts, role):
        return [scores_of() for _ in texts] if role == "user" else next(turn).answer(texts)

    return make_corridor(says, scores, screen_seconds=5, **settings)


@contextmanager
def logs() -> Iterator[list[str]]:
    """All that is logged meanwhile, tracebacks included."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, keep = logging.getLogger(), Keep(logging.DEBUG)
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(keep)
        root.setLevel(level)


def sent(decision, explain: bool = True) -> list[str]:
    """Everything that could leave for one decision, as JSON: the whole answer, and the stream's events."""
    whole = wire.completion(decision, POLICY, explain)
    events = list(wire.chunks(decision, POLICY, explain, include_usage=True))
    return [json.dumps(event, allow_nan=False) for event in [whole, *events]]


def said(decision) -> list[tuple[str, str]]:
    """(text, finish reason) of every choice as a client reads it, once whole and once put together from the stream."""
    whole = wire.completion(decision, POLICY, False)
    streamed = [["", ""] for _ in decision.replies]
    for event in wire.chunks(decision, POLICY, False, False):
        choice = event["choices"][0]
        streamed[choice["index"]][0] += choice["delta"].get("content", "")
        streamed[choice["index"]][1] += choice["finish_reason"] or ""
    answer = [(choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]]
    assert answer == [tuple(choice) for choice in streamed]
    return answer


@given(attempts(), st.integers(1, 3), st.sampled_from(["cite", "off"]), st.sampled_from([ASKS_KENYA, ASKS_NOTHING]))
@settings(max_examples=150)
def test_law_1_and_7_only_what_passed_every_objective_is_sent_and_dropped_text_is_nowhere(
    case, choices, grounding, messages
):
    n, planned = case
    corridor = played(n, planned)
    with logs() as lines:
        decision = corridor.reply(messages, Wants(candidates=n, choices=min(choices, n), seed=1, grounding=grounding))

    tried = planned[:1] if planned[0].passing else planned
    assert decision.attempts == len(tried)
    passing = tried[-1].passing
    answers = said(decision)
    assert len(answers) == min(choices, n)
    replies = [text for text, reason in answers if reason != "content_filter"]
    assert len(replies) == min(len(passing), len(answers))
    assert len(set(replies)) == len(replies)
    assert set(replies) <= set(passing)
    assert all(text in FALLBACKS for text, reason in answers if reason == "content_filter")

    kept = {text.split()[0] for text in passing}
    dropped = [text.split()[0] for attempt in tried for text in attempt.texts if text and text.split()[0] not in kept]
    everything = "\n".join([*sent(decision, explain=True), *sent(decision, explain=False), *lines])
    assert [marker for marker in dropped if marker in everything] == []


@pytest.mark.parametrize("fault", [*FAULTS, *RAISED])
def test_a_scorer_that_fails_in_any_way_lets_nothing_through(fault):
    rows = [[(f"marker{n}q", scores_of(), True)] for n in range(2)]
    corridor = played(1, [Attempt(row, fault) for row in rows])
    with logs() as lines:
        decision = corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1))
    assert said(decision) == [(POLICY.fallback, "content_filter")]
    assert not [line for line in [*sent(decision), *lines] if "marker" in line]


def test_a_failure_is_told_apart_from_a_verdict():
    corridor = played(
        1, [Attempt([("one", scores_of(), True)], KeyError), Attempt([("two", scores_of(), True)], "None")]
    )
    output = wire.completion(corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1)), POLICY, False)["moderation"]
    assert output["output"]["type"] == "error"
    assert output["input"]["type"] == "moderation_results"


@pytest.fixture
def hanging() -> Iterator:
    """A scorer that never answers while the test runs."""
    release = threading.Event()
    calls = []

    def scores(context, texts, role):
        calls.append(texts)
        release.wait(30)
        return [scores_of() for _ in texts]

    yield scores, calls
    release.set()
    for thread in threading.enumerate():
        if thread.name == "winnow-judge":
            thread.join(5)


def test_a_scorer_that_hangs_lets_nothing_through_and_its_late_answer_is_not_used(hanging):
    scores, _ = hanging
    corridor = make_corridor(["marker0q"], scores, screen_seconds=0.05)
    with logs() as lines:
        decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=1))
    assert said(decision) == [(POLICY.fallback, "content_filter")]
    assert not [line for line in [*sent(decision), *lines] if "marker" in line]


def test_scorers_that_hang_do_not_pile_up(hanging):
    scores, calls = hanging
    corridor = make_corridor(["marker0q"], scores, screen_seconds=0.05)
    for _ in range(4):
        assert said(corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1))) == [(POLICY.fallback, "content_filter")]
    assert len(calls) == MAX_HUNG
    assert sum(thread.name == "winnow-judge" for thread in threading.enumerate()) == MAX_HUNG


def test_a_very_long_reply_is_sent_whole():
    long = " ".join(f"word{n}" for n in range(20_000))
    assert said(make_corridor([long]).reply(ASKS_NOTHING, Wants(candidates=1, seed=1))) == [(long, "stop")]


def test_empty_replies_are_dropped_as_empty():
    decision = make_corridor(["", "", GLAD]).reply(ASKS_NOTHING, Wants(candidates=3, seed=1))
    assert said(decision) == [(GLAD, "stop")]
    assert decision.dropped_by == {"empty": 2}


def test_a_flagged_reply_is_sent_and_reported():
    flagging = replace(POLICY.objectives["elections"], action="flag")
    policy = replace(POLICY, objectives={**POLICY.objectives, "elections": flagging})
    corridor = make_corridor(["Vote for us!"], {"Vote": {"elections": 0.99}}, policy=policy)
    answer = wire.completion(corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1)), policy, False)
    assert answer["choices"][0]["message"]["content"] == "Vote for us!"
    assert answer["moderation"]["output"]["results"][0]["categories"]["elections"] is True


# What is cited (laws 4 and 5)

PIECES = st.one_of(
    st.sampled_from(
        [
            KENYA,
            INVENTED,
            GLAD,
            "Hello!",
            "It replaced Mombasa.",
            "Mombasa is a port on the Indian Ocean.",
            "Green tea is not oxidised.",
            "Jupiter is the largest planet in the Solar System.",
            "Tea is made from the leaves of Camellia sinensis, and bees make honey from nectar.",
            "🐝🐝 Bees make honey from nectar! 🍯",
            "İstanbul’s “bees” make honey… from nectar.",
            "\u200bA colony of honey bees has one queen.",
            "Is Nairobi the capital of Kenya?",
            "The capital of Kenya is not Nairobi.",
            "Mombasa is the capital of Kenya.",
            "\r\n\r\n",
            "- ",
        ]
    ),
    st.text(max_size=30),
)
REPLIES = st.lists(PIECES, max_size=5).map(" ".join)
ASKED = st.one_of(
    st.sampled_from([ASKS_KENYA, ASKS_NOTHING]),
    st.text(min_size=1, max_size=40).map(lambda question: [{"role": "user", "content": question}]),
)
THRESHOLD = make_corridor().support_threshold
FINE = Index.build(DOCUMENTS, words=8)
"""The same documents in several passages each, most of which do not start where their document does."""


@given(st.lists(REPLIES, min_size=1, max_size=4), ASKED, st.sampled_from([INDEX, FINE]))
@settings(max_examples=150)
@example(["Yes! Mombasa is a port on the Indian Ocean."], ASKS_KENYA, FINE)
def test_law_4_every_citation_is_true(texts, messages, index):
    decision = make_corridor(texts, index=index).reply(
        messages, Wants(candidates=len(texts), choices=len(texts), seed=1)
    )
    answer = wire.completion(decision, POLICY, True)
    documents = {document.id: document for document in DOCUMENTS}
    cited = answer["winnow"]["sources"]
    for source in cited:
        content = answer["choices"][source["choice"]]["message"]["content"]
        claim, quote = source["claim"], source["quote"]
        assert 0 <= claim["start"] < claim["end"] <= len(content)
        assert content[claim["start"] : claim["end"]] == claim["text"]
        passage = index.passage(source["passage"])
        assert source["document"] == passage.document_id
        assert source["title"] == documents[source["document"]].title
        assert documents[source["document"]].text[quote["start"] : quote["end"]] == quote["text"] != ""
        assert passage.start <= quote["start"] < quote["end"] <= passage.end
        assert THRESHOLD <= source["support"] <= 1
    pointed = [
        (i, a["url_citation"]["start_index"], a["url_citation"]["end_index"], a["url_citation"]["title"])
        for i, choice in enumerate(answer["choices"])
        for a in choice["message"]["annotations"]
    ]
    assert pointed == [(s["choice"], s["claim"]["start"], s["claim"]["end"], s["title"]) for s in cited]


def test_a_supported_claim_is_cited_with_the_words_of_its_source():
    answer = wire.completion(make_corridor([KENYA]).reply(ASKS_KENYA, Wants(candidates=2, seed=1)), POLICY, False)
    assert [source["quote"]["text"] for source in answer["winnow"]["sources"]] == [KENYA]
    assert answer["choices"][0]["message"]["annotations"][0]["url_citation"]["url"] == "https://example.org/kenya"
    assert answer["winnow"]["groundedness"] == {
        **{"claims": 1, "supported": 1, "contradicted": 0, "unsupported": 0},
        "score": 1.0,
    }


@given(st.lists(REPLIES, min_size=1, max_size=3), ASKED)
@settings(max_examples=100)
def test_law_5_every_claim_is_counted_and_without_claims_there_is_no_score(texts, messages):
    decision = make_corridor(texts).reply(messages, Wants(candidates=len(texts), choices=len(texts), seed=1))
    found = wire.completion(decision, POLICY, False)["winnow"]["groundedness"]
    answers = [text for text, reason in said(decision) if reason != "content_filter"]
    if not answers:
        assert found is None
        return
    question = messages[-1]["content"]
    claims = sum(is_claim(text[start:end], question) for text in answers for start, end in sentences(text))
    cited = sum(reply.grounding.supported_count for reply in decision.replies if reply.grounding)
    assert (found["claims"], found["supported"]) == (claims, cited)
    assert (found["contradicted"], found["unsupported"]) == (0, claims - cited)
    assert found["score"] == (cited / claims if claims else None)


def test_a_reply_without_claims_has_no_groundedness_score():
    answer = wire.completion(make_corridor([GLAD]).reply(ASKS_KENYA, Wants(candidates=2, seed=1)), POLICY, False)
    assert answer["winnow"]["groundedness"] == {
        **{"claims": 0, "supported": 0, "contradicted": 0, "unsupported": 0},
        "score": None,
    }


def test_a_claim_without_a_source_is_counted_as_unsupported():
    answer = wire.completion(make_corridor([INVENTED]).reply(ASKS_KENYA, Wants(candidates=2, seed=1)), POLICY, False)
    assert answer["winnow"]["groundedness"] == {
        **{"claims": 1, "supported": 0, "contradicted": 0, "unsupported": 1},
        "score": 0.0,
    }
    assert answer["winnow"]["sources"] == []


def test_a_quote_is_placed_in_the_document_and_not_in_the_passage():
    claim = "Mombasa is a port on the Indian Ocean."
    corridor = make_corridor([claim], index=FINE)
    source = wire.completion(corridor.reply(ASKS_KENYA, Wants(candidates=1, seed=1)), POLICY, False)["winnow"][
        "sources"
    ][0]
    assert FINE.passage(source["passage"]).start > 0
    assert DOCUMENTS[0].text.index(claim) == source["quote"]["start"]


def test_without_documents_every_claim_is_unsupported():
    corridor = make_corridor([KENYA], index=Index.build([]))
    answer = wire.completion(corridor.reply(ASKS_KENYA, Wants(candidates=2, seed=1)), POLICY, False)
    assert answer["winnow"]["groundedness"] == {
        **{"claims": 1, "supported": 0, "contradicted": 0, "unsupported": 1},
        "score": 0.0,
    }


def test_what_was_not_looked_for_is_not_reported_as_grounded():
    decision = make_corridor([KENYA]).reply(ASKS_KENYA, Wants(candidates=2, seed=1, grounding="off"))
    answer = wire.completion(decision, POLICY, False)
    assert answer["winnow"]["groundedness"] is None
    assert answer["winnow"]["sources"] == []


def test_a_fallback_is_neither_grounded_nor_cited():
    corridor = make_corridor(["bomb"], {"bomb": {"violence": 0.9}})
    answer = wire.completion(corridor.reply(ASKS_KENYA, Wants(candidates=2, seed=1)), POLICY, False)
    assert answer["winnow"]["groundedness"] is None
    assert answer["choices"][0]["message"]["annotations"] == []


# The same again (law 6)


def seeded(messages, n, sampling):
    """Texts that differ with all that a generator may depend on."""
    told = len(json.dumps(messages))
    return [f"Reply {told} {sampling.seed} {i}. {(KENYA, INVENTED, GLAD)[(sampling.seed + i) % 3]}" for i in range(n)]


def by_length(context, texts, role):
    return [scores_of(violence=len(text) * 7 % 10 / 10) for text in texts]


def without_times(decision):
    return replace(decision, id="", created=0, seconds={})


@given(st.integers(0, 2**53), st.integers(1, 64), st.integers(1, 3), st.sampled_from([ASKS_KENYA, ASKS_NOTHING]))
@settings(max_examples=30)
def test_law_6_the_same_seed_gives_the_same_decision(seed, n, choices, messages):
    wants = Wants(candidates=n, choices=min(choices, n), seed=seed)
    first, second = (make_corridor(seeded, by_length).reply(messages, wants) for _ in range(2))
    assert without_times(first) == without_times(second)


def test_a_decision_without_a_seed_names_the_one_that_gives_it_again():
    corridor = make_corridor(seeded, by_length)
    first = corridor.reply(ASKS_KENYA, Wants(candidates=4))
    assert without_times(first) == without_times(corridor.reply(ASKS_KENYA, Wants(candidates=4, seed=first.seed)))


def test_seeds_that_are_drawn_differ():
    corridor = make_corridor()
    assert len({corridor.reply(ASKS_NOTHING, Wants(candidates=1)).seed for _ in range(5)}) > 1


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=2, unique=True))
@settings(max_examples=20)
def test_no_two_draws_share_a_seed(seeds):
    corridor = make_corridor([""])  # nothing passes, so that both attempts are made
    for seed in seeds:
        corridor.reply(ASKS_KENYA, Wants(candidates=4, seed=seed))
    drawn = [call.sampling.seed for call in corridor.generator.calls]
    assert len(drawn) == len(set(drawn)) == 8


# When everything was dropped


def unsafe_at_first(messages, n, sampling):
    return ["bomb"] * n if messages[0]["role"] != "system" else [GLAD] * n


def test_when_all_are_dropped_the_second_attempt_is_steered_and_its_survivors_are_sent():
    corridor = make_corridor(unsafe_at_first, {"bomb": {"violence": 0.9}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=3, seed=5))
    first, second = corridor.generator.calls
    assert first.messages == ASKS_NOTHING
    assert second.messages == [{"role": "system", "content": POLICY.steering}, *ASKS_NOTHING]
    assert first.sampling.seed != second.sampling.seed
    assert first.n == second.n == 3
    assert said(decision) == [(GLAD, "stop")]
    assert (decision.attempts, decision.dropped_by) == (2, {"violence": 3})


def test_steering_comes_before_a_system_prompt_of_the_users():
    corridor = make_corridor(["bomb"], {"bomb": {"violence": 0.9}})
    corridor.reply([{"role": "system", "content": "Be a pirate."}, *ASKS_NOTHING], Wants(candidates=1, seed=1))
    steered = corridor.generator.calls[1].messages
    assert steered == [{"role": "system", "content": f"{POLICY.steering}\n\nBe a pirate."}, *ASKS_NOTHING]


def test_the_second_attempt_is_judged_in_the_users_conversation_not_in_the_steered_one():
    corridor = make_corridor(["bomb"], {"bomb": {"violence": 0.9}})
    corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1))
    contexts = [context for context, _, role in corridor.safety.calls if role == "assistant"]
    assert contexts == [[("user", ASKS_NOTHING[0]["content"])]] * 2


def test_where_the_steering_prompt_does_not_fit_the_first_attempt_is_the_only_one():
    generator = ScriptedGenerator(["bomb"], limit=10)
    corridor = make_corridor(generator=generator, scores={"bomb": {"violence": 0.9}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=1))
    assert said(decision) == [(POLICY.objectives["violence"].fallback, "content_filter")]
    assert (decision.attempts, len(generator.calls), len(decision.judged)) == (1, 1, 2)


def test_there_are_two_attempts_at_most():
    corridor = make_corridor(["bomb"], {"bomb": {"violence": 0.9}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=4, seed=1))
    assert len(corridor.generator.calls) == decision.attempts == 2
    assert len(decision.judged) == 8


def test_one_survivor_is_enough_for_one_attempt():
    corridor = make_corridor(["bomb", "bomb", GLAD], {"bomb": {"violence": 0.9}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=3, seed=1))
    assert (decision.attempts, said(decision)) == (1, [(GLAD, "stop")])


@pytest.mark.parametrize("chief", OBJECTIVES)
def test_the_fallback_is_that_of_the_objective_that_dropped_the_most(chief):
    other = "crime" if chief != "crime" else "violence"
    corridor = make_corridor(["one", "two", "one"], {"one": {chief: 0.8}, "two": {other: 0.99}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=3, seed=1))
    assert said(decision) == [(POLICY.objectives[chief].fallback, "content_filter")]


def test_a_candidate_counts_once_for_its_highest_objective():
    scores = {"both": {"violence": 0.6, "hate": 0.9}, "single": {"violence": 0.9}}
    corridor = make_corridor(["both", "both", "single"], scores)
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=3, seed=1))
    assert decision.dropped_by == {"hate": 4, "violence": 2}
    assert said(decision) == [(POLICY.objectives["hate"].fallback, "content_filter")]


def test_where_no_objective_dropped_anything_the_fallback_is_the_policys():
    assert said(make_corridor([""]).reply(ASKS_NOTHING, Wants(candidates=2, seed=1))) == [
        (POLICY.fallback, "content_filter")
    ]


def test_choices_beyond_the_survivors_are_the_fallback():
    corridor = make_corridor(["bomb", GLAD], {"bomb": {"violence": 0.9}})
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, choices=2, seed=1))
    assert said(decision) == [(GLAD, "stop"), (POLICY.objectives["violence"].fallback, "content_filter")]


# The user's words


def test_a_blocked_input_is_answered_with_its_objectives_fallback_and_nothing_is_sampled():
    corridor = make_corridor([GLAD], {"bomb": {"violence": 0.6, "weapons": 0.9}})
    asks = [{"role": "user", "content": "How do I build a bomb?"}]
    decision = corridor.reply(asks, Wants(candidates=4, seed=1, block_input=True))
    assert corridor.generator.calls == []
    assert said(decision) == [(POLICY.objectives["weapons"].fallback, "content_filter")]
    answer = wire.completion(decision, POLICY, False)
    assert answer["winnow"]["input_blocked"] is True
    assert answer["moderation"]["input"]["results"][0]["categories"]["weapons"] is True
    assert answer["usage"]["completion_tokens"] == 0


def test_an_input_that_cannot_be_judged_is_blocked_too():
    corridor = make_corridor(
        [GLAD], lambda context, texts, role: None if role == "user" else [scores_of()] * len(texts)
    )
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=4, seed=1, block_input=True))
    assert corridor.generator.calls == []
    assert said(decision) == [(POLICY.fallback, "content_filter")]
    assert wire.completion(decision, POLICY, False)["moderation"]["input"]["type"] == "error"


def test_an_unsafe_input_is_scored_but_answered_when_blocking_is_not_asked_for():
    corridor = make_corridor([GLAD], {"bomb": {"violence": 0.9}})
    decision = corridor.reply([{"role": "user", "content": "Is a bomb loud?"}], Wants(candidates=1, seed=1))
    assert said(decision) == [(GLAD, "stop")]
    assert decision.input_verdict.because == ("violence",)


def test_a_safe_input_is_not_blocked():
    decision = make_corridor([GLAD]).reply(ASKS_NOTHING, Wants(candidates=1, seed=1, block_input=True))
    assert (said(decision), decision.blocked_input) == ([(GLAD, "stop")], False)


def test_consecutive_user_turns_are_judged_together():
    corridor = make_corridor([GLAD], {"bomb": {"violence": 0.9}})
    asks = [{"role": "user", "content": "How do I build a bomb?"}, {"role": "user", "content": "Answer in French."}]
    assert corridor.reply(asks, Wants(candidates=1, seed=1)).input_verdict.dropped


def test_replies_are_judged_in_the_whole_conversation():
    corridor = make_corridor([GLAD])
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "I feel low."},
    ]
    corridor.reply(talk, Wants(candidates=2, seed=1))
    assert [(m["role"], m["content"]) for m in talk] == corridor.safety.calls[1][0]
    assert corridor.safety.calls[1][1:] == ([GLAD, GLAD], "assistant")


# Evidence


def informed(call) -> bool:
    return "Nairobi" in call.asked


@pytest.mark.parametrize(("candidates", "with_evidence"), [(1, 1), (2, 1), (3, 2), (16, 8), (63, 32), (64, 32)])
def test_half_of_the_candidates_the_odd_one_included_see_the_passages(candidates, with_evidence):
    corridor = make_corridor([GLAD])
    decision = corridor.reply(ASKS_KENYA, Wants(candidates=candidates, seed=1))
    assert len(decision.judged) == candidates
    assert sum(judged.with_evidence for judged in decision.judged) == with_evidence
    assert sum(call.n for call in corridor.generator.calls if informed(call)) == with_evidence
    assert sum(call.n for call in corridor.generator.calls if not informed(call)) == candidates - with_evidence


def test_the_passages_are_in_the_users_turn():
    corridor = make_corridor([GLAD])
    corridor.reply([{"role": "system", "content": "Be brief."}, *ASKS_KENYA], Wants(candidates=2, seed=1))
    system, user = next(call for call in corridor.generator.calls if informed(call)).messages
    assert system == {"role": "system", "content": "Be brief."}
    assert user["role"] == "user"
    assert DOCUMENTS[0].text in user["content"]
    assert ASKS_KENYA[0]["content"] in user["content"]


@pytest.mark.parametrize(("messages", "grounding"), [(ASKS_NOTHING, "cite"), (ASKS_KENYA, "off")])
def test_no_candidate_sees_passages_that_do_not_fit_or_were_not_asked_for(messages, grounding):
    corridor = make_corridor([GLAD])
    decision = corridor.reply(messages, Wants(candidates=5, seed=1, grounding=grounding))
    assert [(call.messages, call.n) for call in corridor.generator.calls] == [(messages, 5)]
    assert not any(judged.with_evidence for judged in decision.judged)


def test_evidence_too_long_for_the_model_falls_back_to_plain_sampling():
    generator = ScriptedGenerator([GLAD], limit=10)
    decision = make_corridor(generator=generator).reply(ASKS_KENYA, Wants(candidates=5, seed=1))
    assert [(call.messages, call.n) for call in generator.calls] == [(ASKS_KENYA, 2), (ASKS_KENYA, 3)]
    assert len({call.sampling.seed for call in generator.calls}) == 2  # else the halves would say the same
    assert [judged.with_evidence for judged in decision.judged] == [False] * 5


def test_a_conversation_too_long_for_the_model_is_refused():
    with pytest.raises(PromptTooLong, match="6 tokens; the limit is 3"):
        make_corridor(generator=ScriptedGenerator(limit=3)).reply(ASKS_KENYA, Wants(candidates=5, seed=1))


def test_the_supported_reply_is_sent_before_a_likelier_one():
    generator = ScriptedGenerator([INVENTED, KENYA], likelihood=lambda text: -1.0 if text == INVENTED else -8.0)
    decision = make_corridor(generator=generator).reply(ASKS_KENYA, Wants(candidates=4, seed=1))
    assert said(decision) == [(KENYA, "stop")]


# The record


def test_the_wishes_reach_the_generator():
    corridor = make_corridor([GLAD])
    sampling = Sampling(max_tokens=7, temperature=0.1, top_k=3, top_p=0.5, stop=("X",))
    corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=9, sampling=sampling))
    drawn = corridor.generator.calls[0].sampling
    assert replace(drawn, seed=0) == sampling


def test_the_record_says_where_the_time_went_and_which_versions_decided():
    decision = make_corridor([GLAD]).reply(ASKS_NOTHING, Wants(candidates=2, seed=1))
    assert set(decision.seconds) == {"generate", "screen", "rank", "ground"}
    assert decision.versions == {"safety": "scripted-1", "policy": POLICY.fingerprint}
    assert (decision.model, decision.prompt_tokens) == ("scripted", 4)


def test_every_decision_has_a_name_of_its_own():
    corridor = make_corridor([GLAD])
    assert len({corridor.reply(ASKS_NOTHING, Wants(candidates=1, seed=1)).id for _ in range(3)}) == 3


class Judging:
    """A judge of support that says the same of every claim."""

    threshold, version = 0.6, "judge-1"

    def __init__(self, supported, contradicted=0.0):
        self.says = SimpleNamespace(supported=supported, contradicted=contradicted)

    def judge(self, claims):
        return [self.says for _ in claims]


def test_the_judge_of_support_decides_what_is_cited_and_its_version_is_in_the_record():
    found = make_corridor([KENYA], support=Judging(0.1)).reply(ASKS_KENYA, Wants(candidates=2, seed=1))
    assert found.replies[0].grounding.score == 0
    found = make_corridor([KENYA], support=Judging(0.9)).reply(ASKS_KENYA, Wants(candidates=2, seed=1))
    assert found.replies[0].grounding.score == 1
    assert found.versions["support"] == "judge-1"


def test_a_contradicted_reply_is_sent_only_where_there_is_no_better():
    texts = ["The capital of Kenya is Mombasa.", GLAD]
    corridor = make_corridor(texts, support=Judging(0.1, 0.8))
    assert corridor.reply(ASKS_KENYA, Wants(candidates=4, seed=1)).replies[0].text == GLAD
    alone = make_corridor(texts[:1], support=Judging(0.1, 0.8)).reply(ASKS_KENYA, Wants(candidates=2, seed=1))
    assert alone.replies[0].grounding.contradicted_count == 1


def test_the_settings_threshold_goes_before_the_judges_own():
    assert make_corridor(support=Judging(0.9)).support_threshold == 0.6
    assert make_corridor(support=Judging(0.9), support_threshold=0.95).support_threshold == 0.95
    strict = make_corridor([KENYA], support=Judging(0.9), support_threshold=0.99)
    assert strict.reply(ASKS_KENYA, Wants(candidates=2, seed=1)).replies[0].grounding.score == 0


GOOD, POOR = Rated(0.9, 0.8, 0.7), Rated(0.2, 0.1, 0.0)


def test_the_best_rated_reply_is_sent_and_the_record_holds_its_rating():
    quality = ScriptedQuality({"zebra": GOOD, "horse": POOR})
    corridor = make_corridor(
        ["A horse.", "A zebra.", "A bomb."], {"bomb": {"violence": 0.9}}, quality=quality, candidates=3
    )
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=3, seed=1, grounding="off"))
    assert decision.replies[0].text == "A zebra."
    assert {j.candidate.text: j.rated for j in decision.judged} == {"A horse.": POOR, "A zebra.": GOOD, "A bomb.": None}
    assert decision.versions["quality"] == "scripted-quality-1"


def test_only_what_passed_is_rated_and_in_the_conversation_as_the_user_sees_it():
    quality = ScriptedQuality({})
    corridor = make_corridor(["A horse.", "", "A bomb."], {"bomb": {"violence": 0.9}}, quality=quality)
    corridor.reply(ASKS_KENYA, Wants(candidates=6, seed=1))
    asked = [("user", ASKS_KENYA[0]["content"])]
    assert quality.calls == [(asked, ["A horse.", "A horse."])]


def test_the_seconds_of_ranking_include_rating(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)

    def slow(context, texts):
        monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
        return [GOOD] * len(texts)

    corridor = make_corridor([GLAD], quality=ScriptedQuality(slow))
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=1, grounding="off"))
    assert decision.seconds["rank"] == 5.0


def broken(context, texts):
    raise RuntimeError("no rating today")


@pytest.mark.parametrize("rater", [broken, lambda c, t: [Rated(math.nan, 0.5, 0.5)] * len(t), lambda c, t: []])
def test_a_rater_that_fails_costs_no_reply_and_likelihood_ranks(rater, caplog):
    likelihood = {"A horse.": -1.0, "A zebra.": -9.0}.__getitem__
    generator = ScriptedGenerator(["A zebra.", "A horse."], likelihood=likelihood)
    corridor = make_corridor(generator=generator, quality=ScriptedQuality(rater))
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, seed=1, grounding="off"))
    assert decision.replies[0].text == "A horse."
    assert all(j.rated is None for j in decision.judged)
    assert "ranked by likelihood" in caplog.text


def test_without_a_rater_the_record_names_none():
    assert "quality" not in make_corridor().reply(ASKS_NOTHING, Wants(candidates=1, seed=1)).versions
