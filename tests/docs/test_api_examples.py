"""What `docs/api.md` shows is what comes, and nothing there is goes without being said."""

import ast
import contextlib
import io
import json
import re
from pathlib import Path

import httpx
import pytest
import typer

from classifiers import Safety, Support
from service import cli
from service.app import create_app
from service.keys import add_key
from tests.docs.pages import DOCS, alike, blocks, cells, commands, differs, parsed
from tests.docs.winnow_of_docs import Classifier, SupportByWords, corridor_of_docs
from tests.service.serving import listening

API = DOCS / "api.md"
SERVICE = Path(cli.__file__).parent
BLOCKS = blocks(API)
ASKED = [
    block for block in BLOCKS if (block.kind == "http" and not block.text.startswith("HTTP/")) or "curl " in block.text
]
PROGRAMS = [block for block in BLOCKS if block.kind == "python"]
ID = re.compile(r"chatcmpl-[0-9a-f]{32}")


class Server:
    """An application on a port, and the id of its last completion."""

    def __init__(self, url, key=None):
        self.url, self.key, self.last = url, key, ""

    def send(self, method, path, headers, body):
        headers = {name: value.replace("winnow_KEY", self.key or "") for name, value in headers.items()}
        body = ID.sub(self.last, body) if self.last else body
        answer = httpx.request(method, self.url + path, headers=headers, content=body, timeout=30)
        self.last = ([*ID.findall(answer.text), self.last])[0]
        return answer


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    corridor = corridor_of_docs(decision_log=tmp_path_factory.mktemp("log") / "decisions.sqlite")
    with listening(create_app(corridor)) as url:
        yield Server(url.removesuffix("/v1"))


@pytest.fixture
def keyed(tmp_path):
    made = add_key(tmp_path / "keys.toml", "page", ["chat"], requests_per_minute=60)
    with listening(create_app(corridor_of_docs(keys=tmp_path / "keys.toml"))) as url:
        yield Server(url.removesuffix("/v1"), made)


def request_of(block):
    """(method, path, headers, body) of a request in a page, as HTTP or as a call of curl."""
    if block.kind == "http":
        head, _, body = block.text.partition("\n\n")
        first, *rest = head.splitlines()
        return (*first.split(), dict(line.split(": ", 1) for line in rest), body)
    ((_, *words),) = commands(block.text, "curl")
    url, headers, body = None, {}, ""
    while words:
        word = words.pop(0)
        if word == "-H":
            name, value = words.pop(0).split(": ", 1)
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        else:
            assert url is None
            assert not word.startswith("-")
            url = word
    return "POST" if body else "GET", url.removeprefix("http://127.0.0.1:8000"), headers, body


def compare(shown, came):
    """Asserts that an answer is the one that is shown: status and headers where they are, and the body."""
    body, status = shown.text, 200
    if shown.kind == "http":
        head, _, body = shown.text.partition("\n\n")
        first, *rest = head.splitlines()
        status = int(first.split()[1])
        for line in rest:
            name, value = line.split(": ", 1)
            assert alike(value, came.headers[name]), name
    assert came.status_code == status, came.text
    if body.startswith((":", "data:")):
        compare_events(body, came.text)
    else:
        assert differs(parsed(body), came.json()) is None


def compare_events(shown, came):
    """Each event that is shown comes, in that order; others may come between. The first and the last are these."""
    events = [event for event in came.split("\n\n") if event and "still working" not in event]
    wanted = [event.strip() for event in shown.split("\n\n") if event.strip()]
    left = iter(events)
    for want in wanted:
        assert any(same_event(want, event) for event in left), want
    assert same_event(wanted[0], events[0])
    assert same_event(wanted[-1], events[-1])


def same_event(shown, came):
    if not (shown.startswith("data: {") and came.startswith("data: {")):
        return shown == came
    return differs(parsed(shown.removeprefix("data: ")), json.loads(came.removeprefix("data: "))) is None


def test_the_page_has_examples():
    assert len(ASKED) >= 14
    assert all(block.answer for block in ASKED)
    assert {request_of(block)[1] for block in ASKED} >= {
        "/v1/chat/completions",
        "/v1/moderations",
        "/v1/screen",
        "/v1/ground",
    }


@pytest.mark.parametrize("block", ASKED, ids=str)
def test_what_is_asked_on_the_page_is_answered_as_it_shows(block, request):
    server = request.getfixturevalue("keyed" if block.note == "with keys" else "plain")
    if "/v1/feedback" in block.text:  # of a reply that was given
        kenya = {"messages": [{"role": "user", "content": "Hello"}], "candidates": 1}
        server.send("POST", "/v1/chat/completions", {"content-type": "application/json"}, json.dumps(kenya))
    compare(block.answer, server.send(*request_of(block)))


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_the_programs_on_the_page_print_what_it_shows(block, monkeypatch):
    monkeypatch.setattr(Safety, "load", Classifier)
    monkeypatch.setattr(Support, "load", SupportByWords)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, str(block), "exec"), {})
    assert alike(block.answer.text, printed.getvalue())


# Nothing is left out


@pytest.fixture(scope="module")
def app():
    return create_app(corridor_of_docs())


def test_every_route_is_in_the_table_and_every_one_in_the_table_exists(app):
    there = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    listed = {row[0] for row in cells(API.read_text()) if re.match(r"(GET|POST) /", row[0])}
    assert listed == there | {"GET /metrics", "GET /"}  # what the description leaves out on purpose


def test_the_table_names_the_scopes_that_the_routes_need():
    from service.access import NEEDS, OPEN

    for row in cells(API.read_text()):
        if re.match(r"(GET|POST) /", row[0]):
            path = row[0].split()[1]
            assert row[1] == ("none" if path in OPEN else NEEDS.get(path, "any")), path


def codes():
    """Every code that an error of the service may have, read from its source."""
    places = {"answer": 3, "error": 3, "_refuse": 2, "GeneratorFailed": 2, "Refused": 2}
    found = set()
    for name in ("errors", "access", "body_limit", "listening", "upstream", "app"):
        for call in ast.walk(ast.parse((SERVICE / f"{name}.py").read_text())):
            called = getattr(getattr(call, "func", None), "id", None)
            if called in places:
                given = [
                    *call.args[places[called] : places[called] + 1],
                    *(k.value for k in call.keywords if k.arg == "code"),
                ]
                found |= {
                    each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
    return found | {"invalid_value"}


def test_the_codes_are_found_in_the_source():
    assert {
        "queue_full",
        "invalid_api_key",
        "body_too_large",
        "upstream_timeout",
        "model_not_found",
        "request_timeout",
    } <= codes()


def test_every_code_of_an_error_is_in_the_table_and_every_one_in_the_table_exists():
    rows = [row for row in cells(API.read_text()) if re.match(r"[45]\d\d", row[0])]
    named = {code for row in rows for code in re.findall(r"[a-z]+(?:_[a-z]+)+", row[1])}
    of_fields = {"less_than_equal", "value_error"}
    assert named - of_fields == codes()


def test_every_key_of_a_chat_request_is_on_the_page(app):
    described = API.read_text()
    keys = app.openapi()["components"]["schemas"]["ChatRequest"]["properties"]
    assert [key for key in keys if f"`{key}`" not in described] == []


def test_every_command_is_in_the_table():
    root = typer.main.get_command(cli.app)
    listed = {word for row in cells(API.read_text()) for word in re.findall(r"winnow (\w+)", row[0])}
    assert listed == set(root.commands)
    assert {f"winnow keys {name}" for name in root.commands["keys"].commands} <= {
        each for row in cells(API.read_text()) for each in re.findall(r"winnow keys \w+", row[0])
    }


def test_what_the_server_tells_of_itself_is_parsed_as_it_was_meant():
    """The comparison itself: it lets through what "..." stands for, and nothing else."""
    same = differs
    assert same({"a": 1, "...": "..."}, {"a": 1, "b": 2}) is None
    assert same({"a": 1}, {"a": 1, "b": 2})
    assert same({"a": 1, "b": 2}, {"a": 1})
    assert same([1, "..."], [1, 2, 3]) is None
    assert same([1], [1, 2])
    assert same([1, 2, "..."], [1])
    assert same({"a": "x...z"}, {"a": "xyz"}) is None
    assert same({"a": "x"}, {"a": "y"})
    assert same({"a": 0.5}, {"a": 0.7}) is None
    assert same({"a": 0.5}, {"a": None})
    assert same({"a": 0.5}, {"a": 1})
    assert same({"a": True}, {"a": False})
    assert same({"a": 1}, {"a": True})
    assert same({"id": "x"}, {"id": "y"}) is None
    assert same({"id": "x"}, {"id": None})
    assert same({"a": []}, {"a": {}})
