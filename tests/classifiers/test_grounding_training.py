"""A whole training run of the support classifier in miniature, and its parts."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers.adaptation import Adaptation
from classifiers.backbone import Backbone
from classifiers.grounding import WORD_FEATURES, Support
from classifiers.grounding_sets import LabelledClaim
from classifiers.grounding_training import (
    GroundingRecipe,
    combine,
    measure,
    targets_of,
    threshold_of,
    train_support,
)

TINY = GroundingRecipe(
    rule_rows=10, steps=6, adaptation=Adaptation(first_layer=1, rank=2, epochs=1, batch=8, objective_weight=0.3)
)


def claim(i: int, supported: bool, split: str, contradicted: bool | None = False, pair: str = "") -> LabelledClaim:
    return LabelledClaim(f"{i}", "Salt.", "", "Salt.", supported, contradicted, f"g{i}", "s", split, pair=pair)


def test_a_claim_of_which_nobody_said_whether_it_is_denied_teaches_nothing_about_that() -> None:
    targets = targets_of(
        [claim(0, True, "train", None), claim(1, False, "train", None), claim(2, False, "train", True)]
    )
    assert targets.unsafe.tolist() == [0, 1, 1]
    assert targets.named[:, 0].tolist() == [0, 0, 1]
    assert targets.known[:, 0].tolist() == [1, 0, 1]  # what a passage bears out it does not deny


def labelled(n: int, split: str) -> tuple[list[LabelledClaim], np.ndarray, np.ndarray]:
    """Claims whose reader's logit tells half of what is to be known, and whose overlap the other half."""
    random = np.random.default_rng(1)
    logits, words = random.normal(size=(n, 2)), np.zeros((n, len(WORD_FEATURES)))
    words[:, 0] = random.normal(size=n)
    claims = [claim(i, bool(words[i, 0] > logits[i, 0]), split, bool(logits[i, 1] > 0)) for i in range(n)]
    return claims, logits, words


def test_the_combination_learns_what_reader_and_words_know_together() -> None:
    claims, logits, words = labelled(600, "calibration")
    found = combine(logits, words, claims)
    supported = np.array([each.supported for each in found.judge(logits, words)])
    right = (supported > 0.5) == np.array([c.supported for c in claims])
    assert right.mean() > 0.95
    assert found.contradicted[0] > 0


def test_only_calibration_rows_teach_the_combination_and_only_validation_rows_the_threshold() -> None:
    claims, logits, words = labelled(300, "calibration")
    others = [claim(i, i % 2 == 0, "test") for i in range(100)]
    strange = np.full((100, 2), 9.0)
    both = combine(np.vstack([logits, strange]), np.vstack([words, np.ones((100, words.shape[1]))]), claims + others)
    assert both == combine(logits, words, claims)
    rows = [claim(i, i % 2 == 0, "validation") for i in range(200)]
    support = np.array([0.9 if c.supported else 0.2 for c in rows])
    alone = threshold_of(rows, support)
    assert 0.2 < alone["support"] <= 0.9
    assert alone["certified"]
    assert threshold_of(rows + others, np.append(support, np.ones(100))) == alone


def test_no_more_unsupported_claims_than_promised_reach_the_threshold() -> None:
    random = np.random.default_rng(0)
    rows = [claim(i, i % 2 == 0, "validation") for i in range(600)]
    support = np.array([random.beta(4, 2) if c.supported else random.beta(2, 4) for c in rows])
    found = threshold_of(rows, support)
    lacking = support[[not c.supported for c in rows]]
    assert (lacking > found["support"]).mean() <= 0.10


def test_figures_are_of_rows_that_nothing_was_fitted_on() -> None:
    claims, logits, words = labelled(200, "test")
    fitted, strange, odd = labelled(50, "calibration")
    supported = np.append(words[:, 0] - logits[:, 0], np.zeros(50))
    supported = 1 / (1 + np.exp(-supported))
    pairs = [claim(900, True, "test", pair="p"), claim(901, False, "test", pair="p")]
    found = measure(
        claims + fitted + pairs,
        np.vstack([logits, strange, np.zeros((2, 2))]),
        np.vstack([words, odd, np.zeros((2, words.shape[1]))]),
        np.append(supported, [0.9, 0.1]),
        np.zeros(252),
    )
    assert found["auroc"]["s"]["ours"]["n"] == 202
    assert found["auroc"]["s"]["ours"]["value"] > 0.99
    assert found["auroc"]["own pairs, all"]["ours"]["n"] == 2
    assert found["pairs_in_order"] == 1.0


@contextmanager
def silent(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda n: None


def own_pairs(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {
            "id": f"{p}-{i}{side}",
            "pair": f"{p}-{i}",
            "passage_id": f"p{p}",
            "passage": f"Salt number {p} is white. It was found in 19{p:02}. Nobody ate it in Corby.",
            "claim": f"Salt {p} {'is' if side == 'a' else 'is not'} white {'indeed' * i}.",
            "label": "supported" if side == "a" else ("contradicted", "not_enough")[i % 2],
        }
        for p in range(60)
        for i in range(2)
        for side in "ab"
    ]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_run_writes_weights_that_load_and_judge_as_measured_with_a_card(
    model: Any, tokenizer: Any, public_claims: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Backbone, "load", lambda name="", update=None, layers=(3,): Backbone.of(model, tokenizer, layers, update)
    )
    for module in ("classifiers.grounding", "classifiers.grounding_training"):
        monkeypatch.setattr(f"{module}.READ_LAYER", 3)
    folder = tmp_path / "weights"
    figures = train_support(public_claims, own_pairs(tmp_path / "pairs"), folder, 0, silent, TINY)
    support = Support.load(folder)
    assert support.version == figures["version"]
    assert support.threshold == figures["threshold"]["support"]
    card = (folder / "README.md").read_text()
    assert figures["version"] in card
    assert "own pairs, all" in card
    again = train_support(public_claims, tmp_path / "pairs", tmp_path / "again", 0, silent, TINY)
    assert again["auroc"] == figures["auroc"]
    assert again["version"] == figures["version"]
    one = [("Salt number 3 is white.", "", "Salt 3 is white.")]
    assert support.judge(one) == Support.load(tmp_path / "again").judge(one)
