import asyncio
import json
import logging
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import httpx
import openai
import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from openai.types import Model
from openai.types.chat import ChatCompletion

from classifiers import Place, Scores
from service.app import create_app
from tests.service.scripted import (
    ASKS_KENYA,
    ASKS_NOTHING,
    DOCUMENTS,
    GLAD,
    INDEX,
    KENYA,
    POLICY,
    ScriptedGenerator,
    ScriptedSafety,
    make_corridor,
    scores_of,
)

UNSAFE = {"bomb": {"weapons": 0.9}}


@contextmanager
def client(corridor):
    """The app without a server; what it fails with is answered, not raised."""
    with TestClient(create_app(corridor), raise_server_exceptions=False) as made:
        yield made


@contextmanager
def served(corridor):
    """The official client against the app under uvicorn, on a free port of this machine."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(corridor), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=20) as made:
            yield made
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def chat(made, messages=ASKS_NOTHING, **fields):
    return made.post("/v1/chat/completions", json={"messages": messages, **fields})


def events(response):
    """The data of a stream, comments and [DONE] left out."""
    *rows, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(row.removeprefix("data: ")) for row in rows if not row.startswith(":")]


def envelope(response):
    """The error of an answer, after its four keys have been looked at."""
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert isinstance(error["message"], str)
    assert error["type"] in ("invalid_request_error", "server_error")
    assert all(error[key] is None or isinstance(error[key], str) for key in ("param", "code"))
    return error


# The openai client


def streamed(stream):
    """Per choice (text, finish reason, annotations), then the last chunk with choices, then the usage."""
    choices, last, usage = {}, None, None
    for chunk in stream:
        if not chunk.choices:
            usage = chunk.usage
            continue
        last = chunk
        for choice in chunk.choices:
            text, reason, annotations = choices.get(choice.index, ("", None, None))
            extra = choice.delta.model_dump().get("annotations", annotations)
            choices[choice.index] = text + (choice.delta.content or ""), choice.finish_reason or reason, extra
    return [choices[index] for index in sorted(choices)], last, usage


@pytest.mark.parametrize(
    ("corridor_of", "messages", "n"),
    [
        pytest.param(lambda: make_corridor([f"Yes. {KENYA}"]), ASKS_KENYA, 1, id="a cited reply"),
        pytest.param(lambda: make_corridor([KENYA, GLAD]), ASKS_KENYA, 2, id="two choices"),
        pytest.param(lambda: make_corridor(["One\n\ntwo  \u00e9\u2028 \U0001f600"]), ASKS_NOTHING, 1, id="any unicode"),
        pytest.param(lambda: make_corridor(["A bomb."], UNSAFE), ASKS_NOTHING, 1, id="all dropped"),
    ],
)
def test_the_openai_client_gets_the_same_answer_streamed_and_whole(corridor_of, messages, n):
    asked = {"model": "default", "messages": messages, "n": n, "seed": 1}
    with served(corridor_of()) as made:
        whole = made.chat.completions.create(**asked)
        choices, last, usage = streamed(
            made.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
        )
    assert choices == [
        (c.message.content, c.finish_reason, [a.model_dump() for a in c.message.annotations]) for c in whole.choices
    ]
    assert len(choices) == n
    assert usage == whole.usage
    assert last.moderation.model_dump() == whole.moderation.model_dump()
    assert {**last.model_extra["winnow"], "seconds": 0} == {**whole.model_extra["winnow"], "seconds": 0}


def test_the_openai_client_may_name_the_model_and_wish_for_moderation():
    with served(make_corridor(["A bomb."], UNSAFE)) as made:
        answer = made.chat.completions.create(
            model="scripted",
            messages=[{"role": "user", "content": [{"type": "text", "text": "How is a bomb built?"}]}],
            extra_body={"moderation": {"model": "default", "policy": {"input": {"mode": "block"}}}, "candidates": 4},
        )
    assert answer.model_extra["winnow"]["input_blocked"] is True
    assert answer.model_extra["winnow"]["sampled"] == 0
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content == POLICY.objectives["weapons"].fallback
    assert answer.moderation.input.results[0].flagged is True


def test_the_openai_client_moderates_one_text_and_several():
    with served(make_corridor(scores=UNSAFE)) as made:
        one = made.moderations.create(input="A bomb.")
        several = made.moderations.create(input=["Tea.", "A bomb.", "Honey."], model="any")
    assert [result.flagged for result in one.results] == [True]
    assert [result.flagged for result in several.results] == [False, True, False]


def test_the_openai_client_lists_the_models_and_meets_its_own_errors():
    with served(make_corridor()) as made:
        assert [model.id for model in made.models.list()] == ["scripted", "default"]
        with pytest.raises(openai.NotFoundError) as missing:
            made.chat.completions.create(model="gpt-9", messages=ASKS_NOTHING)
        with pytest.raises(openai.BadRequestError) as bad:
            made.chat.completions.create(model="default", messages=ASKS_NOTHING, temperature=3, stream=True)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert bad.value.param == "temperature"


# Shapes


def test_an_answer_has_the_keys_of_the_api_and_two_blocks_of_our_own():
    with client(make_corridor([KENYA])) as made:
        response = chat(made, ASKS_KENYA, candidates=3, seed=7)
    ChatCompletion.model_validate_json(response.content, strict=True)
    answer = response.json()
    assert set(answer) == {
        *("id", "object", "created", "model", "system_fingerprint"),
        *("choices", "usage", "moderation", "winnow"),
    }
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"]) == ("chat.completion", "scripted")
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": KENYA,
                "refusal": None,
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 0,
                            "end_index": len(KENYA),
                            "url": "https://example.org/kenya",
                            "title": "Kenya",
                        },
                    }
                ],
            },
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert set(answer["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def moderated(name=None, score=0.01, **keys):
    return {
        "flagged": name is not None,
        "categories": {each: each == name for each in POLICY.objectives},
        "category_scores": scores_of(**({name: score} if name else {})),
        "category_applied_input_types": {each: ["text"] for each in POLICY.objectives},
        **keys,
    }


def test_the_moderation_block_is_the_standard_one():
    model = {"model": "winnow-safety-scripted-1"}
    with client(make_corridor(scores={"Hello": {"hate": 0.6}})) as made:
        block = chat(made).json()["moderation"]
    assert block == {
        "input": {
            "type": "moderation_results",
            **model,
            "results": [moderated("hate", 0.6, type="moderation_result", **model)],
        },
        "output": {
            "type": "moderation_results",
            **model,
            "results": [moderated(type="moderation_result", **model)],
        },
    }


def test_the_winnow_block_counts_and_cites():
    with client(make_corridor([KENYA, "A bomb.", GLAD], UNSAFE)) as made:
        block = chat(made, ASKS_KENYA, candidates=6, seed=7).json()["winnow"]
    seconds, (source,) = block.pop("seconds"), block.pop("sources")
    assert set(seconds) == {"screen", "generate", "rank", "ground"}
    assert all(isinstance(value, float) and value >= 0 for value in seconds.values())
    assert block == {
        "asked": 6,
        "sampled": 6,
        "with_evidence": 3,
        "dropped": 2,
        "dropped_by": {"weapons": 2},
        "attempts": 1,
        "input_blocked": False,
        "groundedness": {"claims": 1, "supported": 1, "contradicted": 0, "unsupported": 0, "score": 1.0},
        "ungrounded": [],
        "rounds": [],
        "stopped": None,
        "sampled_tokens": 26,
        "seed": 7,
        "versions": {"safety": "scripted-1", "policy": POLICY.fingerprint},
    }
    assert set(source) == {
        *("choice", "claim", "tool"),
        *("document", "passage", "title", "heading", "url", "source", "quote", "support", "bm25"),
    }
    quote, claim = source["quote"], source["claim"]
    assert KENYA[claim["start"] : claim["end"]] == claim["text"]
    assert DOCUMENTS[0].text[quote["start"] : quote["end"]] == quote["text"]


def test_explain_adds_the_verdicts_without_a_text():
    with client(make_corridor(["A bomb.", GLAD], UNSAFE)) as made:
        assert "verdicts" not in chat(made, candidates=2).json()["winnow"]
        rows = chat(made, candidates=2, explain=True).json()["winnow"]["verdicts"]
    assert rows[0] == {
        "dropped": True,
        "choice": None,
        "because": ["weapons"],
        "flagged": [],
        "unsafe": 0.9,
        "scores": scores_of(weapons=0.9),
        "quality": None,
        "reasons": [{"objective": "weapons", "score": 0.9, "threshold": 0.5, "reading": None}],
        "mean_log_likelihood": -1.0,
        "with_evidence": False,
        "attempt": 0,
        "round": 0,
    }
    assert [row["dropped"] for row in rows] == [True, False]


def test_when_all_are_dropped_the_fallback_is_sent_as_filtered_content():
    with client(make_corridor(["A bomb."], UNSAFE)) as made:
        for choice in chat(made, candidates=2, n=2).json()["choices"]:
            assert choice["message"]["content"] == POLICY.objectives["weapons"].fallback
            assert choice["message"]["annotations"] == []
            assert choice["finish_reason"] == "content_filter"


def test_moderations_have_the_shape_of_the_api():
    with client(make_corridor(scores=UNSAFE)) as made:
        response = made.post("/v1/moderations", json={"input": ["A bomb.", "Tea."]})
    answer = response.json()
    assert answer.pop("id").startswith("modr-")
    assert answer == {"model": "winnow-safety-scripted-1", "results": [moderated("weapons", 0.9), moderated()]}


def test_the_list_of_models_has_the_shape_of_the_api():
    with client(make_corridor()) as made:
        answer = made.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [Model.model_validate(row, strict=True).owned_by for row in answer["data"]] == ["winnow", "winnow"]


def test_health_is_of_the_process_and_readiness_of_what_is_loaded():
    with client(make_corridor()) as made:
        assert made.get("/healthz").json() == {"status": "ok"}
        assert made.get("/readyz").json() == {
            "status": "ready",
            "generator": "scripted",
            "safety": "scripted-1",
            "policy": f"balanced {POLICY.fingerprint}",
            "index": {"documents": len(DOCUMENTS), "passages": len(INDEX), "engine": "rank-bm25"},
            "tools": {"calculator": "none installed", "translator": "none installed", "retrieval": "index"},
        }


def test_the_interface_is_described():
    with client(make_corridor()) as made:
        paths = made.get("/openapi.json").json()["paths"]
        assert made.get("/docs").status_code == 200
    assert {"/v1/chat/completions", "/v1/moderations", "/v1/screen", "/v1/models", "/healthz", "/readyz"} <= set(paths)


# Streaming


def test_a_stream_is_made_of_events_and_done_ends_it():
    with client(make_corridor([KENYA])) as made:
        response = chat(made, ASKS_KENYA, stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    rows = events(response)
    assert {row["object"] for row in rows} == {"chat.completion.chunk"}
    assert len({row["id"] for row in rows}) == 1
    assert rows[-1]["choices"] == []
    assert rows[-1]["usage"]["completion_tokens"] == len(KENYA.split())


def test_without_the_wish_there_is_no_usage_chunk():
    with client(make_corridor()) as made:
        for fields in ({}, {"stream_options": {}}, {"stream_options": {"include_usage": False}}):
            assert all(row["choices"] for row in events(chat(made, stream=True, **fields)))


def test_no_data_is_sent_before_every_candidate_has_been_judged():
    order = []

    def scores(context, texts, role):
        order.append(f"judged {role}")
        return [scores_of() for _ in texts]

    app = create_app(make_corridor(scores=scores))

    async def watched(scope, receive, send):
        async def noted(message):
            order.append("data" if b"data:" in message.get("body", b"") else "no data")
            await send(message)

        await app(scope, receive, noted)

    chat(TestClient(watched), stream=True)
    assert order.index("data") > order.index("judged assistant") > order.index("judged user")


MISJUDGED = st.sampled_from(
    [
        scores_of(hate=0.99),
        scores_of(self_harm=0.5),
        scores_of(crime=float("nan")),
        scores_of(crime=None),
        scores_of(privacy=float("inf")),
        {"hate": 0.0},
        None,
    ]
)
MARKERS = st.lists(st.from_regex(r"\A[a-z]{12}\Z"), min_size=1, max_size=6, unique=True)


@settings(max_examples=40)
@given(
    markers=MARKERS,
    data=st.data(),
    stream=st.booleans(),
    explain=st.booleans(),
    n=st.integers(1, 2),
    failure=st.sampled_from([None, None, None, "raises", "too few", "not a list"]),
)
def test_nothing_of_a_dropped_candidate_is_in_any_byte_of_the_answer(markers, data, stream, explain, n, failure):
    bad = {marker: data.draw(MISJUDGED) for marker in markers if data.draw(st.booleans())}

    def scores(context, texts, role):
        if failure == "raises" and role == "assistant":
            raise RuntimeError(f"cannot judge {texts}")
        rows = [next((row for marker, row in bad.items() if marker in text), scores_of()) for text in texts]
        return {"too few": rows[:-1], "not a list": tuple(rows)}.get(failure, rows) if role == "assistant" else rows

    says = [f"Well, {marker} it is." for marker in markers]
    with client(make_corridor(says, scores)) as made:
        response = chat(made, stream=stream, explain=explain, n=n, candidates=max(n, len(says)))
    assert response.status_code == 200
    held_back = markers if failure else list(bad)
    assert not [marker for marker in held_back if marker in response.text]
    if len(held_back) < len(markers):
        kept = [marker for marker in markers if marker not in held_back]
        assert kept[0] in response.text
    else:
        assert '"content_filter"' in response.text


def test_the_text_of_a_dropped_candidate_is_not_in_the_logs(caplog):
    with caplog.at_level(logging.DEBUG), client(make_corridor(["A bomb."], UNSAFE)) as made:
        chat(made, explain=True)
        chat(made, stream=True)
    assert "bomb" not in caplog.text


# Errors


def part(**keys):
    return [{"role": "user", "content": [keys]}]


TURN = {"role": "user", "content": "Hello?"}
IMAGE = part(type="image_url", image_url={"url": "https://example.org/a.png"})
BAD_REQUESTS = [
    pytest.param({"messages": []}, "messages", "at least 1", id="no messages"),
    pytest.param({"messages": None}, "messages", "list", id="messages null"),
    pytest.param({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'user'", id="unknown role"),
    pytest.param({"messages": IMAGE}, "messages.0.content.0.type", "'text'", id="an image part"),
    pytest.param(
        {"messages": part(type="input_audio", input_audio={})},
        "messages.0.content.0.type",
        "'text'",
        id="an audio part",
    ),
    pytest.param({"messages": part(type="text")}, "messages.0.content.0.text", "required", id="a part without text"),
    pytest.param({"messages": [{"role": "user", "content": []}]}, "messages.0.content", "at least 1", id="no parts"),
    pytest.param({"messages": [{"role": "user", "content": None}]}, "messages.0.content", "string", id="null content"),
    pytest.param({"messages": [{"role": "user", "content": " \n"}]}, "messages.0", "not be empty", id="empty content"),
    pytest.param({"messages": part(type="text", text="")}, "messages.0", "not be empty", id="an empty part"),
    pytest.param(
        {"messages": [TURN, {"role": "assistant", "content": "Yes?"}]}, "messages", "last message", id="last not user"
    ),
    pytest.param({"messages": [TURN] * 101}, "messages", "limit is 100", id="too many messages"),
    pytest.param({"n": 0}, "n", "1", id="n too small"),
    pytest.param({"n": 65}, "n", "64", id="n too large"),
    pytest.param({"candidates": 0}, "candidates", "1", id="candidates too small"),
    pytest.param({"candidates": 65}, "candidates", "64", id="candidates too large"),
    pytest.param({"n": 5, "candidates": 4}, "candidates", "more than the 4", id="n over candidates"),
    pytest.param({"temperature": -0.1}, "temperature", "0", id="temperature too low"),
    pytest.param({"temperature": 2.1}, "temperature", "2", id="temperature too high"),
    pytest.param({"top_p": 0}, "top_p", "0", id="top_p too low"),
    pytest.param({"max_tokens": 1025}, "max_tokens", "1024", id="max_tokens too large"),
    pytest.param({"max_completion_tokens": 0}, "max_completion_tokens", "1", id="max_completion_tokens too small"),
    pytest.param({"stop": list("abcde")}, "stop", "at most 4", id="too many stop strings"),
    pytest.param({"stop": ["a", ""]}, "stop", "not be empty", id="an empty stop string"),
    pytest.param({"seed": -1}, "seed", "0", id="seed below 0"),
    pytest.param({"grounding": "maybe"}, "grounding", "'cite'", id="unknown grounding"),
    pytest.param({"ungrounded": "hide"}, "ungrounded", "'keep', 'mark' or 'drop'", id="unknown ungrounded"),
    pytest.param({"ungrounded": "drop", "grounding": "off"}, "ungrounded", "'cite' or 'research'", id="drop and off"),
    pytest.param({"tools": [{"type": "function"}]}, "tools", "None", id="tools"),
    pytest.param({"functions": [{}]}, "functions", "None", id="functions"),
    pytest.param({"logprobs": True}, "logprobs", "False", id="logprobs"),
    pytest.param({"audio": {"voice": "x"}}, "audio", "None", id="audio"),
    pytest.param({"response_format": {"type": "json_object"}}, "response_format", "'text'", id="response_format"),
    pytest.param(
        {"moderation": {"policy": {"input": {"mode": "off"}}}},
        "moderation.policy.input.mode",
        "'block'",
        id="moderation",
    ),
]


@pytest.fixture(scope="module")
def made():
    """An app whose generator must not be reached by a bad request."""

    def says(messages, n, sampling):
        raise AssertionError("the generator was asked")

    with client(make_corridor(says, max_body_bytes=20_000)) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "param", "limit"), BAD_REQUESTS)
def test_a_bad_request_is_refused_with_the_field_and_the_limit(made, fields, param, limit, stream):
    response = chat(made, **{"messages": [TURN], "stream": stream, **fields})
    assert response.status_code == 400
    error = envelope(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["code"]
    assert limit in error["message"]
    assert param.split(".")[0] in error["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"messages": [', "not JSON at character 14"),
        (b"", "required"),
        (b"[1, 2]", "dictionary"),
        (b"[" * 10_000, ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_body_that_is_not_the_json_of_a_request_is_refused(made, body, says):
    for path in ("/v1/chat/completions", "/v1/moderations", "/v1/screen"):
        response = made.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
        error = envelope(response)
        assert error["param"] is None
        assert says in error["message"].lower() or says in error["message"]
        assert "body" in error["message"]


def test_half_of_a_surrogate_pair_is_refused(made):
    body = b'{"messages": [{"role": "user", "content": "Hi \\ud800"}]}'
    response = made.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert envelope(response)["param"] == "messages.0.content"


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(made):
    response = chat(made, model="gpt-9")
    assert response.status_code == 404
    assert envelope(response) == {
        "message": "model 'gpt-9' is not served here; known: default, scripted",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize("stream", [False, True])
def test_an_over_long_conversation_is_refused_with_the_limit(stream):
    with client(make_corridor(generator=ScriptedGenerator(limit=9))) as made:
        response = chat(made, [{"role": "user", "content": "word " * 10}], stream=stream)
    assert response.status_code == 400
    assert envelope(response) == {
        "message": "messages: the conversation has 10 tokens; the limit is 9 (max_input_tokens)",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_declared_or_not(made, chunked):
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 20_000}]}).encode()
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    response = made.post(
        "/v1/chat/completions", content=pieces if chunked else body, headers={"content-type": "application/json"}
    )
    assert ("content-length" in response.request.headers) is not chunked
    assert response.status_code == 413
    error = envelope(response)
    assert (error["param"], error["code"]) == ("body", "body_too_large")
    assert "20000 bytes (max_body_bytes)" in error["message"]


def test_an_unknown_path_and_a_wrong_method_are_answered_in_the_envelope(made):
    missing, wrong = made.get("/v1/nothing"), made.get("/v1/chat/completions")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert envelope(missing)["message"] == "Not Found"
    assert envelope(wrong)["message"] == "Method Not Allowed"
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("fields", "param", "limit"),
    [
        ({}, "input", "required"),
        ({"input": []}, "input", "at least 1"),
        ({"input": ["x", 1]}, "input.1", "string"),
        ({"input": 1}, "input", "string"),
        ({"input": ["x"] * 65}, "input", "limit is 64"),
    ],
)
def test_a_bad_moderation_request_is_refused_with_the_field_and_the_limit(made, fields, param, limit):
    response = made.post("/v1/moderations", json=fields)
    assert response.status_code == 400
    error = envelope(response)
    assert error["param"] == param
    assert limit in error["message"]
    assert param in error["message"]


@pytest.mark.parametrize("failure", ["raises", "nan", "too few", "too late"])
def test_a_moderation_that_fails_is_unavailable_and_never_a_pass(failure):
    def scores(context, texts, role):
        if failure == "raises":
            raise RuntimeError("secret words")
        if failure == "too late":
            time.sleep(2.0)
        rows = [scores_of() for _ in texts]
        return [*rows[:-1], scores_of(hate=float("nan"))] if failure == "nan" else rows[failure == "too few" :]

    with client(make_corridor(scores=scores, screen_seconds=0.05 if failure == "too late" else 5)) as made:
        response = made.post("/v1/moderations", json={"input": ["Tea.", "Honey."]})
    assert response.status_code == 503
    assert envelope(response)["type"] == "server_error"
    assert "secret" not in response.text
    assert "flagged" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_generator_that_fails_is_an_internal_error_without_its_words(stream):
    def says(messages, n, sampling):
        raise RuntimeError("secret words of a candidate")

    with client(make_corridor(says)) as made:
        response = chat(made, stream=stream)
        assert response.status_code == 500
        assert envelope(response) == {
            "message": "internal error; the server's log says more",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
        assert made.get("/healthz").status_code == 200


def test_a_second_attempt_that_fails_lets_nothing_of_the_first_out():
    def says(messages, n, sampling):
        if messages[0]["role"] == "system":  # the steered attempt
            raise RuntimeError("gone")
        return ["A bomb."] * n

    with client(make_corridor(says, UNSAFE)) as made:
        whole, streamed = chat(made), chat(made, stream=True)
    assert whole.status_code == 500
    error = streamed.text.rstrip().rpartition("\n\n")[2]  # the first attempt was told of before the second failed
    assert json.loads(error.removeprefix("data: ")) == whole.json()
    assert "[DONE]" not in streamed.text
    assert "bomb" not in whole.text + streamed.text


def test_a_full_queue_is_said_so_at_once_with_when_to_try_again_and_empties():
    release = threading.Event()

    def says(messages, n, sampling):
        assert release.wait(20)
        return [GLAD] * n

    async def crowd():
        transport = httpx.ASGITransport(create_app(make_corridor(says, max_running=1, max_queue=1)))
        async with httpx.AsyncClient(transport=transport, base_url="http://winnow") as made:
            body = {"messages": ASKS_NOTHING}
            tasks = [asyncio.create_task(made.post("/v1/chat/completions", json=body)) for _ in range(3)]
            try:
                first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20)
                alive = await made.get("/healthz")
            finally:
                release.set()
            answers = await asyncio.gather(*tasks)
            return [task.result() for task in first], alive, answers, await made.post("/v1/chat/completions", json=body)

    (refused,), alive, answers, after = asyncio.run(crowd())
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    error = envelope(refused)
    assert error["code"] == "queue_full"
    assert "1 requests already wait (max_queue)" in error["message"]
    assert alive.status_code == 200
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    assert after.status_code == 200


def test_the_settings_of_a_request_reach_the_generator():
    generator = ScriptedGenerator([GLAD])
    with client(make_corridor(generator=generator, candidates=4, temperature=0.4, max_tokens=30)) as made:
        chat(made, seed=3)
        chat(made, n=6)
        chat(made, candidates=2, temperature=0, top_p=0.5, max_tokens=9, max_completion_tokens=8, stop="END")
    first, second, third = generator.calls
    assert (first.n, first.sampling.temperature, first.sampling.max_tokens) == (4, 0.4, 30)
    assert second.n == 6
    assert (third.n, third.sampling.temperature, third.sampling.top_p) == (2, 0, 0.5)
    assert (third.sampling.max_tokens, third.sampling.stop) == (8, ("END",))


def test_moderations_judge_the_users_words():
    safety = ScriptedSafety()
    with client(make_corridor(safety=safety)) as made:
        made.post("/v1/moderations", json={"input": "Tea."})
    assert safety.calls == [([], ["Tea."], "user")]


# POST /v1/screen


def screened(made, **body):
    return made.post("/v1/screen", json=body)


def verdict(**raised):
    """The row of a text with these scores, and 0.01 for every other objective."""
    because = sorted((name for name, score in raised.items() if score >= 0.5), key=lambda name: -raised[name])
    return {
        "unsafe": max(0.01, *raised.values()) if raised else 0.01,
        "scores": scores_of(**raised),
        "dropped": bool(because),
        "because": because,
        "flagged": [],
    }


def located(context, texts, role):
    """Scores that say where: the weapon's sentence, read as it stands, or as what it looks like where it is spelled b0mb."""
    rows = []
    for text in texts:
        reading, seen = ("normalised", text.replace("0", "o")) if "b0mb" in text else ("raw", text)
        start = seen.find("A bomb.")
        place = Place("A bomb.", start, start + 7, reading) if start >= 0 else Place(seen, 0, len(seen), reading)
        score = 0.9 if start >= 0 else 0.2
        rows.append(Scores(scores_of(weapons=score), score, {"weapons": place}, doubt=0.125))
    return rows


HIDDEN = {"objective": "weapons", "score": 0.9, "threshold": 0.5, "sentence": "A bomb.", "start": 6, "end": 13}


def test_screen_answers_with_verdicts_ranks_the_pick_and_the_prompt():
    scores = {"bomb": {"weapons": 0.9, "crime": 0.6}, "knife": {"weapons": 0.3}, "rude": {"hate": 0.7}}
    asked = [{"role": "user", "content": "Be rude."}]
    with client(make_corridor(scores=scores)) as made:
        response = screened(made, id="a", messages=asked, candidates=["A knife.", "A bomb.", "Tea."])
    assert response.status_code == 200
    assert response.json() == {
        "id": "a",
        "verdicts": [verdict(weapons=0.3), verdict(weapons=0.9, crime=0.6), verdict()],
        "ranks": [2, None, 1],
        "pick": 2,
        "prompt": verdict(hate=0.7),
        "policy": POLICY.fingerprint,
    }


def test_screen_judges_candidates_in_the_whole_context_and_the_users_last_turn_in_what_stands_before_it():
    safety = ScriptedSafety()
    parts = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    with client(make_corridor(safety=safety)) as made:
        screened(made, messages=[{"role": "developer", "content": parts}, TURN], candidates=["Tea.", "Honey."])
    before = [("system", "Be\nbrief.")]
    assert sorted(safety.calls, key=str) == sorted(
        [
            (before, ["Hello?"], "user"),
            ([*before, ("user", "Hello?")], ["Tea.", "Honey."], "assistant"),
        ],
        key=str,
    )


def test_screen_judges_under_the_policy_of_the_server():
    strict = replace(POLICY, objectives={n: replace(o, threshold=0.2) for n, o in POLICY.objectives.items()})
    with client(make_corridor(scores={"knife": {"weapons": 0.3}}, policy=strict)) as made:
        answer = screened(made, candidates=["A knife."]).json()
    assert (answer["verdicts"][0]["because"], answer["ranks"], answer["pick"]) == (["weapons"], [None], None)


@pytest.mark.parametrize(("text", "ranks", "pick"), [("Tea?", [1], 0), ("A bomb?", [None], None)])
def test_screen_of_a_prompt_alone_judges_the_users_last_turn(text, ranks, pick):
    safety = ScriptedSafety(UNSAFE)
    with client(make_corridor(safety=safety)) as made:
        answer = screened(made, messages=[TURN, {"role": "user", "content": text}]).json()
    assert safety.calls == [([("user", "Hello?")], [text], "user")]
    assert answer["verdicts"] == [answer["prompt"]]
    assert answer["prompt"] == (verdict(weapons=0.9) if pick is None else verdict())
    assert (answer["id"], answer["ranks"], answer["pick"]) == (None, ranks, pick)


@pytest.mark.parametrize("messages", [None, [], [TURN, {"role": "assistant", "content": "Yes?"}]])
def test_screen_has_no_prompt_where_the_user_does_not_speak_last(messages):
    with client(make_corridor(scores=UNSAFE)) as made:
        answer = screened(made, **({} if messages is None else {"messages": messages}), candidates=["Tea."]).json()
    assert answer["prompt"] is None
    assert answer["pick"] == 0


@pytest.mark.parametrize("name", ["a", 7, None])
def test_screen_hands_the_id_back(name):
    with client(make_corridor()) as made:
        assert screened(made, id=name, candidates=["Tea."]).json()["id"] == name


def test_screen_explains_which_sentence_decided_and_in_which_reading_when_asked_to():
    body = {"messages": [{"role": "user", "content": "Well. A b0mb."}], "candidates": ["Well. A bomb.", "Tea."]}
    with client(make_corridor(scores=located)) as made:
        plain, explained = screened(made, **body).json(), screened(made, **body, explain=True).json()
    assert explained["prompt"]["reasons"] == [{**HIDDEN, "reading": "normalised"}]
    dropped, kept = explained["verdicts"]
    assert dropped["reasons"] == [{**HIDDEN, "reading": "raw"}]
    nearest = {"sentence": "Tea.", "start": 0, "end": 4, "reading": "raw"}
    assert kept["reasons"] == [{"objective": "weapons", "score": 0.2, "threshold": 0.5, **nearest}]
    for row in (explained["prompt"], *explained["verdicts"]):
        del row["reasons"]
        assert row.pop("doubt") == 0.125
    assert plain == explained


def test_screen_explains_without_a_place_where_the_scorer_tells_none():
    with client(make_corridor(scores=UNSAFE)) as made:
        (row,) = screened(made, candidates=["A bomb."], explain=True).json()["verdicts"]
    assert row["reasons"] == [{"objective": "weapons", "score": 0.9, "threshold": 0.5}]


def test_screen_takes_sixty_four_candidates():
    with client(make_corridor()) as made:
        assert screened(made, candidates=["Tea."] * 64).json()["ranks"] == list(range(1, 65))


NOTHING = "give candidates, or messages that end with the user's turn"


@pytest.mark.parametrize(
    ("body", "param", "limit"),
    [
        pytest.param({}, None, NOTHING, id="nothing"),
        pytest.param({"messages": []}, None, NOTHING, id="no messages"),
        pytest.param({"messages": [{"role": "assistant", "content": "Yes?"}]}, None, NOTHING, id="no user last"),
        pytest.param({"candidates": []}, "candidates", "at least 1", id="no candidates"),
        pytest.param({"candidates": ["Tea."] * 65}, "candidates", "at most 64", id="65 candidates"),
        pytest.param({"candidates": "Tea."}, "candidates", "list", id="one candidate"),
        pytest.param({"candidates": ["Tea.", 1]}, "candidates.1", "string", id="a number for a candidate"),
        pytest.param({"candidates": ["Tea.", None]}, "candidates.1", "string", id="null for a candidate"),
        pytest.param({"candidates": ["\ud800"]}, "candidates.0", "surrogate", id="half a surrogate pair"),
        pytest.param({"messages": "Hello?"}, "messages", "list", id="messages a text"),
        pytest.param({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'user'", id="unknown role"),
        pytest.param({"messages": [{"role": "user"}]}, "messages.0.content", "required", id="no content"),
        pytest.param({"messages": [{"role": "user", "content": " "}]}, "messages.0", "not be empty", id="empty turn"),
        pytest.param({"messages": [TURN] * 101}, "messages", "limit is 100", id="too many messages"),
        pytest.param({"candidates": ["x"], "explain": "maybe"}, "explain", "boolean", id="explain"),
        pytest.param({"candidates": ["x"], "policy": "lax"}, "policy", "'strict'", id="unknown preset"),
        pytest.param({"candidates": ["x"], "preset": "lax"}, "preset", "not permitted", id="unknown key"),
        pytest.param({"candidates": ["x"], "id": ["a"]}, "id", "whole number", id="a list for an id"),
        pytest.param({"candidates": ["x"], "id": "\ud800"}, "id", "surrogate", id="an id that is no text"),
    ],
)
def test_a_bad_screen_request_is_refused_with_the_field_and_the_limit(made, body, param, limit):
    response = made.post("/v1/screen", content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 400
    error = envelope(response)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["code"]
    assert limit in error["message"]
    assert (param or "body").split(".")[0] in error["message"]


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("side", ["user", "assistant"])
@pytest.mark.parametrize("failure", ["raises", "nan", "too few", "too late"])
def test_a_screening_that_fails_is_unavailable_and_says_nothing_of_a_text(failure, side, explain):
    def scores(context, texts, role):
        rows = [scores_of() for _ in texts]
        if role != side:
            return rows
        if failure == "raises":
            raise RuntimeError(f"secret words of {texts}")
        if failure == "too late":
            time.sleep(2.0)
        return {"nan": [*rows[:-1], scores_of(hate=float("nan"))], "too few": rows[1:]}.get(failure, rows)

    with client(make_corridor(scores=scores, screen_seconds=0.05 if failure == "too late" else 5)) as made:
        response = screened(made, messages=[TURN], candidates=["Tea.", "Honey."], explain=explain)
    assert response.status_code == 503
    assert envelope(response)["type"] == "server_error"
    assert not [word for word in ("secret", "Tea", "Honey", "Hello", "verdicts") if word in response.text]


def test_a_prompt_that_cannot_be_judged_alone_is_unavailable_too():
    with client(make_corridor(scores=lambda context, texts, role: [None])) as made:
        assert screened(made, messages=[TURN]).status_code == 503


def test_ground_finds_the_claims_of_a_text_in_the_servers_index_or_in_the_sources_given():
    with client(make_corridor()) as made:
        answer = made.post("/v1/ground", json={"id": 7, "text": KENYA}).json()
        other = made.post("/v1/ground", json={"text": KENYA, "sources": ["Bees make honey."]}).json()
        every = made.post("/v1/ground", json={"text": f"Hello! {KENYA}", "all_sentences": True}).json()
    assert set(answer) == {"id", "claims", "support", "groundedness"}
    assert (answer["id"], answer["groundedness"]) == (7, 1.0)
    assert [claim["label"] for claim in other["claims"]] == ["unsupported"]
    assert len(every["claims"]) > len(answer["claims"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": 3}, "text"),
        ({"text": "x", "sources": ["y"] * 65}, "sources"),
        ({"text": "x", "extra": 1}, "extra"),
        ({"text": "x", "messages": [TURN] * 101}, "messages"),
    ],
)
def test_a_bad_request_to_ground_is_refused_with_the_field(body, param):
    with client(make_corridor()) as made:
        answer = made.post("/v1/ground", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
