import sqlite3
import stat
from contextlib import closing
from dataclasses import replace

import pytest

from service import log_file
from service.chat import Wants
from service.log_file import APPLICATION, MIGRATIONS, Label, LogReader, LogUnreadable, insert, insert_label
from service.records import BadRecord, record_of
from tests.service.logged import Situation
from tests.service.scripted import ASKS_KENYA, GLAD, KENYA

WANTS = Wants(candidates=2, seed=1)
SAFE = Situation(ASKS_KENYA, WANTS, (KENYA, GLAD), {})
MIXED = Situation(
    ASKS_KENYA, Wants(candidates=6, seed=1), (KENYA, "A bomb.", ""), {"A bomb.": {"hate": 0.9, "violence": 0.8}}
)
UNSAFE = Situation(ASKS_KENYA, WANTS, ("A bomb.",), {"A bomb.": {"violence": 0.9}})


def record(situation=SAFE, id="a", created=1000, retain=True):
    found = record_of(situation.decide(), situation.messages, situation.wants, retain)
    return replace(found, id=id, created=created)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.sqlite"


def filled(path, *records, labels=()):
    with closing(log_file.open_for_writing(path, True)) as base:
        for each in records:
            insert(base, each)
        for label in labels:
            insert_label(base, label)
    return path


def ids(path, **filters):
    with LogReader(path) as log:
        found = [each.id for each in log.decisions(**filters)]
        assert log.count(**{k: v for k, v in filters.items() if k not in ("limit", "texts")}) >= len(found)
    return found


def test_what_was_inserted_is_read_with_its_words_where_they_are_asked_for(path):
    first, second = record(id="a"), record(MIXED, "b", retain=False)
    filled(path, first, second)
    with LogReader(path) as log:
        assert list(log.decisions(texts=True)) == [second, first]
        assert [each.texts for each in log.decisions()] == [{}, {}]
        assert log.find("a", texts=True) == first
        assert log.find("a") == replace(first, texts={})


def test_decisions_come_newest_first(path):
    filled(path, record(id="old", created=5), record(id="new", created=9), record(id="newer", created=9))
    assert ids(path) == ["newer", "new", "old"]
    assert ids(path, limit=2) == ["newer", "new"]


def test_more_decisions_than_are_read_at_once_all_come_once(path, monkeypatch):
    monkeypatch.setattr(log_file, "_READ_TOGETHER", 3)
    filled(path, *(record(id=f"{n}", created=n // 4) for n in range(11)))
    expected = [str(n) for n in reversed(range(11))]
    assert ids(path) == expected
    assert [ids(path, limit=n) for n in (1, 3, 4, 6)] == [expected[:n] for n in (1, 3, 4, 6)]


def test_decisions_are_found_by_time_objective_and_whether_all_were_dropped(path):
    filled(path, record(id="safe", created=1), record(MIXED, "mixed", 2), record(UNSAFE, "unsafe", 3))
    assert ids(path, since=2) == ["unsafe", "mixed"]
    assert ids(path, objective="violence") == ["unsafe", "mixed"]
    assert ids(path, objective="hate") == ids(path, objective="empty") == ["mixed"]
    assert ids(path, objective="hate", since=3) == []
    assert ids(path, all_dropped=True) == ["unsafe"]


def test_a_decision_is_found_by_the_beginning_of_its_id_where_it_is_the_only_one(path):
    filled(path, record(id="chat-1a"), record(id="chat-1b"), record(id="chat-1b-2"))
    with LogReader(path) as log:
        assert log.find("chat-1a").id == log.find("chat-1a"[:7]).id == "chat-1a"
        assert log.find("chat-1b").id == "chat-1b"
        with pytest.raises(LookupError, match=r"several decisions begin with 'chat-1'"):
            log.find("chat-1")
        with pytest.raises(LookupError, match=r"holds no decision 'chat-2%'"):
            log.find("chat-2%")


def test_only_its_owner_may_read_the_log(path):
    assert stat.S_IMODE(filled(path).stat().st_mode) == 0o600


def test_a_log_can_be_read_while_it_is_written(path):
    with closing(log_file.open_for_writing(path, True)) as base:
        insert(base, record(id="a"))
        with LogReader(path) as log:
            assert log.count() == 1
            insert(base, record(id="b"))
            assert log.count() == 2


# Labels


def test_the_last_label_of_a_choice_holds_and_one_without_reasons_takes_it_back(path):
    labels = [
        Label("a", 0, ("hate",), 1),
        Label("b", 0, ("violence",), 2),
        Label("a", 0, ("sensible",), 3),
        Label("b", 0, (), 4),
    ]
    filled(path, record(id="a"), record(id="b"), labels=labels)
    with LogReader(path) as log:
        assert log.labels() == [Label("a", 0, ("sensible",), 3)]


def test_a_label_is_of_a_choice_that_was_sent(path):
    filled(path, record())
    with closing(log_file.open_for_writing(path, True)) as base:
        with pytest.raises(LookupError, match="no decision 'b'"):
            insert_label(base, Label("b", 0, ("hate",), 1))
        for choice in (-1, 1):
            with pytest.raises(ValueError, match=f"choices 0 to 0, not {choice}"):
                insert_label(base, Label("a", choice, ("hate",), 1))


def test_what_is_removed_takes_its_words_and_labels_along(path):
    label = Label("old", 0, ("hate",), 1)
    filled(path, record(UNSAFE, "old", created=1), record(id="new", created=2), labels=[label])
    with closing(log_file.open_for_writing(path, True)) as base:
        assert log_file.remove_before(base, 2, 2, 10) == 1
        log_file.truncate(base)
        for table in ("reasons", "labels"):
            assert base.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert b"A bomb." not in path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    assert ids(path) == ["new"]


# The schema and files that are none


def test_a_new_log_has_the_newest_schema_and_names_its_program(path):
    filled(path)
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert base.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("first", ["a server", "a reader"])
def test_a_log_of_an_older_schema_is_brought_up_to_date_with_all_it_holds(path, monkeypatch, first):
    old = record()
    filled(path, old)
    newer = (*MIGRATIONS, ("ALTER TABLE decisions ADD COLUMN mood TEXT NOT NULL DEFAULT 'fair'",))
    monkeypatch.setattr(log_file, "MIGRATIONS", newer)
    if first == "a server":
        log_file.open_for_writing(path, True).close()
    with LogReader(path) as log:
        assert list(log.decisions(texts=True)) == [old]
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA user_version").fetchone() == (2,)
        assert base.execute("SELECT mood FROM decisions").fetchall() == [("fair",)]


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    old = record()
    filled(path, old)
    with monkeypatch.context() as newer:
        newer.setattr(
            log_file, "MIGRATIONS", (*MIGRATIONS, ("DROP TABLE labels", "ALTER TABLE absent ADD COLUMN mood"))
        )
        with pytest.raises(sqlite3.OperationalError, match="absent"):
            log_file.open_for_writing(path, True)
        with pytest.raises(
            LogUnreadable, match=r"decisions\.sqlite cannot be read as a decision log: no such table: absent"
        ):
            LogReader(path)
    with LogReader(path) as log:
        assert (list(log.decisions(texts=True)), log.labels()) == ([old], [])


def test_a_log_of_a_later_schema_is_refused(path):
    filled(path, record())
    with closing(sqlite3.connect(path)) as base:
        base.execute("PRAGMA user_version=7")
    for opened in (LogReader, lambda path: log_file.open_for_writing(path, True)):
        with pytest.raises(LogUnreadable, match=r"schema version 7; this Winnow knows them up to 1: upgrade it"):
            opened(path)


def test_another_programs_database_is_refused_and_stays_as_it_is(path):
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE cookies(name)")
    before = path.read_bytes()
    for opened in (LogReader, lambda path: log_file.open_for_writing(path, True)):
        with pytest.raises(LogUnreadable, match="of another program, not a decision log"):
            opened(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(path):
    path.write_text("Dear diary, " * 100)
    for opened in (LogReader, lambda path: log_file.open_for_writing(path, True)):
        with pytest.raises(LogUnreadable, match="cannot be read as a decision log: file is not a database"):
            opened(path)
    assert path.read_text() == "Dear diary, " * 100


def test_a_damaged_page_is_told_and_never_read_as_something_else(path):
    filled(path, *(record(id=f"{n}") for n in range(30)))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(LogUnreadable, match="malformed"), LogReader(path) as log:
        list(log.decisions())


def test_a_record_that_cannot_be_read_is_named(path):
    filled(path, record(id="chat-9"))
    with closing(sqlite3.connect(path)) as base:
        base.execute("UPDATE decisions SET record = '{}'")
        base.commit()
    with pytest.raises(BadRecord, match=r"decision chat-9: field id: "), LogReader(path) as log:
        list(log.decisions())


def test_where_there_is_no_log_that_is_said(path):
    with pytest.raises(FileNotFoundError, match=r"no decision log at .*decisions\.sqlite"):
        LogReader(path)
    assert not path.exists()
