"""The labelling page: what it shows, what it keeps, and that no page from elsewhere can use it."""

import json
import re

import pytest
from starlette.testclient import TestClient

from classifiers import OBJECTIVES
from service.labelling import QUESTIONS, create_page
from service.labels import SETS, Sheet, answers_path, read_items
from service.page import PAGES
from tests.service.scripted import POLICY

HOSTILE = "<script>alert(1)</script>"
HOME = "http://127.0.0.1"


@pytest.fixture
def file(tmp_path):
    rows = [
        {
            "id": "a",
            "context": [{"role": "user", "content": HOSTILE}],
            "reply": HOSTILE,
            "labels": ["hate"],
            "why": "rude",
        },
        {"id": "b", "reply": "Nairobi is big.", "sentence": "Nairobi is big.", "quote": "Nairobi, a large city"},
    ]
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def client(file):
    items = read_items(file)
    sheet = Sheet(answers_path(file, "ada"), items)
    return TestClient(create_page(sheet, items, list(SETS), POLICY, "ada"), base_url=HOME)


def answer(client, item, question, value, **options):
    return client.post("/answers", json={"item": item, "question": question, "answer": value}, **options)


def test_every_question_has_our_wording_and_every_objective_its_definition(client):
    found = client.get("/items").json()
    assert found["asked"] == [name for names in SETS.values() for name in names]
    assert set(found["questions"]) == set(QUESTIONS) == set(found["asked"])
    assert [each["name"] for each in found["objectives"]] == list(OBJECTIVES)
    assert all(each["definition"] and each["group"] for each in found["objectives"])


def test_a_rater_is_shown_the_exchange_and_no_label_that_it_has(client):
    found = client.get("/items").json()
    first, second = found["items"]
    assert first == {
        "id": "a",
        "context": [{"role": "user", "content": HOSTILE}],
        "reply": HOSTILE,
        "role": "assistant",
        "sentence": None,
        "quote": None,
    }
    assert second["quote"] == "Nairobi, a large city"


def test_half_a_character_is_shown_with_the_rest(tmp_path):
    file = tmp_path / "half.jsonl"
    file.write_text(json.dumps({"id": "a", "reply": "Half \ud83d"}) + "\n")
    items = read_items(file)
    page = create_page(Sheet(answers_path(file, "ada"), items), items, ["safety"], POLICY, "ada")
    assert TestClient(page, base_url=HOME).get("/items").json()["items"][0]["reply"] == "Half \ud83d"


def test_an_answer_is_kept_at_once_and_can_be_taken_back(client, file):
    assert answer(client, "a", "safety", ["hate"]).json() == {"item": "a", "answers": {"safety": ["hate"]}}
    assert answer(client, "a", "sensible", False).status_code == 200
    assert Sheet(answers_path(file, "ada"), read_items(file)).answers == {"a": {"safety": ["hate"], "sensible": False}}
    undone = client.post("/undo", json={}).json()
    assert undone == {"item": "a", "question": "sensible", "answers": {"safety": ["hate"]}}
    assert client.get("/items").json()["answers"] == {"a": {"safety": ["hate"]}}


def test_there_is_nothing_to_undo_at_first(client):
    assert client.post("/undo", json={}).status_code == 409


@pytest.mark.parametrize(
    ("item", "question", "value"),
    [("z", "sensible", True), ("a", "kind", True), ("a", "safety", ["x"]), ("a", "safety", True), ("a", "sensible", 1)],
)
def test_what_is_no_answer_is_refused(client, file, item, question, value):
    assert answer(client, item, question, value).status_code == 422
    assert not answers_path(file, "ada").exists()


def test_every_answer_has_a_strict_policy_and_scripts_come_from_the_page_itself_alone(client):
    for path in ("/", "/label.js", "/label.css", "/items", "/nowhere"):
        found = client.get(path)
        policy = dict(part.split(" ", 1) for part in found.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cache-control"] == "no-store"


def test_no_page_from_elsewhere_can_write_or_read(client, file):
    elsewhere = client.get("/items", headers={"host": "evil.example"})
    assert elsewhere.status_code == 400
    body = json.dumps({"item": "a", "question": "sensible", "answer": True})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert client.post("/answers", content=body, headers={"content-type": kind}).status_code == 415
    assert client.post("/undo").status_code == 415
    assert client.options("/answers").headers.get("access-control-allow-origin") is None
    assert not answers_path(file, "ada").exists()


def test_the_page_is_the_same_for_every_file_and_puts_texts_in_as_text(client):
    html, script = client.get("/").text, client.get("/label.js").text
    assert html == (PAGES / "label.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|\son\w+=|style=|<script>", html)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://", script
    )
    assert "url(" not in client.get("/label.css").text


def test_the_script_asks_in_the_same_order_as_the_file_is_read():
    """The cascade stands in two places; both name the same questions."""
    script = (PAGES / "label.js").read_text(encoding="utf-8")
    assert 'name === "specific") return said.sensible === true;' in script
    assert 'name === "interesting") return said.sensible === true && said.specific === true;' in script
    assert 'name === "supported") return one.quote !== null;' in script


def test_there_is_a_key_for_every_objective():
    keys = re.search(r'KEYS = "(\w+)"', (PAGES / "label.js").read_text(encoding="utf-8"))[1]
    assert len(keys) >= len(OBJECTIVES)
    assert not set(keys) & set("ynu.")
