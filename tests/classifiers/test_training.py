"""The recipe: what the readout learns from, what is masked, and a whole training run in miniature."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from classifiers import OBJECTIVES, Safety, training
from classifiers.labelled import Example, read_labelled
from classifiers.readout import Scorer
from classifiers.training import Recipe, calibrate, fit, held_out_parts, logits_of

SMALL = Recipe(members=1, hidden=8, epochs=30, batch=16, learning_rate=1e-2, dropout=0.0)
WIDTH = 6


def example(i: int, unsafe: bool, objective: str | None = None, **changes) -> Example:
    made = Example(
        id=f"e{i}",
        context=(),
        reply=f"text {i}",
        role="user",
        unsafe=unsafe,
        objectives=frozenset([objective] if objective else []),
        complete=True,
        group=f"g{i}",
        source="own",
        split="train",
    )
    return replace(made, **changes)


def rows(n: int = 64) -> tuple[np.ndarray, list[Example]]:
    """Column 0 says whether a row is unsafe, column 1 which of two objectives it violates."""
    random = np.random.default_rng(0)
    x = random.normal(size=(n, WIDTH)).astype(np.float16)
    examples = [
        example(i, x[i, 0] > 0, ("hate" if x[i, 1] > 0 else "crime") if x[i, 0] > 0 else None) for i in range(n)
    ]
    return x, examples


def scores(readout, x) -> dict[str, np.ndarray]:
    found = Scorer(readout, OBJECTIVES, "none", "0").scores(x)
    return {name: found[:, k] for k, name in enumerate(OBJECTIVES)}


def test_the_readout_learns_what_is_unsafe_and_which_objective_accounts_for_it():
    x, examples = rows()
    readout = fit(x, examples, SMALL, seed=0)
    labels = np.array([e.unsafe for e in examples])
    assert ((logits_of(readout, x) > 0) == labels).mean() > 0.95
    found = scores(readout, x[labels])
    hateful = x[labels][:, 1] > 0
    assert ((found["hate"] > found["crime"]) == hateful).mean() > 0.9


def test_the_same_seed_trains_the_same_readout_and_another_seed_another():
    x, examples = rows()
    first, again, other = (logits_of(fit(x, examples, replace(SMALL, epochs=2), seed), x) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_objective_that_a_public_set_does_not_label_is_masked():
    x, examples = rows()
    unnamed = [replace(e, complete=False, objectives=frozenset(), source="public") for e in examples]
    torch.manual_seed(0)
    moved = []
    for objective_weight in (0.0, 5.0):
        recipe = replace(SMALL, epochs=3, objective_weight=objective_weight)
        moved.append(logits_of(fit(x, unnamed, recipe, seed=0), x))
    assert np.array_equal(*moved)  # nothing is learnt from objectives that nobody named


def test_our_own_rows_outweigh_public_ones_that_contradict_them():
    x, own = rows(32)
    public = [replace(e, unsafe=not e.unsafe, objectives=frozenset(), complete=False, source="public") for e in own]
    readout = fit(np.concatenate([x, x]), own + public, replace(SMALL, own_weight=8.0), seed=0)
    labels = np.array([e.unsafe for e in own])
    assert ((logits_of(readout, x) > 0) == labels).mean() > 0.9


def test_calibration_makes_the_mean_probability_the_share_of_unsafe_rows_on_validation():
    x, examples = rows(400)
    noisy = np.random.default_rng(1).random(400) < 0.2
    examples = [
        replace(e, unsafe=bool(e.unsafe ^ n), split="validation", objectives=frozenset())
        for e, n in zip(examples, noisy, strict=True)
    ]
    readout = fit(x, [replace(e, split="train") for e in rows(400)[1]], SMALL, seed=0)
    calibrate(readout, x, examples)
    probabilities = 1 / (1 + np.exp(-logits_of(readout, x)))
    assert probabilities.mean() == pytest.approx(np.mean([e.unsafe for e in examples]), abs=0.01)


def test_held_out_parts_keep_sources_kinds_and_splits_apart():
    judged = [
        example(0, True, source="set", complete=False, split="validation"),
        example(1, True, "hate", split="validation"),
        example(2, False, split="test", group="seed-001"),
        example(3, False, split="test", role="assistant", context=(("user", "hi"),)),
    ]
    parts = {name: list(chosen) for name, chosen in held_out_parts(judged).items()}
    assert parts["set (validation)"] == [0]
    assert parts["contrast pairs, all (validation)"] == [1]
    assert parts["contrast pairs, all (test)"] == [2, 3]
    assert parts["contrast pairs, seed prompts (test)"] == [2]
    assert parts["contrast pairs, replies (test)"] == [3]


@contextmanager
def no_bar(what, total):
    yield lambda n: None


def test_a_whole_run_writes_weights_metrics_and_a_card_that_load_again(tmp_path, monkeypatch, backbone):
    labelled = tmp_path / "own.jsonl"
    words = ["kind", "cruel"]
    lines = [
        {
            "id": f"p{i}{'ab'[bad]}",
            "pair": f"p{i}",
            "context": [{"role": "user", "content": f"hello there friend {i}"}],
            "role": "assistant",
            "reply": f"a {words[bad]} word {i}",
            "labels": ["harassment"] if bad else [],
            "source": "own",
        }
        for i in range(30)
        for bad in (0, 1)
    ]
    labelled.write_text("\n".join(map(json.dumps, lines)))
    public = [
        example(
            i,
            i % 2 == 0,
            source="toy",
            complete=False,
            split="validation" if i % 3 == 0 else "train",
            context=(("user", f"so {i}"),),
        )
        for i in range(30)
    ]
    monkeypatch.setenv("WINNOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "read_public", lambda folder: public)
    monkeypatch.setattr(training.Backbone, "load", classmethod(lambda cls, name="": backbone))
    output = tmp_path / "out"
    metrics = training.train(tmp_path, labelled, output, 0, no_bar, Console(quiet=True), replace(SMALL, epochs=2))
    assert metrics["training_rows"]["own"] == len([e for e in read_labelled(labelled) if e.split == "train"])
    assert "toy (validation)" in metrics["auroc"]
    assert metrics["version"] in (output / "README.md").read_text()
    scorer = Scorer.load(output, OBJECTIVES)
    assert scorer.version == metrics["version"]
    safety = Safety.load(folder=output)
    assert safety.judge([], ["a cruel word"])[0].scores.keys() == set(OBJECTIVES)


def test_bad_labelled_data_stop_the_run_before_anything_is_trained(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"id": "x", "reply": "a", "labels": ["no such objective"]}')
    with pytest.raises(ValueError, match=r"bad\.jsonl:1.*no such objective"):
        training.train(tmp_path, tmp_path / "bad.jsonl", tmp_path / "out", 0, no_bar, Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_missing_public_sets_are_named_before_anything_is_trained(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"id": "x", "reply": "a", "labels": []}')
    with pytest.raises(FileNotFoundError, match=r"diasafety \(from thu-coai/DiaSafety\)"):
        training.train(tmp_path, tmp_path / "own.jsonl", tmp_path / "out", 0, no_bar, Console(quiet=True))
