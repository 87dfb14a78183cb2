"""A folder replaced as a whole: the old generation or the new one, one writer at a time, nobody's files lost."""

import json
import os
import threading
from pathlib import Path

import pytest

from retrieval import DamagedIndex, Document, Index
from retrieval.storage import _manifest, check, current, opened, replacing, stamp


def written(folder: Path, content: str) -> None:
    with replacing(folder) as place:
        (place.begin() / "a.txt").write_text(content)
        place.publish({"said": content})


def read(folder: Path) -> str:
    generation = current(folder)
    check(generation)
    return (generation.folder / "a.txt").read_text()


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_a_new_generation_replaces_the_old_one_and_its_files(tmp_path: Path) -> None:
    written(tmp_path / "ix", "one")
    first = current(tmp_path / "ix").name
    written(tmp_path / "ix", "two")
    assert read(tmp_path / "ix") == "two"
    assert names(tmp_path / "ix") == {".lock", "manifest.json", current(tmp_path / "ix").name}
    assert current(tmp_path / "ix").name != first
    assert current(tmp_path / "ix").facts["said"] == "two"
    assert current(tmp_path / "ix").size == 3


def test_without_publish_nothing_has_changed(tmp_path: Path) -> None:
    written(tmp_path / "ix", "one")
    before = names(tmp_path / "ix")
    with replacing(tmp_path / "ix") as place:
        (place.begin() / "a.txt").write_text("two")
    assert read(tmp_path / "ix") == "one"
    assert names(tmp_path / "ix") == before


def test_a_folder_made_for_nothing_is_removed_again(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "ix") as place:
            place.begin()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert names(tmp_path) == set()


def test_leftovers_of_a_killed_run_are_removed_by_the_next(tmp_path: Path) -> None:
    written(tmp_path / "ix", "one")
    (tmp_path / "ix" / "g-0123456789ab").mkdir()
    (tmp_path / "ix" / "g-0123456789ab" / "a.txt").write_text("half")
    (tmp_path / "ix" / "manifest.json.new").write_text("{")
    with replacing(
        tmp_path / "ix"
    ):  # before it writes anything: runs killed one after the other must not fill the disk
        assert names(tmp_path / "ix") == {".lock", "manifest.json", current(tmp_path / "ix").name}


def test_a_second_writer_waits_and_says_so(tmp_path: Path) -> None:
    order: list[str] = []
    held, waits = threading.Event(), threading.Event()

    def first() -> None:
        with replacing(tmp_path / "ix") as place:
            held.set()
            waits.wait()
            (place.begin() / "a.txt").write_text("first")
            place.publish({})
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()

    def waiting() -> None:
        order.append("waiting")
        waits.set()

    with replacing(tmp_path / "ix", waiting) as place:
        assert read(tmp_path / "ix") == "first"
        (place.begin() / "a.txt").write_text("second")
        place.publish({})
    thread.join()
    assert order == ["waiting", "first"]
    assert read(tmp_path / "ix") == "second"


def test_a_reader_whose_generation_went_takes_the_next_one(tmp_path: Path) -> None:
    Index.build([Document("a", "", "One.")]).save(tmp_path / "ix")
    tried: list[str] = []

    def slow(generation: object) -> Index:
        if not tried:
            Index.build([Document("b", "", "Two.")]).save(tmp_path / "ix")
        tried.append("once")
        return Index.of(generation)  # type: ignore[arg-type]

    assert opened(tmp_path / "ix", slow).passages[0].text == "Two."
    assert len(tried) == 2


def test_a_damaged_generation_that_stays_is_reported(tmp_path: Path) -> None:
    written(tmp_path / "ix", "one")
    (current(tmp_path / "ix").folder / "a.txt").write_text("eno")
    with pytest.raises(DamagedIndex, match=r"a\.txt \(checksum differs\)"):
        opened(tmp_path / "ix", check)


@pytest.mark.parametrize("name", ["thesis.txt", "g-thesis", "passages.jsonl", "tokens.json"])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    with pytest.raises(FileExistsError, match=name), replacing(tmp_path):
        pass
    assert names(tmp_path) == {name}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "ix").write_text("x")
    with pytest.raises(FileExistsError, match="is a file"), replacing(tmp_path / "ix"):
        pass


def test_an_index_of_the_first_format_is_replaced(tmp_path: Path) -> None:
    facts = {"format": 1, "files": {"passages.jsonl": "0", "tokens.json": "0"}}
    (tmp_path / "ix").mkdir()
    for name in facts["files"]:
        (tmp_path / "ix" / name).write_text("{}")
    (tmp_path / "ix" / "manifest.json").write_bytes(_manifest(facts))
    with pytest.raises(DamagedIndex, match="another version"):
        Index.load(tmp_path / "ix")
    written(tmp_path / "ix", "two")
    assert names(tmp_path / "ix") == {".lock", "manifest.json", current(tmp_path / "ix").name}


def test_the_stamp_changes_with_every_generation_and_only_then(tmp_path: Path) -> None:
    assert stamp(tmp_path / "ix") is None
    written(tmp_path / "ix", "one")
    first = stamp(tmp_path / "ix")
    assert first == stamp(tmp_path / "ix")
    written(tmp_path / "ix", "one")
    assert stamp(tmp_path / "ix") not in (first, None)


def test_the_files_are_on_the_disk_before_the_manifest_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        happened.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        sync(number)

    def replaced(old: Path, new: Path) -> None:
        happened.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    written(tmp_path / "ix", "one")
    generation = current(tmp_path / "ix").name
    assert happened == ["a.txt", generation, "manifest.json.new", "replace", "ix"]


def test_the_manifest_is_its_own_checksum(tmp_path: Path) -> None:
    written(tmp_path / "ix", "one")
    file = tmp_path / "ix" / "manifest.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "said": "more"}, sort_keys=True, indent=1) + "\n")
    with pytest.raises(DamagedIndex, match="checksum differs"):
        current(tmp_path / "ix")
