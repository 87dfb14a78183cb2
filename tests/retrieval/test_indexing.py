"""An index kept up to date: only what changed is read, and the outcome is that of reading everything."""

import gzip
import json
import os
import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval import DamagedIndex, Index, NothingFound, index_status, indexing, read_documents, update_index

BEES, TEA = "Bees make honey from nectar. A colony has one queen.", "Tea is a drink made from leaves."


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "bees.md").write_text(f"# Bees\n\n{BEES}")
    (folder / "tea.txt").write_text(TEA)
    (folder / "rows.jsonl").write_text('{"text": "Nairobi is the capital of Kenya."}\n{"title": "no text"}\n')
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    names: list[str] = []
    real = indexing.read_file
    monkeypatch.setattr(
        indexing, "read_file", lambda file, advance: names.append(file.path.name) or real(file, advance)
    )
    return names


def content(folder: Path) -> tuple[Any, ...]:
    """All that an index answers from, and what the next run will know."""
    index = Index.load(folder)
    base: Any = index._passages
    terms = {name: (next(folder.glob(f"*/{name}"))).read_bytes() for name in ("terms.i32", "lengths.i32")}
    files = [(file, base.skipped(file.number), base.documents(file.number)) for file in base.files()]
    return index.passages, index.document_count, index.engine, base.terms(), terms, files


def test_all_files_are_new_at_first(notes: Path, tmp_path: Path) -> None:
    done = update_index([notes], tmp_path / "ix")
    assert (done.new, done.changed, done.deleted, done.unchanged) == (3, 0, 0, 0)
    assert (done.documents, done.passages, done.engine, done.anew) == (3, 3, "rank-bm25", "")
    assert [(s.path, s.reason) for s in done.skipped] == [(str(notes / "rows.jsonl"), 'line 2: missing field "text"')]
    assert Index.load(tmp_path / "ix").search("queen")[0].passage.document_id == "bees"


def test_what_is_found_is_what_reading_the_documents_finds(notes: Path, tmp_path: Path) -> None:
    update_index([notes], tmp_path / "ix")
    built, loaded = Index.build(read_documents([notes])[0]), Index.load(tmp_path / "ix")
    assert loaded.passages == built.passages
    for query in ("honey", "capital of Kenya", "drink from leaves", "zzz"):
        assert loaded.search(query) == built.search(query)
    assert loaded.weight("honey") == built.weight("honey")


@pytest.mark.parametrize("engine", ["rank-bm25", "bm25s"])
def test_only_new_and_changed_files_are_read_again(notes: Path, tmp_path: Path, read: list[str], engine: str) -> None:
    update_index([notes], tmp_path / "ix", engine)
    read.clear()
    (notes / "tea.txt").write_text("Coffee is a drink made from beans.")
    (notes / "salt.txt").write_text("Salt is a mineral.")
    (notes / "bees.md").unlink()
    done = update_index([notes], tmp_path / "ix", engine)
    assert read == ["salt.txt", "tea.txt"]
    assert (done.new, done.changed, done.deleted, done.unchanged) == (1, 1, 1, 1)
    assert [s.reason for s in done.skipped] == ['line 2: missing field "text"']
    update_index([notes], tmp_path / "fresh", engine)
    assert content(tmp_path / "ix") == content(tmp_path / "fresh")
    index = Index.load(tmp_path / "ix")
    assert index.search("honey") == []
    assert index.search("coffee")[0].passage.document_id == "tea"


@pytest.mark.parametrize("table", ["documents", "skipped"])
def test_what_is_kept_of_a_file_is_found_without_a_look_at_every_other(notes: Path, tmp_path: Path, table: str) -> None:
    update_index([notes], tmp_path / "ix")
    with closing(sqlite3.connect(next(tmp_path.glob("ix/*/passages.sqlite")))) as base:
        [(*_, plan)] = base.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE file = 1")
    assert "USING INDEX" in plan


def test_when_nothing_changed_nothing_is_written(notes: Path, tmp_path: Path) -> None:
    first = update_index([notes], tmp_path / "ix")
    (notes / "gone.txt").symlink_to(notes / "nowhere")
    update_index([notes], tmp_path / "ix")
    before = Index.load(tmp_path / "ix").generation
    (notes / "tea.txt").touch()
    again = update_index([notes], tmp_path / "ix")
    assert (again.unchanged, again.documents, len(again.skipped)) == (4, first.documents, 2)
    assert Index.load(tmp_path / "ix").generation == before


def test_a_file_of_the_same_size_and_time_but_other_words_is_read_again(notes: Path, tmp_path: Path) -> None:
    update_index([notes], tmp_path / "ix")
    times = (notes / "tea.txt").stat()
    (notes / "tea.txt").write_text(TEA.replace("drink", "plant"))
    os.utime(notes / "tea.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert update_index([notes], tmp_path / "ix").changed == 1


def test_a_file_that_was_mended_is_read(notes: Path, tmp_path: Path) -> None:
    (notes / "link.txt").symlink_to(notes / "later.md.hidden")
    assert update_index([notes], tmp_path / "ix").documents == 3
    (notes / "later.md.hidden").write_text("Here it is.")
    assert update_index([notes], tmp_path / "ix").documents == 4


def test_a_new_file_before_others_of_the_same_id_renames_those(tmp_path: Path) -> None:
    for name in ("b", "c"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": "x", "text": f"This is {name}."}))
    update_index([tmp_path / "b.jsonl", tmp_path / "c.jsonl"], tmp_path / "ix")
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "x", "text": "This is a."}))
    update_index([tmp_path / f"{name}.jsonl" for name in "abc"], tmp_path / "ix")
    found = {passage.id: passage.text for passage in Index.load(tmp_path / "ix").passages}
    assert found == {"x#1": "This is a.", "x-2#1": "This is b.", "x-3#1": "This is c."}


@pytest.mark.parametrize("damage", ["flip", "manifest", "tokeniser", "words"])
def test_an_index_that_cannot_be_kept_is_made_anew_and_why_is_said(
    notes: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    update_index([notes], tmp_path / "ix")
    read.clear()
    words = 100
    if damage == "flip":
        file = next((tmp_path / "ix").glob("*/passages.sqlite"))
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
    elif damage == "manifest":
        (tmp_path / "ix" / "manifest.json").write_text("{")
    elif damage == "tokeniser":
        for module in ("index", "indexing"):
            monkeypatch.setattr(f"retrieval.{module}.settings", lambda language: "other")
    else:
        words = 50
    done = update_index([notes], tmp_path / "ix", words=words)
    assert len(read) == done.new == 3
    assert done.anew
    assert len(Index.load(tmp_path / "ix")) == 3


def test_the_engine_can_be_changed_without_reading(notes: Path, tmp_path: Path, read: list[str]) -> None:
    update_index([notes], tmp_path / "ix")
    read.clear()
    done = update_index([notes], tmp_path / "ix", "bm25s")
    assert (done.engine, done.unchanged, read) == ("bm25s", 3, [])
    assert Index.load(tmp_path / "ix").engine == "bm25s"


def test_new_constants_have_the_scores_counted_again(
    notes: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    update_index([notes], tmp_path / "ix", "bm25s")
    read.clear()
    for module in ("bm25", "index"):
        monkeypatch.setattr(f"retrieval.{module}.K1", 2.0)
    update_index([notes], tmp_path / "ix", "bm25s")
    assert read == []
    assert Index.load(tmp_path / "ix").search("honey")


def test_size_decides_between_the_engines(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.bm25.SMALL", 2)
    assert update_index([notes], tmp_path / "ix").engine == "bm25s"


def test_without_a_document_the_folder_is_left_as_it_was(notes: Path, tmp_path: Path) -> None:
    update_index([notes], tmp_path / "ix")
    (tmp_path / "bad.txt").write_bytes(b"\0")
    for folder in (tmp_path / "ix", tmp_path / "none"):
        with pytest.raises(NothingFound) as error:
            update_index([tmp_path / "bad.txt"], folder)
        assert [skipped.path for skipped in error.value.skipped] == [str(tmp_path / "bad.txt")]
    assert len(Index.load(tmp_path / "ix")) == 3
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("fault", ["engine", "path"])
def test_a_wrong_request_makes_no_folder(notes: Path, tmp_path: Path, fault: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)):
        update_index(
            [notes if fault == "engine" else "absent"], tmp_path / "ix", "lucene" if fault == "engine" else "auto"
        )
    assert not (tmp_path / "ix").exists()


def test_progress_has_known_totals_that_are_reached(notes: Path, tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    @contextmanager
    def progress(what: str, total: int | None) -> Iterator[Any]:
        assert total is not None
        seen[what] = [total, 0]

        def advance(n: int) -> None:
            seen[what][1] += n

        yield advance

    (notes / "more.txt.gz").write_bytes(gzip.compress(TEA.encode()))
    update_index([notes], tmp_path / "ix", "bm25s", progress=progress)
    size = sum(file.stat().st_size for file in notes.iterdir())
    assert seen == {"comparing": [4, 4], "reading": [size, size], "scoring": [4, 4]}


def test_a_reader_sees_the_old_index_until_the_new_one_is_whole(notes: Path, tmp_path: Path) -> None:
    update_index([notes], tmp_path / "ix")
    (notes / "salt.txt").write_text("Salt is a mineral.")
    sizes: set[int] = set()

    @contextmanager
    def progress(what: str, total: int | None) -> Iterator[Any]:
        sizes.add(len(Index.load(tmp_path / "ix")))
        yield lambda n: sizes.add(len(Index.load(tmp_path / "ix")))

    update_index([notes], tmp_path / "ix", progress=progress)
    assert sizes == {3}
    assert len(Index.load(tmp_path / "ix")) == 4


def test_readers_and_writers_at_once_never_meet_half_an_index(notes: Path, tmp_path: Path) -> None:
    update_index([notes], tmp_path / "ix")
    stop = threading.Event()
    faults: list[BaseException] = []

    def load() -> None:
        while not stop.is_set():
            try:
                index = Index.load(tmp_path / "ix")
                assert index.search("honey nectar")[0].passage.document_id == "bees"
            except BaseException as error:
                faults.append(error)
                return

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(8):
        (notes / "tea.txt").write_text(f"Tea number {number}.")
        update_index([notes], tmp_path / "ix", ("rank-bm25", "bm25s")[number % 2])
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []


TEXTS = st.sampled_from(
    [
        "One fish.",
        "Two fish. Red fish!",
        "# Head\n\nBlue fish.",
        "",
        '{"text": "a"}\n{"id": "x"}\n{"id": "s", "text": "b"}',
    ]
)
EDITS = st.dictionaries(st.sampled_from(["a.md", "b.txt", "c.jsonl", "d.jsonl"]), TEXTS | st.none(), min_size=1)


@settings(max_examples=25)
@given(st.lists(EDITS, min_size=1, max_size=4), st.sampled_from(["rank-bm25", "bm25s"]))
def test_after_any_changes_the_index_is_that_of_a_fresh_run(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, str | None]], engine: str
) -> None:
    folder = tmp_path_factory.mktemp("edits")
    (folder / "in").mkdir()
    (folder / "in" / "0.txt").write_text("Always here.")
    for edits in rounds:
        for name, text in edits.items():
            if text is None:
                (folder / "in" / name).unlink(missing_ok=True)
            else:
                (folder / "in" / name).write_text(text)
        update_index([folder / "in"], folder / "kept", engine)
    update_index([folder / "in"], folder / "fresh", engine)
    assert content(folder / "kept") == content(folder / "fresh")


def test_the_status_says_what_is_there_and_looks_at_every_byte_when_asked(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_index([notes], tmp_path / "ix", "bm25s")
    said = index_status(tmp_path / "ix")
    assert (said["documents"], said["passages"], said["files"], said["engine"]) == (3, 3, 3, "bm25s")
    assert said["bytes"] == sum(file.stat().st_size for file in (tmp_path / "ix").glob("g-*/*"))
    assert said["built"].endswith("+00:00")
    monkeypatch.setattr("retrieval.storage.WHOLE", 0)
    file = next((tmp_path / "ix").glob("*/data.csc.index.npy"))
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    index_status(tmp_path / "ix")
    with pytest.raises(DamagedIndex, match=r"data\.csc"):
        index_status(tmp_path / "ix", whole=True)


def test_of_a_file_of_broken_lines_a_hundred_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "One."}\n' + "{\n" * 1102)
    skipped = update_index([tmp_path / "x.jsonl"], tmp_path / "ix").skipped
    assert len(skipped) == 101
    assert skipped[-1].reason == "and 1,002 more lines or parts that could not be read"


def test_a_long_file_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak grows far less than the file: ten times the lines, about the same memory."""
    monkeypatch.setattr("retrieval.bm25._CHUNK", 1000)
    peaks = []
    for count in (200, 2_000):
        row = '{"text": "Bees make honey from nectar, and a colony has one queen and many workers."}\n'
        (tmp_path / "long.jsonl").write_text(row * count)
        tracemalloc.start()
        update_index([tmp_path / "long.jsonl"], tmp_path / f"ix{count}", "bm25s")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 500_000
