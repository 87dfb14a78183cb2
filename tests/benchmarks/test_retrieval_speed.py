"""What the speed benchmark compares: the same passages for all, words that are their own terms, ratios to ours."""

from pathlib import Path

import pytest

from benchmarks.retrieval_speed import compared, made_up, timed
from retrieval.tokens import tokenise


def test_passages_are_the_same_each_time_and_their_words_are_their_own_terms() -> None:
    passages = made_up(300)
    assert passages == made_up(300)
    assert all(15 <= len(terms) < 80 and tokenise(" ".join(terms)) == terms for terms in passages)


def test_each_engine_builds_starts_and_answers(tmp_path: Path) -> None:
    passages = made_up(30)
    rows = timed(passages, [" ".join(terms[:5]) for terms in passages[:3]], tmp_path)
    assert rows[0][:2] == ["30 (rank-bm25)", "build, s"]
    assert all(float(value) > 0 for row in rows for value in row[2:])


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.5, 1.0, 365.4], ["0.5", "1", "365", "2", "730"]),
        ([2.0, None, 1.0], ["2", "–", "1", "–", "0.5"]),
    ],
)
def test_ratios_are_to_ours(values: list[float | None], shown: list[str]) -> None:
    assert compared(values) == shown
