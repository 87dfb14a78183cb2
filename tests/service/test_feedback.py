import json
from contextlib import closing
from dataclasses import replace

import pytest

from classifiers.labelled import read_labelled
from service import log_file
from service.chat import Wants
from service.feedback import exported
from service.log_file import Label, LogReader
from service.records import record_of
from tests.service.logged import Situation
from tests.service.scripted import ASKS_KENYA, GLAD, KENYA


@pytest.fixture
def export(tmp_path):
    """export([(id, reply, retained), ...], [label, ...]) of a log that holds these."""

    def exports(decisions, labels):
        path = tmp_path / "decisions.sqlite"
        with closing(log_file.open_for_writing(path, True)) as base:
            for id, reply, retain in decisions:
                situation = Situation(ASKS_KENYA, Wants(candidates=2, choices=2, seed=1), (reply,), {})
                record = record_of(situation.decide(), ASKS_KENYA, situation.wants, retain)
                log_file.insert(base, replace(record, id=id))
            for label in labels:
                log_file.insert_label(base, label)
        with LogReader(path) as log:
            return exported(log)

    return exports


def test_what_people_said_is_read_by_the_reader_of_labelled_exchanges(export, tmp_path):
    labels = [Label("a", 1, ("hate", "privacy", "sensible"), 1), Label("b", 0, ("violence",), 2)]
    found = export([("a", KENYA, True), ("b", GLAD, True)], labels)
    file = tmp_path / "labelled.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in found.rows))
    first, second = read_labelled(file)
    assert (first.id, first.group, first.source, first.role, first.reply) == (
        "a/1",
        "a",
        "feedback",
        "assistant",
        KENYA,
    )
    assert first.context == tuple((turn["role"], turn["content"]) for turn in ASKS_KENYA)
    assert (first.objectives, second.objectives) == (frozenset({"hate", "privacy"}), frozenset({"violence"}))


def test_the_same_exchange_labelled_twice_is_one_with_all_that_was_named(export):
    labels = [Label("a", 0, ("hate",), 1), Label("b", 1, ("violence",), 2)]
    found = export([("a", KENYA, True), ("b", KENYA, True)], labels)
    assert [row["labels"] for row in found.rows] == [["hate", "violence"]]


def test_labels_without_words_or_without_an_objective_are_left_out_and_counted(export):
    labels = [Label("a", 0, ("hate",), 1), Label("b", 0, ("sensible", "supported"), 2)]
    found = export([("a", KENYA, False), ("b", GLAD, True)], labels)
    assert (found.rows, found.without_texts, found.without_objective) == ([], 1, 1)
