"""The comparison of precisions: the same rows for both, and no difference where there is none."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import eight_bits
from classifiers.engine import Engine
from classifiers.metrics import auroc
from tests.service.conftest import tiny_model

__all__ = ["tiny_model"]

BOTH = ("bfloat16", "int8")


@contextmanager
def begin(title, steps):
    yield lambda done: None


def examples(n):
    return [SimpleNamespace(unsafe=i % 3 == 0, group=str(i // 2)) for i in range(n)]


def test_a_row_tells_rows_share_and_both_values_with_their_intervals(monkeypatch):
    monkeypatch.setattr("classifiers.metrics.RESAMPLES", 40)
    found = examples(60)
    right = np.array([float(e.unsafe) for e in found])
    cells = eight_bits.row("what", auroc, found, {"bfloat16": right, "int8": 1 - right})
    assert cells[:3] == ["what", "60", "33%"]
    assert cells[3:] == ["1.000 [1.000, 1.000]", "0.000 [0.000, 0.000]"]
    assert len(cells) == len(eight_bits.HEADINGS)


def test_a_share_of_rows_of_one_kind_has_no_share_of_positives(monkeypatch):
    monkeypatch.setattr("classifiers.metrics.RESAMPLES", 40)
    found = [SimpleNamespace(unsafe=True, group=str(i)) for i in range(40)]
    passed = np.array([1.0] * 10 + [0.0] * 30)
    cells = eight_bits.row("what", eight_bits.mean, found, dict.fromkeys(BOTH, passed))
    assert cells[2] == "-"
    assert cells[3].startswith("0.250 [")


def test_rows_are_chosen_with_a_seed_and_stay_in_order():
    assert eight_bits.chosen(list(range(5)), 10) == list(range(5))
    found = eight_bits.chosen(list(range(1000)), 100)
    assert found == eight_bits.chosen(list(range(1000)), 100)
    assert found == sorted(set(found))
    assert len(found) == 100


def test_a_precision_beside_itself_differs_in_nothing(tiny_model):
    model, tokenizer = tiny_model
    engine = Engine.of(model)
    rows = eight_bits.language(dict.fromkeys(BOTH, engine), tokenizer, begin)
    assert rows[0][3] == rows[0][4]
    assert [row[4] for row in rows[1:]] == ["0.000", "0.000", "1.000"]
    assert int(rows[0][1].replace(",", "")) > 1000
    assert all(len(row) == len(eight_bits.HEADINGS) for row in rows)


def test_too_few_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        eight_bits.main(["--rows", "5"])
    assert "fewer than 100" in capsys.readouterr().err
