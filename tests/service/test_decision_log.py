"""The decision log under faults and company: what is acknowledged is on the disk, what fails is counted and told."""

import asyncio
import json
import logging
import re
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings

from service import decision_log, log_file
from service.app import create_app
from service.chat import Wants
from service.decision_log import DAY, REASONS, DecisionLog, LogFailed
from service.generator import LocalGenerator
from service.log_file import Label, LogReader, LogUnreadable
from service.records import record_of, said_of
from service.settings import Settings
from service.streaming import Feed
from tests.service.logged import Situation, situations
from tests.service.scripted import ASKS_KENYA, ASKS_NOTHING, GLAD, KENYA, make_corridor
from tests.service.telling import Telling

WANTS = Wants(candidates=16, seed=1)  # too many for the room that is left on an empty page
DECISION = Situation(ASKS_KENYA, WANTS, (KENYA,), {}).decide()


def named(id, created=None):
    return replace(DECISION, id=id, **({} if created is None else {"created": created}))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log" / "decisions.sqlite"


@contextmanager
def opened(path, **options):
    log = DecisionLog(path, **options)
    try:
        yield log
    finally:
        log.close()


def keep(log, decision=DECISION):
    log.keep(decision, ASKS_KENYA, WANTS)


def stored(path, **filters):
    with LogReader(path) as log:
        return list(log.decisions(**filters))


def broken_connection(*, full=False, read_only=False):
    """`open_for_writing` whose connection SQLite itself refuses to write to, for want of room or of leave."""
    whole = log_file.open_for_writing

    def opened(path, durable):
        base = whole(path, durable)
        if full:
            pages = base.execute("PRAGMA page_count").fetchone()[0]
            base.execute(f"PRAGMA max_page_count={pages}")
        if read_only:
            base.close()
            base = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
        return base

    return opened


FAULTS = [({"full": True}, "database or disk is full"), ({"read_only": True}, "attempt to write a readonly database")]


# What is kept


@settings(max_examples=25)
@given(situations())
def test_a_decision_that_was_logged_is_read_as_it_was(tmp_path_factory, situation):
    path = tmp_path_factory.mktemp("log") / "decisions.sqlite"
    decision = situation.decide()
    for retain in (False, True):
        with opened(path, durable=True, retain_texts=retain) as log:
            log.put(replace(decision, id=str(retain)), situation.messages, situation.wants).result(20)
    bare, whole = (record_of(decision, situation.messages, situation.wants, retain) for retain in (False, True))
    with LogReader(path) as log:
        assert log.find("False", texts=True) == replace(bare, id="False")
        assert log.find("True", texts=True) == replace(whole, id="True")


def test_by_default_no_word_is_in_the_file(path):
    with opened(path, durable=True) as log:
        keep(log)
        files = path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    assert said_of(KENYA).digest.encode() in files
    assert b"Nairobi" not in files
    assert b"What is the capital" not in files


def test_a_durable_log_has_a_decision_once_it_is_acknowledged(path):
    with opened(path, durable=True) as log:
        assert log._base.execute("PRAGMA synchronous").fetchone() == (2,)
        for n in range(5):
            keep(log, named(f"{n}"))
            assert [record.id for record in stored(path)] == [f"{m}" for m in reversed(range(n + 1))]
        assert log.state() == {"durable": True, "kept": 5, "lost": 0, "waiting": 0}


def test_a_log_that_is_not_durable_holds_nobody_up_and_is_written_at_the_end(path, monkeypatch):
    monkeypatch.setattr(decision_log, "GATHER_SECONDS", 60.0)
    with opened(path) as log:
        for n in range(5):
            keep(log, named(f"{n}"))
        assert stored(path) == []
    assert len(stored(path)) == 5


def test_decisions_of_many_threads_are_all_kept(path):
    with opened(path, durable=True) as log:
        threads = [
            threading.Thread(target=lambda t=t: [keep(log, named(f"{t}-{n}")) for n in range(20)]) for t in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (log.kept, log.lost) == (160, 0)
    assert len(stored(path)) == 160


def test_two_servers_can_share_a_log(path):
    with opened(path, durable=True) as one, opened(path, durable=True) as other:
        for n in range(10):
            keep(one, named(f"one-{n}"))
            keep(other, named(f"other-{n}"))
    assert len(stored(path)) == 20


def test_a_decision_that_cannot_be_logged_does_not_cost_the_others(path, caplog, monkeypatch):
    with opened(path) as log:
        monkeypatch.setattr(decision_log, "GATHER_SECONDS", 0.5)
        good = [log.put(named("a"), ASKS_KENYA, WANTS)]
        twice = log.put(named("a"), ASKS_KENYA, WANTS)
        broken = log.put(replace(named("b"), seconds={"screen": float("nan")}), ASKS_KENYA, WANTS)
        good.append(log.put(named("c"), ASKS_KENYA, WANTS))
        assert [each.result(20) for each in good] == [None, None]
        with pytest.raises(LogFailed, match="UNIQUE"):
            twice.result(20)
        with pytest.raises(LogFailed, match="ValueError"):
            broken.result(20)
        assert (log.kept, log.lost) == (2, 2)
    assert [record.id for record in stored(path)] == ["c", "a"]


def test_a_closed_log_keeps_nothing_and_says_so(path):
    log = DecisionLog(path)
    log.close()
    log.close()
    with pytest.raises(LogFailed, match="closed"):
        log.put(DECISION, ASKS_KENYA, WANTS).result(5)


# Faults


@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_a_disk_that_is_full_or_read_only_fails_the_durable_and_is_counted_for_others(
    path, monkeypatch, caplog, fault, says
):
    DecisionLog(path).close()
    with monkeypatch.context() as broken:
        broken.setattr(log_file, "open_for_writing", broken_connection(**fault))
        with opened(path, durable=True) as log:
            for n in range(3):
                with pytest.raises(LogFailed, match=says):
                    keep(log, named(f"{n}"))
            assert (log.kept, log.lost, log.error) == (0, 3, says)
        with opened(path) as log:
            keep(log)
        assert (log.kept, log.lost) == (0, 1)
    told = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    assert told == [f"the decision log {path} cannot be written: {says}"] * 2  # once a log, not once a reply
    assert stored(path) == []


@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_when_there_is_room_again_decisions_are_kept_again(path, monkeypatch, caplog, fault, says):
    with opened(path, durable=True) as log:
        with monkeypatch.context() as broken:
            broken.setattr(log_file, "open_for_writing", broken_connection(**fault))
            log._let_go()
            with pytest.raises(LogFailed, match=says):
                keep(log, named("lost"))
            assert log.state()["error"] == says
        keep(log, named("kept"))
        assert (log.kept, log.lost, log.error) == (1, 1, None)
    assert "the decision log is written again; 1 records were lost" in caplog.text
    assert [record.id for record in stored(path)] == ["kept"]


def test_a_file_that_is_moved_away_while_running_is_made_anew(path):
    with opened(path, durable=True) as log:
        keep(log, named("before"))
        for file in path.parent.iterdir():
            file.rename(path.parent.parent / file.name)
        keep(log, named("after"))
        assert [record.id for record in stored(path)] == ["after"]


def test_a_disk_that_hangs_holds_a_reply_up_for_so_long_only(path, monkeypatch):
    monkeypatch.setattr(decision_log, "WAIT_SECONDS", 0.05)
    held = threading.Event()
    insert = log_file.insert
    monkeypatch.setattr(log_file, "insert", lambda *given: held.wait(20) and insert(*given))
    with opened(path, durable=True) as log:
        with pytest.raises(LogFailed, match=r"did not answer within 0\.05 s"):
            keep(log)
        held.set()


def test_what_waits_is_bounded(path, monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(decision_log, "MOST_WAITING", 2)
    monkeypatch.setattr(log_file, "insert", lambda *_: held.wait(20))
    with opened(path, durable=True) as log:
        first = log.put(named("0"), ASKS_KENYA, WANTS)
        while log.state()["waiting"]:
            time.sleep(0.001)
        waiting = [log.put(named(f"{n}"), ASKS_KENYA, WANTS) for n in (1, 2)]
        with pytest.raises(LogFailed, match="2 records already wait"):
            log.put(named("3"), ASKS_KENYA, WANTS).result(0)
        held.set()
        assert [each.result(20) for each in (first, *waiting)] == [None] * 3


def test_a_log_that_cannot_be_made_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        DecisionLog.of(Settings(decision_log=tmp_path / "file" / "decisions.sqlite"))
    (tmp_path / "diary.txt").write_text("Dear diary, " * 100)
    with pytest.raises(LogUnreadable, match="diary"):
        create_app(make_corridor(decision_log=tmp_path / "diary.txt"))


def test_without_the_setting_there_is_no_log():
    assert DecisionLog.of(Settings()) is None


# Retention


def test_what_is_older_than_the_retention_is_removed_with_its_words(path, monkeypatch):
    now = 100 * DAY
    with opened(path, durable=True, retain_texts=True) as log:
        for n in range(70, 100):
            log.put(named(f"{n}", n * DAY + 60), ASKS_KENYA, WANTS).result(20)
    monkeypatch.setattr(decision_log, "PURGED_TOGETHER", 4)
    with opened(path, retention_days=10, clock=lambda: now) as log:
        while log._next_purge <= log._monotonic():
            time.sleep(0.001)
    assert [record.id for record in stored(path)] == [f"{n}" for n in range(99, 89, -1)]
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("SELECT count(DISTINCT decision) FROM texts").fetchone() == (10,)


def test_without_a_retention_nothing_is_removed(path):
    with opened(path, clock=lambda: 10_000 * DAY) as log:
        log.put(named("old", 1), ASKS_KENYA, WANTS).result(20)
    with DecisionLog.of(Settings(decision_log=path, retention_days=0)) and opened(path):
        pass
    assert len(stored(path)) == 1


def test_a_clock_that_jumps_while_the_server_runs_removes_nothing(path, monkeypatch):
    monkeypatch.setattr(decision_log, "PURGE_SECONDS", 0.01)
    clock = [100 * DAY]
    with opened(path, durable=True, retention_days=10, clock=lambda: clock[0]) as log:
        log.put(named("a", 99 * DAY), ASKS_KENYA, WANTS).result(20)
        clock[0] = 100_000 * DAY
        started = log._next_purge
        while log._next_purge < started + 0.1:
            time.sleep(0.005)
            log.put(named(f"{time.monotonic_ns()}", 99 * DAY), ASKS_KENYA, WANTS).result(20)
    assert stored(path)[-1].id == "a"


def test_a_decision_that_was_stamped_while_the_clock_was_set_back_is_as_old_as_its_neighbours(path):
    days = (500, 80, 99, 20, 99, 30, 99)  # the second is old, the fourth and the sixth are not
    with opened(path, durable=True) as log:
        for n, day in enumerate(days):
            log.put(named(f"{n}", day * DAY), ASKS_KENYA, WANTS).result(20)
    with opened(path, retention_days=10, clock=lambda: 100 * DAY) as log:
        while log._next_purge <= log._monotonic():
            time.sleep(0.001)
    assert sorted(record.id for record in stored(path)) == ["0", "2", "3", "4", "5", "6"]


# Labels


def test_a_label_is_kept_beside_its_decision(path):
    with opened(path, clock=lambda: 77.9) as log:
        log.put(named("a"), ASKS_KENYA, WANTS).result(20)
        asyncio.run(log.label("a", 0, ["hate", "sensible", "hate"]))
    with LogReader(path) as log:
        assert log.labels() == [Label("a", 0, ("hate", "sensible"), 77)]


def test_a_label_that_is_about_nothing_is_its_senders_fault_and_no_loss(path):
    with opened(path) as log:
        log.put(named("a"), ASKS_KENYA, WANTS).result(20)
        with pytest.raises(ValueError, match=f"unknown reason 'ugly'; known: {', '.join(REASONS)}"):
            asyncio.run(log.label("a", 0, ["ugly"]))
        with pytest.raises(LookupError, match="'b'"):
            asyncio.run(log.label("b", 0, ["hate"]))
        with pytest.raises(ValueError, match="choices 0 to 0, not 3"):
            asyncio.run(log.label("a", 3, ["hate"]))
        assert (log.lost, log.error) == (0, None)


# Behind the door


@contextmanager
def client(**options):
    with TestClient(create_app(make_corridor([KENYA], **options)), raise_server_exceptions=False) as made:
        yield made


def ask(made, **fields):
    body = {"messages": ASKS_KENYA, "seed": 1, **fields}
    return made.post("/v1/chat/completions", json=body)


STREAMS = ({"stream": True}, {"stream": True, "stream_mode": "sentence"})


def events_of(response):
    rows = [row.removeprefix("data: ") for row in response.text.split("\n\n") if row.startswith("data: {")]
    return [json.loads(row) for row in rows]


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_both_routes_log_what_they_answer(path, durable, stream):
    with client(decision_log=path, durable=durable, retain_texts=True) as made:
        whole, streamed = ask(made).json(), events_of(ask(made, **stream))[0]
        if durable:
            assert {record.id for record in stored(path)} == {streamed["id"], whole["id"]}
        made.post("/v1/screen", json={"messages": ASKS_NOTHING})
        made.post("/v1/moderations", json={"input": GLAD})
        assert made.get("/readyz").json()["decision_log"]["durable"] is durable
    records = stored(path, texts=True)
    assert {(r.id, r.created) for r in records} == {(r["id"], r["created"]) for r in (whole, streamed)}
    for record in records:
        assert record.conversation() == ASKS_KENYA
        assert record.text(record.replies[0].said) == whole["choices"][0]["message"]["content"] == KENYA


def test_without_a_log_readyz_does_not_speak_of_one():
    with client() as made:
        assert ask(made).status_code == 200
        assert "decision_log" not in made.get("/readyz").json()


@pytest.mark.parametrize("stream", [{}, *STREAMS], ids=str)
@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_a_reply_that_cannot_be_logged_does_not_leave_where_the_log_is_durable(
    path, monkeypatch, fault, says, stream, trials
):
    DecisionLog(path).close()
    monkeypatch.setattr(log_file, "open_for_writing", broken_connection(**fault))
    with client(decision_log=path, durable=True) as made:
        refused = ask(made, **stream)
        assert made.get("/readyz").json()["decision_log"] == {
            "durable": True,
            "kept": 0,
            "lost": 1,
            "waiting": 0,
            "error": says,
        }
    if stream:  # which has begun: it has said how far it is
        (told,) = events_of(refused)
        assert "[DONE]" not in refused.text
    else:
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        told = refused.json()
    assert told["error"]["code"] == "decision_log_failed"
    assert "held back" in told["error"]["message"]
    trials(f"log: {says}, by SQLite's own word", 1, int("Nairobi" in refused.text))
    assert str(path) not in refused.text


@pytest.mark.parametrize(("fault", "says"), FAULTS)
def test_a_reply_leaves_all_the_same_where_the_log_is_not_durable(path, monkeypatch, caplog, fault, says):
    DecisionLog(path).close()
    monkeypatch.setattr(log_file, "open_for_writing", broken_connection(**fault))
    with client(decision_log=path) as made:
        assert ask(made).json()["choices"][0]["message"]["content"] == KENYA
    assert f"cannot be written: {says}" in caplog.text
    assert "Nairobi" not in caplog.text


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("candidates", [1, 3])
def test_no_sentence_leaves_before_its_decision_is_on_the_disk_where_the_log_is_durable(
    path, monkeypatch, tiny_model, durable, candidates
):
    """Else a single candidate's first sentence leaves while the rest is written, long before there is a decision."""
    sent, logged = [], []
    send, insert = Feed.send, log_file.insert
    left = threading.Event()

    def sending(feed, chunk):
        sent.append(chunk)
        left.set()
        send(feed, chunk)

    def inserting(base, record):
        logged.append((record.id, len(sent)))
        insert(base, record)

    monkeypatch.setattr(Feed, "send", sending)
    monkeypatch.setattr(log_file, "insert", inserting)
    told = "One is here. Two is there. Three comes now. Four is the last."
    held = 30 if candidates == 1 else None
    if durable:
        threading.Timer(0.5, left.set).start()  # in which nothing leaves
    generator = LocalGenerator("telling", Telling(tiny_model, told, held, left), tiny_model[1])
    corridor = make_corridor(generator=generator, decision_log=path, durable=durable)
    with TestClient(create_app(corridor)) as made:
        response = ask(made, candidates=candidates, temperature=0, grounding="off", max_tokens=450, **STREAMS[1])
    events = events_of(response)
    assert "".join(c["delta"].get("content", "") for e in events for c in e["choices"]).replace("~", "") == told
    ((id, before),) = logged
    assert {event["id"] for event in events} == {id}
    assert len(sent) == 3  # the last comes with what is left
    if durable:
        assert before == 0
    elif candidates == 1:
        assert before > 0


def test_what_left_of_a_reply_that_was_given_up_is_told_in_the_servers_log(path, monkeypatch, tiny_model, caplog):
    left = threading.Event()
    send = Feed.send
    monkeypatch.setattr(Feed, "send", lambda feed, chunk: send(feed, chunk) or left.set())

    told = "One is here. Two is there.  Three."
    generator = LocalGenerator("telling", Telling(tiny_model, told, 30, left, dies=True), tiny_model[1])
    with TestClient(create_app(make_corridor(generator=generator, decision_log=path))) as made:
        response = ask(made, candidates=1, temperature=0, grounding="off", max_tokens=450, **STREAMS[1])
    assert "error" in events_of(response)[-1]
    assert re.search(r"[1-9][0-9]* characters of it had left", caplog.text)
    assert "One is" not in caplog.text
    assert stored(path) == []
