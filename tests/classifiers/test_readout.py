"""The readout's arithmetic, and that only whole weights for the right objectives are ever loaded."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save_file

from classifiers.models import CHECKSUMS, DamagedWeights, write_checksums
from classifiers.policy import OBJECTIVES
from classifiers.readout import CONFIG, UPDATE, WEIGHTS, Readout, Scorer

WIDTH = 6
OUTPUTS = 1 + len(OBJECTIVES)
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
def test_scores_are_probabilities_and_the_first_is_that_of_being_unsafe(scorer: Scorer, rows: np.ndarray) -> None:
    scores = scorer.scores(rows)
    assert scores.shape == (len(rows), OUTPUTS)
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    with torch.inference_mode():
        unsafe = torch.sigmoid(1.5 * scorer.readout(torch.from_numpy(rows).float())[:, 0] - 0.5).numpy()
    assert scores[:, 0] == pytest.approx(unsafe, abs=1e-6)


@settings(max_examples=50)
@given(rows)
def test_the_highest_score_of_an_objective_is_that_of_being_unsafe(scorer: Scorer, rows: np.ndarray) -> None:
    scores = scorer.scores(rows)
    assert scores[:, 1:].max(axis=1) == pytest.approx(scores[:, 0], abs=1e-5)


def test_the_objective_that_accounts_best_carries_the_whole_probability_and_the_others_their_share(
    make_scorer: MakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = make_scorer(WIDTH)
    logits = torch.full((1, OUTPUTS), -30.0)
    logits[0, 0] = 0.0  # P(unsafe) = 1/2
    logits[0, 1] = torch.logit(torch.tensor(0.8))
    logits[0, 2] = torch.logit(torch.tensor(0.4))
    monkeypatch.setattr(scorer.readout, "forward", lambda features: logits)
    [scores] = scorer.scores(np.zeros((1, WIDTH), np.float16))
    assert scores[:3] == pytest.approx([0.5, 0.5, 0.25], abs=1e-6)
    assert scores[3:].max() < 2e-6


logits = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.just(OUTPUTS)), elements=st.floats(-20, 20, width=32)
)


class Given(Readout):
    """A readout whose features are the logits."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def given_readout(slope: float = 1.0, offset: float = 0.0) -> Given:
    readout = Given(OUTPUTS, 4, OUTPUTS, 1)
    readout.platt.copy_(torch.tensor([slope, offset]))
    return readout


@settings(max_examples=50)
@given(logits, st.floats(0.1, 3), st.floats(-3, 3))
def test_each_objective_has_its_share_of_the_calibrated_probability_of_unsafe(
    logits: np.ndarray, slope: float, offset: float
) -> None:
    found = given_readout(slope, offset).probabilities(torch.from_numpy(logits)).numpy()
    unsafe = 1 / (1 + np.exp(-(slope * logits[:, 0].astype(float) + offset)))
    weights = 1 / (1 + np.exp(-logits[:, 1:].astype(float)))
    assert found[:, 0] == pytest.approx(unsafe, rel=1e-3)
    assert found[:, 1:] == pytest.approx(unsafe[:, None] * weights / weights.max(axis=1, keepdims=True), rel=1e-3)
    assert found[:, 1:].max(axis=1) == pytest.approx(found[:, 0], rel=1e-6)


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
    assert scorer.scores(np.empty((0, WIDTH), np.float16)).shape == (0, OUTPUTS)


def test_features_are_standardised_and_held_within_bounds() -> None:
    readout = Readout(2, 4, 3, 1)
    readout.mean.copy_(torch.tensor([1.0, 2.0]))
    readout.scale.copy_(torch.tensor([2.0, 100.0]))
    assert readout.standardise(torch.tensor([[2.0, 3.0], [1.0, -3.0]])).tolist() == [[2.0, 8.0], [0.0, -8.0]]


def test_without_calibration_the_logit_of_unsafe_stands_for_its_probability() -> None:
    logits = torch.randn(3, OUTPUTS)
    assert torch.allclose(given_readout().probabilities(logits)[:, 0], torch.sigmoid(logits[:, 0]))


def test_calibration_changes_the_probability_of_unsafe_and_no_objectives_share_of_it() -> None:
    logits = torch.randn(3, OUTPUTS)
    plain, scaled = given_readout().probabilities(logits), given_readout(2.0, -1.0).probabilities(logits)
    assert torch.allclose(scaled[:, 0], torch.sigmoid(2 * logits[:, 0] - 1))
    assert torch.allclose(scaled[:, 1:] / scaled[:, :1], plain[:, 1:] / plain[:, :1])


def test_calibration_does_not_change_the_logits_that_it_is_fitted_on(make_scorer: MakeScorer) -> None:
    readout = make_scorer(WIDTH).readout
    features = torch.randn(3, WIDTH)
    with torch.inference_mode():
        before = readout(features)
        readout.platt.copy_(torch.tensor([2.0, -1.0]))
        assert torch.equal(readout(features), before)


def test_scores_are_calibrated(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(WIDTH)
    with torch.no_grad():
        scorer.readout.platt.copy_(torch.tensor([0.0, 0.7]))
    [scores] = scorer.scores(np.ones((1, WIDTH), np.float16))
    assert [scores[0], scores[1:].max()] == pytest.approx([1 / (1 + np.exp(-0.7))] * 2)


def test_the_members_logits_are_averaged(make_scorer: MakeScorer) -> None:
    readout = make_scorer(WIDTH, members=3).readout
    features = torch.randn(2, WIDTH)
    with torch.inference_mode():
        each = [member(readout.standardise(features)) for member in readout.members]
        assert torch.allclose(readout(features), torch.stack(each).mean(dim=0))


def doubtful(*unsafe: float) -> float:
    """The doubt of an ensemble whose members say these probabilities of unsafe."""
    readout = Readout(WIDTH, 4, OUTPUTS, len(unsafe))
    with torch.no_grad():
        for member, probability in zip(readout.members, unsafe, strict=True):
            for weight in member.parameters():
                weight.zero_()
            member[-1].bias[0] = torch.logit(torch.tensor(probability))
    return Scorer(readout.eval(), OBJECTIVES, "tiny", "tiny").doubt(np.ones(WIDTH, np.float16))


@pytest.mark.parametrize(
    ("unsafe", "doubt"),
    [((0.3,), 0), ((0.3, 0.3, 0.3), 0), ((0.2, 0.4), 0.1), ((0.25, 0.5, 0.75), 0.2041), ((1e-6, 1 - 1e-6), 0.5)],
)
def test_doubt_is_how_far_the_members_probabilities_of_unsafe_stand_apart(
    unsafe: tuple[float, ...], doubt: float
) -> None:
    found = doubtful(*unsafe)
    assert type(found) is float
    assert found == pytest.approx(doubt, abs=1e-4)


@settings(max_examples=30)
@given(rows)
def test_doubt_is_that_of_the_row(scorer: Scorer, rows: np.ndarray) -> None:
    with torch.inference_mode():
        x = scorer.readout.standardise(torch.from_numpy(rows).float())
        each = [torch.sigmoid(member(x)[:, 0]).numpy() for member in scorer.readout.members]
    for row, expected in zip(rows, np.std(each, axis=0), strict=True):
        assert 0 <= scorer.doubt(row) <= 0.5 + 1e-6
        assert scorer.doubt(row) == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def update() -> dict[str, torch.Tensor]:
    return {"2.mlp.up_proj.down": torch.randn(2, 6).half(), "2.mlp.up_proj.up": torch.randn(6, 2).half()}


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


def test_the_update_of_the_reader_is_saved_beside(
    tmp_path: Path, scorer: Scorer, update: dict[str, torch.Tensor]
) -> None:
    folder = tmp_path / "adapted"
    replace(scorer, update=update).save(folder)
    loaded = Scorer.load(folder, OBJECTIVES).update
    assert loaded is not None
    assert set(loaded) == set(update)
    assert all(torch.equal(loaded[name], value) for name, value in update.items())
    Scorer.load(folder, OBJECTIVES).save(tmp_path / "again")
    assert (tmp_path / "again" / CHECKSUMS).read_text() == (folder / CHECKSUMS).read_text()


def test_the_config_says_whether_there_is_an_update(
    saved: Path, scorer: Scorer, update: dict[str, torch.Tensor]
) -> None:
    assert json.loads((saved / CONFIG).read_text())["updated"] is False
    replace(scorer, update=update).save(saved)
    assert json.loads((saved / CONFIG).read_text())["updated"] is True


def test_without_an_update_the_reader_is_as_it_is(saved: Path) -> None:
    assert not (saved / UPDATE).exists()
    assert Scorer.load(saved, OBJECTIVES).update is None


def test_saving_without_an_update_leaves_none_of_an_earlier_one(
    tmp_path: Path, scorer: Scorer, update: dict[str, torch.Tensor]
) -> None:
    replace(scorer, update=update).save(tmp_path / "safety")
    scorer.save(tmp_path / "safety")
    assert not (tmp_path / "safety" / UPDATE).exists()
    assert Scorer.load(tmp_path / "safety", OBJECTIVES).update is None


def test_an_update_that_the_config_does_not_record_is_not_loaded(saved: Path, update: dict[str, torch.Tensor]) -> None:
    save_file(update, saved / UPDATE)
    assert Scorer.load(saved, OBJECTIVES).update is None


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_update_stops_the_start(
    tmp_path: Path, scorer: Scorer, update: dict[str, torch.Tensor], damage: str
) -> None:
    replace(scorer, update=update).save(tmp_path / "safety")
    path = tmp_path / "safety" / UPDATE
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedWeights, match=UPDATE):
        Scorer.load(tmp_path / "safety", OBJECTIVES)


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
