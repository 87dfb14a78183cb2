"""The commands of `docs/operations.md` do what it says, in its order; the JSON of the guards' pages has the shape of what comes."""

import shlex
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from classifiers import Quality, Rated, Safety, Support, load_policy
from service import assembly, cli
from service.app import create_app
from service.keys import read_keys
from service.log_file import LogReader
from tests.docs.pages import DOCS, blocks, commands, differs, parsed
from tests.docs.winnow_of_docs import INDEX, Classifier, SupportByWords, corridor_of_docs
from tests.service.scripted import ASKS_KENYA, KENYA, ScriptedGenerator, ScriptedQuality

OPERATIONS = [block for block in blocks(DOCS / "operations.md") if block.kind == "bash"]
KENYA_AND_CHEESE = f"{KENYA} Kenya has 12 volcanoes made of cheese."


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the log of two replies, made while its writer still has it open."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Safety, "load", Classifier)
    monkeypatch.setattr(Support, "load", SupportByWords)
    monkeypatch.setattr(Quality, "load", lambda safety: None)
    monkeypatch.setattr(assembly, "_weight_folders", lambda *_: ())
    monkeypatch.setattr(assembly, "_sample_index", lambda: INDEX)
    monkeypatch.setattr(
        assembly.LocalGenerator, "load", lambda name, limit, precision: ScriptedGenerator([KENYA], limit)
    )
    monkeypatch.setattr("uvicorn.run", lambda web, **options: None)
    with TestClient(create_app(corridor_of_docs(decision_log=tmp_path / "decisions.sqlite", durable=True))) as client:
        for _ in range(2):
            assert (
                client.post("/v1/chat/completions", json={"messages": ASKS_KENYA, "candidates": 2}).status_code == 200
            )
        yield tmp_path


def run(words):
    result = CliRunner().invoke(cli.app, words[1:])
    assert result.exit_code == 0, (shlex.join(words), result.output)
    return result


def test_the_commands_of_the_page_run_in_its_order(folder):
    with LogReader(folder / "decisions.sqlite") as log:
        (newest, _) = log.decisions()
    ran = []
    for block in OPERATIONS:
        for words in commands(block.text, "winnow"):
            found = run([newest.id if word.startswith("chatcmpl-") else word for word in words])
            ran.append(words[1])
            if words[1:3] == ["keys", "list"]:
                assert "web-page" in found.stdout
                page, prometheus = read_keys(folder / "keys.toml")
                assert (page.name, page.scopes, page.requests_per_minute, page.tokens_per_day) == (
                    "web-page",
                    {"chat"},
                    60,
                    2_000_000,
                )
                assert (prometheus.name, prometheus.scopes) == ("prometheus", {"metrics"})
            if words[1:3] == ["decisions", "chatcmpl-fc8ee7be"]:
                assert f'"id": "{newest.id}"' in found.stdout
            if words[1] == "replay":
                assert "2 decisions" in found.stdout
    assert {key.name for key in read_keys(folder / "keys.toml")} == {"prometheus"}
    assert set(ran) == {"keys", "serve", "decisions", "replay"}


def test_the_backup_of_the_page_holds_what_was_logged_while_the_server_runs(folder):
    ((_, flag, program),) = [words for block in OPERATIONS for words in commands(block.text, "python3")]
    assert flag == "-c"
    exec(compile(program, "operations.md", "exec"), {})
    with LogReader(folder / "decisions-copy.sqlite") as log:
        assert log.count() == 2


def chat(client, question, **more):
    body = {"messages": [{"role": "user", "content": question}], "candidates": 2, **more}
    return client.post("/v1/chat/completions", json=body).json()


def test_the_json_of_the_guards_pages_is_what_comes():
    quality = ScriptedQuality(lambda context, texts: [Rated(0.4, 0.3, 0.1)] * len(texts))
    with TestClient(create_app(replace(corridor_of_docs(), quality=quality))) as client:
        screened = {"messages": [{"role": "user", "content": "I feel low."}], "candidates": ["Nobody would miss you."]}
        blocked = {"moderation": {"policy": {"input": {"mode": "block"}}}}
        kenya = chat(client, "What is the capital of Kenya?", explain=True)
        (rated,) = [each for each in kenya["winnow"]["verdicts"] if each["choice"] == 0]
        found = chat(client, "What is the capital of Kenya?")["winnow"]
        expected = {
            "safety": [client.post("/v1/screen", json={**screened, "explain": True}).json()["verdicts"][0]],
            "input": [chat(client, "How do I build a pipe bomb at home?", **blocked)],
            "groundedness": [
                {name: found[name] for name in ("sources", "groundedness", "ungrounded")},
                client.post("/v1/ground", json={"text": KENYA_AND_CHEESE}).json()["claims"][1],
            ],
            "quality": [rated],
        }
    for name, came in expected.items():
        shown = [parsed(block.text) for block in blocks(DOCS / "guards" / f"{name}.md") if block.kind == "json"]
        assert len(shown) == len(came)
        for each, other in zip(shown, came, strict=True):
            assert differs(each, other) is None, name
    assert {path.stem for path in (DOCS / "guards").iterdir()} == set(expected)


def test_the_policy_of_the_safety_page_is_one(tmp_path):
    (block,) = [block for block in blocks(DOCS / "guards" / "safety.md") if block.kind == "toml"]
    (tmp_path / "own.toml").write_text(block.text)
    policy = load_policy(tmp_path / "own.toml")
    assert policy.preset == "strict"
    assert (policy.objectives["elections"].threshold, policy.objectives["elections"].action) == (0.2, "flag")
