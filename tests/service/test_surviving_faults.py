"""One table of what may break while replies are made, each broken again and again in every route: what leaves is a candidate that
passed, the policy's own words, or an error. The summary of the run says how often.

Faults of upstream servers, of requests and of processes have files of their own, and are counted in the same summary.
"""

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from classifiers import OBJECTIVES
from classifiers.models import write_checksums
from retrieval import Index
from service import log_file
from service.app import create_app
from service.generator import LocalGenerator
from service.keys import add_key
from service.log_file import LogReader
from tests.service.answers import HOW
from tests.service.canaries import Canaries, Late
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, DOCUMENTS, ScriptedQuality, make_corridor, scores_of
from tests.service.serving import listening

STALL = 0.1


def draws(name):
    """How often a fault is tried in each route: by its name, and the same in every run."""
    return random.Random(name).randint(8, 16)


def ask(made, how, **fields):
    body = {"messages": ASKS_KENYA, "candidates": 4, "explain": True, **how, **fields}
    return made.post("/v1/chat/completions", json=body)


def tried(name, made, canaries, trials, before=lambda: None, **fields):
    """The kinds of all answers. `before` is called before each request."""
    kinds, unscreened = Counter(), 0
    for number in range(draws(name) * len(HOW)):
        before()
        kind, leaked = canaries.check(ask(made, HOW[number % len(HOW)], seed=number, **fields))
        kinds[kind] += 1
        unscreened += leaked
    trials(name, kinds.total(), unscreened)
    return kinds


def opened(corridor):
    return TestClient(create_app(corridor), raise_server_exceptions=False)


# The scorer

CHANCE = random.Random(0)


def raising(rows):
    raise CHANCE.choice([RuntimeError, MemoryError, KeyError, SystemExit, RecursionError])("canary999999")


class Hanging:
    """Answers with good rows, but not before nobody waits for them."""

    def __init__(self):
        self.gate = threading.Event()

    def __call__(self, rows):
        self.gate.wait(60)
        return Late(rows)

    def release(self):
        """Those that hang now."""
        self.gate.set()
        self.gate = threading.Event()


hanging = Hanging()


def not_a_number(rows):
    bad = CHANCE.choice([math.nan, math.inf, -math.inf, -0.1, 1.1, None, "0.01", True])
    spoilt = [dict(row) for row in rows]
    CHANCE.choice(spoilt)[CHANCE.choice(OBJECTIVES)] = bad
    return spoilt


def too_few(rows):
    return rows[: CHANCE.randrange(len(rows))]


def too_many(rows):
    return [*rows, scores_of()]


def without_an_objective(rows):
    return [{name: row[name] for name in OBJECTIVES[: CHANCE.randrange(len(OBJECTIVES))]} for row in rows]


def no_rows(rows):
    return CHANCE.choice([None, "safe", 0.0, {"hate": 0.0}, tuple(rows), [None] * len(rows), [0.0] * len(rows)])


SCORERS = {
    "scorer raises": raising,
    "scorer hangs": hanging,
    "scorer answers NaN, or what is no probability": not_a_number,
    "scorer answers with too few rows": too_few,
    "scorer answers with too many rows": too_many,
    "scorer answers without an objective": without_an_objective,
    "scorer answers with no rows": no_rows,
}


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_that_fails(name, trials):
    canaries = Canaries(name, SCORERS[name])
    with opened(make_corridor(canaries.says, canaries.scores, screen_seconds=STALL)) as made:
        kinds = tried(name, made, canaries, trials, hanging.release)
        hanging.release()
    assert canaries.spoilt >= draws(name)
    if SCORERS[name] is not not_a_number:  # which spoils one row, and the others are judged
        assert kinds["fallback"] + kinds["error"] > 0


# What else a reply is made of


def failing(chance, share=0.5):
    """A function that raises with a canary in its message, now and then, and else does what it is given."""

    def maybe(does):
        def call(*given, **named):
            if chance.random() < share:
                raise chance.choice([RuntimeError, ValueError, OSError, MemoryError, KeyError])("canary999999")
            return does(*given, **named)

        return call

    return maybe


class Support:
    threshold, version = 0.5, "failing-1"

    def __init__(self, judge):
        self.judge = judge


def broken_parts(name, canaries):
    """The corridor with that part broken."""
    maybe = failing(random.Random(name))
    says, scores = canaries.says, canaries.scores
    if name == "generator raises":
        return make_corridor(maybe(says), scores)
    if name == "generator answers with too few candidates":
        return make_corridor(lambda m, n, s: says(m, n, s)[: CHANCE.randrange(n + 1)], scores)
    if name == "ranker raises, or rates NaN or too few":
        odd = [lambda c, t: [], lambda c, t: [math.nan] * len(t), lambda c, t: None, maybe(lambda c, t: [])]
        return make_corridor(says, scores, quality=ScriptedQuality(lambda c, t: CHANCE.choice(odd)(c, t)))
    if name == "support classifier raises, or answers too few":
        odd = [lambda claims: [], lambda claims: None, maybe(lambda claims: [])]
        return make_corridor(says, scores, support=Support(lambda claims: CHANCE.choice(odd)(claims)))
    raise AssertionError(name)


PARTS = (
    "generator raises",
    "generator answers with too few candidates",
    "ranker raises, or rates NaN or too few",
    "support classifier raises, or answers too few",
)


@pytest.mark.parametrize("name", PARTS)
def test_another_part_that_fails(name, trials):
    canaries = Canaries(name)
    with opened(broken_parts(name, canaries)) as made:
        kinds = tried(name, made, canaries, trials)
        assert made.get("/healthz").status_code == 200
    assert kinds["candidate"] > 0


def test_a_decoder_that_dies_in_the_middle_of_a_batch(tiny_model, trials):
    """Four clients share its batches; at about every thirtieth pass the model raises, with what it holds."""
    name, chance, passed, lock = "generator dies mid-batch", random.Random(5), set(), threading.Lock()

    class Dying:
        config, generation_config = tiny_model[0].config, tiny_model[0].generation_config
        died = 0

        def __call__(self, **given):
            if chance.random() < 0.03:
                Dying.died += 1
                raise RuntimeError("canary999999")
            return tiny_model[0](**given)

    def scores(context, texts, role):
        rows = [scores_of(hate=0.9 if "e" in text else 0.01) for text in texts]
        if role == "assistant":
            with lock:
                passed.update(text for text in texts if "e" not in text)
        return rows

    corridor = make_corridor(generator=LocalGenerator("dying", Dying(), tiny_model[1]), scores=scores, max_tokens=12)
    canaries = Canaries(name)
    canaries.passed = passed
    answers = []

    def client(url, which):
        with httpx.Client(base_url=url, timeout=60) as made:
            for number in range(draws(name) * len(HOW) // 4 + 1):
                body = {
                    "messages": ASKS_NOTHING,
                    "candidates": 4,
                    "seed": 100 * which + number,
                    **HOW[number % len(HOW)],
                }
                answers.append(made.post("/chat/completions", json=body))

    with listening(create_app(corridor)) as url:
        clients = [threading.Thread(target=client, args=(url, which)) for which in range(4)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
    found = [canaries.check(answer) for answer in answers]
    trials(name, len(found), sum(leaked for _, leaked in found))
    assert Dying.died
    kinds = Counter(kind for kind, _ in found)
    assert kinds["error"] > 0
    assert kinds["candidate"] + kinds["fallback"] > 0


# The disk


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    ("name", "says"), [("log: disk full", "database or disk is full"), ("log: read-only", "readonly database")]
)
def test_a_log_that_cannot_be_written(tmp_path, monkeypatch, name, says, durable, trials):
    """Where it is durable no reply leaves without its record."""
    path, chance, insert = tmp_path / "log.sqlite", random.Random(name), log_file.insert
    canaries = Canaries(name)

    def sometimes(*given):
        if chance.random() < 0.5:
            raise sqlite3.OperationalError(says)
        insert(*given)

    monkeypatch.setattr(log_file, "insert", sometimes)
    with opened(make_corridor(canaries.says, canaries.scores, decision_log=path, durable=durable)) as made:
        kinds = tried(name, made, canaries, trials)
    with LogReader(path) as log:
        kept = len(list(log.decisions()))
    if durable:
        assert kept == kinds["candidate"] + kinds["fallback"] > 0
        assert kinds["error"] > 0
    else:
        assert kinds["error"] == 0


def test_weights_damaged_and_missing_while_running(tmp_path, trials):
    """Those in memory are whole, and judge on; that the disk's are not is told."""
    name, chance = "weights damaged or missing while running", random.Random(1)
    file, content = tmp_path / "head.safetensors", b"0" * 100
    file.write_bytes(content)
    write_checksums(tmp_path)
    canaries, seen = Canaries(name), Counter()
    with opened(replace(make_corridor(canaries.says, canaries.scores), weights=(tmp_path,))) as made:

        def damage():
            how = chance.choice(["whole", "cut", "flipped", "missing"])
            file.unlink(missing_ok=True)
            if how != "missing":
                file.write_bytes({"whole": content, "cut": content[:50], "flipped": b"1" + content[1:]}[how])
            assert made.get("/readyz").status_code == (200 if how == "whole" else 503)
            seen[how] += 1

        kinds = tried(name, made, canaries, trials, damage)
    assert len(seen) == 4
    assert kinds["error"] == 0


@pytest.mark.parametrize("engine", ["rank-bm25", "bm25s"])
def test_an_index_damaged_and_missing_while_running(tmp_path, monkeypatch, engine, trials):
    """Files that are replaced by damaged ones, or gone: whoever has the old ones open reads on."""
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("service.reloading.RETRY_SECONDS", 0.0)
    name, chance, folder = "index damaged or missing while running", random.Random(engine), tmp_path / "index"
    Index.build(DOCUMENTS, engine=engine).save(folder)
    canaries, broken = Canaries(f"{name} {engine}"), Counter()
    corridor = make_corridor(canaries.says, canaries.scores, index=Index.load(folder))
    corridor = replace(corridor, settings=corridor.settings.model_copy(update={"index": folder}))
    with opened(corridor) as made:

        def damage():
            if chance.random() < 0.3 or not folder.is_dir():
                Index.build(DOCUMENTS, engine=engine).save(folder)
                return
            files = [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]
            file = chance.choice(files)
            content = file.read_bytes()
            file.unlink()
            if chance.random() < 0.7:
                at = chance.randrange(len(content) + 1)
                file.write_bytes(chance.choice([content[:at], content[:at] + b"\0" + content[at + 1 :], b""]))
            broken[file.suffix] += 1

        kinds = tried(name, made, canaries, trials, damage)
    assert broken
    assert kinds["error"] == 0


def test_an_index_damaged_in_place_while_it_is_read(tmp_path, trials):
    """The system may kill the server, whose files are mapped; it then does not start again with what is left."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.index_breaking", str(tmp_path), "24"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 24
    assert {row["signal"] for row in rows} <= {0, signal.SIGBUS}
    assert {row["exit"] for row in rows} == {0}
    assert not any(row["starts"] for row in rows)
    answers = sum((Counter(row["kinds"]) for row in rows), Counter())
    assert answers["candidate"] >= len(rows)
    trials("index damaged in place while running", answers.total(), sum(row["unscreened"] for row in rows))
    print(answers, Counter(row["signal"] for row in rows))


# The clock


def test_a_clock_on_the_wall_that_jumps(tmp_path, monkeypatch, trials):
    """Quotas, deadlines, the log and its retention go by a clock that only runs forward."""
    name, chance, now = "clock jumps", random.Random(2), time.time
    canaries, path = Canaries(name), tmp_path / "log.sqlite"
    key = add_key(tmp_path / "keys.toml", "tester", ["chat"], requests_per_minute=1000, tokens_per_day=10**6)
    monkeypatch.setattr("service.decision_log.PURGE_SECONDS", 0.0)
    settings = {"keys": tmp_path / "keys.toml", "decision_log": path, "durable": True, "retention_days": 1}
    with opened(make_corridor(canaries.says, canaries.scores, request_seconds=60, **settings)) as made:
        made.headers["authorization"] = f"Bearer {key}"
        assert ask(made, {}).status_code == 200
        monkeypatch.setattr(
            time, "time", lambda: max(0.0, now() + chance.choice([-1e9, -4e3, 0, 4e3, 1e9]) * chance.random())
        )
        kinds = tried(name, made, canaries, trials)
        last = ask(made, {})
        assert int(last.headers["x-ratelimit-remaining-requests"]) == 1000 - kinds.total() - 2
        assert made.get("/readyz").status_code == 200
        monkeypatch.undo()
    assert kinds["error"] == 0
    with LogReader(path) as log:
        assert len(list(log.decisions())) == kinds.total() + 2
