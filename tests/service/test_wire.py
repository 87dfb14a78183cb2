import json
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import ValidationError

from classifiers import Place, Rated, Scores
from service import requests, wire
from service.chat import Wants
from tests.service.scripted import (
    ASKS_KENYA,
    ASKS_NOTHING,
    DOCUMENTS,
    GLAD,
    INVENTED,
    KENYA,
    POLICY,
    ScriptedQuality,
    make_corridor,
    scores_of,
)


def decide(says, scores=None, messages=ASKS_NOTHING, policy=POLICY, **wants):
    wishes = Wants(**{"candidates": len(says), "seed": 1, **wants})
    return make_corridor(says, scores, policy=policy).reply(messages, wishes)


def completion(decision, explain=False, policy=POLICY):
    return wire.completion(decision, policy, explain)


def chunks(decision, explain=False, include_usage=False, policy=POLICY):
    return list(wire.chunks(decision, policy, explain, include_usage))


def streamed(events, choice=0):
    parts = [c["delta"].get("content", "") for e in events for c in e["choices"] if c["index"] == choice]
    return "".join(parts)


def raising(context, texts, role):
    raise RuntimeError("the scorer is gone")


# Text as people write it, and any unicode: line breaks, combining marks, emoji, controls.
TEXTS = st.text(min_size=1, max_size=80) | st.text(alphabet=" \n\t\u2028a\u0301\U0001f600.", min_size=1, max_size=40)


@settings(max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3, unique=True))
def test_the_pieces_of_a_streamed_text_join_to_the_text(texts):
    decision = decide(texts, choices=len(texts), grounding="off")
    events = chunks(decision)
    for choice, reply in enumerate(decision.replies):
        assert streamed(events, choice) == reply.text
        assert completion(decision)["choices"][choice]["message"]["content"] == reply.text
    pieces = [c["delta"]["content"] for e in events for c in e["choices"] if set(c["delta"]) == {"content"}]
    assert all(pieces)


def test_a_stream_opens_each_choice_with_the_role_and_closes_it_with_the_reason():
    events = chunks(decide([KENYA, GLAD], choices=2))
    for choice in (0, 1):
        own = [c for e in events for c in e["choices"] if c["index"] == choice]
        assert own[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert [c["finish_reason"] for c in own] == [None] * (len(own) - 1) + ["stop"]


def test_a_text_is_streamed_in_words():
    events = chunks(decide([KENYA]))
    assert [e["choices"][0]["delta"].get("content") for e in events[1:-1]] == KENYA.replace(" ", "| ").split("|")


def test_the_usage_chunk_comes_last_without_choices_and_only_when_wished():
    decision = decide([KENYA, GLAD], choices=2)
    assert all("usage" not in event for event in chunks(decision))
    last = chunks(decision, include_usage=True)[-1]
    assert last["choices"] == []
    assert last["usage"] == completion(decision)["usage"]


def test_usage_counts_the_prompt_and_the_replies_that_are_sent():
    assert completion(decide([KENYA, GLAD, INVENTED], choices=2))["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": len(KENYA.split()) + len(GLAD.split()),
        "total_tokens": 4 + len(KENYA.split()) + len(GLAD.split()),
    }


def test_stream_and_whole_answer_say_the_same():
    decision = decide([KENYA, GLAD], choices=2, messages=ASKS_KENYA)
    whole, last = completion(decision, explain=True), chunks(decision, explain=True)[-1]
    for key in ("id", "created", "model", "system_fingerprint", "moderation", "winnow"):
        assert last[key] == whole[key]


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize(
    "decision",
    [
        pytest.param(lambda: decide([KENYA], messages=ASKS_KENYA), id="cited"),
        pytest.param(lambda: decide([KENYA, GLAD], choices=2), id="two"),
        pytest.param(lambda: decide(["A bomb."], {"bomb": {"weapons": 0.9}}), id="dropped"),
        pytest.param(lambda: decide([GLAD], raising), id="unscored"),
    ],
)
def test_both_answers_are_what_the_openai_package_expects(decision: Callable, explain):
    made = decision()
    ChatCompletion.model_validate_json(json.dumps(completion(made, explain)), strict=True)
    for event in chunks(made, explain, include_usage=True):
        ChatCompletionChunk.model_validate_json(json.dumps(event), strict=True)


MARKERS = st.lists(st.from_regex(r"\A[a-z]{10}\Z"), min_size=2, max_size=8, unique=True)
MISJUDGED = [
    scores_of(hate=0.99),
    scores_of(self_harm=0.5),
    scores_of(crime=float("nan")),
    scores_of(crime=None),
    scores_of(privacy=1.5),
    scores_of(privacy=-0.1),
    scores_of(privacy="0.1"),
    {"hate": 0.0},
    {},
    None,
]


@settings(max_examples=60)
@given(markers=MARKERS, data=st.data(), explain=st.booleans(), choices=st.integers(1, 3))
def test_the_text_of_a_dropped_candidate_is_nowhere_in_the_answer(markers, data, explain, choices):
    rows = {m: data.draw(st.sampled_from([scores_of(), *MISJUDGED])) for m in markers}
    kept = [m for m in markers if rows[m] == scores_of()]

    def scores(context, texts, role):
        return [rows.get(text, scores_of()) for text in texts]

    decision = decide(markers, scores, choices=choices)
    for sent in (json.dumps(completion(decision, explain)), json.dumps(chunks(decision, explain, True))):
        assert not [m for m in markers if m not in kept and m in sent]
    contents = [c["message"]["content"] for c in completion(decision)["choices"]]
    assert len(contents) == choices
    assert contents[: len(kept)] == kept[:choices]
    assert all(c["finish_reason"] == "content_filter" for c in completion(decision)["choices"][len(kept) :])


REASON = ["objective", "score", "threshold", "reading"]


@settings(max_examples=60)
@given(
    markers=MARKERS,
    data=st.data(),
    choices=st.integers(1, 3),
    reading=st.sampled_from(["raw", "normalised"]),
    asked=st.booleans(),
)
def test_explain_gives_reasons_without_the_text_or_the_sentence_that_decided(markers, data, choices, reading, asked):
    dropped = {m for m in markers if data.draw(st.booleans())}

    def scores(context, texts, role):
        rows = []
        for text in texts:
            score = 0.9 if text.split()[0] in dropped or (role == "user" and asked) else 0.2
            # What the reader saw: the sentence as it stands, and one that is nowhere in the text, as of disguised text.
            sentence = text.split(". ")[-1] if reading == "raw" else text.split()[0].upper()
            places = {name: Place(sentence, 0, len(sentence), reading) for name in ("hate", "crime")}
            rows.append(Scores(scores_of(hate=score, crime=score), score, places))
        return rows

    says = [f"{marker} says. So {marker[::-1]} it is." for marker in markers]
    decision = decide(says, scores, choices=choices)
    answer = completion(decision, explain=True)
    for sent in (json.dumps(answer), json.dumps(chunks(decision, explain=True, include_usage=True))):
        assert not [m for m in dropped if m in sent or f"So {m[::-1]} it is." in sent]
        assert not [m for m in markers if m.upper() in sent]
    rows = answer["winnow"]["verdicts"]
    assert len(rows) == len(markers) * (2 if dropped == set(markers) else 1)
    for row in rows:
        assert [list(reason) for reason in row["reasons"]] == [REASON] * (2 if row["dropped"] else 1)
        assert {reason["reading"] for reason in row["reasons"]} == {reading}
        assert {reason["score"] for reason in row["reasons"]} == {0.9 if row["dropped"] else 0.2}


def test_without_explain_there_are_no_reasons_and_without_a_place_no_reading():
    decision = decide(["A bomb.", GLAD], {"bomb": {"weapons": 0.9}})
    assert "reasons" not in json.dumps(completion(decision))
    rows = completion(decision, explain=True)["winnow"]["verdicts"]
    assert rows[0]["reasons"] == [{"objective": "weapons", "score": 0.9, "threshold": 0.5, "reading": None}]


def test_what_could_not_be_judged_is_explained_without_reasons():
    rows = completion(decide([GLAD], raising), explain=True)["winnow"]["verdicts"]
    assert [(row["because"], row["reasons"]) for row in rows] == [(["unscored"], [])] * len(rows)


SENTENCES = st.sampled_from(
    [
        KENYA,
        GLAD,
        INVENTED,
        "Jupiter is the largest planet.",
        "Bees make honey from nectar.",
        "Is it?",
        "Yes!",
        "\u00df\u0130 \U0001f600.",
    ]
)


@settings(max_examples=60)
@given(sentences=st.lists(SENTENCES | st.text(max_size=20), min_size=1, max_size=5), gap=st.sampled_from([" ", "\n\n"]))
def test_annotations_point_into_the_text_and_quotes_into_the_document(sentences, gap):
    text = gap.join(sentences)
    assume(text)
    answer = completion(decide([text], messages=ASKS_KENYA))
    message, sources = answer["choices"][0]["message"], answer["winnow"]["sources"]
    documents = {d.id: d for d in DOCUMENTS}
    assert len(message["annotations"]) == len(sources)
    for annotation, source in zip(message["annotations"], sources, strict=True):
        cited = annotation["url_citation"]
        assert 0 <= cited["start_index"] < cited["end_index"] <= len(text)
        assert text[cited["start_index"] : cited["end_index"]] == source["claim"]["text"]
        assert (cited["url"], cited["title"]) == (source["url"], source["title"])
        quote = source["quote"]
        assert documents[source["document"]].text[quote["start"] : quote["end"]] == quote["text"]
    counted = answer["winnow"]["groundedness"]
    assert counted["supported"] == len(sources) <= counted["claims"]


def test_a_source_has_both_spans_and_its_scores():
    answer = completion(decide([f"Yes. {KENYA}"], messages=ASKS_KENYA))
    assert answer["choices"][0]["message"]["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"start_index": 5, "end_index": 37, "url": "https://example.org/kenya", "title": "Kenya"},
        }
    ]
    (source,) = answer["winnow"]["sources"]
    assert 0.6 <= source.pop("support") <= 1
    assert source.pop("bm25") > 0
    start = DOCUMENTS[0].text.index(KENYA)
    assert source == {
        "choice": 0,
        "claim": {"text": KENYA, "start": 5, "end": 37},
        "tool": "retrieval",
        "document": "kenya",
        "passage": "kenya#1",
        "title": "Kenya",
        "heading": "",
        "url": "https://example.org/kenya",
        "source": "own",
        "quote": {"text": KENYA, "start": start, "end": start + len(KENYA)},
    }


def test_a_document_without_a_url_is_named_by_the_corpus():
    answer = completion(decide(["Jupiter is the largest planet in the Solar System."]))
    assert answer["winnow"]["sources"][0]["url"] == "corpus:jupiter"


@pytest.mark.parametrize(
    ("text", "grounding", "expected"),
    [
        (KENYA, "cite", {"claims": 1, "supported": 1, "contradicted": 0, "unsupported": 0, "score": 1.0}),
        (INVENTED, "cite", {"claims": 1, "supported": 0, "contradicted": 0, "unsupported": 1, "score": 0.0}),
        (GLAD, "cite", {"claims": 0, "supported": 0, "contradicted": 0, "unsupported": 0, "score": None}),
        (KENYA, "off", None),
    ],
)
def test_a_reply_without_claims_is_not_applicable_and_never_grounded(text, grounding, expected):
    assert completion(decide([text], messages=ASKS_KENYA, grounding=grounding))["winnow"]["groundedness"] == expected


def test_the_moderation_block_says_for_each_side_what_was_reached():
    decision = decide([GLAD], {"Hello": {"hate": 0.7}, "glad": {"violence": 0.4}}, grounding="off")
    block = completion(decision)["moderation"]
    assert set(block) == {"input", "output"}
    for side, flagged, raised in (("input", True, {"hate": 0.7}), ("output", False, {"violence": 0.4})):
        assert block[side] == {
            "type": "moderation_results",
            "model": "winnow-safety-scripted-1",
            "results": [
                {
                    "type": "moderation_result",
                    "model": "winnow-safety-scripted-1",
                    "flagged": flagged,
                    "categories": {name: name == "hate" and flagged for name in POLICY.objectives},
                    "category_scores": scores_of(**raised),
                    "category_applied_input_types": {name: ["text"] for name in POLICY.objectives},
                }
            ],
        }


FAILED = {"type": "error", "code": "moderation_failed", "message": "the text could not be judged and was held back"}


@pytest.mark.parametrize(
    "scores", [raising, lambda context, texts, role: [scores_of(hate=float("nan")) for _ in texts]]
)
def test_what_could_not_be_judged_is_an_error_in_the_moderation_block_and_not_a_pass(scores):
    answer = completion(decide([KENYA], scores))
    assert answer["moderation"] == {"input": FAILED, "output": FAILED}
    assert answer["choices"][0]["message"]["content"] == POLICY.fallback
    assert answer["choices"][0]["finish_reason"] == "content_filter"


def test_an_input_that_could_not_be_judged_is_an_error_on_its_own_side():
    def scores(context, texts, role):
        return [scores_of() if role == "assistant" else None for _ in texts]

    block = completion(decide([GLAD], scores))["moderation"]
    assert block["input"] == FAILED
    assert block["output"]["type"] == "moderation_results"


def test_when_everything_is_dropped_the_fallback_has_no_verdict_and_no_sources():
    answer = completion(decide(["A bomb.", "A bombing."], {"bomb": {"weapons": 0.9}}))
    choice = answer["choices"][0]
    assert choice["message"]["content"] == POLICY.objectives["weapons"].fallback
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["annotations"] == answer["winnow"]["sources"] == []
    assert answer["moderation"]["output"]["results"] == []
    assert answer["winnow"]["dropped_by"] == {"weapons": 4}
    assert answer["usage"]["completion_tokens"] == 0


RECORD = {
    "asked": int,
    "sampled": int,
    "with_evidence": int,
    "dropped": int,
    "dropped_by": dict,
    "attempts": int,
    "input_blocked": bool,
    "sources": list,
    "groundedness": dict,
    "ungrounded": list,
    "rounds": list,
    "stopped": type(None),
    "sampled_tokens": int,
    "seed": int,
    "seconds": dict,
    "versions": dict,
}
EXPLAINED = {
    "dropped": bool,
    "because": list,
    "flagged": list,
    "unsafe": float,
    "scores": dict,
    "reasons": list,
    "quality": type(None),
    "mean_log_likelihood": float,
    "with_evidence": bool,
    "attempt": int,
    "round": int,
}


def shape(record):
    return {key: type(value) for key, value in record.items()}


def test_the_winnow_block_has_these_keys_and_with_explain_every_verdict_besides():
    decision = decide([KENYA, "A bomb.", ""], {"bomb": {"weapons": 0.9}}, messages=ASKS_KENYA)
    assert shape(completion(decision)["winnow"]) == RECORD
    explained = completion(decision, explain=True)["winnow"]
    assert shape(explained) == RECORD | {"verdicts": list}
    for row in explained["verdicts"]:
        assert shape(row) == EXPLAINED | {"choice": type(row["choice"])}
    assert [row["choice"] for row in explained["verdicts"] if row["choice"] is not None] == [0]
    assert {tuple(row["because"]) for row in explained["verdicts"]} >= {(), ("weapons",)}
    assert sum(row["dropped"] for row in explained["verdicts"]) == explained["dropped"] > 0


def test_what_a_candidate_was_ranked_by_is_explained():
    quality = ScriptedQuality({GLAD: Rated(0.9, 0.5, 0.1)})
    decision = make_corridor([GLAD, ""], quality=quality).reply(ASKS_NOTHING, Wants(candidates=2, seed=1))
    rows = completion(decision, explain=True)["winnow"]["verdicts"]
    assert [row["quality"] for row in rows] == [{"sensible": 0.9, "specific": 0.5, "interesting": 0.1}, None]


def test_an_empty_candidate_is_explained_as_empty():
    row = completion(decide(["", GLAD]), explain=True)["winnow"]["verdicts"][0]
    assert (row["dropped"], row["because"]) == (True, ["empty"])


def request(**fields):
    return requests.ChatRequest(**{"messages": ASKS_NOTHING, **fields})


def test_a_developer_speaks_as_the_system_and_text_parts_are_one_text():
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    message = request(messages=[{"role": "developer", "content": parts}, *ASKS_NOTHING]).messages[0]
    assert message.plain() == {"role": "system", "content": "Be\nbrief."}


@pytest.mark.parametrize(("stop", "stops"), [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())])
def test_a_stop_string_may_be_one_or_several(stop, stops):
    assert request(stop=stop).stops == stops


def test_output_always_blocks_and_input_blocks_when_wished():
    assert request().moderation.policy.input.mode == "score"
    wish = {"model": "m", "policy": {"input": {"mode": "block"}}}
    assert request(moderation=wish).moderation.policy.input.mode == "block"


def test_keys_that_only_tune_a_hosted_service_are_accepted():
    request(user="me", metadata={"a": "b"}, store=True, presence_penalty=0.5, parallel_tool_calls=False)


@pytest.mark.parametrize("text", ["\ud800", "fine \udfff"])
def test_half_of_a_surrogate_pair_is_refused_wherever_text_is_taken(text):
    for content in (text, [{"type": "text", "text": text}]):
        with pytest.raises(ValidationError, match="surrogate"):
            request(messages=[{"role": "user", "content": content}])
    with pytest.raises(ValidationError, match="surrogate"):
        request(stop=text)
    with pytest.raises(ValidationError, match="surrogate"):
        requests.ModerationRequest(input=[text])
