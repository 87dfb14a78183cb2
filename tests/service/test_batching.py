"""The parts of a request's corridor: whatever runs a model runs it in the one models' thread."""

import threading

from fastapi.testclient import TestClient

from classifiers import Rated
from service.app import create_app
from tests.service.scripted import ASKS_NOTHING, GLAD, ScriptedGenerator, ScriptedQuality, make_corridor, scores_of

RATINGS = {GLAD: Rated(0.2, 0.1, 0.0), "A zebra.": Rated(0.9, 0.8, 0.7)}


def answered(corridor, **fields):
    with TestClient(create_app(corridor)) as made:
        return made.post("/v1/chat/completions", json={"messages": ASKS_NOTHING, "seed": 1, **fields})


def test_screening_and_rating_run_in_the_models_thread_and_sampling_from_another_server_does_not():
    threads = {}

    def noted(what, found):
        threads.setdefault(what, set()).add(threading.current_thread().name.rstrip("_0123456789"))
        return found

    corridor = make_corridor(
        generator=ScriptedGenerator(lambda messages, n, sampling: noted("sample", [GLAD, "A zebra."])),
        scores=lambda context, texts, role: noted("screen", [scores_of() for _ in texts]),
        quality=ScriptedQuality(lambda context, texts: noted("rate", [RATINGS[text] for text in texts])),
    )
    answer = answered(corridor, candidates=2)
    assert answer.json()["choices"][0]["message"]["content"] == "A zebra."
    assert threads == {"sample": {"winnow-request"}, "screen": {"winnow-models"}, "rate": {"winnow-models"}}


def test_a_rater_that_hangs_is_left_behind_and_likelihood_ranks(caplog):
    opened = threading.Event()
    corridor = make_corridor(
        [GLAD, "A zebra."],
        quality=ScriptedQuality(lambda context, texts: opened.wait(30) and []),
        screen_seconds=0.2,
    )
    answer = answered(corridor, candidates=2)
    opened.set()
    assert answer.json()["choices"][0]["message"]["content"] == GLAD
    assert "rating failed with Stalled" in caplog.text
