import asyncio
import json
import logging
import tempfile
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import openai
import pytest
from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from starlette.routing import Route

from service import keys
from service.access import NEEDS, OPEN, OPEN_BELOW
from service.app import create_app
from service.keys import add_key, remove_key
from service.last_resort import CutOff
from tests.service.scripted import ASKS_NOTHING, GLAD, make_corridor, scores_of
from tests.service.serving import listening

UNSAFE = {"bomb": {"weapons": 0.9}}
CANARY = "of what was said"
HELLO = {"messages": ASKS_NOTHING}
BODIES = {
    "/v1/chat/completions": HELLO,
    "/v1/moderations": {"input": "Hello."},
    "/v1/screen": {"candidates": ["Hello."]},
    "/v1/ground": {"text": "Hello."},
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.toml"


@contextmanager
def client(corridor, **options):
    with TestClient(create_app(corridor), raise_server_exceptions=False, **options) as made:
        yield made


def made_key(file, *scopes, **limits):
    return add_key(file, f"key-{'-'.join(scopes)}-{len(limits)}", scopes, **limits)


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def refusal(response):
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"]


def declared(routes):
    """Every route, also of the routers that were put in; what is neither is told, since nobody has asked it."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from declared(route.original_router.routes)
        else:
            assert isinstance(route, Route), route
            yield route


# Keys and scopes


def test_with_keys_no_route_that_is_not_named_open_answers_without_one(file):
    made_key(file, "chat")
    app = create_app(make_corridor(keys=file))
    asked = 0
    with TestClient(app) as made:
        for route in declared(app.routes):
            for method in route.methods:
                response = made.request(method, route.path, json=HELLO)
                if route.path in OPEN or route.path.startswith(OPEN_BELOW):
                    assert response.status_code not in (401, 403)
                elif method != "HEAD":
                    asked += 1
                    assert refusal(response) == (401, "invalid_api_key"), route.path
    assert asked >= 9


def test_what_stands_open_is_named_here():
    """A path is opened on purpose, by changing this test."""
    assert OPEN == ("/", "/healthz", "/readyz", "/docs", "/openapi.json")
    assert OPEN_BELOW == ("/page/",)


@pytest.mark.parametrize(
    "path", ["/v1/unknown", "/V1/chat/completions", "//v1/chat/completions", "/metrics", "/x", "/v1/chat/completions/"]
)
def test_a_path_that_nobody_thought_of_is_shut(file, path):
    made_key(file, "chat")
    with client(make_corridor(keys=file)) as made:
        assert made.post(path, json=HELLO, follow_redirects=False).status_code == 401


def test_behind_a_path_of_its_own_the_doors_are_as_shut(file):
    made_key(file, "screen")
    app = create_app(make_corridor(keys=file))
    with TestClient(app, root_path="/winnow") as made:
        assert made.post("/v1/chat/completions", json=HELLO).status_code == 401
        assert made.post("/winnow/v1/chat/completions", json=HELLO).status_code == 401


@pytest.mark.parametrize("scope", ["chat", "screen", "debug", "metrics"])
@pytest.mark.parametrize("path", BODIES)
def test_a_key_opens_the_doors_of_its_scopes_alone_and_the_refusal_names_the_missing_one(file, path, scope):
    key = made_key(file, scope)
    with client(make_corridor(keys=file)) as made:
        response = made.post(path, json=BODIES[path], headers=bearer(key))
    if NEEDS[path] == scope:
        assert response.status_code == 200
    else:
        assert refusal(response) == (403, "missing_scope")
        assert f"lacks the scope '{NEEDS[path]}', which {path} needs; it has: {scope}" in response.text
        assert key not in response.text


def test_a_key_of_several_scopes_opens_all_of_their_doors(file):
    key = made_key(file, "chat", "screen")
    with client(make_corridor(keys=file)) as made:
        assert {made.post(p, json=b, headers=bearer(key)).status_code for p, b in BODIES.items()} == {200}


def test_a_key_of_any_scope_may_list_the_models(file):
    key = made_key(file, "metrics")
    with client(make_corridor(keys=file)) as made:
        assert made.get("/v1/models", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer x{key}",
        "Bearer {key},{key}",
        "Token {key}",
        "Bearer \xff\xfe",
    ],
)
def test_what_is_no_key_of_this_server_is_refused_and_not_repeated(file, header):
    key = made_key(file, "chat")
    sent = {} if header is None else {"authorization": header.format(key=key).encode("latin-1")}
    with client(make_corridor(keys=file)) as made:
        response = made.post("/v1/chat/completions", json=HELLO, headers=sent)
    assert refusal(response) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert key not in response.text
    assert "winnow keys add" in response.text


@pytest.mark.parametrize("header", ["Bearer {key}", "bearer {key}", "BEARER   {key} "])
def test_the_scheme_may_be_written_in_any_case(file, header):
    key = made_key(file, "chat")
    with client(make_corridor(keys=file)) as made:
        sent = {"authorization": header.format(key=key)}
        assert made.post("/v1/chat/completions", json=HELLO, headers=sent).status_code == 200


def test_a_file_without_keys_lets_nobody_in(file):
    made_key(file, "chat")
    remove_key(file, "key-chat-0")
    with client(make_corridor(keys=file)) as made:
        assert made.post("/v1/chat/completions", json=HELLO).status_code == 401


def test_a_file_of_keys_that_is_not_there_stops_the_start(file):
    with pytest.raises(FileNotFoundError, match=r"keys\.toml"):
        create_app(make_corridor(keys=file))


def test_a_key_made_while_serving_is_good_and_one_removed_is_not(file, monkeypatch):
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    first = made_key(file, "chat")
    with client(make_corridor(keys=file)) as made:
        second = made_key(file, "chat", "screen")
        remove_key(file, "key-chat-0")
        assert made.get("/v1/models", headers=bearer(first)).status_code == 401
        assert made.get("/v1/models", headers=bearer(second)).status_code == 200


def test_readiness_says_that_the_keys_cannot_be_read(file, monkeypatch):
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0.0)
    key = made_key(file, "chat")
    with client(make_corridor(keys=file)) as made:
        assert "keys" not in made.get("/readyz").json()
        file.write_text("[[keys]")
        assert made.get("/v1/models", headers=bearer(key)).status_code == 200
        assert "cannot be read" in made.get("/readyz").json()["keys"]["warning"]


def test_who_has_no_key_has_nothing_read(file):
    made_key(file, "chat")

    async def receive():
        raise AssertionError("the body was read")

    async def send(message):
        sent.append(message)

    sent = []
    app = create_app(make_corridor(keys=file))
    scope = {"type": "http", "method": "POST", "path": "/v1/screen", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 401


def test_the_official_client_meets_its_own_errors(file):
    full = add_key(file, "full", ["chat"], requests_per_minute=1)
    other = add_key(file, "other", ["screen"])
    with listening(create_app(make_corridor(keys=file))) as url:

        def ask(key):
            with OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as made:
                return made.chat.completions.create(model="default", messages=ASKS_NOTHING)

        with pytest.raises(openai.AuthenticationError):
            ask("winnow_wrong")
        with pytest.raises(openai.PermissionDeniedError):
            ask(other)
        assert ask(full).choices[0].message.content == GLAD
        with pytest.raises(openai.RateLimitError) as limited:
            ask(full)
        assert 0 < int(limited.value.response.headers["retry-after"]) <= 61


# Quotas


def test_the_requests_of_a_minute_are_counted_for_each_key(file):
    key = add_key(file, "a", ["chat"], requests_per_minute=2)
    other = add_key(file, "b", ["chat"])
    with client(make_corridor(keys=file)) as made:
        first, second, third = (made.post("/v1/chat/completions", json=HELLO, headers=bearer(key)) for _ in range(3))
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert [r.headers["x-ratelimit-remaining-requests"] for r in (first, second, third)] == ["1", "0", "0"]
        assert refusal(third) == (429, "rate_limit_exceeded")
        assert third.json()["error"]["type"] == "requests"
        assert 0 < int(third.headers["retry-after"]) <= 61
        free = made.post("/v1/chat/completions", json=HELLO, headers=bearer(other))
        assert free.status_code == 200
        assert not [name for name in free.headers if name.startswith("x-ratelimit")]


def test_requests_that_are_refused_for_their_body_count_too(file):
    key = add_key(file, "a", ["chat"], requests_per_minute=1)
    with client(make_corridor(keys=file)) as made:
        assert made.post("/v1/chat/completions", content="{", headers=bearer(key)).status_code == 400
        assert made.post("/v1/chat/completions", json=HELLO, headers=bearer(key)).status_code == 429


@pytest.mark.parametrize("stream", [False, True])
def test_every_candidate_is_paid_for_and_an_empty_budget_is_refused_with_no_retry(file, stream):
    key = add_key(file, "a", ["chat"], tokens_per_day=50)
    with client(make_corridor(["One bomb is enough.", GLAD], UNSAFE, keys=file)) as made:
        wish = {**HELLO, "candidates": 8, "stream": stream, "grounding": "off"}
        first = made.post("/v1/chat/completions", json=wish, headers=bearer(key))
        after = made.post("/v1/chat/completions", json=wish, headers=bearer(key))
        refused = made.post("/v1/chat/completions", json=wish, headers=bearer(key))
    assert (first.status_code, after.status_code) == (200, 200)  # 4 of prompt, 8 of candidates at 4 or 5 each: 40
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    if not stream:
        assert first.headers["x-ratelimit-remaining-tokens"] == "10"
    assert refusal(refused) == (429, "rate_limit_exceeded")
    assert refused.json()["error"]["type"] == "tokens"
    assert refused.headers["x-should-retry"] == "false"
    assert int(refused.headers["retry-after"]) > 86_000


# Law 7


def said(response):
    if "text/event-stream" not in response.headers["content-type"]:
        return response.json()["winnow"].get("verdicts")
    rows = [row.removeprefix("data: ") for row in response.text.split("\n\n") if row.startswith("data: {")]
    return next(body["winnow"].get("verdicts") for body in map(json.loads, rows) if "winnow" in body)


@pytest.mark.parametrize("stream", [False, True])
def test_explain_gives_the_scores_to_all_and_the_texts_to_a_debug_key(file, stream):
    plain, debug = made_key(file, "chat"), made_key(file, "chat", "debug")
    texts = ["One bomb is enough.", GLAD]
    with client(make_corridor(texts, UNSAFE, keys=file)) as made:
        wish = {**HELLO, "candidates": 2, "explain": True, "stream": stream}
        mute = made.post("/v1/chat/completions", json=wish, headers=bearer(plain))
        told = made.post("/v1/chat/completions", json=wish, headers=bearer(debug))
        quiet = made.post("/v1/chat/completions", json={**wish, "explain": False}, headers=bearer(debug))
    assert [row["text"] for row in said(told)] == texts
    assert [row["scores"]["weapons"] for row in said(mute)] == [0.9, 0.01]
    assert all("text" not in row for row in said(mute))
    assert "bomb" not in mute.text
    assert said(quiet) is None
    assert "bomb" not in quiet.text


@settings(max_examples=30)
@given(data=st.data())
def test_without_the_debug_scope_no_dropped_text_is_in_any_byte_or_log_whatever_is_asked_and_whatever_fails(data):
    """Every route, answer, refusal, failure and log line, with all sets of scopes but those with `debug`, and with no keys at all."""
    canary = "canary" + data.draw(st.text("abcdefgh", min_size=8, max_size=8))
    secret = f"A bomb of {canary}."
    failure = data.draw(st.sampled_from([None, "generator", "scores"]))
    fails = cycle(data.draw(st.lists(st.booleans(), min_size=1, max_size=5)))

    def says(messages, n, sampling):
        if failure == "generator" and next(fails):
            raise RuntimeError(secret)
        return [secret if i % 2 else GLAD for i in range(n)]

    def scores(context, texts, role):
        if failure == "scores" and next(fails):
            raise ValueError(secret)
        return [scores_of(weapons=0.9 if "bomb" in text else 0.01) for text in texts]

    records = []
    handler = logging.Handler(0)
    handler.emit = records.append
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with tempfile.TemporaryDirectory() as folder:
            named = {}
            headers = {}
            if data.draw(st.booleans()):
                named["keys"] = Path(folder) / "keys.toml"
                scopes = data.draw(st.sets(st.sampled_from(["chat", "screen", "metrics"]), min_size=1))
                limits = {"requests_per_minute": 3} if data.draw(st.booleans()) else {}
                headers = bearer(add_key(named["keys"], "a", scopes, **limits))
            with client(make_corridor(says, scores, **named)) as made:
                for _ in range(4):
                    wish = {
                        **HELLO,
                        "candidates": data.draw(st.integers(1, 4)),
                        "explain": True,
                        "stream": data.draw(st.booleans()),
                        "n": data.draw(st.integers(1, 5)),
                        "debug": True,
                    }
                    sent = headers if data.draw(st.booleans()) else {}
                    answer = made.post("/v1/chat/completions?debug=true", json=wish, headers={**sent, "x-debug": "1"})
                    assert canary not in answer.text + str(answer.headers)
                for path in ("/readyz", "/healthz", "/v1/models", "/openapi.json", "/metrics"):
                    assert canary not in made.get(path, headers=headers).text
        for record in records:
            formatted = logging.Formatter().format(record)
            assert canary not in formatted
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


# Without keys


def test_without_keys_every_door_is_open_but_dropped_texts_stay_in():
    with client(make_corridor(["One bomb is enough.", GLAD], UNSAFE)) as made:
        assert {made.post(path, json=body).status_code for path, body in BODIES.items()} == {200}
        wish = {**HELLO, "explain": True}
        for headers in ({}, bearer("winnow_any")):
            told = made.post("/v1/chat/completions", json=wish, headers=headers)
            assert "bomb" not in told.text
            assert said(told)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1:8000", 200),
        ("http://[::1]:8000", 200),
        ("https://chat.example.org", 200),
        ("https://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://evil-localhost", 403),
        ("http://10.0.0.1", 403),
        ("http://[::1", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_without_keys_a_page_from_elsewhere_is_refused_under_whatever_name_it_reaches_this_machine(origin, status):
    with client(make_corridor(cors_origins=["https://chat.example.org"])) as made:
        for path, body in BODIES.items():
            assert made.post(path, json=body, headers={"origin": origin}).status_code == status


def test_with_keys_or_by_the_operators_word_the_origin_decides_nothing(file):
    key = made_key(file, "chat")
    headers = {"origin": "https://elsewhere.example", **bearer(key)}
    for named in ({"keys": file}, {"insecure_no_keys": True}):
        with client(make_corridor(**named)) as made:
            response = made.post("/v1/chat/completions", json=HELLO, headers=headers)
            assert response.status_code == 200
            assert "access-control-allow-origin" not in response.headers


# What a browser is told


def preflight(made, origin):
    return made.options(
        "/v1/chat/completions",
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )


def test_by_default_no_other_origin_is_let_in():
    with client(make_corridor()) as made:
        for response in (preflight(made, "https://a.example"), preflight(made, "http://localhost:3000")):
            assert response.status_code != 200
            assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_named_origin_and_no_other_may_ask_and_read_the_limits(file):
    key = add_key(file, "a", ["chat"], requests_per_minute=1)
    with client(make_corridor(keys=file, cors_origins=["https://a.example"])) as made:
        allowed = preflight(made, "https://a.example")
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        assert "access-control-allow-credentials" not in allowed.headers
        assert "access-control-allow-origin" not in preflight(made, "https://b.example").headers
        sent = {"origin": "https://a.example", **bearer(key)}
        answers = [made.post("/v1/chat/completions", json=HELLO, headers=sent) for _ in range(2)]
        answers.append(made.post("/v1/chat/completions", json=HELLO, headers={"origin": "https://a.example"}))
        assert [answer.status_code for answer in answers] == [200, 429, 401]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == "https://a.example"
            assert "retry-after" in answer.headers["access-control-expose-headers"].lower()


def test_every_answer_tells_a_browser_to_trust_it_with_nothing(file):
    key = made_key(file, "chat")

    def breaks(messages, n, sampling):
        raise RuntimeError("unforeseen")

    corridor = make_corridor(breaks, keys=file, max_body_bytes=1000)
    with client(corridor) as made:
        answers = {
            200: made.get("/v1/models", headers=bearer(key)),
            401: made.get("/v1/models"),
            403: made.post("/v1/screen", json={}, headers=bearer(key)),
            404: made.get("/nowhere", headers=bearer(key)),
            405: made.get("/v1/chat/completions", headers=bearer(key)),
            400: made.post("/v1/chat/completions", content="{", headers=bearer(key)),
            413: made.post("/v1/chat/completions", content="x" * 2000, headers=bearer(key)),
            500: made.post("/v1/chat/completions", json=HELLO, headers=bearer(key)),
        }
    assert {answer.status_code for answer in answers.values()} == set(answers)
    for answer in answers.values():
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


def test_a_stream_has_the_headers_too_and_a_page_keeps_its_own():
    app = create_app(make_corridor())

    @app.get("/page/own")
    async def own():
        return StreamingResponse(iter([b"x"]), headers={"Content-Security-Policy": "default-src 'self'"})

    with TestClient(app) as made:
        stream = made.post("/v1/chat/completions", json={**HELLO, "stream": True})
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.headers["cache-control"] == "no-cache"
        assert made.get("/page/own").headers["content-security-policy"] == "default-src 'self'"
        assert "https://cdn.jsdelivr.net" in made.get("/docs").headers["content-security-policy"]


# What nothing else caught


def test_an_unforeseen_error_is_answered_and_never_reaches_the_server_with_its_message(caplog):
    app = create_app(make_corridor())

    @app.get("/page/breaks")
    async def breaks():
        raise RuntimeError(CANARY)

    with TestClient(app, raise_server_exceptions=True) as made:  # raises what the server would have logged
        response = made.get("/page/breaks")
    assert refusal(response) == (500, "internal_error")
    assert CANARY not in response.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_an_answer_that_breaks_off_ends_in_an_error_that_carries_no_message(caplog):
    app = create_app(make_corridor())

    async def pieces():
        yield b"a"
        raise RuntimeError(CANARY)

    @app.get("/page/breaks")
    async def breaks(request: Request):
        return StreamingResponse(pieces())

    with TestClient(app) as made, pytest.raises(CutOff) as broken:
        made.get("/page/breaks")
    assert broken.value.__cause__ is None
    assert broken.value.__context__ is None
    assert CANARY not in caplog.text
    assert "RuntimeError" in caplog.text


def test_a_request_may_not_ask_for_more_candidates_than_the_server_allows():
    with client(make_corridor(candidates=2, max_candidates=4)) as made:
        assert made.post("/v1/chat/completions", json={**HELLO, "candidates": 4}).status_code == 200
        for fields, param in (({"candidates": 5}, "candidates"), ({"n": 5}, "n")):
            response = made.post("/v1/chat/completions", json={**HELLO, **fields})
            assert response.status_code == 400
            assert response.json()["error"]["param"] == param
            assert "the limit is 4 (max_candidates)" in response.json()["error"]["message"]
