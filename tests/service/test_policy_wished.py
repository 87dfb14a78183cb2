"""A request may ask for a preset; whatever it asks for, nothing passes that the server's own policy would drop (law 2)."""

import json
import threading
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from classifiers import load_policy
from classifiers.policy import PRESETS
from service.app import create_app
from service.chat import Wants
from service.generator import LocalGenerator
from service.log_file import LogReader
from tests.service.logged import policies, situations
from tests.service.scripted import ASKS_NOTHING, GLAD, KENYA, make_corridor, scores_of
from tests.service.telling import Telling

BALANCED = load_policy("balanced")
KNIFE = "A knife is a tool."
LIMITS = {preset: load_policy(preset).objectives["weapons"].threshold for preset in PRESETS}
MILD = {"knife": {"weapons": (LIMITS["strict"] + LIMITS["balanced"]) / 2}}
"""What strict drops and balanced does not."""
MODES = ({}, {"stream": True}, {"stream": True, "stream_mode": "sentence"})


@pytest.fixture
def client(tmp_path):
    corridor = make_corridor([KNIFE, GLAD], MILD, policy=BALANCED, decision_log=tmp_path / "log.sqlite", durable=True)
    with TestClient(create_app(corridor)) as made:
        yield made


def chat(made, **body):
    return made.post("/v1/chat/completions", json={"messages": ASKS_NOTHING, "candidates": 2, "seed": 1, **body})


def last_of(stream):
    return json.loads(stream.text.split("\n\n")[-3].removeprefix("data: "))


def same_but_for_time(answer):
    found = answer.json()
    return {**found, "id": "", "created": 0, "winnow": {**found["winnow"], "seconds": {}}}


@pytest.mark.parametrize("mode", MODES)
def test_a_stricter_preset_drops_more_and_the_answer_names_the_policy_that_judged(client, mode):
    answers = {}
    for wish in (None, "strict"):
        answer = chat(client, explain=True, policy=wish, **mode)
        answers[wish] = last_of(answer) if mode else answer.json()
    combined = BALANCED.by_preset["strict"]
    assert answers[None]["winnow"]["dropped"] == 0
    assert answers["strict"]["winnow"]["dropped_by"] == {"weapons": 1}
    assert answers[None]["winnow"]["versions"]["policy"] == BALANCED.fingerprint
    assert answers["strict"]["winnow"]["versions"]["policy"] == combined.fingerprint != BALANCED.fingerprint
    assert answers["strict"]["system_fingerprint"].endswith(combined.fingerprint)
    (reason,) = [v["reasons"][0] for v in answers["strict"]["winnow"]["verdicts"] if v["dropped"]]
    assert reason["threshold"] == LIMITS["strict"]


@pytest.mark.parametrize("mode", MODES)
def test_the_moderation_block_goes_by_the_policy_that_judged(client, mode):
    asks = [{"role": "user", "content": "A knife?"}]
    for wish, flagged in ((None, False), ("strict", True)):
        answer = chat(client, messages=asks, policy=wish, **mode)
        found = (last_of(answer) if mode else answer.json())["moderation"]["input"]
        assert found["results"][0]["flagged"] == flagged


@pytest.mark.parametrize("mode", MODES[1:])
def test_every_event_of_a_stream_names_the_policy_that_judges(client, mode):
    events = chat(client, policy="strict", **mode).text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    strict = BALANCED.by_preset["strict"].fingerprint
    assert {chunk["system_fingerprint"].split("-")[-1] for chunk in chunks} == {strict}


@pytest.mark.parametrize(("wish", "leaves"), [(None, True), ("strict", False)])
def test_a_sentence_leaves_early_only_where_it_passes_the_stricter_policy(tiny_model, wish, leaves):
    """The whole passes neither; its first sentence, judged while the rest is written, passes the server's policy."""
    judged = threading.Event()

    def scores(context, texts, role):
        if texts == ["A knife is here."]:
            judged.set()
        return [scores_of(hate=0.9 if "bomb" in text else 0.0, **MILD.get(text[2:7], {})) for text in texts]

    telling = Telling(tiny_model, "A knife is here. Two is a bomb. Three.", 20, judged)
    corridor = make_corridor(
        generator=LocalGenerator("telling", telling, tiny_model[1]), scores=scores, policy=BALANCED
    )
    asked = {"candidates": 1, "temperature": 0, "grounding": "off", "max_tokens": 450, "policy": wish}
    with TestClient(create_app(corridor)) as made:
        response = chat(made, stream=True, stream_mode="sentence", **asked)
    assert judged.is_set()
    assert ("A knife" in response.text) == leaves
    assert "bomb" not in response.text


@pytest.mark.parametrize("wish", ["balanced", "permissive"])
def test_a_preset_that_is_not_stricter_changes_nothing(client, wish):
    assert same_but_for_time(chat(client, policy=wish)) == same_but_for_time(chat(client))
    asked = {"candidates": [KNIFE, GLAD]}
    assert (
        client.post("/v1/screen", json={**asked, "policy": wish}).json() == client.post("/v1/screen", json=asked).json()
    )
    assert client.get("/v1/policy", params={"policy": wish}).json() == client.get("/v1/policy").json()


def test_own_candidates_are_screened_by_the_stricter_policy_which_the_answer_names(client):
    asked = {"candidates": [KNIFE, GLAD], "messages": [{"role": "user", "content": "A knife?"}]}
    plain, strict = (client.post("/v1/screen", json={**asked, "policy": wish}).json() for wish in (None, "strict"))
    assert (plain["ranks"].count(None), plain["prompt"]["dropped"], plain["policy"]) == (0, False, BALANCED.fingerprint)
    assert (strict["ranks"], strict["pick"], strict["prompt"]["dropped"]) == ([None, 1], 1, True)
    assert strict["policy"] == BALANCED.by_preset["strict"].fingerprint


def test_the_stricter_policy_is_explained(client):
    found = client.get("/v1/policy", params={"policy": "strict"}).json()
    combined = BALANCED.by_preset["strict"]
    assert (found["preset"], found["fingerprint"]) == ("balanced+strict", combined.fingerprint)
    assert {o["name"]: o["threshold"] for o in found["objectives"]} == {
        name: o.threshold for name, o in combined.objectives.items()
    }


@pytest.mark.parametrize("wish", ["lax", "", "Strict", "policy.toml", 1, ["strict"], {}])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", {"messages": ASKS_NOTHING}), ("/v1/screen", {"candidates": [GLAD]})],
)
def test_an_unknown_preset_is_refused_by_name(client, path, body, wish):
    answer = client.post(path, json={**body, "policy": wish})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == ("policy", "invalid_request_error")
    assert "'strict', 'balanced' or 'permissive'" in error["message"]


def test_an_unknown_preset_is_not_explained(client):
    answer = client.get("/v1/policy", params={"policy": "lax"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "policy")


def test_the_log_keeps_what_was_asked_for_and_the_policy_that_judged(client, tmp_path):
    for wish in (None, "strict", "permissive"):
        chat(client, policy=wish)
    with LogReader(tmp_path / "log.sqlite") as log:
        found = {record.policy: record.versions["policy"] for record in log.decisions()}
    strict = BALANCED.by_preset["strict"].fingerprint
    assert found == {None: BALANCED.fingerprint, "strict": strict, "permissive": BALANCED.fingerprint}


def test_every_request_shares_one_scorer_and_one_policy_a_preset():
    corridor = make_corridor(policy=BALANCED)
    strict = corridor.tightened("strict")
    assert strict.policy is corridor.tightened("strict").policy
    assert strict.safety is corridor.safety
    assert strict.tightened("strict") is strict
    assert corridor.tightened("permissive") is corridor.tightened(None) is corridor


def test_what_is_said_where_nothing_passes_stays_the_server_s():
    own = replace(BALANCED, steering="Be mild.", objectives={**BALANCED.objectives})
    own.objectives["weapons"] = replace(own.objectives["weapons"], fallback="Not here.")
    corridor = make_corridor([KNIFE], MILD, policy=own)
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, policy="strict"))
    assert [reply.text for reply in decision.replies] == ["Not here."]
    assert corridor.generator.calls[-1].messages[0] == {"role": "system", "content": "Be mild."}
    assert corridor.reply(ASKS_NOTHING, Wants(candidates=2)).replies[0].text == KNIFE


@given(situations(), policies(), st.sampled_from(PRESETS))
def test_whatever_is_wished_nothing_passes_that_the_server_drops(situation, policy, preset):
    plain, wished = (
        replace(situation, wants=replace(situation.wants, policy=each)).decide(policy) for each in (None, preset)
    )
    for before, after in zip(plain.judged, wished.judged, strict=False):
        if before.candidate.text == after.candidate.text:
            assert set(before.verdict.because) <= set(after.verdict.because)
            assert after.verdict.dropped or not before.verdict.dropped
    dropped = {judged.candidate.text for judged in plain.judged if judged.verdict.dropped}
    assert not dropped & {reply.text for reply in wished.replies if reply.verdict is not None}
    assert set(plain.input_verdict.because) <= set(wished.input_verdict.because)


def test_a_reply_may_be_asked_of_a_corridor_without_a_server():
    corridor = make_corridor([KNIFE, KENYA], MILD, policy=BALANCED)
    decision = corridor.reply(ASKS_NOTHING, Wants(candidates=2, policy="strict"))
    assert [judged.verdict.dropped for judged in decision.judged] == [True, False]
    assert decision.versions["policy"] == BALANCED.by_preset["strict"].fingerprint
