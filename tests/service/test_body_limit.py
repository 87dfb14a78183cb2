import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.body_limit import BodyLimit, HeadLimit


def ask(app, chunks, declared=None, kind="http"):
    """What the limited app sends for a body that arrives in these chunks."""
    sent = []
    messages = iter(
        [{"type": "http.request", "body": c, "more_body": i + 1 < len(chunks)} for i, c in enumerate(chunks)]
    )

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    headers = [] if declared is None else [(b"content-length", declared)]
    asyncio.run(app({"type": kind, "headers": headers}, receive, send))
    return sent


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def hides_failures(scope, receive, send):
    """As FastAPI does: whatever reading raises becomes an answer of its own."""
    try:
        await echo(scope, receive, send)
    except Exception:
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"there was an error"})


async def must_not_run(scope, receive, send):
    raise AssertionError("the app was asked")


@pytest.mark.parametrize("app", [echo, hides_failures])
@given(chunks=st.lists(st.binary(max_size=40), min_size=1, max_size=6), limit=st.integers(0, 120))
def test_a_body_passes_whole_or_is_answered_413_however_it_is_cut(app, chunks, limit):
    body = b"".join(chunks)
    sent = ask(BodyLimit(app, limit), chunks)
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    if len(body) <= limit:
        assert (sent[0]["status"], sent[1]["body"]) == (200, body)
    else:
        assert sent[0]["status"] == 413


@pytest.mark.parametrize("declared", [b"11", b"1e1", b"-1", b"", b"99999999999999999999"])
def test_a_declared_length_over_the_limit_or_unreadable_is_refused_before_the_app_is_asked(declared):
    assert ask(BodyLimit(must_not_run, 10), [b""], declared)[0]["status"] == 413


def test_a_declared_length_at_the_limit_passes():
    assert ask(BodyLimit(echo, 10), [b"0123456789"], b"10")[1]["body"] == b"0123456789"


def test_a_false_declaration_does_not_help():
    assert ask(BodyLimit(echo, 10), [b"0123456789", b"more"], b"3")[0]["status"] == 413


def test_the_refusal_is_the_error_envelope_and_names_the_limit():
    start, body = ask(BodyLimit(echo, 10), [b"x" * 11])
    assert dict(start["headers"])[b"content-type"] == b"application/json"
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    error = json.loads(body["body"])["error"]
    assert error.pop("message") == "the request body has more than 10 bytes (max_body_bytes)"
    assert error == {"type": "invalid_request_error", "param": "body", "code": "body_too_large"}


def test_an_answer_that_has_begun_is_not_begun_again():
    async def answers_first(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await echo_body(receive, send)

    async def echo_body(receive, send):
        await receive()
        await send({"type": "http.response.body", "body": b"late"})

    assert [m["type"] for m in ask(BodyLimit(answers_first, 10), [b"x" * 11])] == ["http.response.start"]


def test_an_error_of_the_app_is_passed_on():
    async def fails(scope, receive, send):
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        ask(BodyLimit(fails, 10), [b""])


def test_what_is_not_http_is_let_through():
    async def lifespan(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})

    assert ask(BodyLimit(lifespan, 10), [], b"999", kind="lifespan") == [{"type": "lifespan.startup.complete"}]


def headed(limit, **scope):
    """What the app with a limited head sends."""
    sent = []

    async def send(message):
        sent.append(message)

    whole = {"type": "http", "raw_path": b"/", "query_string": b"", "headers": [], **scope}
    asyncio.run(HeadLimit(greets, limit)(whole, None, send))
    return sent


async def greets(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    "scope",
    [
        {"raw_path": b"/" + b"x" * 9},
        {"query_string": b"x" * 9},
        {"headers": [(b"n", b"x" * 8)]},
        {"headers": [(b"x" * 9, b"")]},
        {"headers": [(b"n", b"x")] * 4, "query_string": b"x"},
    ],
)
def test_a_head_passes_up_to_the_limit_and_is_answered_431_over_it(scope):
    assert headed(10, **scope)[0]["status"] == 200
    start, body = headed(9, **scope)
    assert start["status"] == 431
    assert (
        json.loads(body["body"])["error"]["message"] == "address and headers have more than 9 bytes (max_header_bytes)"
    )


def test_what_is_not_http_has_no_head():
    assert headed(1, type="websocket", headers=[(b"a", b"bcd")])[0]["status"] == 200
