import json
import logging

import pytest
from fastapi.testclient import TestClient

from service import request_id
from service.app import create_app
from tests.service.scripted import ASKS_NOTHING, GLAD, make_corridor, scores_of

BODY = {"messages": ASKS_NOTHING, "candidates": 2}


@pytest.fixture
def ids(monkeypatch):
    """(logger, request id) of every line that is logged, in order."""
    found = []

    class Keeping(logging.Handler):
        def emit(self, record):
            found.append((record.name, request_id.current.get(), record))

    handler = Keeping()
    package = logging.getLogger("service")
    monkeypatch.setattr(package, "level", logging.DEBUG)
    logging.getLogger().manager._clear_cache()
    package.addHandler(handler)
    yield found
    package.removeHandler(handler)
    logging.getLogger().manager._clear_cache()


def client(*parts, **more):
    return TestClient(create_app(make_corridor(*parts, **more)), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/healthz", None, 200),
        ("POST", "/v1/chat/completions", BODY, 200),
        ("POST", "/v1/chat/completions", {**BODY, "stream": True}, 200),
        ("POST", "/v1/chat/completions", {**BODY, "stream": True, "stream_mode": "sentence"}, 200),
        ("POST", "/v1/chat/completions", {}, 400),
        ("POST", "/v1/chat/completions", {"messages": ASKS_NOTHING * 2000}, 413),
        ("GET", "/nowhere", None, 404),
        ("POST", "/healthz", None, 405),
    ],
)
def test_every_answer_says_the_id_of_its_request(method, path, body, status):
    with client([GLAD], max_body_bytes=5000) as made:
        given = made.request(method, path, json=body, headers={"x-request-id": "trace-1"})
        own = made.request(method, path, json=body)
        forged = made.request(method, path, json=body, headers={"x-request-id": "two words"})
    assert given.status_code == own.status_code == status
    assert given.headers["x-request-id"] == "trace-1"
    assert own.headers["x-request-id"].startswith("req-")
    assert forged.headers["x-request-id"].startswith("req-")


def test_the_answer_to_a_fault_of_our_own_says_it_too(monkeypatch, ids):
    monkeypatch.setattr("service.wire.models", lambda names: 1 / 0)
    with client() as made:
        answer = made.get("/v1/models", headers={"x-request-id": "trace-2"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "trace-2"
    assert ("service.errors", "trace-2") in [line[:2] for line in ids]


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "stream_mode": "sentence"}])
def test_every_line_of_a_request_names_it_in_whatever_thread_it_is_logged(ids, fields):
    def scores(context, texts, role):
        logging.getLogger("service.scorer").warning("judging")
        if role == "assistant":
            raise RuntimeError("no")
        return [scores_of() for _ in texts]

    def says(messages, n, sampling):
        logging.getLogger("service.sampler").warning("sampling")
        return [GLAD] * n

    with client(says, scores) as made:
        made.post("/v1/chat/completions", json={**BODY, **fields}, headers={"x-request-id": "trace-3"})
    assert {line[1] for line in ids} == {"trace-3"}
    assert {line[0] for line in ids} >= {
        "service.app",  # the decision
        "service.sampler",  # the request's thread
        "service.screening",  # its fault
        "service.watching",  # the end
    }


def test_requests_after_one_another_are_not_mixed_up(ids):
    with client() as made:
        for name in ("trace-4", "trace-5"):
            made.post("/v1/chat/completions", json=BODY, headers={"x-request-id": name})
    names = [line[1] for line in ids if line[0] == "service.app"]
    assert names == ["trace-4", "trace-5"]


def test_a_request_that_is_over_leaves_a_line_with_route_status_and_seconds(ids):
    with client() as made:
        answer = made.post("/v1/chat/completions?words=secret", json=BODY)
        made.get("/secret")
    lines = [record for name, _, record in ids if name == "service.watching"]
    assert [(r.route, r.status, r.levelname) for r in lines] == [
        ("/v1/chat/completions", 200, "INFO"),
        ("other", 404, "INFO"),
    ]
    assert all(0 <= record.seconds < 60 for record in lines)
    assert "secret" not in "".join(record.getMessage() for record in lines)
    (decided,) = [record for name, _, record in ids if name == "service.app"]
    assert decided.decision == answer.json()["id"]  # so that a record is found by its request


def test_machines_that_ask_every_few_seconds_do_not_fill_the_log(ids):
    with client() as made:
        for path in ("/healthz", "/readyz", "/metrics"):
            made.get(path)
    assert {record.levelname for name, _, record in ids if name == "service.watching"} == {"DEBUG"}


def test_a_client_that_left_before_the_answer_is_counted_as_one_that_left(ids):
    from service.watching import Watching

    counted = []

    async def app(scope, receive, send):
        raise TimeoutError("gone")

    async def leave():
        await Watching(app, lambda *row: counted.append(row[:2]))({"type": "http", "headers": []}, None, None)

    import asyncio

    with pytest.raises(TimeoutError):
        asyncio.run(leave())

    async def silent(scope, receive, send):
        return

    asyncio.run(Watching(silent, lambda *row: counted.append(row[:2]))({"type": "http", "headers": []}, None, None))
    assert counted == [("other", 500), ("other", 499)]


def test_json_lines_of_a_whole_request_can_be_read_by_machines(capsys):
    from service import logs

    root = logging.getLogger()
    before = root.handlers[:], root.level, [logging.getLogger(name).level for name in logs.PACKAGES]
    try:
        import io

        stream = io.StringIO()
        logs.configure("json", "info", stream)
        with client(["A bomb."], {"bomb": {"weapons": 0.9}}) as made:
            made.post("/v1/chat/completions", json=BODY, headers={"x-request-id": "trace-6"})
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        for name, level in zip(logs.PACKAGES, before[2], strict=True):
            logging.getLogger(name).setLevel(level)
    assert [line["request_id"] for line in lines] == ["trace-6"] * len(lines)
    assert lines[-1]["route"] == "/v1/chat/completions"
    assert lines[-1]["status"] == 200
    assert "bomb" not in stream.getvalue()
    assert "Hello" not in stream.getvalue()
