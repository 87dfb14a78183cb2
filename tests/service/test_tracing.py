import logging

import pytest
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.app import create_app
from service.generator import GeneratorFailed
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, KENYA, make_corridor

UNSAFE = {"bomb": {"weapons": 0.9}}
PHASES = {"screen", "generate", "rank", "ground"}


@pytest.fixture
def traced():
    """traced(corridor) -> (client, function that gives the spans so far, in the order in which they ended)."""
    opened = []

    def make(corridor):
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        made = TestClient(create_app(corridor, provider), raise_server_exceptions=False)
        opened.append((made, provider))
        return made.__enter__(), exporter.get_finished_spans

    yield make
    for made, provider in opened:
        made.__exit__(None, None, None)
        provider.shutdown()


def chat(made, messages=ASKS_NOTHING, headers=None, **fields):
    return made.post("/v1/chat/completions", json={"messages": messages, "candidates": 4, **fields}, headers=headers)


def named(spans, name):
    (found,) = [span for span in spans if span.name == name]
    return found


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "stream_mode": "sentence"}])
def test_a_request_is_a_span_the_reply_its_child_and_each_phase_a_child_of_that(traced, fields):
    made, spans = traced(make_corridor([KENYA]))
    assert chat(made, ASKS_KENYA, **fields).status_code == 200
    request, reply = named(spans(), "POST /v1/chat/completions"), named(spans(), "chat scripted")
    assert request.kind is SpanKind.SERVER
    assert request.parent is None
    assert request.attributes["http.response.status_code"] == 200
    assert reply.parent.span_id == request.context.span_id
    phases = [span for span in spans() if span not in (request, reply)]
    assert {span.name for span in phases} == PHASES
    for span in phases:
        assert span.parent.span_id == reply.context.span_id
        assert reply.start_time <= span.start_time <= span.end_time <= reply.end_time
    assert {span.context.trace_id for span in spans()} == {request.context.trace_id}


def test_the_reply_has_the_attributes_of_the_conventions_for_generative_ai(traced):
    made, spans = traced(make_corridor([GLAD, "A bomb.", GLAD, GLAD], UNSAFE))
    answer = chat(made, n=2, seed=7, temperature=0.5, top_p=0.9, max_tokens=11).json()
    assert dict(named(spans(), "chat scripted").attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "winnow",
        "gen_ai.output.type": "text",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.stream": False,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 7,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.max_tokens": 11,
        "gen_ai.response.id": answer["id"],
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": ("stop", "stop"),
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer["usage"]["completion_tokens"],
        "winnow.candidates.sampled": 4,
        "winnow.candidates.dropped": 1,
        "winnow.attempts": 1,
        "winnow.research.rounds": 0,
    }


def test_the_trace_of_whoever_asks_goes_on(traced):
    made, spans = traced(make_corridor([GLAD]))
    chat(made, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
    assert {f"{span.context.trace_id:032x}" for span in spans()} == {"0af7651916cd43dd8448eb211c80319c"}
    assert f"{named(spans(), 'POST /v1/chat/completions').parent.span_id:016x}" == "b7ad6b7169203331"


def test_what_fails_is_marked_in_its_phase_and_in_the_reply_without_its_words(traced):
    def says(messages, n, sampling):
        raise GeneratorFailed("SECRET words", 503, "upstream_busy", 1)

    made, spans = traced(make_corridor(says))
    assert chat(made).status_code == 503
    for name in ("generate", "chat scripted"):
        span = named(spans(), name)
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "GeneratorFailed"
    assert "SECRET" not in "".join(span.to_json() for span in spans())


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"explain": True}])
def test_no_span_holds_a_word_of_a_message_or_a_candidate(traced, fields):
    made, spans = traced(make_corridor(["Nairobi zebra.", "A bomb zebra."], UNSAFE))
    asks = [{"role": "system", "content": "quagga"}, {"role": "user", "content": "quagga?"}]
    chat(made, asks, stop=["quokka"], user="quokka", **fields)
    made.post("/v1/screen", json={"messages": asks, "candidates": ["zebra"]})
    written = "".join(span.to_json() for span in spans())
    assert "chat scripted" in written
    for word in ("zebra", "quagga", "quokka"):
        assert word not in written


def test_machines_that_ask_every_few_seconds_make_no_spans(traced):
    made, spans = traced(make_corridor([GLAD]))
    for path in ("/healthz", "/readyz", "/metrics"):
        made.get(path)
    assert not spans()
    made.get("/v1/models")
    assert [span.name for span in spans()] == ["GET /v1/models"]


def test_without_a_provider_nothing_is_recorded_and_nothing_is_set_up(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    inside = []

    def says(messages, n, sampling):
        inside.append(trace.get_current_span().is_recording())
        return [GLAD] * n

    with TestClient(create_app(make_corridor(says))) as made:
        assert chat(made).status_code == 200
    assert inside == [False]
    assert type(trace.get_tracer_provider()).__name__ == "ProxyTracerProvider"


def test_an_endpoint_in_the_environment_that_cannot_be_used_is_warned_of_and_stops_nothing(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "no address")
    with caplog.at_level(logging.WARNING), TestClient(create_app(make_corridor([GLAD]))) as made:
        assert chat(made).status_code == 200
    assert "Invalid OTLP traces endpoint" in caplog.text
