import sqlite3
import threading
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from classifiers.models import write_checksums
from retrieval import Index
from service.app import create_app
from service.decision_log import DecisionLog
from service.model_worker import MAX_HUNG, ModelWorker, Stalled
from service.readiness import TRY_SECONDS, Readiness
from service.reloading import Live
from service.ticket import Ticket
from service.weights import Weights
from tests.service.scripted import ASKS_NOTHING, GLAD, INDEX, ScriptedGenerator, make_corridor

BODY = {"messages": ASKS_NOTHING, "candidates": 2}


def client(corridor):
    return TestClient(create_app(corridor), raise_server_exceptions=False)


def test_a_server_whose_parts_are_sound_is_ready_and_has_no_reasons():
    with client(make_corridor()) as made:
        answer = made.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert not {"reasons", "warnings"} & set(answer.json())


def test_weights_that_are_damaged_while_it_runs_make_it_unready_until_they_are_mended(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"0" * 100)
    write_checksums(tmp_path)
    with client(replace(make_corridor(), weights=(tmp_path,))) as made:
        assert made.get("/readyz").status_code == 200
        (tmp_path / "head.safetensors").write_bytes(b"1" * 99)
        damaged, page = made.get("/readyz"), made.get("/metrics").text
        (tmp_path / "head.safetensors").write_bytes(b"0" * 100)
        mended = made.get("/readyz")
    assert damaged.status_code == 503
    assert damaged.json()["status"] == "not ready"
    (reason,) = damaged.json()["reasons"]
    assert "head.safetensors" in reason
    assert "winnow_ready 0.0" in page
    assert mended.status_code == 200


@pytest.mark.parametrize("durable", [True, False])
def test_a_log_that_fails_makes_it_unready_where_no_reply_could_leave_and_is_a_warning_where_replies_do(
    tmp_path, durable, monkeypatch
):
    path = tmp_path / "log.sqlite"
    with client(make_corridor([GLAD], decision_log=path, durable=durable)) as made:

        def full(*_):
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr("service.log_file.insert", full)
        asked = made.post("/v1/chat/completions", json=BODY)
        answer = made.get("/readyz")
        for _ in range(100):
            if answer.json()["decision_log"]["lost"]:
                break
            threading.Event().wait(0.05)
            answer = made.get("/readyz")
        page = made.get("/metrics").text
    (said,) = answer.json()["reasons" if durable else "warnings"]
    assert "disk is full" in said
    assert (asked.status_code, answer.status_code) == ((503, 503) if durable else (200, 200))
    assert f"winnow_ready {0.0 if durable else 1.0}" in page
    assert f"winnow_warnings {0.0 if durable else 1.0}" in page
    assert "winnow_decision_log_failing 1.0" in page


def test_an_upstream_that_cannot_be_asked_makes_it_unready_but_metrics_do_not_wait_for_it():
    class Upstream(ScriptedGenerator):
        asked = 0

        def unready(self):
            self.asked += 1
            return "the upstream server does not answer"

    upstream = Upstream()
    with client(make_corridor(generator=upstream)) as made:
        made.get("/metrics")
        assert upstream.asked == 0
        answer = made.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the upstream server does not answer"]


def test_a_new_index_that_cannot_be_read_is_a_warning_because_the_old_one_serves_on(tmp_path, monkeypatch):
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)
    INDEX.save(tmp_path)
    corridor = make_corridor(index=Index.load(tmp_path))
    settings = corridor.settings.model_copy(update={"index": tmp_path})
    with client(replace(corridor, settings=settings)) as made:
        (tmp_path / "manifest.json").write_text("{")
        answer = made.get("/readyz")
    assert answer.status_code == 200
    (warning,) = answer.json()["warnings"]
    assert "manifest.json" in warning


def test_a_durable_log_that_failed_is_tried_again_by_a_request_after_a_while(tmp_path):
    now = [0.0]
    log = DecisionLog(tmp_path / "log.sqlite", durable=True)
    live, worker = Live(make_corridor()), ModelWorker()
    try:
        readiness = Readiness(live, Weights([]), worker, log, clock=lambda: now[0])
        assert readiness.reasons() == []
        log.error, log.lost = "database or disk is full", 1
        assert len(readiness.reasons()) == 1
        now[0] += TRY_SECONDS - 1
        assert (len(readiness.reasons()), len(readiness.warnings())) == (1, 0)
        now[0] += 2
        assert (len(readiness.reasons()), len(readiness.warnings())) == (0, 1)
        log.lost = 2
        assert (len(readiness.reasons()), len(readiness.warnings())) == (1, 0)
        log.error = None
        assert (len(readiness.reasons()), len(readiness.warnings())) == (0, 0)
    finally:
        log.close()
        worker.close()


def test_threads_of_the_models_that_hang_make_it_unready_until_one_comes_back():
    release, worker = threading.Event(), ModelWorker(stall_seconds=0.05)
    try:
        assert not worker.stuck
        for _ in range(MAX_HUNG + 1):
            with pytest.raises(Stalled):
                worker.call(lambda: release.wait(30), Ticket())
        assert worker.stuck
        release.set()
        for _ in range(200):
            if not worker.stuck:
                break
            threading.Event().wait(0.02)
        assert not worker.stuck
    finally:
        release.set()
        worker.close()


def test_healthz_says_that_the_process_lives_whatever_is_amiss(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"0")
    write_checksums(tmp_path)
    with client(replace(make_corridor(), weights=(tmp_path,))) as made:
        (tmp_path / "head.safetensors").unlink()
        assert made.get("/readyz").status_code == 503
        assert made.get("/healthz").status_code == 200
