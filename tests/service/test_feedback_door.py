"""`/v1/feedback`: what people say of a reply is kept with its decision, and comes out as `winnow eval` reads it."""

import json

import pytest
from starlette.testclient import TestClient

from classifiers import OBJECTIVES
from classifiers.labelled import read_labelled
from service import log_file
from service.app import create_app
from service.decision_log import REASONS
from service.feedback import exported
from service.log_file import LogReader
from tests.service.scripted import ASKS_KENYA, KENYA, make_corridor


@pytest.fixture
def log(tmp_path):
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def client(log):
    with TestClient(create_app(make_corridor([KENYA], decision_log=log, retain_texts=True))) as client:
        yield client


def ask(client):
    return client.post("/v1/chat/completions", json={"messages": ASKS_KENYA, "candidates": 2}).json()["id"]


def tell(client, **said):
    return client.post("/v1/feedback", json=said)


def labels(log):
    with LogReader(log) as reader:
        return [(label.decision, label.choice, label.reasons) for label in reader.labels()]


def test_what_is_said_is_kept_with_the_decision_and_read_by_the_reader_of_labelled_exchanges(client, log, tmp_path):
    id = ask(client)
    answer = tell(client, id=id, choice=0, reasons=["hate", "sensible", "hate"])
    assert (answer.status_code, answer.json()) == (200, {"id": id, "choice": 0, "reasons": ["hate", "sensible"]})
    assert labels(log) == [(id, 0, ("hate", "sensible"))]
    file = tmp_path / "labelled.jsonl"
    with LogReader(log) as reader:
        file.write_text("".join(json.dumps(row) + "\n" for row in exported(reader).rows))
    (example,) = read_labelled(file)
    assert (example.reply, example.objectives, example.context) == (
        KENYA,
        {"hate"},
        (("user", ASKS_KENYA[0]["content"]),),
    )


def test_no_reasons_take_back_what_was_said(client, log):
    id = ask(client)
    tell(client, id=id, reasons=["hate"])
    assert tell(client, id=id, reasons=[]).status_code == 200
    assert labels(log) == []


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"id": "chatcmpl-none"}, 404, "no decision 'chatcmpl-none'"),
        ({"choice": 7}, 400, "has choices 0 to 0, not 7"),
        ({"choice": -1}, 400, "choice: "),
        ({"reasons": ["ugly"]}, 400, "unknown reason 'ugly'; known: violence, "),
        ({"reasons": "hate"}, 400, "reasons: "),
        ({"why": "so"}, 400, "why: "),
        ({"id": ""}, 400, "id: "),
        ({"id": "\ud800"}, 400, "id: "),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(client, log, said, status, words):
    body = json.dumps({"id": ask(client), "reasons": ["hate"], **said})
    answer = client.post("/v1/feedback", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert labels(log) == []


def test_the_reasons_are_those_that_a_label_can_name_each_with_its_words(client):
    found = client.get("/v1/feedback").json()
    assert [each["name"] for each in found["reasons"]] == list(REASONS)
    assert all(each["title"] and each["definition"] for each in found["reasons"])
    assert {each["group"] for each in found["reasons"] if each["name"] not in OBJECTIVES} == {"quality"}
    assert (found["kept"], found["texts_kept"]) == (True, True)


def test_a_server_without_a_log_says_that_it_keeps_nothing():
    with TestClient(create_app(make_corridor([KENYA]))) as client:
        assert (client.get("/v1/feedback").json()["kept"], client.get("/v1/feedback").json()["texts_kept"]) == (
            False,
        ) * 2
        answer = tell(client, id=ask(client), reasons=["hate"])
        assert answer.status_code == 404
        assert "decision_log" in answer.json()["error"]["message"]


def test_a_log_without_words_says_so(log):
    with TestClient(create_app(make_corridor([KENYA], decision_log=log))) as client:
        found = client.get("/v1/feedback").json()
        assert (found["kept"], found["texts_kept"]) == (True, False)


def test_a_label_that_could_not_be_written_is_no_success(client, log, monkeypatch):
    id = ask(client)

    def full(base, label):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_file, "insert_label", full)
    answer = tell(client, id=id, reasons=["hate"])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["message"] == "the label could not be written to the decision log"
