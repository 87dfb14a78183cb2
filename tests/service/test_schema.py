"""Requests generated from the API's own document, as it allows them and as it forbids them: no 5xx, and every answer as documented."""

import json
from collections import Counter

import hypothesis
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, strategies
from pydantic import BaseModel
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from service import answers
from service.app import create_app
from tests.service.answers import events_of
from tests.service.scripted import ASKS_KENYA, GLAD, INVENTED, KENYA, make_corridor

CHAT = "POST /v1/chat/completions"
CASES = {
    CHAT: (350, 150),
    "POST /v1/screen": (250, 200),
    "POST /v1/moderations": (350, 250),
    "POST /v1/ground": (100, 50),
    "POST /v1/feedback": (250, 200),
    "GET /v1/feedback": (1, 0),
    "GET /v1/policy": (10, 10),
    "GET /v1/models": (1, 0),
    "GET /healthz": (1, 0),
    "GET /readyz": (1, 0),
}
"""How many requests of each route: such as the document allows, and such as it forbids."""
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
LEAST = 2000
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "decisions.sqlite"
    settings = {"decision_log": log, "durable": True, "batch_wait_ms": 0, "candidates": 2, "max_candidates": 8}
    corridor = make_corridor([KENYA, GLAD, INVENTED, "A bomb."], {"bomb": {"weapons": 0.9}}, **settings)
    with TestClient(create_app(corridor), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def document(made):
    """The document, but that an answer may have no key that it does not name."""
    found = made.get("/openapi.json").json()
    for name, schema in found["components"]["schemas"].items():
        if is_answer(name) and "properties" in schema:
            schema["additionalProperties"] = False
    return found


def is_answer(name):
    return isinstance(getattr(answers, name, None), type) and issubclass(getattr(answers, name), BaseModel)


@pytest.fixture(scope="module")
def operations(document):
    schema = schemathesis.openapi.from_dict(document)
    return {each.ok().label: each.ok() for each in schema.get_all_operations()}


def answered(made, case):
    """The answer of the application to a generated case."""
    told = case.as_transport_kwargs(base_url="http://testserver")
    body = {"content" if name == "data" else name: told[name] for name in ("json", "data") if name in told}
    return made.request(told["method"], told["url"], headers=told["headers"], params=told["params"], **body)


def test_every_route_is_asked(operations):
    assert set(operations) == set(CASES)
    assert sum(map(sum, CASES.values())) >= LEAST


@pytest.mark.parametrize(
    ("label", "mode"),
    [(label, mode) for label, counts in CASES.items() for mode, n in zip(MODES, counts, strict=True) if n],
    ids=str,
)
def test_a_generated_request_is_answered_as_documented_and_a_forbidden_one_refused(
    made, operations, label, mode, trials
):
    statuses = Counter()

    @hypothesis.settings(
        max_examples=CASES[label][MODES.index(mode)],
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operations[label].as_strategy(generation_mode=mode))
    def ask(case):
        if label == CHAT and mode.is_positive:  # the document cannot say that the user speaks last
            case.body["messages"][-1].update(role="user", content="Hello?")
        response = answered(made, case)
        statuses[response.status_code] += 1
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            for event in events_of(response):
                kind = answers.ErrorEnvelope if "error" in event else answers.ChatCompletionChunk
                kind.model_validate(event, strict=True, extra="forbid")
        case.validate_response(response, checks=CHECKS)

    ask()
    print(label, mode.value, dict(sorted(statuses.items())))
    trials(f"generated requests, {label}", statuses.total())


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")


@pytest.mark.parametrize("path", sorted({label.split()[1] for label in CASES}))
def test_a_method_that_the_document_does_not_name_is_answered_405_with_those_it_does(made, path):
    named = {label.split()[0] for label in CASES if label.split()[1] == path}
    for method in {*METHODS} - named - ({"HEAD"} if "GET" in named else set()):
        response = made.request(method, path)
        assert response.status_code == 405, method
        assert set(response.headers["allow"].split(", ")) == named
        assert method == "HEAD" or response.json()["error"]["message"] == "Method Not Allowed"


@given(strategies.lists(strategies.text("abcv1/.%-~ü", max_size=9), min_size=1, max_size=4))
def test_a_path_that_the_document_does_not_name_is_answered_404(made, pieces):
    path = "/v1/nowhere/" + "/".join(pieces)
    for method in ("GET", "POST"):
        response = made.request(method, path)
        assert (response.status_code, response.json()["error"]["type"]) == (404, "invalid_request_error")


def test_the_document_promises_the_error_envelope_and_no_status_that_is_never_given(made):
    document = made.get("/openapi.json").json()
    assert "HTTPValidationError" not in json.dumps(document)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                if status != "200" and (path, status) != ("/readyz", "503"):
                    assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}


def test_the_document_names_every_key_of_every_answer(made, document):
    """All that explaining, streaming and research add."""
    fields = {"messages": ASKS_KENYA, "explain": True, "grounding": "research", "candidates": 4}
    whole = made.post("/v1/chat/completions", json=fields).json()
    streamed = events_of(made.post("/v1/chat/completions", json={**fields, "stream": True}))
    answers.ChatCompletion.model_validate(whole, strict=True, extra="forbid")
    for event in streamed:
        answers.ChatCompletionChunk.model_validate(event, strict=True, extra="forbid")
    assert whole["winnow"]["sources"]
    assert whole["winnow"]["verdicts"][0]["reasons"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("stream", "yes"), ("explain", 1), ("n", "1"), ("n", True), ("n", 1.5), ("temperature", "0.5"), ("seed", "7")],
)
def test_what_could_be_taken_for_another_type_is_refused_with_its_field(made, field, value):
    response = made.post("/v1/chat/completions", json={"messages": ASKS_KENYA, field: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)


def test_a_whole_number_may_be_written_as_json_writes_any_number(made):
    fields = {"messages": ASKS_KENYA, "n": 1.0, "temperature": 1, "candidates": 2.0}
    assert made.post("/v1/chat/completions", json=fields).json()["winnow"]["sampled"] == 2
