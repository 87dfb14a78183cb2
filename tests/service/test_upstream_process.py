"""Winnow before another server process that dies, freezes, drags and lies: errors are clear, and nothing unscreened gets out."""

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager

import httpx
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.breaker import Breaker
from service.client import Client, Limits
from service.generator import Sampling
from service.upstream import KEY, UpstreamGenerator
from tests.service.answers import said_by
from tests.service.scripted import ASKS_NOTHING, POLICY, ScriptedSafety, make_corridor, scores_of
from tests.service.second_winnow import MARK, MODES, UNSAFE, SecondWinnow
from tests.service.serving import listening

LIMITS = Limits(connect=0.5, read=0.6, whole=1.2, retries=1, parallel=8, bytes=2**20, first_pause=0.02)
FALLBACK = POLICY.objectives["weapons"].fallback
SAID = {
    "no json": (502, "upstream_malformed", "something that is not JSON"),
    "no object": (502, "upstream_malformed", "JSON that is no object"),
    "no choices": (502, "upstream_malformed", "without choices"),
    "no text": (502, "upstream_malformed", "choices[].message.content that is no text"),
    "null": (502, "upstream_malformed", "choices[].message.content that is null"),
    "tool call": (502, "upstream_malformed", "choices[].message.tool_calls"),
    "cut off": (502, "upstream_malformed", "something that is not JSON"),
    "not UTF-8": (502, "upstream_malformed", "something that is not JSON"),
    "oversized": (502, "upstream_malformed", "more than 1048576 bytes"),
    "deep": (502, "upstream_malformed", "something that is not JSON"),
    "redirect": (502, "upstream_refused", "answered 302"),
    "refusal": (502, "upstream_refused", "answered 400"),
    "busy": (503, "upstream_busy", "answered 429"),
    "failing": (502, "upstream_unreachable", "answered 500"),
    "unavailable": (502, "upstream_unreachable", "answered 503"),
    "slow": (504, "upstream_timeout", "no answer in"),
    "dripping": (504, "upstream_timeout", "no answer in"),
}


@pytest.fixture(scope="module")
def second():
    """The other process; whoever kills it starts it again."""
    made = SecondWinnow()
    made.start()
    yield made
    made.kill()


class Watched(ScriptedSafety):
    """Finds weapons in what holds the unsafe word, and remembers what it let pass as a reply."""

    def __init__(self):
        super().__init__()
        self.passed = set()

    def scores(self, context, replies, role="assistant"):
        if role == "assistant":
            self.passed |= {reply for reply in replies if UNSAFE not in reply}
        return [scores_of(weapons=0.9 if UNSAFE in reply else 0.01) for reply in replies]


@contextmanager
def before(second, failures=5, pause=0.3, limits=LIMITS):
    """(our corridor's app before the second Winnow, its generator, its scorer)."""
    client = Client(second.url, None, limits, named="upstream", key_named=KEY, breaker=Breaker(failures, pause))
    with closing(UpstreamGenerator(client, "default")) as generator:
        safety = Watched()
        yield create_app(make_corridor(generator=generator, safety=safety, candidates=6)), generator, safety


def ask(made, **fields):
    return made.post("/v1/chat/completions", json={"messages": ASKS_NOTHING, **fields})


@contextmanager
def mode(second, name):
    second.turn(name)
    try:
        yield
    finally:
        second.turn("honest")


def test_replies_of_another_process_are_screened_here(second):
    with before(second) as (app, generator, safety), TestClient(app) as made:
        answer = ask(made, explain=True).json()
    text, record = answer["choices"][0]["message"]["content"], answer["winnow"]
    assert text in safety.passed
    assert (record["asked"], record["sampled"], record["dropped"]) == (6, 6, 2)
    assert UNSAFE not in str(answer)
    assert generator.client.left_out == {"logprobs"}  # Winnow refuses them by name
    assert {row["mean_log_likelihood"] for row in record["verdicts"]} == {None}
    assert answer["usage"]["prompt_tokens"] == generator.count_tokens(ASKS_NOTHING) == 4  # as the second counts: words


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SAID)
def test_a_fault_is_told_by_its_kind_and_quotes_nothing(second, name, stream, caplog, trials):
    status, code, says = SAID[name]
    with before(second, failures=1000) as (app, _, _), TestClient(app) as made, mode(second, name):
        response = ask(made, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert says in response.json()["error"]["message"]
    assert ("retry-after" in response.headers) == (code != "upstream_refused")
    assert MARK not in caplog.text
    trials("upstream slow, rubbish, oversized, refusing", 1, int(MARK in response.text))
    assert str(second.port) not in response.text


def test_every_mode_of_the_second_winnow_is_tried():
    assert set(SAID) == set(MODES) - {"honest"}


def test_a_frozen_server_is_slow_and_then_left_alone_until_it_thaws(second):
    with before(second, failures=2, pause=3.0) as (app, _, safety), TestClient(app) as made:
        second.freeze()
        try:
            first = [ask(made) for _ in range(2)]
            left_alone, ready = ask(made), made.get("/readyz")
        finally:
            second.thaw()
        time.sleep(3.0)
        after = ask(made)
        assert made.get("/readyz").status_code == 200
    assert [r.json()["error"]["code"] for r in first] == ["upstream_timeout"] * 2
    assert (left_alone.status_code, left_alone.json()["error"]["code"]) == (503, "upstream_circuit_open")
    assert "failed 2 times in a row" in left_alone.json()["error"]["message"]
    assert int(left_alone.headers["retry-after"]) >= 1
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert "is left alone for" in ready.json()["reasons"][0]
    assert after.json()["choices"][0]["message"]["content"] in safety.passed


def test_a_killed_server_is_unreachable_and_another_in_its_place_is_asked_again(second):
    with before(second, failures=1000) as (app, _, safety), TestClient(app) as made:
        assert made.get("/readyz").status_code == 200
        second.kill()
        try:
            dead, ready = ask(made), made.get("/readyz")
        finally:
            second.start()
        again = ask(made)
    assert (dead.status_code, dead.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert "cannot be reached (ConnectError" in dead.json()["error"]["message"]
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert "cannot be reached" in ready.json()["reasons"][0]
    assert again.json()["choices"][0]["message"]["content"] in safety.passed


def test_whatever_happens_in_the_middle_of_requests_no_reply_leaves_unscreened(second, trials):
    """Four clients ask without a pause while the server's mood turns, and while it is frozen and killed under them."""
    seconds, moods = 14.0, [*MODES, *["honest"] * len(MODES)]
    chance, over = random.Random(0), threading.Event()
    limits = Limits(connect=0.3, read=0.3, whole=0.5, retries=1, parallel=8, bytes=2**20, first_pause=0.02)
    answers = []
    with before(second, failures=5, pause=0.1, limits=limits) as (app, _, safety), listening(app) as url:

        def client(number):
            with httpx.Client(base_url=url, timeout=30) as made:
                while not over.is_set():
                    stream = number % 2 == 0
                    answers.append(made.post("chat/completions", json={"messages": ASKS_NOTHING, "stream": stream}))

        clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for each in clients:
            each.start()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                second.turn(chance.choice(moods))
                time.sleep(chance.uniform(0.0, 0.2))
                if chance.random() < 0.15:
                    second.freeze()
                    time.sleep(chance.uniform(0.0, 0.3))
                    second.thaw()
            second.turn("honest")
            time.sleep(0.5)
            second.kill()
            time.sleep(0.5)
        finally:
            over.set()
            for each in clients:
                each.join()
            second.start()
    statuses = Counter(answer.status_code for answer in answers)
    # A stream that had begun, with a comment, ends in the error and has said nothing.
    whole = [answer for answer in answers if answer.status_code == 200 and '{"error"' not in answer.text]
    broken = [answer for answer in answers if answer not in whole]
    unscreened = [answer.text for answer in whole if said_by(answer) not in {*safety.passed, FALLBACK}]
    unscreened += [answer.text for answer in answers if UNSAFE in answer.text]
    unscreened += [answer.text for answer in broken if MARK in answer.text]
    print(dict(statuses))
    trials("upstream down, frozen, killed and moody under load", len(answers), len(unscreened))
    assert set(statuses) <= {200, 502, 503, 504}
    assert len(whole) >= 20
    assert len(broken) >= 20


def test_the_server_that_comes_with_transformers_draws_candidates(tmp_path, tiny_model):
    """Not ours: it gives one choice a call, tells no log-probabilities, and its list of models may be broken."""
    for part in tiny_model:
        part.save_pretrained(tmp_path / "model")
    port = SecondWinnow().port
    name = str(tmp_path / "model")
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", name]
    options = ["--port", str(port), "--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"]
    server = subprocess.Popen(command + options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = Client(f"http://127.0.0.1:{port}", None, Limits(), named="upstream", key_named=KEY)
        with closing(UpstreamGenerator(client, name)) as generator:
            while generator.unready():
                assert server.poll() is None
                time.sleep(0.1)
            estimate = generator.count_tokens(ASKS_NOTHING)
            found = generator.sample(ASKS_NOTHING, 3, Sampling(max_tokens=5, seed=1))
            assert len(found) == 3
            assert {(each.tokens, each.finish_reason, each.log_likelihood) for each in found} == {(5, "length", None)}
            counted = len(tiny_model[1].apply_chat_template(ASKS_NOTHING, add_generation_prompt=True)["input_ids"])
            assert generator.count_tokens(ASKS_NOTHING) == counted != estimate
    finally:
        server.kill()
        server.wait()
