"""An index in memory and on disk: the right passages first, the same after loading, refused when damaged."""

import gc
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import DamagedIndex, Document, Index, storage
from retrieval.tokens import tokenise

KENYA = Document("kenya", "Kenya", "The capital of Kenya is Nairobi. Kenya has 47 counties.", "https://e.org/k", "src")
UGANDA = Document("uganda", "Uganda", "The capital of Uganda is Kampala. Uganda lies on Lake Victoria.")
PERU = Document("peru", "Peru", "The capital of Peru is Lima. Peru has llamas.")
FILES = ("passages.sqlite", "terms.i32", "lengths.i32")
ENGINES = ("rank-bm25", "bm25s")


@pytest.fixture
def index() -> Index:
    return Index.build([KENYA, UGANDA, PERU])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("What is the capital of Kenya?", ["capit", "kenya"]),
        ("Kenya's CAPITAL cities aren't", ["kenya", "capit", "citi"]),
        ("8,849 m, 3.5 km and 1990s", ["8849", "m", "3.5", "km", "1990"]),
        ("The U.S. and the WHO told us who", ["us", "who", "told"]),
        ("WHO IS IT", []),
        ("Côte d’Ivoire CO₂", ["cote", "d", "ivoir", "co2"]),
        ("", []),
    ],
)
def test_text_becomes_terms(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


@given(st.text(max_size=200))
def test_any_text_can_be_tokenised(text: str) -> None:
    assert all(token and token == token.lower() for token in tokenise(text))


def test_the_best_passage_comes_first_with_its_score(index: Index) -> None:
    hits = index.search("What is the capital of Kenya?")
    assert hits[0].passage.document_id == "kenya"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(hit.score > 0 for hit in hits)


def test_a_term_in_half_of_two_documents_still_scores() -> None:
    index = Index.build([KENYA, PERU])
    hits = index.search("Nairobi")
    assert [hit.passage.document_id for hit in hits] == ["kenya"]
    assert hits[0].score > 0


def test_a_term_in_every_document_still_scores() -> None:
    assert len(Index.build([KENYA, PERU]).search("capital")) == 2


def test_title_words_find_a_passage() -> None:
    assert Index.build([Document("x", "Photosynthesis", "Plants eat light.")]).search("photosynthesis")


def test_equal_scores_keep_passage_order() -> None:
    index = Index.build([Document(f"d{n}", "same", "The same words.") for n in range(20)])
    assert [hit.passage.document_id for hit in index.search("words", k=20)] == [f"d{n}" for n in range(20)]


@pytest.mark.parametrize("query", ["", "the of", "zzz", "\u0000"])
def test_a_query_without_known_terms_finds_nothing(index: Index, query: str) -> None:
    assert index.search(query) == []


def test_k_limits_the_hits_and_must_be_positive(index: Index) -> None:
    assert len(index.search("capital", k=2)) == 2
    with pytest.raises(ValueError, match="at least 1"):
        index.search("capital", k=0)


def test_weight_is_the_idf_and_unknown_terms_weigh_most(index: Index) -> None:
    assert index.weight("nairobi") == pytest.approx(math.log(1 + 2.5 / 1.5))
    assert 0 < index.weight("capit") < index.weight("nairobi") < index.weight("zzz")


def test_an_index_of_nothing_finds_nothing() -> None:
    index = Index.build([])
    assert (len(index), index.passages, index.document_count, index.search("anything")) == (0, (), 0, [])
    assert index.weight("anything") > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_an_index_of_nothing_can_be_kept(tmp_path: Path, engine: str) -> None:
    Index.build([], engine=engine).save(tmp_path / "ix")
    loaded = Index.load(tmp_path / "ix")
    assert (len(loaded), loaded.engine, loaded.search("anything")) == (0, engine, [])


def test_documents_of_stop_words_do_no_harm() -> None:
    assert Index.build([Document("d", "", "It is what it is.")]).search("what is it") == []


def test_passages_are_found_by_id(index: Index) -> None:
    assert index.passage("kenya#1") is index.passages[0]
    assert (len(index), index.document_count) == (3, 3)
    with pytest.raises(KeyError):
        index.passage("nowhere#1")


@pytest.mark.parametrize(
    "id",
    [
        "nowhere#1",
        "kenya",
        "kenya#2",
        "kenya#0",
        "kenya#01",
        "kenya#x",
        "kenya#²",
        "#",
        "",
        "uganda#9999999999999999999",
    ],
)
def test_an_unknown_id_is_a_key_error_on_disk_too(tmp_path: Path, index: Index, id: str) -> None:
    index.save(tmp_path / "ix")
    with pytest.raises(KeyError):
        Index.load(tmp_path / "ix").passage(id)


def test_two_documents_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="kenya"):
        Index.build([KENYA, KENYA])


@given(st.lists(st.text(max_size=60), max_size=5), st.text(max_size=30), st.sampled_from(ENGINES))
def test_a_loaded_index_ranks_as_the_saved_one(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, engine: str
) -> None:
    index = Index.build([Document(f"#{number}", "t", text) for number, text in enumerate(texts)], engine=engine)
    folder = tmp_path_factory.mktemp("index") / "ix"
    index.save(folder)
    loaded = Index.load(folder)
    assert (loaded.passages, loaded.document_count) == (index.passages, index.document_count)
    assert loaded.search(query) == index.search(query)
    assert loaded.weight("t") == index.weight("t")
    assert all(loaded.passage(passage.id) == passage for passage in index.passages)


def test_saving_replaces_the_old_index_and_leaves_nothing_beside_it(tmp_path: Path, index: Index) -> None:
    index.save(tmp_path / "ix")
    Index.build([PERU]).save(tmp_path / "ix")
    assert len(Index.load(tmp_path / "ix")) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["ix"]


def test_a_save_that_fails_leaves_the_old_index(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.save(tmp_path / "ix")
    before = sorted(entry.name for entry in (tmp_path / "ix").iterdir())

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("retrieval.index.NewIndex.finish", full)
    with pytest.raises(OSError, match="disk full"):
        Index.build([PERU]).save(tmp_path / "ix")
    assert len(Index.load(tmp_path / "ix")) == 3
    assert sorted(entry.name for entry in (tmp_path / "ix").iterdir()) == before


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, index: Index) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        index.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_missing_index_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*winnow index PATH"):
        Index.load(tmp_path / "nowhere")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flipped_byte_anywhere_is_found(tmp_path: Path, engine: str) -> None:
    Index.build([KENYA, UGANDA, PERU], engine=engine).save(tmp_path / "ix")
    for file in [file for file in (tmp_path / "ix").glob("**/*") if file.is_file() and file.name != ".lock"]:
        whole = file.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 20)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(DamagedIndex, match=rf"{file.name}.*winnow index PATH"):
                Index.load(tmp_path / "ix")
        file.write_bytes(whole)
    Index.load(tmp_path / "ix")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_or_emptied_file_is_found(tmp_path: Path, index: Index, name: str) -> None:
    index.save(tmp_path / "ix")
    (file,) = (tmp_path / "ix").glob(f"**/{name}")
    file.write_bytes(b"")
    with pytest.raises(DamagedIndex, match=name):
        Index.load(tmp_path / "ix")
    file.unlink()
    with pytest.raises(DamagedIndex, match=name):
        Index.load(tmp_path / "ix")


def test_a_large_file_is_compared_by_its_size_at_the_start(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.save(tmp_path / "ix")
    monkeypatch.setattr(storage, "WHOLE", 0)
    (file,) = (tmp_path / "ix").glob("*/passages.sqlite")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    Index.load(tmp_path / "ix")
    file.write_bytes(whole[:-1])
    with pytest.raises(DamagedIndex, match=r"passages\.sqlite"):
        Index.load(tmp_path / "ix")


def test_an_index_of_another_version_is_refused(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.index.settings", lambda language: "other")
    index.save(tmp_path / "ix")
    monkeypatch.undo()
    with pytest.raises(DamagedIndex, match="another version"):
        Index.load(tmp_path / "ix")


@pytest.mark.parametrize(("engine", "refused"), [("rank-bm25", False), ("bm25s", True)])
def test_scores_counted_with_other_constants_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, refused: bool
) -> None:
    Index.build([KENYA, PERU], engine=engine).save(tmp_path / "ix")
    monkeypatch.setattr("retrieval.index.K1", 2.0)
    if refused:
        with pytest.raises(DamagedIndex, match="another version"):
            Index.load(tmp_path / "ix")
    else:
        assert Index.load(tmp_path / "ix").search("Nairobi")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_open_index_outlives_its_files(tmp_path: Path, engine: str) -> None:
    Index.build([KENYA, UGANDA], engine=engine).save(tmp_path / "ix")
    loaded = Index.load(tmp_path / "ix")
    Index.build([PERU], engine=engine).save(tmp_path / "ix")
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(hit.passage.text for hit in loaded.search("Nairobi")))
    thread.start()
    thread.join()
    assert found == [KENYA.text]
    assert loaded.passage("uganda#1").title == "Uganda"
    assert loaded.generation != Index.load(tmp_path / "ix").generation


@pytest.mark.parametrize("engine", ENGINES)
def test_several_threads_may_search_at_once(tmp_path: Path, engine: str) -> None:
    documents = [Document(f"d{n}", f"Title {n}", f"Number {n} of the words about {n % 7}.") for n in range(50)]
    Index.build(documents, engine=engine).save(tmp_path / "ix")
    loaded = Index.load(tmp_path / "ix")
    expected = {n: loaded.search(f"number {n}", 3) for n in range(50)}
    with ThreadPoolExecutor(8) as pool:
        for n, hits in zip(range(50), pool.map(lambda n: loaded.search(f"number {n}", 3), range(50)), strict=True):
            assert hits == expected[n]


def test_headings_above_a_passage_find_it(tmp_path: Path) -> None:
    text = "# Guide\n\n## Setup\n\n### Linux\n\n" + "Fetch the package and unpack it there. " * 40
    index = Index.build([Document("g", "Guide", text), KENYA])
    last = index.passages[-2]
    assert last.heading == "Setup > Linux"
    assert "Linux" not in last.text
    assert last in [hit.passage for hit in index.search("linux", k=9)]
    index.save(tmp_path / "ix")
    assert Index.load(tmp_path / "ix").passages == index.passages


def test_a_closed_index_leaves_no_open_connection(
    tmp_path: Path, index: Index, recwarn: pytest.WarningsRecorder
) -> None:
    index.save(tmp_path / "ix")
    Index.load(tmp_path / "ix").search("Nairobi")
    gc.collect()
    assert not recwarn.list


def test_an_index_finds_by_the_stems_of_its_language_and_keeps_it(tmp_path: Path) -> None:
    text = "Los perros corren por las calles de Lima."
    index = Index.build([Document("p", "Perros", text)], language="spanish")
    index.save(tmp_path / "index")
    for each in (index, Index.load(tmp_path / "index")):
        assert each.language == "spanish"
        assert [hit.passage.document_id for hit in each.search("perro que corre")] == ["p"]
        assert each.search("por las de") == []
    assert Index.build([Document("p", "Perros", text)]).search("por las de")


def test_an_unknown_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="klingon"):
        Index.build([Document("p", "P", "nuqneH")], language="klingon")
