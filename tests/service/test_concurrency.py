"""Many clients at once: every answer its own, no event loop held, deadlines, leavers and a server that is told to stop."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.generator import LocalGenerator
from service.pool import Pool
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, INVENTED, KENYA, POLICY, make_corridor, scores_of
from tests.service.serving import listening
from tests.service.telling import Telling

CLIENTS = 32
SLOW_FIRST_BYTE = 20.0


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


def tiny(tiny_model, **settings):
    """The corridor with a true decoder, however small, and a scorer that is asked what it is asked."""
    return make_corridor(generator=LocalGenerator("tiny", *tiny_model), **{"max_tokens": 16, **settings})


def body(text, **fields):
    return {"messages": [{"role": "user", "content": text}], **fields}


async def crowd(url, bodies, limit=CLIENTS):
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=limit)) as made:
        return await asyncio.gather(*(made.post("/chat/completions", json=each) for each in bodies))


def comparable(answer):
    """What the same seed must give again."""
    answer = json.loads(json.dumps(answer))
    answer["winnow"]["seconds"] = answer["id"] = answer["created"] = None
    return answer


# Answers


def test_thirty_two_clients_at_once_each_get_their_own_answer():
    """Every client says a nonce; its reply repeats it, and the scorer has seen it in the context that it was judged in."""

    def says(messages, n, sampling):
        nonce = re.search(r"nonce-\d+", messages[-1]["content"])[0]
        time.sleep(0.01)
        return [f"You said {nonce}, number {i}." for i in range(n)]

    def scores(context, texts, role):
        if role == "user":
            return [scores_of() for _ in texts]
        (said,) = set(re.findall(r"nonce-\d+", " ".join(text for _, text in context)))
        return [scores_of(hate=0.0 if said in text else 0.99) for text in texts]

    trials = 3
    with listening(create_app(make_corridor(says, scores, candidates=4))) as url:
        for trial in range(trials):
            nonces = [f"nonce-{trial}{i:03}" for i in range(CLIENTS)]
            answers = asyncio.run(
                crowd(url, [body(f"Please repeat {nonce}", seed=i) for i, nonce in enumerate(nonces)])
            )
            assert [answer.status_code for answer in answers] == [200] * CLIENTS
            for i, (nonce, answer) in enumerate(zip(nonces, answers, strict=True)):
                found = answer.json()
                assert set(re.findall(r"nonce-\d+", answer.text)) == {nonce}
                assert (found["winnow"]["seed"], found["winnow"]["dropped"]) == (i, 0)
                assert found["usage"]["prompt_tokens"] == 3
    print(f"{trials * CLIENTS} answers to {CLIENTS} clients at once, mixed up: 0")


def test_the_same_seed_gives_the_same_answer_alone_and_among_thirty_two(tiny_model):
    corridor = tiny(tiny_model, candidates=6)
    asked = [
        body(f"Question {i % 8} " + "and more " * (i % 5), seed=i, candidates=1 + i % 9, n=1, explain=True)
        for i in range(CLIENTS)
    ]
    app = create_app(corridor)
    with listening(app) as url:
        together = asyncio.run(crowd(url, asked))
        alone = [asyncio.run(crowd(url, [each]))[0] for each in asked]
    assert [answer.status_code for answer in together] == [200] * CLIENTS
    for first, second in zip(together, alone, strict=True):
        first, second = comparable(first.json()), comparable(second.json())
        for left, right in zip(first["winnow"]["verdicts"], second["winnow"]["verdicts"], strict=True):
            assert left.pop("mean_log_likelihood") == pytest.approx(right.pop("mean_log_likelihood"), abs=1e-4)
        assert first == second


def test_the_event_loop_goes_on_while_every_place_is_taken(gate):
    corridor = make_corridor(lambda messages, n, sampling: gate.wait(30) and [GLAD] * n, max_running=2, max_queue=2)

    async def story():
        transport = httpx.ASGITransport(create_app(corridor))
        async with httpx.AsyncClient(transport=transport, base_url="http://winnow") as made:
            tasks = [asyncio.create_task(made.post("/v1/chat/completions", json=body("Hi"))) for _ in range(4)]
            await asyncio.sleep(0.05)
            started = time.monotonic()
            for _ in range(20):
                assert (await made.get("/healthz")).status_code == 200
            looked = time.monotonic() - started
            gate.set()
            return looked, [answer.status_code for answer in await asyncio.gather(*tasks)]

    looked, statuses = asyncio.run(story())
    assert looked < SLOW_FIRST_BYTE
    assert statuses == [200] * 4


# Limits


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_late_is_a_time_out_that_says_nothing_of_a_candidate(gate, stream):
    def says(messages, n, sampling):
        gate.wait(30)
        return ["A secret reply."] * n

    with TestClient(create_app(make_corridor(says, request_seconds=0.1))) as made:
        response = made.post("/v1/chat/completions", json=body("Hi", stream=stream))
        gate.set()
    assert response.status_code == 504
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "deadline_exceeded")
    assert "0.1 s (request_seconds)" in error["message"]
    assert "secret" not in response.text


def test_a_time_out_after_the_stream_has_begun_is_an_event_that_ends_it(gate):
    def scores(context, texts, role):
        if role == "assistant":
            gate.wait(30)
        return [scores_of() for _ in texts]

    with TestClient(create_app(make_corridor(["A secret reply."], scores, request_seconds=1.5))) as made:
        response = made.post("/v1/chat/completions", json=body("Hi", stream=True))
        gate.set()
    assert response.status_code == 200
    events = [event for event in response.text.split("\n\n") if event]
    assert events[0] == ": sampled 16"
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert "secret" not in response.text
    assert "[DONE]" not in response.text


def test_a_deadline_stops_the_decoding_between_two_steps(tiny_model):
    class Slow:
        config, generation_config = tiny_model[0].config, tiny_model[0].generation_config
        passes = 0

        def __call__(self, **given):
            Slow.passes += 1
            time.sleep(0.01)
            return tiny_model[0](**given)

    corridor = make_corridor(generator=LocalGenerator("slow", Slow(), tiny_model[1]), request_seconds=0.3)
    with TestClient(create_app(corridor)) as made:
        assert made.post("/v1/chat/completions", json=body("Hi", max_tokens=400)).status_code == 504
        time.sleep(0.3)
        passes = Slow.passes
        time.sleep(0.2)
    assert passes == Slow.passes < 100


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_makes_room_and_is_decoded_no_further(tiny_model, stream):
    class Slow:
        config, generation_config = tiny_model[0].config, tiny_model[0].generation_config
        passes = 0

        def __call__(self, **given):
            Slow.passes += 1
            time.sleep(0.01)
            return tiny_model[0](**given)

    corridor = make_corridor(generator=LocalGenerator("slow", Slow(), tiny_model[1]), max_running=1, max_queue=1)
    with listening(create_app(corridor)) as url, httpx.Client(base_url=url) as made:
        with pytest.raises(httpx.ReadTimeout):
            made.post("/chat/completions", json=body("Hi", max_tokens=450, stream=stream), timeout=0.3)
        before = Slow.passes
        answer = made.post("/chat/completions", json=body("Hi", max_tokens=2, candidates=1), timeout=20)
        assert answer.status_code == 200
        assert Slow.passes < before + 40


def test_a_client_that_leaves_in_the_middle_of_a_stream_makes_room(gate):
    left = threading.Event()

    def scores(context, texts, role):
        if role == "assistant" and "leave" in context[-1][1]:
            left.wait(20)
        return [scores_of() for _ in texts]

    corridor = make_corridor([GLAD], scores, max_running=1, max_queue=1)
    with listening(create_app(corridor)) as url, httpx.Client(base_url=url, timeout=20) as made:
        with made.stream("POST", "/chat/completions", json=body("I leave", stream=True)) as response:
            assert next(response.iter_lines()) == ": sampled 16"
        left.set()
        assert made.post("/chat/completions", json=body("Hi")).status_code == 200


def test_a_stopped_server_finishes_what_runs_and_takes_nothing_new(tmp_path):
    script = tmp_path / "server.py"
    script.write_text(
        "import time, sys, uvicorn\n"
        "from service.app import create_app\n"
        "from tests.service.scripted import make_corridor\n"
        "def says(messages, n, sampling):\n"
        "    print('began', flush=True)\n"
        "    time.sleep(1.0)\n"
        "    return ['I am glad to help.'] * n\n"
        "uvicorn.run(create_app(make_corridor(says)), port=int(sys.argv[1]), log_level='warning', timeout_graceful_shutdown=20)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, script, str(port)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while True:
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.ConnectError:
                assert time.monotonic() < until
                assert server.poll() is None
                time.sleep(0.1)
        answers = []
        threads = [
            threading.Thread(
                target=lambda stream=stream: answers.append(
                    httpx.post(f"{url}/v1/chat/completions", json=body("Hi", stream=stream), timeout=60)
                )
            )
            for stream in (False, True)
        ]
        for thread in threads:
            thread.start()
            assert server.stdout.readline() == b"began\n"
        server.send_signal(signal.SIGTERM)
        refused = 0
        while not refused:  # what still comes in before the signal is seen is answered
            try:
                assert httpx.post(f"{url}/v1/chat/completions", json=body("New"), timeout=60).status_code == 200
            except httpx.TransportError:
                refused += 1
        for thread in threads:
            thread.join()
        assert refused
        assert [answer.status_code for answer in answers] == [200, 200]
        assert all(GLAD.split()[-1] in answer.text for answer in answers)
        assert server.wait(30) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


# Streams


def pieces(response):
    """The text of each choice, finish reasons, the last record, of a stream that has ended well."""
    *rows, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    texts, reasons, last = {}, {}, {}
    for each in (json.loads(event.removeprefix("data: ")) for event in rows if not event.startswith(":")):
        for choice in each["choices"]:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["delta"].get("content", "")
            reasons[choice["index"]] = choice["finish_reason"]
        last = each
    return texts, reasons, last


REPLIES = {
    "cited": ([f"Yes, I know that. {KENYA} It is large."], None),
    "one in three dropped": (
        [GLAD + " Well. And a bomb.", GLAD + " Well then. So be it.", KENYA],
        {"bomb": {"hate": 0.9}},
    ),
    "all dropped": (["First. A bomb. Last."], {"bomb": {"hate": 0.9}}),
    "unsupported": ([f"{INVENTED} {GLAD}"], None),
    "one sentence": ([GLAD], None),
}


@pytest.mark.parametrize("mode", ["reply", "sentence"])
@pytest.mark.parametrize("candidates", [1, 6])
@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"grounding": "research"}, {"ungrounded": "drop"}], ids=str)
def test_a_stream_ends_with_the_text_sources_and_moderation_of_the_whole_answer(name, candidates, mode, fields):
    texts, scores = REPLIES[name]
    fields = {"seed": 5, "candidates": max(candidates, fields.get("n", 1)), **fields, "messages": ASKS_KENYA}
    with TestClient(create_app(make_corridor(texts, scores))) as made:
        whole = made.post("/v1/chat/completions", json=fields).json()
        streamed = made.post("/v1/chat/completions", json={**fields, "stream": True, "stream_mode": mode})
    found, reasons, last = pieces(streamed)
    assert found == {c["index"]: c["message"]["content"] for c in whole["choices"]}
    assert reasons == {c["index"]: c["finish_reason"] for c in whole["choices"]}
    assert last["moderation"] == whole["moderation"]
    assert {**last["winnow"], "seconds": 0} == {**whole["winnow"], "seconds": 0}
    assert last["choices"][0]["delta"]["annotations"] == whole["choices"][-1]["message"]["annotations"]


@pytest.mark.parametrize("mode", ["reply", "sentence"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("candidates", [1, 5])
def test_the_same_holds_of_a_true_decoder(tiny_model, mode, seed, candidates):
    asked = body("Tell me", seed=seed, candidates=candidates, max_tokens=60, temperature=1.5, stop=["Q!"])
    with TestClient(create_app(tiny(tiny_model))) as made:
        whole = made.post("/v1/chat/completions", json=asked).json()
        streamed = made.post("/v1/chat/completions", json={**asked, "stream": True, "stream_mode": mode})
    found, reasons, last = pieces(streamed)
    assert found == {0: whole["choices"][0]["message"]["content"]}
    assert reasons == {0: whole["choices"][0]["finish_reason"]}
    assert last["moderation"] == whole["moderation"]


def test_comments_say_how_far_it_has_come_in_counts_alone():
    with TestClient(create_app(make_corridor(["A bomb.", GLAD], {"bomb": {"hate": 0.9}}, candidates=6))) as made:
        response = made.post("/v1/chat/completions", json={"messages": ASKS_NOTHING, "stream": True})
    comments = [event for event in response.text.split("\n\n") if event.startswith(":")]
    assert comments == [": sampled 6", ": screened, dropped 3"]
    assert "bomb" not in response.text


def test_a_silent_stream_says_that_somebody_is_at_it(monkeypatch, gate):
    monkeypatch.setattr("service.streaming.STILL_SECONDS", 0.02)

    def says(messages, n, sampling):
        gate.wait(0.2)
        return [GLAD] * n

    with TestClient(create_app(make_corridor(says))) as made:
        response = made.post("/v1/chat/completions", json={"messages": ASKS_NOTHING, "stream": True})
    assert response.text.startswith(": still working\n\n: still working\n\n")
    assert pieces(response)[0] == {0: GLAD}


def test_a_single_candidate_leaves_sentence_by_sentence_while_it_is_written(tiny_model):
    """The first sentence arrives before the last token is drawn."""
    arrived = threading.Event()
    told = "One is here. Two is there. Three comes now. Four is the last."

    def half_way(drawn):
        if drawn == 30:
            assert arrived.wait(20)

    telling = Telling(tiny_model, told, half_way)
    corridor = make_corridor(generator=LocalGenerator("telling", telling, tiny_model[1]))
    with listening(create_app(corridor)) as url, httpx.Client(base_url=url, timeout=30) as made:
        asked = body("Hi", candidates=1, stream=True, stream_mode="sentence", temperature=0, grounding="off")
        found = ""
        with made.stream("POST", "/chat/completions", json=asked) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    for choice in json.loads(line.removeprefix("data: "))["choices"]:
                        found += choice["delta"].get("content", "")
                if found and not arrived.is_set():
                    assert found == "One is here."
                    assert telling.drawn <= 30
                    arrived.set()
    assert arrived.is_set()
    assert found == told


def test_a_reply_that_turns_bad_after_it_has_begun_is_ended_by_an_error(tiny_model):
    """What was sent had passed as it stood; what did not pass was not sent."""
    told = "One is here. Two is a bomb. Three."
    judged = threading.Event()

    def on_the_way(drawn):
        if drawn == 18:
            assert judged.wait(20)

    def scores(context, texts, role):
        if texts == ["One is here."]:
            judged.set()
        return [scores_of(hate=0.9 if "bomb" in text else 0.0) for text in texts]

    telling = Telling(tiny_model, told, on_the_way)
    corridor = make_corridor(generator=LocalGenerator("telling", telling, tiny_model[1]), scores=scores)
    with TestClient(create_app(corridor)) as made:
        asked = body("Hi", candidates=1, stream=True, stream_mode="sentence", temperature=0, grounding="off")
        response = made.post("/v1/chat/completions", json=asked)
    events = [json.loads(e.removeprefix("data: ")) for e in response.text.split("\n\n") if e.startswith("data: {")]
    assert [e["choices"][0]["delta"]["content"] for e in events[:-1]] == ["One is here."]
    assert events[-1]["error"]["code"] == "content_filter"
    assert "bomb" not in response.text
    assert "[DONE]" not in response.text


class Moody:
    """A scorer that is right about the bomb, or fails in one of many ways. `passed`: every text that it called safe."""

    def __init__(self, moods):
        self.moods, self.passed = list(moods), []

    def __call__(self, context, texts, role):
        mood = self.moods.pop(0) if self.moods else "right"
        if mood == "raises":
            raise RuntimeError("cannot judge")
        if mood == "hangs":
            time.sleep(0.3)
        rows = [scores_of(hate=0.9 if "bomb" in text or mood == "flips" else 0.0) for text in texts]
        if mood == "nan":
            rows[-1]["hate"] = float("nan")
        if mood == "too few":
            rows.pop()
        if mood in ("right", "nan", "hangs"):
            safe = [text for text, row in zip(texts, rows, strict=True) if row["hate"] < 0.5]  # NaN is not
            self.passed += safe if role == "assistant" else []
        return rows


MOODS = ("right", "right", "right", "raises", "hangs", "flips", "nan", "too few")
TOLD = ("One is here.", "Two is there!", "It is a bomb.", "Is four so?", "Five.")


@settings(max_examples=60)
@given(
    sentences=st.lists(st.sampled_from(TOLD), min_size=1, max_size=4),
    moods=st.lists(st.sampled_from(MOODS), max_size=10),
    mode=st.sampled_from(["reply", "sentence"]),
    decoded=st.booleans(),
    candidates=st.integers(1, 3),
)
def test_no_text_is_ever_sent_that_was_not_found_safe(tiny_model, sentences, moods, mode, decoded, candidates):
    """In no event, whatever the scorer does in the middle: what a client has read so far is the beginning of a text that passed."""
    text, moody = " ".join(sentences), Moody(["right", *moods])
    generator = LocalGenerator("telling", Telling(tiny_model, text), tiny_model[1]) if decoded else None
    corridor = make_corridor([text, "Six. Seven."], moody, generator=generator, screen_seconds=0.05)
    own = {POLICY.fallback, *(o.fallback for o in corridor.policy.objectives.values())}
    asked = body("Hi", candidates=candidates, stream=True, stream_mode=mode, temperature=0, grounding="off")
    with TestClient(create_app(corridor)) as made:
        response = made.post("/v1/chat/completions", json=asked)
    read = ""
    for event in response.text.split("\n\n"):
        if event.startswith("data: {"):
            for choice in json.loads(event.removeprefix("data: ")).get("choices", ()):
                read += choice["delta"].get("content", "")
                assert any(safe.startswith(read) for safe in (*moody.passed, *own))
    if "[DONE]" in response.text:
        assert read in (*moody.passed, *own)
    assert "bomb" not in response.text


def test_a_wait_for_others_to_be_judged_is_no_time_out():
    """Judging one answer may take `screen_seconds`; that thirty-two are judged one after the other drops none of them."""

    def scores(context, texts, role):
        time.sleep(0.02)
        return [scores_of() for _ in texts]

    with listening(create_app(make_corridor([GLAD], scores, screen_seconds=0.5, candidates=2))) as url:
        answers = asyncio.run(crowd(url, [body("Hi") for _ in range(CLIENTS)]))
    assert [answer.json()["winnow"]["dropped"] for answer in answers] == [0] * CLIENTS


def test_the_pool_of_the_app_has_the_limits_of_the_settings(monkeypatch):
    made = []
    monkeypatch.setattr("service.app.Pool", lambda *given: made.append(given) or Pool(*given))
    create_app(make_corridor(max_running=3, max_queue=5, request_seconds=7))
    assert made == [(3, 5, 7)]
