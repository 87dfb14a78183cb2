"""A new index is taken up between two requests; one request sees one index; a damaged one changes nothing but the warning."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from retrieval import Document, Index
from service.app import create_app
from service.reloading import LOOK_SECONDS, RETRY_SECONDS, Live
from tests.service.scripted import ASKS_KENYA, KENYA, ScriptedGenerator, make_corridor

OLD = Document("kenya", "Kenya", "The capital of Kenya is Nairobi.")
NEW = Document("atlas", "Atlas", "The capital of Kenya is Nairobi.")
TEA = Document("tea", "Tea", "Tea is a drink.")


class Seconds:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Index.build([OLD]).save(tmp_path / "ix")
    return tmp_path / "ix"


def over(folder: Path, **parts):
    """A corridor whose settings name the folder, with the index that is there now."""
    base = make_corridor([KENYA], index=Index.load(folder), **parts)
    return replace(base, settings=base.settings.model_copy(update={"index": folder}))


@pytest.fixture
def made(folder, clock) -> Live:
    return Live(over(folder), clock)


def documents(made: Live) -> list[str]:
    return [passage.document_id for passage in made.current().index.passages]


def test_a_new_index_is_taken_up_at_the_next_look(made, folder, clock, caplog):
    before = made.current()
    Index.build([NEW]).save(folder)
    assert made.current() is before
    clock.now += LOOK_SECONDS
    assert documents(made) == ["atlas"]
    assert [passage.document_id for passage in before.index.passages] == ["kenya"]
    assert made.current().safety is before.safety
    assert "index reloaded" in caplog.text


def test_the_same_index_is_not_loaded_again(made, folder, clock, monkeypatch):
    monkeypatch.setattr(Index, "load", lambda folder: pytest.fail("loaded"))
    before = made.current()
    (folder / "manifest.json").touch()
    clock.now += LOOK_SECONDS
    assert made.current() is before


def test_an_index_replaced_before_the_first_request_is_seen(made, folder):
    Index.build([NEW]).save(folder)
    assert documents(made) == ["atlas"]


@pytest.mark.parametrize("damage", ["manifest", "passages", "folder"])
def test_a_damaged_index_leaves_the_old_one_in_service(made, folder, clock, caplog, damage):
    made.current()
    aside = folder.with_name("aside")
    Index.build([NEW]).save(folder)
    if damage == "manifest":
        (folder / "manifest.json").write_text("{")
    elif damage == "passages":
        next(folder.glob("*/passages.sqlite")).unlink()
    else:
        os.rename(folder, aside)
    for _ in range(3):
        clock.now += RETRY_SECONDS
        assert documents(made) == ["kenya"]
    assert made.index_warning
    assert caplog.text.count("the index in service stays") == 1
    if damage == "folder":
        os.rename(aside, folder)
    else:
        Index.build([NEW]).save(folder)
    clock.now += RETRY_SECONDS
    assert documents(made) == ["atlas"]
    assert made.index_warning is None


def test_a_damaged_index_is_not_tried_at_every_look(made, folder, clock, monkeypatch):
    (folder / "manifest.json").write_text("{")
    made.current()
    tried = []
    monkeypatch.setattr("service.reloading.current", lambda folder: tried.append(folder))
    clock.now += LOOK_SECONDS
    made.current()
    assert tried == []


def test_without_a_folder_nothing_is_looked_at(monkeypatch):
    monkeypatch.setattr("service.reloading.stamp", lambda folder: pytest.fail("looked"))
    corridor = make_corridor()
    assert Live(corridor).current() is corridor


# Under the application


def cited(answer) -> list[str]:
    return [source["document"] for source in answer.json()["winnow"]["sources"]]


def ask(client):
    return client.post("/v1/chat/completions", json={"messages": ASKS_KENYA, "candidates": 1})


def test_a_server_answers_from_the_new_index_without_a_restart(folder, monkeypatch):
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)
    with TestClient(create_app(over(folder))) as client:
        assert cited(ask(client)) == ["kenya"]
        Index.build([NEW, TEA], engine="bm25s").save(folder)
        assert cited(ask(client)) == ["atlas"]
        grounded = client.post("/v1/ground", json={"text": KENYA}).json()
        assert grounded["claims"][0]["citations"][0]["document"] == "atlas"
        assert client.get("/readyz").json()["index"] == {"documents": 2, "passages": 2, "engine": "bm25s"}


def test_readyz_says_that_a_new_index_cannot_be_read(folder, monkeypatch):
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)
    with TestClient(create_app(over(folder))) as client:
        (folder / "manifest.json").write_text("{")
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert "manifest.json" in ready.json()["index"]["warning"]
        assert cited(ask(client)) == ["kenya"]


def test_a_request_keeps_the_index_it_began_with(folder, monkeypatch):
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)

    def says(messages, n, sampling):
        Index.build([NEW]).save(folder)
        return [KENYA] * n

    with TestClient(create_app(over(folder, generator=ScriptedGenerator(says)))) as client:
        assert cited(ask(client)) == ["kenya"]
        assert cited(ask(client)) == ["atlas"]


def test_no_request_is_dropped_while_indexes_come_and_go(folder, monkeypatch, trials):
    monkeypatch.setattr("service.reloading.LOOK_SECONDS", 0.0)
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            Index.build([(OLD, NEW)[number % 2]]).save(folder)
            number += 1

    writer = threading.Thread(target=write)
    with TestClient(create_app(over(folder))) as client:
        writer.start()
        try:
            answers = [ask(client) for _ in range(20)]
        finally:
            stop.set()
            writer.join()
    assert {answer.status_code for answer in answers} == {200}
    assert all(cited(answer) in (["kenya"], ["atlas"]) for answer in answers)
    trials("index replaced under load", len(answers))
