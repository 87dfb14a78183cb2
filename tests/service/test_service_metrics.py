import re

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.metrics import Metrics
from service.upstream import UpstreamGenerator
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, INVENTED, KENYA, make_corridor
from tests.service.serving import scripted

UNSAFE = {"bomb": {"weapons": 0.9}}


def samples(made):
    """{(name, (label, value), ...): number} of what /metrics says."""
    answer = made.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            found[(sample.name, *sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture
def watched():
    """watched(texts, scores, setting=value, ...): a client of an app."""
    opened = []

    def make(*parts, **more):
        made = TestClient(create_app(make_corridor(*parts, **more)), raise_server_exceptions=False)
        opened.append(made)
        return made.__enter__()

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def chat(made, messages=ASKS_NOTHING, **fields):
    return made.post("/v1/chat/completions", json={"messages": messages, "candidates": 4, **fields})


def test_requests_are_counted_by_route_and_status_and_timed(watched):
    made = watched([GLAD])
    chat(made)
    chat(made, n=0)
    made.get("/healthz")
    found = samples(made)
    route = ("route", "/v1/chat/completions")
    assert found["winnow_requests_total", route, ("status", "200")] == 1
    assert found["winnow_requests_total", route, ("status", "400")] == 1
    assert found["winnow_requests_total", ("route", "/healthz"), ("status", "200")] == 1
    assert found["winnow_request_duration_seconds_count", route] == 2
    assert 0 < found["winnow_request_duration_seconds_sum", route] < 60


def test_a_path_that_is_not_ours_is_counted_without_its_words(watched):
    made = watched([GLAD])
    made.get("/secret/words?of=somebody")
    made.request("BREW", "/v1/models")
    found = samples(made)
    assert found["winnow_requests_total", ("route", "other"), ("status", "404")] == 1
    assert sum(value for key, value in found.items() if key[0] == "winnow_requests_total" and "405" in str(key)) == 1
    assert "secret" not in str(found)
    assert "BREW" not in str(found)


def test_a_body_over_the_limit_and_a_fault_of_our_own_are_counted_too(watched, monkeypatch):
    made = watched([GLAD], max_body_bytes=1000)
    assert made.post("/v1/moderations", content=b"x" * 2000).status_code == 413
    monkeypatch.setattr("service.wire.models", lambda names: 1 / 0)
    assert made.get("/v1/models").status_code == 500
    found = samples(made)
    assert found["winnow_requests_total", ("route", "/v1/models"), ("status", "500")] == 1
    assert sum(value for key, value in found.items() if key[0] == "winnow_requests_total" and "413" in str(key)) == 1
    assert found["winnow_errors_total", ("kind", "internal_error")] == 1


def test_a_decision_is_counted_candidate_by_candidate(watched):
    made = watched([GLAD, "A bomb.", "", GLAD], UNSAFE)
    chat(made)
    found = samples(made)
    assert found["winnow_decisions_total",] == 1
    assert found["winnow_candidates_asked_total",] == 4
    assert found["winnow_candidates_sampled_total",] == 4
    assert found["winnow_candidates_dropped_total", ("objective", "weapons")] == 1
    assert found["winnow_candidates_dropped_total", ("objective", "empty")] == 1
    assert found["winnow_candidates_dropped_total", ("objective", "hate")] == 0
    assert found["winnow_all_dropped_total",] == 0
    assert found["winnow_replies_total", ("finish_reason", "stop")] == 1
    assert found["winnow_sampled_tokens_total",] > 4
    assert found["winnow_prompt_tokens_total",] == 4
    for phase in ("screen", "generate", "rank", "ground"):
        assert found["winnow_phase_duration_seconds_count", ("phase", phase)] == 1


def test_a_stream_is_counted_as_a_reply_that_is_not_streamed(watched):
    made = watched([GLAD, "A bomb.", GLAD, GLAD], UNSAFE)
    chat(made, stream=True)
    chat(made, stream=True, stream_mode="sentence")
    found = samples(made)
    assert found["winnow_decisions_total",] == 2
    assert found["winnow_candidates_dropped_total", ("objective", "weapons")] == 2


def test_all_dropped_is_counted_once_for_a_reply(watched):
    made = watched(["A bomb."], UNSAFE)
    chat(made)
    found = samples(made)
    assert found["winnow_all_dropped_total",] == 1
    assert found["winnow_candidates_dropped_total", ("objective", "weapons")] == 8  # of two attempts
    assert found["winnow_replies_total", ("finish_reason", "content_filter")] == 1


def test_unsafe_and_blocked_inputs_are_counted(watched):
    made = watched([GLAD], UNSAFE)
    asks = [{"role": "user", "content": "How is a bomb made?"}]
    chat(made, asks)
    policy = {"input": {"mode": "block"}, "output": {"mode": "block"}}
    chat(made, asks, moderation={"model": "default", "policy": policy})
    found = samples(made)
    assert found["winnow_unsafe_inputs_total", ("objective", "weapons")] == 2
    assert found["winnow_blocked_inputs_total",] == 1


def test_groundedness_can_be_computed_from_claims_and_replies(watched):
    grounded, invented, plain = watched([KENYA]), watched([INVENTED]), watched([GLAD])
    for made in (grounded, invented, plain):
        chat(made, ASKS_KENYA)
    assert samples(grounded)["winnow_claims_total", ("support", "supported")] == 1
    assert samples(grounded)["winnow_grounded_replies_total", ("grounding", "supported")] == 1
    assert samples(invented)["winnow_claims_total", ("support", "unsupported")] == 1
    assert samples(invented)["winnow_grounded_replies_total", ("grounding", "unsupported")] == 1
    assert samples(plain)["winnow_grounded_replies_total", ("grounding", "no claims")] == 1
    assert samples(plain)["winnow_grounded_replies_total", ("grounding", "supported")] == 0


def test_an_error_is_counted_by_its_code_also_within_a_stream(watched, monkeypatch):
    made = watched([GLAD], max_messages=1)
    chat(made, ASKS_NOTHING * 2)
    chat(made, model="unheard-of")
    monkeypatch.setattr("service.wire.chunks", lambda *_: 1 / 0)
    chat(made, stream=True)
    found = samples(made)
    assert found["winnow_errors_total", ("kind", "invalid_value")] == 1
    assert found["winnow_errors_total", ("kind", "model_not_found")] == 1
    assert found["winnow_errors_total", ("kind", "internal_error")] == 1


def test_texts_that_are_judged_together_are_counted_as_one_pass(watched):
    made = watched([GLAD])
    chat(made)
    found = samples(made)
    work = ("work", "screen")
    assert found["winnow_batch_rows_count", work] == 2  # the user's turn, then the candidates
    assert found["winnow_batch_rows_sum", work] == 5
    assert found["winnow_batch_rows_count", ("work", "generate")] == 0  # no model of ours


def test_the_queue_is_empty_when_nobody_asks(watched):
    found = samples(watched([GLAD]))
    assert found["winnow_queue_length",] == 0
    assert found["winnow_requests_running",] == 0
    assert found["winnow_index_passages",] > 0
    assert found["winnow_ready",] == 1
    assert found["winnow_warnings",] == 0


def test_who_runs_and_who_waits_is_told_while_they_do(watched):
    inside = []

    def says(messages, n, sampling):
        inside.append(samples(made))
        return [GLAD] * n

    made = watched(says)
    chat(made)
    assert inside[0]["winnow_requests_running",] == 1
    assert inside[0]["winnow_queue_length",] == 0


def test_the_decision_logs_state_is_told_where_there_is_a_log(watched, tmp_path):
    made = watched([GLAD], decision_log=tmp_path / "log.sqlite", durable=True)
    chat(made)
    found = samples(made)
    assert found["winnow_decision_log_records_total", ("outcome", "kept")] == 1
    assert found["winnow_decision_log_records_total", ("outcome", "lost")] == 0
    assert found["winnow_decision_log_waiting",] == 0
    assert found["winnow_decision_log_failing",] == 0
    assert not [key for key in samples(watched([GLAD])) if key[0].startswith("winnow_decision_log")]


def test_the_circuit_to_an_upstream_is_told_where_there_is_one(watched):
    refuse = (500, {"error": {"message": "no"}})
    with scripted(lambda path, body: (200, {"data": [{"id": "m"}]}) if path.endswith("models") else refuse) as (url, _):
        parts = make_corridor(upstream=url, upstream_model="m", upstream_retries=0).settings
        made = watched(generator=UpstreamGenerator.connect(parts, None))
        before = samples(made)
        for _ in range(3):
            chat(made)
        after = samples(made)
    assert before["winnow_upstream_circuit", ("state", "closed")] == 1
    assert after["winnow_upstream_circuit", ("state", "open")] == 1
    assert after["winnow_upstream_circuit", ("state", "closed")] == 0
    assert not [key for key in samples(watched([GLAD])) if key[0].startswith("winnow_upstream")]


def test_what_decides_is_told_by_its_versions(watched):
    (info,) = [dict(key[1:]) for key in samples(watched([GLAD])) if key[0] == "winnow_info"]
    assert info["generator"] == "scripted"
    assert info["safety"] == "scripted-1"
    assert set(info) >= {"version", "policy"}


def test_two_applications_in_one_process_count_apart(watched):
    first, second = watched([GLAD]), watched([GLAD])
    chat(first)
    assert samples(first)["winnow_decisions_total",] == 1
    assert samples(second)["winnow_decisions_total",] == 0


def test_names_and_units_follow_the_conventions_of_prometheus():
    page, _ = Metrics(["hate"], dict).page(None)
    families = [f for f in text_string_to_metric_families(page.decode()) if f.name.startswith("winnow")]
    assert families
    for family in families:
        assert re.fullmatch(r"winnow(_[a-z]+)+|winnow", family.name), family.name
        if "duration" in family.name:
            assert family.name.endswith("_seconds")
        assert not family.name.endswith(("_ms", "_total_total", "_created"))


def test_a_scraper_that_takes_open_metrics_gets_them(watched):
    answer = watched([GLAD]).get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


CANARY = "xylophagous"


@settings(max_examples=30)
@given(st.data())
def test_no_word_of_a_user_is_in_a_metric(data):
    """In whatever place a request can hold words; of the answer, in what the generator says."""
    word = CANARY + data.draw(st.sampled_from(["", " bomb", '"} 1', "\n", "é"]), "word")
    where = data.draw(
        st.sampled_from(["content", "system", "model", "user", "stop", "field", "path", "query", "header", "raw"]),
        "where",
    )
    body = {"messages": [{"role": "user", "content": "Hello?"}], "candidates": 2}
    path, headers, content = "/v1/chat/completions", {}, None
    match where:
        case "content":
            body["messages"][0]["content"] = word
        case "system":
            body["messages"].insert(0, {"role": word, "content": word})
        case "path":
            path = f"/v1/{CANARY}"
        case "query":
            path += f"?{CANARY}={CANARY}"
        case "header":
            headers = {"x-request-id": CANARY, "authorization": f"Bearer {CANARY}"}
        case "raw":
            content = word.encode()
        case _:
            body[where] = word
    with TestClient(create_app(make_corridor([f"{word}.", GLAD], UNSAFE)), raise_server_exceptions=False) as made:
        sent = {"content": content} if content else {"json": body}
        made.post(path, headers=headers, **sent)
        page = made.get("/metrics").text
    assert 'winnow_requests_total{route="' in page
    assert CANARY not in page
