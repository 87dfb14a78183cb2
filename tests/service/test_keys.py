import asyncio
import os
import re
import string
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import keys
from service.keys import LOOK_SECONDS, SCOPES, Key, KeyRing, KeysUnreadable, add_key, read_keys, remove_key

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
LIMITS = st.none() | st.integers(1, 10**12)
GOOD = 'name = "a"\nsha256 = "' + "0" * 64 + '"\nscopes = ["chat"]\ncreated = 2026-01-31\n'


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.toml"


@pytest.fixture
def clock():
    return Clock()


def found(ring, *presented):
    """The names of the keys found, None for none; all asked for at the same time."""

    async def ask():
        return await asyncio.gather(*(ring.find(key.encode()) for key in presented))

    return [key and key.name for key in asyncio.run(ask())]


# The file


def test_a_key_is_told_once_and_the_file_holds_its_hash_alone(path):
    key = add_key(path, "page", ["chat"])
    assert re.fullmatch(r"winnow_[A-Za-z0-9_-]{43}", key)
    (row,) = read_keys(path)
    assert (row.name, row.scopes) == ("page", {"chat"})
    assert key not in path.read_text()
    assert key.removeprefix("winnow_") not in path.read_text()
    assert row.sha256 in path.read_text()
    assert row.sha256 not in repr(row)


def test_the_file_is_its_owners_alone_and_keeps_the_mode_that_it_is_given(path):
    add_key(path, "a", ["chat"])
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    add_key(path, "b", ["chat"])
    assert path.stat().st_mode & 0o777 == 0o640


def test_no_two_keys_are_alike(path):
    assert len({add_key(path, f"n{i}", ["chat"]) for i in range(20)}) == 20


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(NAMES, st.sets(st.sampled_from(sorted(SCOPES)), min_size=1), LIMITS, LIMITS),
        unique_by=lambda row: row[0],
        max_size=4,
    )
)
def test_what_was_added_is_read_back(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.toml"
        for row in rows:
            add_key(path, *row)
        read = read_keys(path) if rows else ()
        assert [(k.name, k.scopes, k.requests_per_minute, k.tokens_per_day) for k in read] == rows


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "a b"}, "name: "),
        ({"name": ""}, "name: "),
        ({"name": "-a"}, "name: "),
        ({"name": "a\n"}, "name: "),
        ({"name": 'a"'}, "name: "),
        ({"name": "a" * 65}, "name: "),
        ({"scopes": []}, "scopes: "),
        ({"scopes": ["root"]}, "scopes: "),
        ({"requests_per_minute": 0}, "requests_per_minute: "),
        ({"tokens_per_day": -1}, "tokens_per_day: "),
    ],
)
def test_a_key_out_of_range_is_refused_by_its_field_and_nothing_is_written(path, fields, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        add_key(path, **{"name": "a", "scopes": ["chat"], **fields})
    assert not path.exists()


def test_a_name_that_is_taken_is_refused_and_the_key_stays_good(path):
    key = add_key(path, "a", ["chat"])
    with pytest.raises(ValueError, match=r"keys\.toml has a key named 'a'; remove it first"):
        add_key(path, "a", ["debug"])
    assert found(KeyRing(path), key) == ["a"]


def test_a_removed_key_is_gone_and_the_others_stay(path):
    first, second = add_key(path, "a", ["chat"]), add_key(path, "b", ["chat"])
    remove_key(path, "a")
    assert found(KeyRing(path), first, second) == [None, "b"]
    with pytest.raises(LookupError, match=r"keys\.toml has no key named 'a'; it has: b"):
        remove_key(path, "a")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[[keys]\n", "cannot be read as TOML"),
        (b"\xff\xfe", "cannot be read as TOML"),
        ("host = 3\n", r"'host' is no \[\[keys\]\] table"),
        ("keys = 3\n", r"'keys' is no \[\[keys\]\] table"),
        ("keys = [3]\n", "key 1: "),
        ("[[keys]]\n", "key 1: name: "),
        ("[[keys]]\n" + GOOD.replace("chat", "root"), "key 1: scopes: "),
        ("[[keys]]\n" + GOOD + "more = 1\n", "key 1: more: "),
        ("[[keys]]\n" + GOOD + "tokens_per_day = 0\n", "key 1: tokens_per_day: "),
        ("[[keys]]\n" + GOOD.replace("0" * 64, "secret"), "key 1: sha256: "),
        (("[[keys]]\n" + GOOD) * 2, r"key 2 \(a\) is there twice"),
    ],
)
def test_a_file_that_is_none_of_keys_is_refused_by_key_and_field_and_nothing_of_a_hash_is_said(path, content, says):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for work in (read_keys, KeyRing, lambda p: add_key(p, "new", ["chat"]), lambda p: remove_key(p, "a")):
        with pytest.raises(KeysUnreadable, match=rf"keys\.toml: {says}") as refused:
            work(path)
        assert "secret" not in str(refused.value)


def test_keys_made_at_the_same_time_are_all_kept_and_no_reader_meets_half_a_file(path):
    add_key(path, "first", ["chat"])
    done, seen = threading.Event(), []

    def read():
        while not done.is_set():
            seen.append(len(read_keys(path)))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=add_key, args=(path, f"n{i}", ["chat"])) for i in range(8)]
    reader.start()
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert {key.name for key in read_keys(path)} == {"first", *(f"n{i}" for i in range(8))}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    add_key(path, "a", ["chat"])
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="no space left"):
            add_key(path, "b", ["chat"])
    assert path.read_bytes() == before
    assert {p.name for p in path.parent.iterdir()} <= {"keys.toml", ".keys.toml.lock"}


def test_a_link_to_the_file_stays_a_link(path, tmp_path):
    real = tmp_path / "elsewhere" / "k.toml"
    add_key(real, "a", ["chat"])
    path.symlink_to(real)
    add_key(path, "b", ["chat"])
    assert path.is_symlink()
    assert [key.name for key in read_keys(real)] == ["a", "b"]


# The keys in service


@given(st.data())
def test_no_other_word_is_a_key(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.toml"
        key = add_key(path, "a", ["chat"])
        ring = KeyRing(path)
        at = data.draw(st.integers(0, len(key) - 1))
        other = key[:at] + data.draw(st.sampled_from([c for c in string.printable if c != key[at]])) + key[at + 1 :]
        (row,) = read_keys(path)
        assert found(ring, key, other, key[:at], key + " ", "", row.sha256, row.name) == ["a", *[None] * 6]


def test_every_key_is_compared_in_constant_time_whichever_is_presented(path, monkeypatch):
    made = [add_key(path, f"n{i}", ["chat"]) for i in range(4)]
    ring, compared = KeyRing(path), []
    true = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append(1) or true(a, b))
    for presented in (made[0], made[3], "winnow_nonsense"):
        compared.clear()
        found(ring, presented)
        assert len(compared) == 4


def test_a_change_of_the_file_is_taken_up_within_a_second(path, clock):
    first = add_key(path, "a", ["chat"])
    ring = KeyRing(path, clock)
    second = add_key(path, "b", ["chat"])
    remove_key(path, "a")
    clock.now += LOOK_SECONDS
    assert found(ring, first, second) == [None, "b"]


def test_two_who_come_together_after_a_removal_are_both_refused(path, clock):
    key = add_key(path, "a", ["chat"])
    ring = KeyRing(path, clock)
    remove_key(path, "a")
    clock.now += 3600
    assert found(ring, key, key, key) == [None, None, None]


def test_the_file_is_not_read_for_every_request(path, clock, monkeypatch):
    key = add_key(path, "a", ["chat"])
    ring, reads = KeyRing(path, clock), []
    true = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(1) or true(self))
    for _ in range(10):
        clock.now += LOOK_SECONDS / 20
        assert found(ring, key) == ["a"]
    assert not reads


def test_without_its_file_no_key_is_good_until_it_is_back(path, clock, caplog):
    key = add_key(path, "a", ["chat"])
    ring, content = KeyRing(path, clock), path.read_bytes()
    path.unlink()
    clock.now += LOOK_SECONDS
    assert found(ring, key) == [None]
    assert ring.warning == "the file of keys is gone: no key is good"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    path.write_bytes(content)
    clock.now += LOOK_SECONDS
    assert (found(ring, key), ring.warning) == (["a"], None)


def test_a_file_damaged_while_serving_changes_nothing_but_is_said_once(path, clock, caplog):
    key = add_key(path, "a", ["chat"])
    ring, content = KeyRing(path, clock), path.read_bytes()
    path.write_bytes(content[:-12])
    for _ in range(3):
        clock.now += LOOK_SECONDS
        assert found(ring, key) == ["a"]
    assert ring.warning == "the file of keys cannot be read: the keys of before stay good"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    path.write_bytes(content)
    clock.now += LOOK_SECONDS
    assert (found(ring, key), ring.warning) == (["a"], None)


def test_a_file_that_is_missing_at_the_start_stops_it(path):
    with pytest.raises(FileNotFoundError, match=r"keys\.toml"):
        KeyRing(path)


def test_a_key_shows_no_hash():
    assert "0000" not in repr(Key(name="a", sha256="0" * 64, scopes=["chat"], created="2026-01-31"))
