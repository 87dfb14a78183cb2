"""The support classifier: two probabilities, whatever comes in; what words say on their own; damaged weights are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from classifiers.adaptation import head_of
from classifiers.backbone import Backbone
from classifiers.claim_reading import ClaimReader
from classifiers.grounding import CONFIG, HEAD, UPDATE, WORD_FEATURES, Combination, Support, word_features
from classifiers.models import DamagedWeights, write_checksums

WEIGHTS = (1.0, 2.0, 1.0)
COMBINATION = Combination(WEIGHTS, 0.1, (1.0, 0.0))


@pytest.fixture(scope="module")
def support(backbone: Backbone) -> Support:
    torch.manual_seed(0)
    return Support(ClaimReader(backbone), head_of(backbone.width, 2), COMBINATION, "tiny")


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=30)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4))
def test_every_claim_gets_two_probabilities_that_add_up_to_one_at_most(
    support: Support, claims: list[tuple[str, str, str]]
) -> None:
    found = support.judge(claims)
    assert len(found) == len(claims)
    for each in found:
        assert 0 <= each.supported <= 1
        assert 0 <= each.contradicted <= 1
        assert each.supported + each.contradicted <= 1 + 1e-9


def test_the_same_claim_gets_the_same_figures_in_any_company(support: Support) -> None:
    claims = [("Salt is white.", "", "Salt is white."), ("Coal is black.", "And coal?", "It is black.")]
    both, (first,), (second,) = support.judge(claims), support.judge(claims[:1]), support.judge(claims[1:])
    for one, other in zip(both, (first, second), strict=True):
        assert one.supported == pytest.approx(other.supported, abs=0.02)


@pytest.mark.parametrize("claim", [("", "", "Salt is white."), ("Salt is white.", "", ""), ("…", "Hm?", "— !")])
def test_where_there_is_no_word_there_is_no_support_and_no_contradiction(support: Support, claim: Any) -> None:
    (found,) = support.judge([claim])
    assert (found.supported, found.contradicted) == (0.0, 0.0)


def test_figures_that_are_not_finite_stay_so_and_are_no_probability() -> None:
    (found,) = COMBINATION.judge(np.array([[np.nan, 0.0]]), np.zeros((1, 2)))
    assert np.isnan(found.supported)
    assert np.isnan(found.contradicted)


def features(passage: str, claim: str, before: str = "") -> dict[str, float]:
    return dict(zip(WORD_FEATURES, word_features(passage, before, claim), strict=True))


def test_words_tell_what_of_a_claim_the_passage_holds() -> None:
    same = features("Kenya has 47 counties and borders Uganda.", "Kenya has 47 counties.")
    assert same == {"overlap": 1.0, "pairs of words": 1.0}
    other = features("Kenya has 47 counties and borders Uganda.", "Counties of Peru: 47.")
    assert other == {"overlap": 2 / 3, "pairs of words": 0.0}
    assert features("It is tall.", "Mount Kenya is tall.", "How tall is Mount Kenya?")["overlap"] == 1.0


def test_a_hundred_thousand_characters_are_looked_at_in_no_time_and_stay_in_range() -> None:
    found = word_features("not " * 25_000, "", "1,1" * 30_000)
    assert np.isfinite(found).all()
    assert max(map(abs, found)) < 3


def shipped(folder: Path, backbone: Backbone) -> Path:
    folder.mkdir()
    save_file({"1.mlp.up_proj.down": torch.zeros(1, 16), "1.mlp.up_proj.up": torch.zeros(32, 1)}, folder / UPDATE)
    save_file(head_of(2 * 16, 2).state_dict(), folder / HEAD)
    combination = {"weights": WEIGHTS, "offset": 0.1, "contradicted": [1.0, 0.0]}
    config = {"backbone": "tiny", "version": "1-x", "combination": combination, "threshold": 0.7}
    (folder / CONFIG).write_text(json.dumps(config))
    write_checksums(folder)
    return folder


def test_saved_weights_are_loaded_with_their_threshold_and_damaged_ones_refused(
    backbone: Backbone, model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Backbone, "load", lambda name="", update=None, layers=(3,): Backbone.of(model, tokenizer, layers, update)
    )
    monkeypatch.setattr("classifiers.grounding.READ_LAYER", 3)
    folder = shipped(tmp_path / "grounding", backbone)
    support = Support.load(folder)
    assert (support.threshold, support.version) == (0.7, "1-x")
    assert 0 <= support.judge([("Salt is white.", "", "Salt is white.")])[0].supported <= 1
    with (folder / HEAD).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DamagedWeights, match=HEAD):
        Support.load(folder)
