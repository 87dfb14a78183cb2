"""The readout's arithmetic, and that only whole weights for the right objectives are ever loaded."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from classifiers.models import CHECKSUMS, DamagedWeights, write_checksums
from classifiers.policy import OBJECTIVES
from classifiers.readout import CONFIG, WEIGHTS, Readout, Scorer

WIDTH = 6
MakeScorer = Callable[..., Scorer]

finite = st.floats(-6e4, 6e4, width=16)
rows = arrays.arrays(np.float16, st.tuples(st.integers(1, 5), st.just(WIDTH)), elements=finite)


@pytest.fixture(scope="module")
def scorer(make_scorer: MakeScorer) -> Scorer:
    """Big random weights, so that probabilities near 0 and 1 occur too."""
    made = make_scorer(WIDTH)
    with torch.no_grad():
        for member in made.readout.members:
            for weight in member.parameters():
                weight.mul_(4)
        made.readout.mean.copy_(torch.randn(WIDTH))
        made.readout.platt.copy_(torch.tensor([1.5, -0.5]))
    return made


@settings(max_examples=50)
@given(rows)
def test_scores_are_probabilities_and_the_highest_is_that_of_being_unsafe(scorer: Scorer, rows: np.ndarray) -> None:
    scores = scorer.scores(rows)
    assert scores.shape == (len(rows), len(OBJECTIVES))
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    with torch.inference_mode():
        unsafe = torch.sigmoid(scorer.readout(torch.from_numpy(rows).float())[:, 0]).numpy()
    assert scores.max(axis=1) == pytest.approx(unsafe, abs=1e-6)


def test_the_objective_that_accounts_best_carries_the_whole_probability_and_the_others_their_share(
    make_scorer: MakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = make_scorer(WIDTH)
    logits = torch.full((1, 1 + len(OBJECTIVES)), -30.0)
    logits[0, 0] = 0.0  # P(unsafe) = 1/2
    logits[0, 1] = torch.logit(torch.tensor(0.8))
    logits[0, 2] = torch.logit(torch.tensor(0.4))
    monkeypatch.setattr(scorer.readout, "forward", lambda features: logits)
    [scores] = scorer.scores(np.zeros((1, WIDTH), np.float16))
    assert scores[:2] == pytest.approx([0.5, 0.25])
    assert scores[2:].max() < 1e-6


@settings(max_examples=50)
@given(rows=rows, bad=st.sampled_from([np.nan, np.inf, -np.inf]), data=st.data())
def test_features_that_are_not_finite_have_no_score_and_leave_the_other_rows_alone(
    scorer: Scorer, rows: np.ndarray, bad: float, data: st.DataObject
) -> None:
    before = scorer.scores(rows)
    row, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, WIDTH - 1))
    spoilt = rows.copy()
    spoilt[row, column] = bad
    after = scorer.scores(spoilt)
    assert np.isnan(after[row]).all()
    assert np.delete(after, row, axis=0) == pytest.approx(np.delete(before, row, axis=0), abs=1e-6)


def test_no_rows_have_no_scores(scorer: Scorer) -> None:
    assert scorer.scores(np.empty((0, WIDTH), np.float16)).shape == (0, len(OBJECTIVES))


def test_features_are_standardised_and_held_within_bounds() -> None:
    readout = Readout(2, 4, 3, 1)
    readout.mean.copy_(torch.tensor([1.0, 2.0]))
    readout.scale.copy_(torch.tensor([2.0, 100.0]))
    assert readout.standardise(torch.tensor([[2.0, 3.0], [1.0, -3.0]])).tolist() == [[2.0, 8.0], [0.0, -8.0]]


def test_platt_scaling_moves_the_probability_of_being_unsafe_and_nothing_else(make_scorer: MakeScorer) -> None:
    readout = make_scorer(WIDTH).readout
    features = torch.randn(3, WIDTH)
    with torch.inference_mode():
        plain = readout(features)
        readout.platt.copy_(torch.tensor([2.0, -1.0]))
        scaled = readout(features)
    assert torch.allclose(scaled[:, 0], 2 * plain[:, 0] - 1)
    assert torch.equal(scaled[:, 1:], plain[:, 1:])


def test_the_members_logits_are_averaged(make_scorer: MakeScorer) -> None:
    readout = make_scorer(WIDTH, members=3).readout
    features = torch.randn(2, WIDTH)
    with torch.inference_mode():
        each = [member(readout.standardise(features)) for member in readout.members]
        assert torch.allclose(readout(features), torch.stack(each).mean(dim=0))


@pytest.fixture
def saved(tmp_path: Path, scorer: Scorer) -> Path:
    scorer.save(tmp_path / "safety")
    return tmp_path / "safety"


def test_what_was_saved_scores_the_same_when_loaded(saved: Path, scorer: Scorer) -> None:
    loaded = Scorer.load(saved, OBJECTIVES)
    features = np.random.default_rng(0).normal(size=(20, WIDTH)).astype(np.float16)
    assert loaded.scores(features) == pytest.approx(scorer.scores(features), abs=0.02)  # weights are kept in half
    assert (loaded.objectives, loaded.backbone, loaded.version) == (OBJECTIVES, "tiny", "tiny-0")
    assert not loaded.readout.training


def test_saving_what_was_loaded_changes_no_byte(saved: Path, tmp_path: Path) -> None:
    Scorer.load(saved, OBJECTIVES).save(tmp_path / "again")
    assert (tmp_path / "again" / CHECKSUMS).read_text() == (saved / CHECKSUMS).read_text()


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_changed_file_stops_the_start(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(DamagedWeights, match=name):
        Scorer.load(saved, OBJECTIVES)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CHECKSUMS])
def test_a_missing_file_stops_the_start(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(DamagedWeights, match=name):
        Scorer.load(saved, OBJECTIVES)


def test_a_folder_without_a_readout_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(DamagedWeights, match=CHECKSUMS):
        Scorer.load(tmp_path / "nothing", OBJECTIVES)


@pytest.mark.parametrize("objectives", [OBJECTIVES[:-1], OBJECTIVES[::-1], (*OBJECTIVES, "rudeness")])
def test_weights_for_other_objectives_stop_the_start(saved: Path, objectives: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="the policy names"):
        Scorer.load(saved, objectives)


def test_weights_of_another_shape_than_the_config_says_stop_the_start(saved: Path) -> None:
    config = json.loads((saved / CONFIG).read_text())
    (saved / CONFIG).write_text(json.dumps(config | {"hidden": 9}))
    write_checksums(saved)
    with pytest.raises(RuntimeError, match="size mismatch"):
        Scorer.load(saved, OBJECTIVES)
