"""An engine in eight bits on a model of two layers, one of whose inputs is far larger than the others."""

import copy

import pytest
import torch

from classifiers import smoothing
from classifiers.engine import Engine
from classifiers.products import PlainProduct
from classifiers.smoothing import in_eight_bits
from tests.classifiers.two_layers import SAMPLE, made, of_model


@pytest.fixture(scope="module")
def lopsided():
    """A model in half precision, one of whose inputs is far larger than all others, as those of trained models are."""
    model = made()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 7] *= 40
    return model.to(torch.bfloat16)


def test_in_eight_bits_the_engine_needs_the_model_no_longer(lopsided):
    model = copy.deepcopy(lopsided)
    own = in_eight_bits(Engine.of(model), SAMPLE)
    before = own.read([1, 2, 3])[1].clone()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(own.read([1, 2, 3])[1], before)


@torch.inference_mode()
def test_in_eight_bits_the_probabilities_are_nearly_the_models(lopsided):
    eight = in_eight_bits(Engine.of(lopsided), SAMPLE)
    assert eight.precision == "int8"
    prompt, _ = eight.read(SAMPLE[:1])
    found = eight.follow(prompt, SAMPLE[1:]).softmax(-1)
    expected = of_model(lopsided, SAMPLE)[1:].softmax(-1)
    assert 0.5 * (found - expected).abs().sum(-1).mean() < 0.03


@torch.inference_mode()
def test_moving_size_from_inputs_to_weights_changes_nothing_but_what_eight_bits_hold(lopsided, monkeypatch):
    single = copy.deepcopy(lopsided).float()
    plain = Engine.of(single)
    monkeypatch.setattr(smoothing.Int8Product, "of", PlainProduct)
    moved = in_eight_bits(Engine.of(single), SAMPLE)
    torch.testing.assert_close(moved.read(SAMPLE)[1], plain.read(SAMPLE)[1], atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_without_moving_it_one_large_input_takes_the_bits_of_all_others(lopsided, monkeypatch):
    expected = of_model(lopsided, SAMPLE).softmax(-1)

    def error():
        return float(
            (in_eight_bits(Engine.of(lopsided), SAMPLE).follow(None, SAMPLE).softmax(-1) - expected).abs().sum()
        )

    with_it = error()
    assert with_it > 0
    monkeypatch.setattr(smoothing, "_moved", lambda largest, weight: torch.ones_like(largest))
    assert error() > 2 * with_it


@torch.inference_mode()
def test_what_all_of_the_sample_meets_sets_up_every_product_the_one_to_the_vocabulary_too(lopsided):
    found = smoothing._largest_inputs(Engine.of(lopsided), SAMPLE)
    [alone] = [smoothing._largest_inputs(Engine.of(lopsided), SAMPLE[:1])]
    assert len(found) == 2 * 4 + 1
    for key, largest in found.items():
        assert (largest >= alone[key] - 1e-6).all(), key
        assert (largest > alone[key]).any(), key
    last = smoothing._largest_inputs(Engine.of(lopsided), SAMPLE[:-1])
    assert (found[2, "head"] >= last[2, "head"]).all()
