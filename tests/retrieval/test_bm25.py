"""Ranking and the index on disk: right scores on small corpora, the same after loading, refused when damaged."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from retrieval import DamagedIndex, Document, Index
from retrieval.bm25 import Okapi, tokenise

KENYA = Document("kenya", "Kenya", "The capital of Kenya is Nairobi. Kenya has 47 counties.", "https://e.org/k", "src")
UGANDA = Document("uganda", "Uganda", "The capital of Uganda is Kampala. Uganda lies on Lake Victoria.")
PERU = Document("peru", "Peru", "The capital of Peru is Lima. Peru has llamas.")
TERMS = st.lists(st.sampled_from("abcdef"), max_size=8)


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


@given(st.lists(TERMS.filter(bool), min_size=1, max_size=6), TERMS)
def test_scores_equal_those_of_rank_bm25_with_the_same_idf(corpus: list[list[str]], query: list[str]) -> None:
    okapi = Okapi(corpus)
    np.testing.assert_allclose(okapi.get_scores(query), BM25Okapi.get_scores(okapi, query))


def test_weight_is_the_idf_and_unknown_terms_weigh_most(index: Index) -> None:
    assert index.weight("nairobi") == pytest.approx(math.log(1 + 2.5 / 1.5))
    assert 0 < index.weight("capit") < index.weight("nairobi") < index.weight("zzz")


def test_an_index_of_nothing_finds_nothing() -> None:
    index = Index.build([])
    assert (len(index), index.passages, index.document_count, index.search("anything")) == (0, (), 0, [])
    assert index.weight("anything") > 0


def test_documents_of_stop_words_do_no_harm() -> None:
    assert Index.build([Document("d", "", "It is what it is.")]).search("what is it") == []


def test_passages_are_found_by_id(index: Index) -> None:
    assert index.passage("kenya#1") is index.passages[0]
    assert (len(index), index.document_count) == (3, 3)
    with pytest.raises(KeyError):
        index.passage("nowhere#1")


def test_two_documents_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="kenya"):
        Index.build([KENYA, KENYA])


@given(st.lists(st.text(max_size=60), max_size=5), st.text(max_size=30))
def test_a_loaded_index_ranks_as_the_saved_one(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str
) -> None:
    index = Index.build([Document(str(number), "t", text) for number, text in enumerate(texts)])
    folder = tmp_path_factory.mktemp("index") / "ix"
    index.save(folder)
    loaded = Index.load(folder)
    assert (loaded.passages, loaded.document_count) == (index.passages, index.document_count)
    assert loaded.search(query) == index.search(query)
    assert loaded.weight("t") == index.weight("t")


def test_saving_replaces_the_old_index_and_leaves_nothing_beside_it(tmp_path: Path, index: Index) -> None:
    index.save(tmp_path / "ix")
    Index.build([PERU]).save(tmp_path / "ix")
    assert len(Index.load(tmp_path / "ix")) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["ix"]


def test_a_save_that_fails_leaves_the_old_index(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.save(tmp_path / "ix")

    def full(self: Path, content: bytes) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        Index.build([PERU]).save(tmp_path / "ix")
    assert len(Index.load(tmp_path / "ix")) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["ix"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, index: Index) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        index.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_missing_index_names_the_folder_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*winnow index PATH"):
        Index.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["passages.jsonl", "tokens.json", "manifest.json"])
def test_a_flipped_byte_anywhere_is_found(tmp_path: Path, index: Index, name: str) -> None:
    index.save(tmp_path / "ix")
    file = tmp_path / "ix" / name
    whole = file.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedIndex, match=rf"{name}.*winnow index PATH"):
            Index.load(tmp_path / "ix")


@pytest.mark.parametrize("name", ["passages.jsonl", "tokens.json", "manifest.json"])
def test_a_missing_or_emptied_file_is_found(tmp_path: Path, index: Index, name: str) -> None:
    index.save(tmp_path / "ix")
    (tmp_path / "ix" / name).write_bytes(b"")
    with pytest.raises(DamagedIndex, match=name):
        Index.load(tmp_path / "ix")
    (tmp_path / "ix" / name).unlink()
    with pytest.raises(DamagedIndex, match=name):
        Index.load(tmp_path / "ix")


def test_an_index_of_another_version_is_refused(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.bm25.SETTINGS", "other")
    index.save(tmp_path / "ix")
    monkeypatch.undo()
    with pytest.raises(DamagedIndex, match="another version"):
        Index.load(tmp_path / "ix")
