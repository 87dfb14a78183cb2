"""The model card: what is measured later joins it, keeps its checksums right, and stays."""

import json
import shutil
from pathlib import Path

import pytest

from classifiers.card import add_benchmark, rewrite_card
from classifiers.models import verify_checksums
from classifiers.safety import SHIPPED

SHARE = {
    **{"name": "share of time", "target": "≤ 10%", "value": 0.12, "low": 0.1, "high": 0.2, "n": 5},
    **{"prevalence": None, "baseline": "-", "command": "python bench.py"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "safety"))


def test_a_benchmarks_row_joins_the_targets_and_the_card_once(folder: Path) -> None:
    add_benchmark(folder, SHARE)
    add_benchmark(folder, {**SHARE, "value": 0.07})
    card = (folder / "README.md").read_text()
    assert card.count("| share of time |") == 1
    assert "0.070 [0.100, 0.200]" in card
    verify_checksums(folder)


def test_targets_measured_anew_keep_the_benchmarks_row(folder: Path) -> None:
    add_benchmark(folder, SHARE)
    fresh = json.loads((SHIPPED / "targets.json").read_text())
    rewrite_card(folder, {**fresh, "rows": [row for row in fresh["rows"] if "command" not in row]})
    assert [row["name"] for row in json.loads((folder / "targets.json").read_text())["rows"]].count(
        "share of time"
    ) == 1


def test_figures_of_other_weights_are_refused(folder: Path) -> None:
    fresh = json.loads((folder / "targets.json").read_text())
    with pytest.raises(ValueError, match="measured on weights other"):
        rewrite_card(folder, {**fresh, "safety": "other"})
    verify_checksums(folder)
